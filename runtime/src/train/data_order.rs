//! Which row of which domain every row of a run is: a function of the seed and the row's number.
//!
//! A row is a window of `context_length + 1` tokens of one domain's shard. Within a domain each epoch visits every window once, in the order
//! of a seeded permutation. Domains follow the phase's weights as closely as whole rows can, at every prefix of the run.
//!
//! Shapes: `B` rows, `T` context length.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::{TokenIndex, TokenShard};
use memmap2::Mmap;
use tch::{Device, Tensor};

use super::permutation::mix;
use super::{Permutation, TrainError};
use crate::job::JobError;

/// Rows between two stored counts of the mixture.
const BLOCK: u64 = 4096;

/// Token shards of one side of a corpus, memory-mapped.
#[derive(Debug)]
pub struct TokenData {
    /// What the shards say about themselves.
    pub index: TokenIndex,
    domains: Vec<(String, TokenShard, Mapping)>,
}

/// A shard's bytes; an empty shard has none.
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
        let wrong = |path: &PathBuf, message: String| TrainError::Data { path: path.clone(), message };
        let text = std::fs::read(&path).map_err(|error| JobError::io(&path, error))?;
        let index: TokenIndex =
            serde_json::from_slice(&text).map_err(|error| wrong(&path, error.to_string()))?;
        if !matches!(index.id_bytes, 2 | 4) {
            return Err(wrong(&path, format!("id_bytes: expected 2 or 4, got {}", index.id_bytes)));
        }
        let shards = if side == Side::Train { &index.train } else { &index.validation };
        let mut domains = Vec::new();
        for (domain, shard) in shards {
            let path = folder.join(&shard.file);
            let length = std::fs::metadata(&path).map_err(|error| JobError::io(&path, error))?.len();
            let expected = shard.num_tokens * index.id_bytes;
            if length != expected {
                return Err(wrong(
                    &path,
                    format!("expected {expected} bytes for {} tokens, got {length}", shard.num_tokens),
                ));
            }
            domains.push((domain.clone(), shard.clone(), map(&path, length)?));
        }
        Ok(Self { index, domains })
    }

    /// Domain names, in a fixed order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|(name, ..)| name.as_str())
    }

    /// What a domain's shard says about itself.
    pub fn shard(&self, domain: usize) -> &TokenShard {
        &self.domains[domain].1
    }

    /// Tokens of all domains.
    pub fn num_tokens(&self) -> u64 {
        self.domains.iter().map(|(_, shard, _)| shard.num_tokens).sum()
    }

    /// Whole rows of a domain.
    pub fn num_rows(&self, domain: usize, context_length: u64) -> u64 {
        self.domains[domain].1.num_tokens.saturating_sub(1) / context_length
    }

    /// Rows as inputs and targets.
    ///
    /// # Shapes
    /// `rows`: pairs of domain and row, `B` of them → two `[B, T]` of token ids, the second one token ahead.
    pub fn batch(
        &self,
        rows: &[(usize, u64)],
        context_length: u64,
        device: Device,
    ) -> Result<(Tensor, Tensor), TrainError> {
        let width = context_length as usize + 1;
        let mut ids: Vec<i64> = Vec::with_capacity(rows.len() * width);
        for &(domain, row) in rows {
            self.read(domain, row * context_length, width, &mut ids);
        }
        let all = Tensor::f_from_slice(&ids)?.to_device(device).view([rows.len() as i64, width as i64]); // [B, T+1]
        let inputs = all.narrow(1, 0, context_length as i64).contiguous(); // [B, T]
        let targets = all.narrow(1, 1, context_length as i64).contiguous(); // [B, T]
        Ok((inputs, targets))
    }

    fn read(&self, domain: usize, from: u64, count: usize, into: &mut Vec<i64>) {
        let Mapping::Mapped(bytes) = &self.domains[domain].2 else { return };
        let from = from as usize;
        if self.index.id_bytes == 2 {
            let bytes = &bytes[2 * from..2 * (from + count)];
            into.extend(bytes.chunks_exact(2).map(|id| i64::from(u16::from_le_bytes([id[0], id[1]]))));
        } else {
            let bytes = &bytes[4 * from..4 * (from + count)];
            into.extend(
                bytes.chunks_exact(4).map(|id| i64::from(u32::from_le_bytes([id[0], id[1], id[2], id[3]]))),
            );
        }
    }
}

fn map(path: &Path, length: u64) -> Result<Mapping, TrainError> {
    if length == 0 {
        return Ok(Mapping::Empty);
    }
    let file = File::open(path).map_err(|error| JobError::io(path, error))?;
    let bytes = cupola_kernels::map_file(&file).map_err(|error| JobError::io(path, error))?;
    Ok(Mapping::Mapped(bytes))
}

/// A stretch of a run with one mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct MixturePhase {
    /// The row where the phase ends (not in it).
    pub end_row: u64,
    /// Weight by domain name; names that are absent weigh nothing.
    pub weights: BTreeMap<String, f64>,
}

