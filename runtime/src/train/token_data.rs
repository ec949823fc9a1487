//! Token shards of one side of a corpus, memory-mapped, checked when they are opened.
//!
//! Of a domain with `N` tokens there are `N` pairs of an input and its target: the target of a token is the one after it, that of the last
//! one is the token before a document, which ends it as it ends all others.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::{TokenIndex, TokenShard};
use memmap2::Mmap;

use super::{TokenProblem, TrainError};
use crate::job::JobError;

/// Bytes of a place in a `.starts` file.
const START_BYTES: u64 = 8;

/// Token shards of one side of a corpus.
#[derive(Debug)]
pub struct TokenData {
    /// What the shards say about themselves.
    pub index: TokenIndex,
    /// The weights that each corpus says itself: one's own, then those of the others by their places.
    mixtures: Vec<BTreeMap<String, f64>>,
    domains: Vec<Domain>,
    token_bytes: Mapping,
}

#[derive(Debug)]
struct Domain {
    name: String,
    shard: TokenShard,
    ids: Mapping,
    starts: Mapping,
    starts_path: PathBuf,
}

/// A file's bytes; an empty file has none.
#[derive(Debug)]
enum Mapping {
    Empty,
    Mapped(Mmap),
}

/// Which side of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What trains.
    Train,
    /// What measures.
    Validation,
}

impl TokenData {
    /// Opens the train side of a `tokens` artifact.
    pub fn train(folder: &Path) -> Result<Self, TrainError> {
        Self::open(folder, Side::Train)
    }

    /// Opens the validation side of a `tokens` artifact.
    pub fn validation(folder: &Path) -> Result<Self, TrainError> {
        Self::open(folder, Side::Validation)
    }

    fn open(folder: &Path, side: Side) -> Result<Self, TrainError> {
        let path = folder.join("index.json");
        let text = std::fs::read(&path).map_err(|error| JobError::io(&path, error))?;
        let index: TokenIndex = serde_json::from_slice(&text)
            .map_err(|error| wrong(&path, TokenProblem::Index(error.to_string())))?;
        let fits = match index.id_bytes {
            2 => index.vocab_size <= 1 << 16,
            4 => index.vocab_size <= 1 << 32,
            _ => false,
        };
        if !fits || index.bos_token_id >= index.vocab_size {
            let (id_bytes, vocab_size) = (index.id_bytes, index.vocab_size);
            return Err(wrong(&path, TokenProblem::IdWidth { id_bytes, vocab_size }));
        }
        let shards = if side == Side::Train { &index.train } else { &index.validation };
        let mut domains = Vec::new();
        for (name, shard) in shards {
            let ids = map(&folder.join(&shard.file), shard.num_tokens, index.id_bytes)?;
            let starts_path = folder.join(&shard.starts);
            let starts = map(&starts_path, shard.num_documents, START_BYTES)?;
            let domain = Domain { name: name.clone(), shard: shard.clone(), ids, starts, starts_path };
            domain.check_ends()?;
            domains.push(domain);
        }
        let token_bytes = map(&folder.join(&index.token_bytes), index.vocab_size, 4)?;
        let mixtures = vec![index.domain_weights.clone()];
        Ok(Self { index, mixtures, domains, token_bytes })
    }

    /// The tokens of other corpora behind one's own: their domains follow on its own, named `tokens.<i>/<domain>` by their places from 1 on.
    ///
    /// # Errors
    /// Corpora that were encoded by different tokenizers.
    pub fn join(mut self, others: Vec<Self>) -> Result<Self, TrainError> {
        for (place, other) in others.into_iter().enumerate() {
            let place = place + 1;
            let (own, its) = (&self.index, &other.index);
            if (&own.tokenizer_fingerprint, own.vocab_size, own.id_bytes, own.bos_token_id)
                != (&its.tokenizer_fingerprint, its.vocab_size, its.id_bytes, its.bos_token_id)
            {
                return Err(TrainError::Refused(format!(
                    "the tokens of input `tokens.{place}` were made by tokenizer {}, those of `tokens` by {}",
                    its.tokenizer_fingerprint, own.tokenizer_fingerprint
                )));
            }
            let named = |domain: Domain| Domain { name: domain_of(place as u64, &domain.name), ..domain };
            self.domains.extend(other.domains.into_iter().map(named));
            self.mixtures.extend(other.mixtures);
        }
        Ok(self)
    }

    /// The weights that a corpus says of its own domains, by the place of its input: 0 is the job's own.
    pub(super) fn corpus_mixture(&self, input: u64) -> BTreeMap<String, f64> {
        self.mixtures.get(input as usize).cloned().unwrap_or_default()
    }

