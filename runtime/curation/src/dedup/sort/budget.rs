//! How much memory a sort may take.

/// The least a budget can be, bytes: a few records a buffer, two runs a merge.
const LEAST_BYTES: usize = 4096;
/// Blocks of a run file, bytes: the least that makes sense and what a disk is read in.
const BLOCK_BYTES: (usize, usize) = (1024, 256 << 10);
/// Runs that are open at once: far below the usual limit of 1,024 files.
const FAN_IN: (usize, usize) = (2, 256);

/// Memory for the records of one sort, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    bytes: usize,
    writers: usize,
}

impl Budget {
    /// A budget for one input at a time. Less than 4,096 bytes count as 4,096.
    pub fn new(bytes: usize) -> Self {
        Self { bytes: bytes.max(LEAST_BYTES), writers: 1 }
    }

    /// Shares the budget among as many inputs as are open at once.
    #[must_use]
    pub fn with_writers(self, writers: usize) -> Self {
        Self { writers: writers.max(1), ..self }
    }

    /// All of it, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it, for work that goes on beside other work.
    #[must_use]
    pub(in crate::dedup) fn part(&self, of: usize) -> Self {
        Self { writers: self.writers, ..Self::new(self.bytes / of.max(1)) }
    }

    /// What the buffer of one input may hold, bytes.
    pub(super) fn buffer_bytes(&self) -> usize {
        (self.bytes / self.writers).saturating_sub(self.block_bytes())
    }

    /// Payload of a block, bytes.
    pub(super) fn block_bytes(&self) -> usize {
        (self.bytes / 256).clamp(BLOCK_BYTES.0, BLOCK_BYTES.1)
    }

    /// How many runs a merge reads at once.
    pub(super) fn fan_in(&self) -> usize {
        (self.bytes / 4 / self.block_bytes()).clamp(FAN_IN.0, FAN_IN.1)
    }
}
