//! `.tiktoken` files: a token in base64 and its rank on each line.
//!
//! Such a file has no merges. tiktoken merges those neighbours of a piece that together are a token, the one of least rank first. That is a merge of
//! pairs all the same: before two neighbours become a token, all that happened between its ends happened as if it stood alone, so they are always the same
//! two, and merging the token's bytes alone finds them. A token whose bytes never come down to two parts is only ever a whole piece.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::{EngineError, Vocabulary};

/// Work of finding all merges, in squared bytes of tokens. That of o200k is 17 million.
const MAX_WORK: u64 = 1 << 30;
/// A file has at most so many ids for each token.
const MAX_GAPS: usize = 4;

/// Tokens by rank, which is their id. An id that is not used has no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranks {
    tokens: Vec<Vec<u8>>,
}

impl Ranks {
    /// Reads a file.
    ///
    /// # Errors
    /// A line that is no token and rank, a token or rank that stands twice, a byte without a token.
    pub fn parse(file: &[u8]) -> Result<Self, EngineError> {
        let mut found: Vec<(u32, Vec<u8>)> = Vec::new();
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                found.push(parse_line(index + 1, line)?);
            }
        }
        let size = found.iter().map(|(rank, _)| *rank as usize + 1).max().unwrap_or(0);
        if size > MAX_GAPS * found.len() {
            return Err(EngineError::field("ranks", "ranks without large gaps", size));
        }
        let mut tokens = vec![Vec::new(); size];
        for (rank, token) in found {
            let slot = &mut tokens[rank as usize];
            if !slot.is_empty() {
                return Err(EngineError::field(format!("rank {rank}"), "one token", "two"));
            }
            *slot = token;
        }
        let ranks = Self { tokens };
        ranks.by_bytes()?;
        Ok(ranks)
    }

    /// The file.
    pub fn write(&self) -> String {
        let used = self.tokens.iter().enumerate().filter(|(_, token)| !token.is_empty());
        let lines = used.map(|(rank, token)| [STANDARD.encode(token), format!(" {rank}\n")]);
        lines.flatten().collect()
    }

    /// The ranks of a vocabulary without its special tokens, whose ids stay free.
    ///
    /// # Errors
    /// A vocabulary that tiktoken would encode with otherwise: its ids are not in the order of its merges.
    pub fn of(vocabulary: &Vocabulary, specials: &[u32]) -> Result<Self, EngineError> {
        let mut tokens = vocabulary.tokens.clone();
        for id in specials {
            if let Some(token) = tokens.get_mut(*id as usize) {
                token.clear();
            }
        }
        let ranks = Self { tokens };
        let recovered = ranks.vocabulary()?.merges;
        let same =
            recovered.iter().zip(&vocabulary.merges).take_while(|(ours, theirs)| ours == theirs).count();
        if same < recovered.len().max(vocabulary.merges.len()) {
            let expected = "merges in the order of their tokens' ids, one for each token";
            return Err(EngineError::field(format!("merges.{same}"), expected, "another order"));
        }
        Ok(ranks)
    }

    /// The tokens with the merges that make them. With `ignore_merges` the ids are tiktoken's.
    ///
    /// # Errors
    /// Tokens so long that finding their merges is too much work.
    pub fn vocabulary(&self) -> Result<Vocabulary, EngineError> {
        let work: u64 = self.tokens.iter().map(|token| (token.len() as u64).saturating_pow(2)).sum();
        if work > MAX_WORK {
            let longest = self.tokens.iter().map(Vec::len).max().unwrap_or(0);
            return Err(EngineError::field(
                "ranks",
                "tokens of some hundred bytes at most",
                format!("one of {longest} bytes"),
            ));
        }
        let ids = self.by_bytes()?;
        let mut byte_ids = [0; 256];
        for (byte, id) in byte_ids.iter_mut().enumerate() {
            *id = ids.get([byte as u8].as_slice()).copied().unwrap_or(0);
        }
        let mut merges = Vec::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate().filter(|(_, token)| token.len() > 1) {
            if let Some((left, right)) = last_two(token, &ids) {
                merges.push((left, right, id as u32));
            }
        }
        Ok(Vocabulary { tokens: self.tokens.clone(), byte_ids, merges })
    }

    fn by_bytes(&self) -> Result<Ids<'_>, EngineError> {
        let mut ids = Ids::default();
        for (id, token) in self.tokens.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
            if let Some(other) = ids.insert(token, id as u32) {
                return Err(EngineError::field(
                    format!("rank {id}"),
                    "a token of its own",
                    format!("that of rank {other}"),
                ));
            }
        }
        match (0..=255_u8).find(|byte| !ids.contains_key([*byte].as_slice())) {
            Some(byte) => Err(EngineError::field("ranks", "all 256 bytes", format!("none for byte {byte}"))),
            None => Ok(ids),
        }
    }
}

type Ids<'a> = HashMap<&'a [u8], u32, Xxh3DefaultBuilder>;

fn parse_line(number: usize, line: &[u8]) -> Result<(u32, Vec<u8>), EngineError> {
    let wrong = || {
        EngineError::field(
            format!("line {number}"),
            "a token in base64, a blank and its rank",
            String::from_utf8_lossy(line),
        )
    };
    let blank = line.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let (token, rank) = (&line[..blank], &line[blank + 1..]);
    let token = STANDARD.decode(token).ok().filter(|token| !token.is_empty()).ok_or_else(wrong)?;
    let rank = std::str::from_utf8(rank).ok().and_then(|rank| rank.parse::<u32>().ok()).ok_or_else(wrong)?;
    // The last id stands for none in the tables.
    if rank == u32::MAX { Err(wrong()) } else { Ok((rank, token)) }
}