/// The order of a run's rows.
#[derive(Debug)]
pub struct MixtureOrder {
    seed: u64,
    /// End row and weights in the domains' order.
    phases: Vec<(u64, Vec<f64>)>,
    /// Rows of each domain.
    sizes: Vec<u64>,
    /// Rows taken of each domain before each block.
    blocks: Vec<Vec<u64>>,
}

impl MixtureOrder {
    /// The order for these shards. A phase that weighs a domain without a whole row is an error.
    pub fn new(
        data: &TokenData,
        context_length: u64,
        phases: &[MixturePhase],
        seed: u64,
    ) -> Result<Self, TrainError> {
        let names: Vec<&str> = data.domains().collect();
        let sizes: Vec<u64> = (0..names.len()).map(|domain| data.num_rows(domain, context_length)).collect();
        let mut resolved = Vec::new();
        for phase in phases {
            for (name, weight) in &phase.weights {
                let rows = names.iter().position(|known| known == name).map_or(0, |domain| sizes[domain]);
                if *weight > 0.0 && rows == 0 {
                    return Err(TrainError::Refused(format!(
                        "domain {name:?} has weight {weight}, and the corpus has no row of {context_length} tokens of it (domains: {})",
                        names.join(", ")
                    )));
                }
            }
            let weights = names.iter().map(|name| phase.weights.get(*name).copied().unwrap_or(0.0)).collect();
            resolved.push((phase.end_row, weights));
        }
        let mut order = Self { seed, phases: resolved, sizes, blocks: Vec::new() };
        order.fill();
        Ok(order)
    }

    fn fill(&mut self) {
        let end = self.phases.last().map_or(0, |phase| phase.0);
        let mut counts = vec![0u64; self.sizes.len()];
        let mut row = 0;
        while row < end {
            self.blocks.push(counts.clone());
            for row in row..(row + BLOCK).min(end) {
                self.take(row, &mut counts);
            }
            row += BLOCK;
        }
    }

    /// The domain that is furthest behind its weights; phases before this one count with theirs.
    fn pick(&self, row: u64, counts: &[u64]) -> usize {
        let mut begin = 0;
        let mut wanted = vec![0.0; counts.len()];
        let mut current = None;
        for (end, weights) in &self.phases {
            let rows = (row + 1).min(*end).saturating_sub(begin) as f64;
            wanted.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += rows * weight);
            if row < *end {
                current = Some(weights);
                break;
            }
            begin = *end;
        }
        let mut best = (0, f64::NEG_INFINITY);
        for domain in 0..counts.len() {
            let open = current.is_none_or(|weights| weights[domain] > 0.0);
            let deficit = wanted[domain] - counts[domain] as f64;
            if open && deficit > best.1 {
                best = (domain, deficit);
            }
        }
        best.0
    }

    /// Counts the domain of `row`, which is the next one.
    fn take(&self, row: u64, counts: &mut [u64]) -> usize {
        let domain = self.pick(row, counts);
        counts[domain] += 1;
        domain
    }

    /// Domain and row of the run's row number `row`.
    pub fn at(&self, row: u64) -> (usize, u64) {
        let mut counts = self.blocks[(row / BLOCK) as usize].clone();
        for before in row / BLOCK * BLOCK..row {
            self.take(before, &mut counts);
        }
        let domain = self.pick(row, &counts);
        (domain, self.place(domain, counts[domain]))
    }

    /// Domains and rows of `count` consecutive rows.
    pub fn range(&self, from: u64, count: u64) -> Vec<(usize, u64)> {
        let mut counts = self.blocks[(from / BLOCK) as usize].clone();
        for before in from / BLOCK * BLOCK..from {
            self.take(before, &mut counts);
        }
        (from..from + count)
            .map(|row| {
                let domain = self.take(row, &mut counts);
                (domain, self.place(domain, counts[domain] - 1))
            })
            .collect()
    }

    fn place(&self, domain: usize, taken: u64) -> u64 {
        let (epoch, index) = (taken / self.sizes[domain], taken % self.sizes[domain]);
        let key = mix(self.seed ^ mix((domain as u64) << 32 ^ epoch));
        Permutation::new(self.sizes[domain], key).at(index)
    }

    /// How often the run's rows go through a domain.
    pub fn epochs(&self) -> Vec<f64> {
        self.epochs_at(self.phases.last().map_or(0, |phase| phase.0))
    }

    /// How often the run's first `rows` rows go through a domain.
    pub fn epochs_at(&self, rows: u64) -> Vec<f64> {
        let block = (rows / BLOCK).min(self.blocks.len().saturating_sub(1) as u64);
        let mut counts =
            self.blocks.get(block as usize).cloned().unwrap_or_else(|| vec![0; self.sizes.len()]);
        for row in block * BLOCK..rows {
            self.take(row, &mut counts);
        }
        counts.iter().zip(&self.sizes).map(|(&count, &size)| count as f64 / size.max(1) as f64).collect()
    }
}
