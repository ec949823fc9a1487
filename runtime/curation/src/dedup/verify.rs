//! How alike the pairs are that the bands chose.

use std::iter::Peekable;
use std::path::Path;

use super::components::Edge;
use super::error::{DedupError, Place};
use super::minhash::{SKETCH_BYTES, sketch_jaccard};
use super::sort::{Budget, Distinct, Record, Sorted, Spill, take};

/// Steps of the histogram, from a similarity of 0 to 1.
const STEPS: usize = 20;

/// What is done with the sketches of pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verification {
    /// None are kept.
    Off,
    /// Pairs are counted by their similarity. 136 bytes a document on disk, and 152 a pair.
    Report,
    /// Pairs that are less alike are no near-duplicates.
    Drop {
        /// The least Jaccard similarity, as estimated from sketches, 0 to 1.
        min_jaccard: f64,
    },
}

impl Verification {
    /// Whether a pair counts.
    fn keeps(self, jaccard: f64) -> bool {
        match self {
            Self::Off | Self::Report => true,
            Self::Drop { min_jaccard } => jaccard >= min_jaccard,
        }
    }
}

/// The pairs that shared a band. A document is paired with the first of each bucket it is in, not with all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PairReport {
    /// Pairs.
    pub num_pairs: u64,
    /// Those that made clusters.
    pub num_kept: u64,
    /// Pairs by estimated similarity, in steps of 0.05; none where there were no sketches.
    pub by_jaccard: Option<[u64; STEPS]>,
}

impl PairReport {
    /// The share of pairs that are at least so alike (a multiple of 0.05): the precision of the bands. None where it was not estimated
    /// or there is no pair.
    pub fn precision(&self, jaccard: f64) -> Option<f64> {
        let counts = self.by_jaccard.as_ref().filter(|_| self.num_pairs > 0)?;
        let alike: u64 = counts.iter().skip(step(jaccard)).sum();
        Some(alike as f64 / self.num_pairs as f64)
    }
}

fn step(jaccard: f64) -> usize {
    // A twentieth is no binary fraction: 0.7 · 20 must not be 13.
    ((jaccard * STEPS as f64 + 1e-9) as usize).min(STEPS - 1)
}

/// A document's sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SketchRecord {
    pub(super) document: u64,
    pub(super) sketch: [u8; SKETCH_BYTES],
}

impl Record for SketchRecord {
    const KIND: [u8; 4] = *b"skt1";

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.document.to_le_bytes());
        bytes.extend_from_slice(&self.sketch);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { document: u64::from_le_bytes(take(bytes)?), sketch: take(bytes)? })
    }
}

/// An edge whose first document's sketch is known, by its second document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HalfPair {
    other: u64,
    one: u64,
    sketch: [u8; SKETCH_BYTES],
}

impl Record for HalfPair {
    const KIND: [u8; 4] = *b"hlf1";

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.other.to_le_bytes());
        SketchRecord { document: self.one, sketch: self.sketch }.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let other = u64::from_le_bytes(take(bytes)?);
        let SketchRecord { document: one, sketch } = SketchRecord::decode(bytes)?;
        Some(Self { other, one, sketch })
    }
}

/// Estimates the similarity of each pair; gives those that are kept.
pub(super) fn verify(
    edges: &Sorted<Edge>,
    sketches: &Sorted<SketchRecord>,
    verification: Verification,
    (folder, budget): (&Path, Budget),
) -> Result<(Sorted<Edge>, PairReport), DedupError> {
    let mut halves = Spill::new(&folder.join("halves"), budget.part(2))?;
    let mut lookup = Lookup { sketches: sketches.distinct()?.peekable(), folder };
    for edge in edges.distinct()? {
        let Edge { one, other } = edge?;
        halves.push(HalfPair { other, one, sketch: lookup.sketch(one)? })?;
    }
    let halves = halves.sorted()?;
    let mut kept = Spill::new(&folder.join("kept"), budget.part(4))?;
    let mut lookup = Lookup { sketches: sketches.distinct()?.peekable(), folder };
    let (mut num_pairs, mut num_kept, mut counts) = (0, 0, [0; STEPS]);
    for half in halves.records()? {
        let HalfPair { other, one, sketch } = half?;
        let jaccard = sketch_jaccard(&sketch, &lookup.sketch(other)?);
        num_pairs += 1;
        counts[step(jaccard)] += 1;
        if verification.keeps(jaccard) {
            num_kept += 1;
            kept.push(Edge { one, other })?;
        }
    }
    Ok((kept.sorted()?, PairReport { num_pairs, num_kept, by_jaccard: Some(counts) }))
}

/// Finds sketches of documents that are asked for in order.
struct Lookup<'a> {
    sketches: Peekable<Distinct<SketchRecord>>,
    folder: &'a Path,
}

impl Lookup<'_> {
    fn sketch(&mut self, document: u64) -> Result<[u8; SKETCH_BYTES], DedupError> {
        let is_before = |next: &Result<SketchRecord, _>| matches!(next, Ok(next) if next.document < document);
        while self.sketches.next_if(is_before).is_some() {}
        match self.sketches.peek() {
            Some(Ok(record)) if record.document == document => return Ok(record.sketch),
            Some(Err(_)) => {
                if let Some(Err(error)) = self.sketches.next() {
                    return Err(error);
                }
            }
            _ => {}
        }
        let what = format!("document {document} has bands and no sketch");
        Err(DedupError::Damaged { path: self.folder.to_path_buf(), place: Place::Header, what })
    }
}
