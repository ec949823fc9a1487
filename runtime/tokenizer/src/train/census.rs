//! Text to counts of pieces: on as many threads as there are, in bounded memory, with the same result for any number of threads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::count::PieceCounter;
use super::runs::Runs;
use super::{MEMORY_PER_BYTE, TrainError};

/// Cuts text into the pieces that no token crosses.
pub trait Pieces: Sync {
    /// Calls `each` with every piece of `text` in order. Their concatenation is the text.
    fn for_each_piece(&self, text: &str, each: impl FnMut(&str));
}

/// Memory and disk of a census.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusLimits {
    /// Bytes that the counts may take in memory, of all threads together, before they go to disk. One text may go beyond by a small multiple of
    /// its own size. The training that follows keeps to the same limit: see [`Tally::left_out_pieces`].
    pub max_memory_bytes: u64,
    /// Where counts go that do not fit; the system's folder for temporary files if none is named.
    pub spill_folder: Option<PathBuf>,
}

impl CensusLimits {
    /// The least memory that is of any use, in bytes.
    pub const LEAST_MEMORY_BYTES: u64 = 1 << 20;
}

impl Default for CensusLimits {
    /// One GiB, the system's folder for temporary files.
    fn default() -> Self {
        Self { max_memory_bytes: 1 << 30, spill_folder: None }
    }
}

/// What was counted, and what of it had to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Texts.
    pub num_texts: u64,
    /// Their bytes.
    pub num_bytes: u64,
    /// Their pieces, each as often as it stands there.
    pub num_pieces: u64,
    /// Different pieces.
    pub num_distinct: u64,
    /// Different pieces that training does not see, because with them it would need more memory than allowed. They are the rarest ones, of equally
    /// rare ones those whose bytes come last.
    pub left_out_pieces: u64,
    /// How often the pieces that were left out stand in the text, all together.
    pub left_out_occurrences: u64,
    /// How often counts went to disk.
    pub num_runs: u64,
}

/// Different pieces with their counts, in the order of their bytes.
#[derive(Debug, Default)]
pub struct PieceCounts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    counts: Vec<u64>,
    tally: Tally,
}

impl PieceCounts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Bytes of all of them, each once.
    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The pieces and how often each stands in the text.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The piece of a number below [`PieceCounts::len`], and its count.
    pub(crate) fn get(&self, index: usize) -> (&[u8], u64) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (&self.bytes[start..self.ends[index]], self.counts[index])
    }

    fn push(&mut self, piece: &[u8], count: u64) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
        self.counts.push(count);
    }
}

impl<'p> FromIterator<(&'p [u8], u64)> for PieceCounts {
    /// Counts that were taken elsewhere. Pieces may repeat and come in any order.
    fn from_iter<I: IntoIterator<Item = (&'p [u8], u64)>>(pieces: I) -> Self {
        let mut sums: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (piece, count) in pieces {
            *sums.entry(piece).or_default() += count;
        }
        sums.retain(|piece, count| !piece.is_empty() && *count > 0);
        let mut counts = Self::default();
        for (piece, count) in sums {
            counts.tally.num_pieces += count;
            counts.push(piece, count);
        }
        counts.tally.num_distinct = counts.len() as u64;
        counts
    }
}

/// Counts the pieces of texts as they come.
#[derive(Debug)]
pub struct Census<P> {
    pieces: P,
    limits: CensusLimits,
    counters: Vec<PieceCounter>,
    runs: Runs,
    tally: Tally,
    /// Whether a call failed.
    is_broken: bool,
}

/// Counts of less than this many bytes do not go to disk, however many threads share the memory.
const LEAST_RUN_BYTES: u64 = 1 << 17;

impl<P: Pieces> Census<P> {
    /// Pieces as `pieces` cuts them.
    ///
    /// # Errors
    /// [`TrainError::Limit`] if the memory is less than [`CensusLimits::LEAST_MEMORY_BYTES`].
    pub fn new(pieces: P, limits: CensusLimits) -> Result<Self, TrainError> {
        let (given, least) = (limits.max_memory_bytes, CensusLimits::LEAST_MEMORY_BYTES);
        if given < least {
            return Err(TrainError::Limit { field: "max_memory_bytes", given, least, most: u64::MAX });
        }
        let folder = limits.spill_folder.clone().unwrap_or_else(std::env::temp_dir);
        Ok(Self {
            pieces,
            limits,
            counters: Vec::new(),
            runs: Runs::new(folder),
            tally: Tally::default(),
            is_broken: false,
        })
    }

    /// Counts one text on this thread.
    ///
    /// # Errors
    /// [`TrainError::Spill`].
    pub fn add_text(&mut self, text: &str) -> Result<(), TrainError> {
        let mut counter = self.counters.pop().unwrap_or_else(PieceCounter::new);
        self.tally.num_pieces += count_text(&self.pieces, text, &mut counter);
        self.tally.num_texts += 1;
        self.tally.num_bytes += text.len() as u64;
        self.counters.push(counter);
        let spilled = self.spill_the_large();
        self.is_broken |= spilled.is_err();
        spilled
    }