/// The two tokens that become `token` when its bytes are merged.
fn last_two(token: &[u8], ids: &Ids<'_>) -> Option<(u32, u32)> {
    // Where parts begin, and the end; with each part the rank of it and the next one together.
    let mut starts: Vec<usize> = (0..=token.len()).collect();
    let rank = |starts: &[usize], at: usize| {
        let end = starts.get(at + 2)?;
        ids.get(&token[starts[at]..*end]).copied()
    };
    let mut ranks: Vec<Option<u32>> = (0..token.len() - 1).map(|at| rank(&starts, at)).collect();
    while starts.len() > 3 {
        let (at, _) = ranks
            .iter()
            .enumerate()
            .filter_map(|(at, rank)| Some((at, (*rank)?)))
            .min_by_key(|(_, rank)| *rank)?;
        starts.remove(at + 1);
        ranks.remove(at);
        if let Some(next) = ranks.get_mut(at) {
            *next = rank(&starts, at);
        }
        if at > 0 {
            ranks[at - 1] = rank(&starts, at - 1);
        }
    }
    Some((*ids.get(&token[..starts[1]])?, *ids.get(&token[starts[1]..])?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Bpe;

    fn ranks(words: &[&str]) -> Ranks {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        Ranks { tokens }
    }

    /// tiktoken's way: the neighbours that together are a token, least rank first, and a piece that is a token at once.
    fn by_ranks(ranks: &Ranks, piece: &[u8]) -> Vec<u32> {
        let ids = ranks.by_bytes().unwrap();
        let mut parts: Vec<&[u8]> = piece.chunks(1).collect();
        if let Some(id) = ids.get(piece) {
            return vec![*id];
        }
        let mut starts: Vec<usize> = (0..=piece.len()).collect();
        loop {
            let rank = |at: usize| ids.get(&piece[starts[at]..starts[at + 2]]).map(|rank| (*rank, at));
            let Some((_, at)) = (0..starts.len().saturating_sub(2)).filter_map(rank).min() else { break };
            starts.remove(at + 1);
        }
        parts.clear();
        starts.windows(2).map(|ends| ids[&piece[ends[0]..ends[1]]]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn merges_of_any_ranks_give_the_ids_that_the_ranks_give(
            words in proptest::collection::btree_set("[abc]{2,6}", 0..24),
            order in any::<u64>(),
            piece in "[abc]{1,30}",
        ) {
            let mut words: Vec<String> = words.into_iter().collect();
            words.sort_by_cached_key(|word| xxhash_rust::xxh3::xxh3_64_with_seed(word.as_bytes(), order));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ranks = ranks(&words);
            let bpe = Bpe::new(ranks.vocabulary().unwrap(), &[], true).unwrap();
            let mut ids = Vec::new();
            bpe.encode_piece(piece.as_bytes(), &mut ids);
            prop_assert_eq!(ids, by_ranks(&ranks, piece.as_bytes()));
        }

        #[test]
        fn no_file_makes_it_panic(file in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\n'), Just(b'A'), Just(b'='), Just(b'1')], 0..60)) {
            let _ = Ranks::parse(&file);
        }
    }

    #[test]
    fn files_are_read_and_written() {
        let ranks = ranks(&["ab", "abc"]);
        let file = ranks.write();
        assert!(file.ends_with("YWI= 256\nYWJj 257\n"));
        assert_eq!(Ranks::parse(file.as_bytes()).unwrap(), ranks);
        let vocabulary = ranks.vocabulary().unwrap();
        assert_eq!(vocabulary.merges, [(97, 98, 256), (256, 99, 257)]);
        assert_eq!(Ranks::of(&vocabulary, &[]).unwrap(), ranks);
        let mut other = vocabulary;
        other.merges.swap(0, 1);
        let error = Ranks::of(&other, &[]).unwrap_err().to_string();
        assert!(error.starts_with("merges.0: expected merges in the order"), "{error}");
    }

    #[test]
    fn files_that_are_none_are_refused_with_their_line() {
        let error = |file: &str| Ranks::parse(file.as_bytes()).unwrap_err().to_string();
        let good = ranks(&[]).write();
        assert_eq!(error("?? 1\n"), "line 1: expected a token in base64, a blank and its rank, got ?? 1");
        assert_eq!(error("AA== 0\n"), "ranks: expected all 256 bytes, got none for byte 1");
        assert_eq!(
            error(&(good.clone() + "AA== 256\n")),
            "rank 256: expected a token of its own, got that of rank 0"
        );
        assert_eq!(error(&(good.clone() + "YWI= 255\n")), "rank 255: expected one token, got two");
        assert_eq!(
            error(&(good.clone() + "YWI= 4000000000\n")),
            "ranks: expected ranks without large gaps, got 4000000001"
        );
        assert!(error(&(good.clone() + "YWI=256\n")).starts_with("line 257: "));
        let long = vec![b'a'; 40_000];
        let long = Ranks::parse((good + &format!("{} 256", STANDARD.encode(long))).as_bytes()).unwrap();
        assert!(long.vocabulary().unwrap_err().to_string().ends_with("got one of 40000 bytes"));
    }
}
