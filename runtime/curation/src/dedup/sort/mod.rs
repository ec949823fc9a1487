//! External sort: more records than fit into memory, in order.
//!
//! Records come from *inputs* (one shard of a corpus each, each fed by one thread, any number at once). An input's records are gathered
//! up to its part of the [`Budget`], sorted (on rayon's threads) and written as a *run file*; runs are merged as they are read. Where
//! there are more runs than may be open at once they are merged in rounds.
//!
//! What comes out depends on the records alone: their order is total, so neither the number of threads nor the budget nor where an
//! input ends can be seen in it.
//!
//! **Files.** A run file is written under a temporary name, synced and renamed, so that a file with a run's name is whole. Its header
//! names format, record kind and a fingerprint of the settings; each block has a CRC-32C; an end block counts blocks and records. A
//! file that differs by a bit is an error with its name and block. An input that was finished has a marker file (`*.done`, checksummed
//! as well); a sorter that is opened again on the folder skips such inputs and throws away what others had begun.
//!
//! **Memory.** Buffers stay within the budget; a merge takes a quarter of it. One record that is larger than a block is held whole. On
//! top come a few hundred bytes per input. **Disk.** Each record once, and once more for each round of merging.

mod budget;
mod buffer;
mod input;
mod marker;
mod merge;
mod record;
mod run;
mod spill;

pub use budget::Budget;
pub use input::{Input, Sorter};
pub use merge::{Distinct, Merge, Sorted};
pub(in crate::dedup) use record::integers;
pub use record::{Record, take, take_bytes};
pub use spill::Spill;

#[cfg(test)]
mod tests;