    /// Domain names, in a fixed order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|domain| domain.name.as_str())
    }

    /// What a domain's shard says about itself.
    pub fn shard(&self, domain: usize) -> &TokenShard {
        &self.domains[domain].shard
    }

    /// Tokens of all domains.
    pub fn num_tokens(&self) -> u64 {
        self.domains.iter().map(|domain| domain.shard.num_tokens).sum()
    }

    /// Start and length of each document of a domain, in tokens, the token before it included.
    ///
    /// # Errors
    /// Where the places are not in order.
    pub fn documents(&self, domain: usize) -> Result<Vec<(u64, u64)>, TrainError> {
        let domain = &self.domains[domain];
        let count = domain.shard.num_documents;
        let mut documents = Vec::with_capacity(count as usize);
        for at in 0..count {
            let start = domain.start(at);
            let end = if at + 1 < count { domain.start(at + 1) } else { domain.shard.num_tokens };
            if start >= end {
                return Err(wrong(&domain.starts_path, TokenProblem::Starts { document: at, start }));
            }
            documents.push((start, end - start));
        }
        Ok(documents)
    }

    /// Places within `range` where a document of a domain starts: a binary search and what is found.
    pub(super) fn starts_within(&self, domain: usize, range: Range<u64>) -> Vec<u64> {
        let domain = &self.domains[domain];
        let (mut low, mut high) = (0, domain.shard.num_documents);
        while low < high {
            let middle = low.midpoint(high);
            if domain.start(middle) < range.start {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = (low..domain.shard.num_documents).map(|at| domain.start(at));
        found.take_while(|start| *start < range.end).collect()
    }

    /// Appends `count` inputs from `from` on, and their targets.
    pub(super) fn read_pairs(
        &self,
        domain: usize,
        from: u64,
        count: u64,
        (inputs, targets): (&mut Vec<i64>, &mut Vec<i64>),
    ) {
        let begin = inputs.len();
        self.read(domain, from, count, inputs);
        let Some(first) = inputs.get(begin + 1..) else { return };
        targets.extend_from_slice(first);
        if from + count < self.domains[domain].shard.num_tokens {
            self.read(domain, from + count, 1, targets);
        } else {
            targets.push(self.index.bos_token_id as i64);
        }
    }

    /// Appends ids.
    pub(crate) fn read(&self, domain: usize, from: u64, count: u64, into: &mut Vec<i64>) {
        let Mapping::Mapped(bytes) = &self.domains[domain].ids else { return };
        let width = self.index.id_bytes;
        let bytes = &bytes[(width * from) as usize..(width * (from + count)) as usize];
        if width == 2 {
            into.extend(bytes.chunks_exact(2).map(|id| i64::from(u16::from_le_bytes([id[0], id[1]]))));
        } else {
            into.extend(bytes.chunks_exact(4).map(|id| i64::from(u32_of(id))));
        }
    }

    /// Bytes of text behind an id.
    pub(super) fn bytes_of(&self, id: i64) -> u64 {
        let at = 4 * id as usize;
        match &self.token_bytes {
            Mapping::Mapped(bytes) => bytes.get(at..at + 4).map_or(0, |bytes| u64::from(u32_of(bytes))),
            Mapping::Empty => 0,
        }
    }
}

impl Domain {
    /// Where a document starts.
    fn start(&self, document: u64) -> u64 {
        let Mapping::Mapped(bytes) = &self.starts else { return 0 };
        let at = (START_BYTES * document) as usize;
        bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// The first document starts with the shard, and the last one within it.
    fn check_ends(&self) -> Result<(), TrainError> {
        let TokenShard { num_tokens, num_documents, .. } = self.shard;
        if num_documents == 0 && num_tokens == 0 {
            return Ok(());
        }
        let last = num_documents.saturating_sub(1);
        let broken = if num_documents == 0 || self.start(0) != 0 {
            Some(0)
        } else {
            (self.start(last) >= num_tokens).then_some(last)
        };
        broken.map_or(Ok(()), |document| {
            let start = if num_documents == 0 { 0 } else { self.start(document) };
            Err(wrong(&self.starts_path, TokenProblem::Starts { document, start }))
        })
    }
}

/// The name of another corpus' domain, by the place of its input.
pub(super) fn domain_of(input: u64, domain: &str) -> String {
    format!("tokens.{input}/{domain}")
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn wrong(path: &Path, problem: TokenProblem) -> TrainError {
    TrainError::Tokens { path: path.to_path_buf(), problem }
}

/// Maps a file of `count` values of `width` bytes each.
fn map(path: &Path, count: u64, width: u64) -> Result<Mapping, TrainError> {
    let file = File::open(path).map_err(|error| JobError::io(path, error))?;
    let got = file.metadata().map_err(|error| JobError::io(path, error))?.len();
    let expected = count.saturating_mul(width);
    if got != expected {
        return Err(wrong(path, TokenProblem::Length { count, width, expected, got }));
    }
    if got == 0 {
        return Ok(Mapping::Empty);
    }
    let bytes = cupola_kernels::map_file(&file).map_err(|error| JobError::io(path, error))?;
    Ok(Mapping::Mapped(bytes))
}
