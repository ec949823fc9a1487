//! What goes of documents, in their order.

use std::iter::Peekable;
use std::ops::Range;

use super::super::error::DedupError;
use super::super::sort::{Distinct, Sorted, integers};

/// Bytes of a document that are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RangeRecord {
    pub(super) document: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

integers!(RangeRecord, b"rng1", document: u64, start: u64, end: u64);

/// What goes from one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubstringCut {
    /// The document.
    pub document: u64,
    /// Bytes that are repeated: ascending, apart from each other; their ends may lie within characters.
    pub ranges: Vec<Range<u64>>,
}

impl SubstringCut {
    /// The ranges with their ends moved inwards to characters of the document's text.
    pub fn in_text(&self, text: &str) -> Vec<Range<usize>> {
        let within = |range: &Range<u64>| {
            let mut start = (range.start as usize).min(text.len());
            let mut end = (range.end as usize).min(text.len());
            while !text.is_char_boundary(start) {
                start += 1;
            }
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            start..end
        };
        self.ranges.iter().map(within).filter(|range| !range.is_empty()).collect()
    }

    /// The document's text without them.
    pub fn without(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut at = 0;
        for range in self.in_text(text) {
            kept.push_str(&text[at..range.start]);
            at = range.end;
        }
        kept.push_str(&text[at..]);
        kept
    }
}

/// Gives what goes, in document order; documents that lose nothing are not listed.
#[derive(Debug)]
pub struct SubstringCuts {
    records: Peekable<Distinct<RangeRecord>>,
}

pub(super) fn cuts(sorted: &Sorted<RangeRecord>) -> Result<SubstringCuts, DedupError> {
    Ok(SubstringCuts { records: sorted.distinct()?.peekable() })
}

impl Iterator for SubstringCuts {
    type Item = Result<SubstringCut, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.records.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let document = first.document;
        let mut ranges = Vec::new();
        join(&mut ranges, first);
        let is_next = |next: &Result<RangeRecord, _>| matches!(next, Ok(next) if next.document == document);
        while let Some(Ok(record)) = self.records.next_if(is_next) {
            join(&mut ranges, record);
        }
        Some(Ok(SubstringCut { document, ranges }))
    }
}

/// Adds a range to those before it, joined to the last where they touch.
fn join(ranges: &mut Vec<Range<u64>>, RangeRecord { start, end, .. }: RangeRecord) {
    match ranges.last_mut() {
        Some(last) if start <= last.end => last.end = last.end.max(end),
        _ => ranges.push(start..end),
    }
}