    /// Counts texts on all threads of the pool this is called in. A batch is the unit of work: the memory limit is looked at as each text ends, the
    /// disk is written when the batch does.
    ///
    /// # Errors
    /// [`TrainError::Spill`].
    pub fn add_texts<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Result<(), TrainError> {
        let threads = rayon::current_num_threads().max(1);
        self.counters.resize_with(threads.max(self.counters.len()), PieceCounter::new);
        let limit = self.counter_limit();
        let (idle, runs) = (Mutex::new(std::mem::take(&mut self.counters)), Mutex::new(&mut self.runs));
        let counted = texts.par_iter().try_fold(
            || 0_u64,
            |sum, text| {
                let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut counter = taken.unwrap_or_else(PieceCounter::new);
                let pieces = count_text(&self.pieces, text.as_ref(), &mut counter);
                if counter.memory_bytes() > limit {
                    runs.lock().unwrap_or_else(PoisonError::into_inner).write(&counter)?;
                    counter = PieceCounter::new();
                }
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(counter);
                Ok(sum + pieces)
            },
        );
        let counted = counted.try_reduce(|| 0, |a, b| Ok(a + b));
        self.counters = idle.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.is_broken |= counted.is_err();
        self.tally.num_pieces += counted?;
        self.tally.num_texts += texts.len() as u64;
        self.tally.num_bytes += texts.iter().map(|text| text.as_ref().len() as u64).sum::<u64>();
        Ok(())
    }

    fn counter_limit(&self) -> u64 {
        (self.limits.max_memory_bytes / self.counters.len().max(1) as u64).max(LEAST_RUN_BYTES)
    }

    fn spill_the_large(&mut self) -> Result<(), TrainError> {
        let limit = self.counter_limit();
        for counter in self.counters.iter_mut().filter(|counter| counter.memory_bytes() > limit) {
            self.runs.write(counter)?;
            *counter = PieceCounter::new();
        }
        Ok(())
    }

    /// The counts. Pieces with which training would need more than the memory limit are left out, the rarest first, and the tally says how many.
    ///
    /// # Errors
    /// [`TrainError::Spill`], [`TrainError::Incomplete`].
    pub fn finish(self) -> Result<PieceCounts, TrainError> {
        self.finish_for(MEMORY_PER_BYTE)
    }

    /// The same for what takes `bytes_per_byte` bytes of memory for each byte of a piece and for each piece.
    pub(super) fn finish_for(mut self, bytes_per_byte: u64) -> Result<PieceCounts, TrainError> {
        if self.is_broken {
            return Err(TrainError::Incomplete);
        }
        let most = self.limits.max_memory_bytes / bytes_per_byte.max(1);
        if self.runs.num_written() > 0 {
            for counter in std::mem::take(&mut self.counters) {
                self.runs.write(&counter)?;
            }
            self.tally.num_runs = self.runs.num_written() as u64;
            let mut runs = self.runs;
            return keep_frequent(self.tally, most, |each| runs.for_each(each));
        }
        let mut counters = self.counters.into_iter();
        let mut all = counters.next().unwrap_or_else(PieceCounter::new);
        for other in counters {
            all.absorb(&other);
        }
        keep_frequent(self.tally, most, |each| {
            all.for_each_sorted(|piece, count| {
                each(piece, count);
                Ok(())
            })
        })
    }
}

/// Counts a text's pieces and says how many they are.
fn count_text<P: Pieces>(pieces: &P, text: &str, counter: &mut PieceCounter) -> u64 {
    let (mut start, mut num_pieces) = (0, 0);
    pieces.for_each_piece(text, |piece| {
        let end = start + piece.len();
        counter.add_range(text.as_bytes(), start, end);
        start = end;
        num_pieces += 1;
    });
    num_pieces
}

/// The pieces of a source whose bytes and numbers are together at most `most`, the most frequent first. The source is asked twice.
fn keep_frequent(
    mut tally: Tally,
    most: u64,
    mut source: impl FnMut(&mut dyn FnMut(&[u8], u64)) -> Result<(), TrainError>,
) -> Result<PieceCounts, TrainError> {
    let size = |piece: &[u8]| piece.len() as u64 + 1;
    let (mut whole, mut num_distinct) = (0, 0);
    let mut counts = PieceCounts::default();
    source(&mut |piece, count| {
        whole += size(piece);
        num_distinct += 1;
        if whole <= most {
            counts.push(piece, count);
        }
    })?;
    tally.num_distinct = num_distinct;
    if whole > most {
        let mut by_count: BTreeMap<u64, u64> = BTreeMap::new();
        source(&mut |piece, count| *by_count.entry(count).or_default() += size(piece))?;
        // The lowest count of which all pieces still fit, and what is left for those that stand once less often.
        let (mut left, mut last) = (most, 0);
        for (count, bytes) in by_count.iter().rev() {
            last = *count;
            if *bytes > left {
                break;
            }
            left -= bytes;
        }
        counts = PieceCounts::default();
        source(&mut |piece, count| {
            let fits = count > last || count == last && size(piece) <= left;
            if count == last && fits {
                left -= size(piece);
            }
            if fits {
                counts.push(piece, count);
            } else {
                tally.left_out_pieces += 1;
                tally.left_out_occurrences += count;
            }
        })?;
    }
    counts.tally = tally;
    Ok(counts)
}
