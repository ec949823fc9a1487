//! Lines and paragraphs that stand in more than one document.

use std::iter::Peekable;
use std::path::Path;

use super::clusters::{Grouping, Groups};
use super::error::DedupError;
use super::sort::{Budget, Distinct, Input, Sorter, Spill, integers};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PartRecord {
    group: u32,
    key: u128,
    document: u64,
    index: u32,
}

integers!(PartRecord, b"par1", group: u32, key: u128, document: u64, index: u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CutRecord {
    document: u64,
    index: u32,
}

integers!(CutRecord, b"cut1", document: u64, index: u32);

/// Which repeated parts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartRule {
    /// Parts that stand in at least so many documents go from all of them: headers, footers, menus. Two at least.
    Everywhere {
        /// Documents.
        min_documents: u64,
    },
    /// Parts stay in the first document that has them and go from later ones. Repeats within one document are the business of the
    /// repetition rules.
    Later,
}

/// Counts parts (lines or paragraphs) across the documents of a group. 32 bytes a part on disk, and 12 for each that goes.
#[derive(Debug)]
pub struct PartCounter {
    sorter: Sorter<PartRecord>,
}

impl PartCounter {
    /// Works in a folder of its own.
    pub fn open(folder: &Path, budget: Budget) -> Result<Self, DedupError> {
        Ok(Self { sorter: Sorter::open(folder, budget, 0)? })
    }

    /// Begins an input; none where it was finished already.
    pub fn input(&self, name: &str) -> Result<Option<PartInput<'_>>, DedupError> {
        Ok(self.sorter.input(name)?.map(PartInput))
    }

    /// What goes by a rule, in document order. It can be asked for several rules.
    pub fn finish(&self, rule: PartRule) -> Result<CutReader, DedupError> {
        let grouping: Grouping<PartRecord> = Grouping {
            is_same: |one, next| (one.group, one.key) == (next.group, next.key),
            is_other: |one, next| one.document != next.document,
        };
        let folder = self.sorter.folder().join(match rule {
            PartRule::Everywhere { min_documents } => format!("cuts-{min_documents}"),
            PartRule::Later => "cuts-later".to_owned(),
        });
        let mut spill = Spill::new(&folder, self.sorter.budget().part(2))?;
        let (mut num_parts, mut num_keys) = (0, 0);
        for grouped in Groups::new(&self.sorter.sorted()?, grouping)? {
            let grouped = grouped?;
            let (record, first) = (grouped.record, grouped.first);
            let goes = match rule {
                PartRule::Everywhere { min_documents } => grouped.size >= min_documents.max(2),
                PartRule::Later => record.document != first.document,
            };
            if goes {
                spill.push(CutRecord { document: record.document, index: record.index })?;
                num_parts += 1;
            }
            num_keys += u64::from(record == first && grouped.size > 1);
        }
        let records = spill.sorted()?.distinct()?.peekable();
        Ok(CutReader { records, num_parts, num_repeated_keys: num_keys })
    }
}

/// An input of [`PartCounter`].
#[derive(Debug)]
pub struct PartInput<'a>(Input<'a, PartRecord>);

impl PartInput<'_> {
    /// Adds a document by the keys of its parts in order, none for a part that is not compared. A text has at most 2³² parts.
    pub fn add(
        &mut self,
        document: u64,
        group: u32,
        keys: impl IntoIterator<Item = Option<u128>>,
    ) -> Result<(), DedupError> {
        for (index, key) in (0..=u32::MAX).zip(keys) {
            if let Some(key) = key {
                self.0.push(PartRecord { group, key, document, index })?;
            }
        }
        Ok(())
    }

    /// Ends the input.
    pub fn finish(self) -> Result<(), DedupError> {
        self.0.finish()
    }
}

/// What goes from one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The document.
    pub document: u64,
    /// Indices of the parts that go, ascending.
    pub parts: Vec<u32>,
}

/// Gives what goes, in document order; documents that lose nothing are not listed.
#[derive(Debug)]
pub struct CutReader {
    records: Peekable<Distinct<CutRecord>>,
    /// Parts that go.
    pub num_parts: u64,
    /// Keys that stand in two documents or more.
    pub num_repeated_keys: u64,
}

impl Iterator for CutReader {
    type Item = Result<Cut, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let CutRecord { document, index } = match self.records.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let mut parts = vec![index];
        let is_next = |next: &Result<CutRecord, _>| matches!(next, Ok(next) if next.document == document);
        while let Some(Ok(record)) = self.records.next_if(is_next) {
            parts.push(record.index);
        }
        Some(Ok(Cut { document, parts }))
    }
}
