//! Documents whose text is the same.

use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::clusters::{Grouping, Groups, Members, members};
use super::error::DedupError;
use super::sort::{Budget, Input, Sorter, integers};

/// The hash of a text without the blanks around it. Among a billion texts two that differ have one hash with a probability below
/// 10⁻²⁰ (128 bits of XXH3); it is not made to withstand someone who looks for such a pair.
pub fn text_hash(text: &str) -> u128 {
    xxh3_128(text.trim().as_bytes())
}

/// The hash of a text in lower case with its blanks folded, for texts that differ in nothing else.
pub fn folded_text_hash(text: &str) -> u128 {
    let mut hash = Xxh3::new();
    for word in text.split_whitespace() {
        hash.update(word.to_lowercase().as_bytes());
        hash.update(b" ");
    }
    hash.digest128()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TextRecord {
    group: u32,
    hash: u128,
    document: u64,
}

integers!(TextRecord, b"txt1", group: u32, hash: u128, document: u64);

/// Finds documents whose hash an earlier document of their group has. 28 bytes a document on disk.
#[derive(Debug)]
pub struct ExactDedup {
    sorter: Sorter<TextRecord>,
}

impl ExactDedup {
    /// Works in a folder of its own.
    pub fn open(folder: &Path, budget: Budget) -> Result<Self, DedupError> {
        Ok(Self { sorter: Sorter::open(folder, budget, 0)? })
    }

    /// Begins an input; none where it was finished already.
    pub fn input(&self, name: &str) -> Result<Option<ExactInput<'_>>, DedupError> {
        Ok(self.sorter.input(name)?.map(ExactInput))
    }

    /// Documents of finished inputs.
    pub fn num_documents(&self) -> u64 {
        self.sorter.num_records()
    }

    /// The documents that are copies of each other.
    pub fn finish(&self) -> Result<Members, DedupError> {
        let grouping: Grouping<TextRecord> = Grouping {
            is_same: |one, next| (one.group, one.hash) == (next.group, next.hash),
            is_other: |one, next| one.document != next.document,
        };
        let groups = Groups::new(&self.sorter.sorted()?, grouping)?;
        let folder = self.sorter.folder().join("members");
        members(groups, &folder, self.sorter.budget().part(2), |record| record.document)
    }
}

/// An input of [`ExactDedup`].
#[derive(Debug)]
pub struct ExactInput<'a>(Input<'a, TextRecord>);

impl ExactInput<'_> {
    /// Adds a document by its [`text_hash`] or another hash of 128 bits.
    pub fn add(&mut self, document: u64, group: u32, hash: u128) -> Result<(), DedupError> {
        self.0.push(TextRecord { group, hash, document })
    }

    /// Ends the input.
    pub fn finish(self) -> Result<(), DedupError> {
        self.0.finish()
    }
}
