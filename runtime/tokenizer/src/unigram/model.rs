//! A piece to ids: the tokens whose probabilities have the greatest product.

use super::lattice::{Lattice, Viterbi};
use super::trie::Trie;

/// Tokens with their scores, which are logarithms of probabilities. Ids are the special tokens, then the 256 bytes, then the others in the order of
/// their scores, as training makes them; files may have them in any order.
#[derive(Debug, Clone)]
pub struct Unigram {
    tokens: Vec<Vec<u8>>,
    scores: Vec<f64>,
    specials: Vec<u32>,
    trie: Trie,
}

/// What makes tokens and scores no Unigram model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnigramError {
    /// Lists of different lengths.
    #[error("{tokens} tokens, but {scores} scores: give each token one score")]
    Lengths {
        /// Tokens.
        tokens: usize,
        /// Scores.
        scores: usize,
    },
    /// A score that is no logarithm.
    #[error("the score of token {id} is not a finite number: give the logarithm of its probability")]
    Score {
        /// The token.
        id: u32,
    },
    /// A token without bytes, or whose bytes are another one's.
    #[error("token {id} is {why}: each token needs bytes of its own")]
    Token {
        /// The token.
        id: u32,
        /// `empty` or `there already`.
        why: &'static str,
    },
    /// A byte without a token: text with it could not be encoded.
    #[error("no token for byte {byte:#04x}: a vocabulary needs one for each of the 256 bytes")]
    Byte {
        /// The first such byte.
        byte: u8,
    },
}

impl Unigram {
    /// Tokens by id with the logarithms of their probabilities. `specials` never come out of text.
    ///
    /// # Errors
    /// Tokens that are empty or stand twice, scores that are no numbers, a byte without a token.
    pub fn new(tokens: Vec<Vec<u8>>, scores: Vec<f64>, specials: &[u32]) -> Result<Self, UnigramError> {
        if tokens.len() != scores.len() {
            return Err(UnigramError::Lengths { tokens: tokens.len(), scores: scores.len() });
        }
        let mut specials = specials.to_vec();
        specials.sort_unstable();
        specials.dedup();
        let mut known = std::collections::HashSet::new();
        let ids = (0..tokens.len() as u32).filter(|id| specials.binary_search(id).is_err());
        for id in ids {
            let bytes = &tokens[id as usize][..];
            if !scores[id as usize].is_finite() {
                return Err(UnigramError::Score { id });
            }
            if bytes.is_empty() || !known.insert(bytes) {
                let why = if bytes.is_empty() { "empty" } else { "there already" };
                return Err(UnigramError::Token { id, why });
            }
        }
        if let Some(byte) = (0..=255_u8).find(|byte| !known.contains(&[*byte][..])) {
            return Err(UnigramError::Byte { byte });
        }
        Ok(Self::trained(tokens, scores, specials))
    }

    /// A model of which all this is known. `specials` are in their order.
    pub(super) fn trained(tokens: Vec<Vec<u8>>, scores: Vec<f64>, specials: Vec<u32>) -> Self {
        let of_text = tokens.iter().zip(0..).filter(|(_, id)| specials.binary_search(id).is_err());
        let trie = Trie::new(of_text.map(|(bytes, id)| (&bytes[..], id)));
        Self { tokens, scores, specials, trie }
    }

    /// Bytes by id; a special token's are those of its spelling.
    pub fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// Logarithms of probabilities by id.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Ids of the special tokens, in their order.
    pub fn specials(&self) -> &[u32] {
        &self.specials
    }

    /// Appends a piece's ids and returns its score: the logarithm of the probability of these tokens. The work is linear in the piece, times the
    /// longest token.
    pub fn encode_piece(&self, piece: &[u8], room: &mut Viterbi, ids: &mut Vec<u32>) -> f64 {
        let start = ids.len();
        let score = room.search(&self.trie, &self.scores, piece, None, |id| ids.push(id));
        ids[start..].reverse();
        // Every byte is a token, so there is always a way.
        score.unwrap_or(f64::NEG_INFINITY)
    }

    /// The logarithm of each piece's probability: the sum over all ways to cut it into tokens.
    pub fn log_likelihoods<'p>(&self, pieces: impl Iterator<Item = &'p [u8]>) -> Vec<f64> {
        let probabilities: Vec<f64> = self.scores.iter().map(|score| score.exp()).collect();
        let mut lattice = Lattice::default();
        pieces.map(|piece| lattice.expect(&self.trie, &probabilities, piece, |_, _| {})).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes with a low score, and some words.
    fn model(words: &[(&str, f64)]) -> Result<Unigram, UnigramError> {
        let bytes = (0..=255_u8).map(|byte| (vec![byte], -9.0));
        let words = words.iter().map(|(word, score)| (word.as_bytes().to_vec(), *score));
        let (tokens, scores) = bytes.chain(words).unzip();
        Unigram::new(tokens, scores, &[])
    }

    fn encode(model: &Unigram, text: &str) -> Vec<String> {
        let mut ids = Vec::new();
        model.encode_piece(text.as_bytes(), &mut Viterbi::default(), &mut ids);
        ids.iter().map(|id| String::from_utf8_lossy(&model.tokens()[*id as usize]).into_owned()).collect()
    }

    #[test]
    fn the_most_likely_tokens_win_and_of_equals_the_longest_last() {
        let model = model(&[("ab", -2.0), ("bc", -1.0), ("abc", -4.0), ("xx", -9.0), ("é", -3.0)]).unwrap();
        assert_eq!(encode(&model, "abc"), ["abc"]);
        assert_eq!(encode(&model, "abbc"), ["ab", "bc"]);
        // Three x: one and a pair, or a pair and one.
        assert_eq!(encode(&model, "xxx"), ["x", "xx"]);
        assert_eq!(encode(&model, "éa"), ["é", "a"]);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert_eq!(model(&[("", -1.0)]).unwrap_err(), UnigramError::Token { id: 256, why: "empty" });
        assert_eq!(model(&[("a", -1.0)]).unwrap_err(), UnigramError::Token { id: 256, why: "there already" });
        assert_eq!(model(&[("aa", f64::NAN)]).unwrap_err(), UnigramError::Score { id: 256 });
        assert_eq!(Unigram::new(vec![vec![0]], vec![-1.0], &[]).unwrap_err(), UnigramError::Byte { byte: 1 });
        assert_eq!(
            Unigram::new(vec![vec![0]], vec![], &[]).unwrap_err(),
            UnigramError::Lengths { tokens: 1, scores: 0 }
        );
    }
}
