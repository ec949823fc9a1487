//! The way of the later passes through segments: documents in order, chunk by chunk, each with what was decided about it.

use std::iter::Peekable;

use cupola_curation::dedup::{Cut, DedupError, Member, SubstringCut};
use rayon::prelude::*;

use super::DataError;
use super::document::Document;
use super::segment::Segments;

/// Documents that all threads work on at a time.
const CHUNK: usize = 256;
/// Documents that one thread works on at a time.
const SHARE: usize = 16;

/// Something that was decided about one document.
pub(super) trait Decided {
    /// The document's number.
    fn document(&self) -> u64;
}

impl Decided for Member {
    fn document(&self) -> u64 {
        self.document
    }
}

impl Decided for Cut {
    fn document(&self) -> u64 {
        self.document
    }
}

impl Decided for SubstringCut {
    fn document(&self) -> u64 {
        self.document
    }
}

/// Decisions in the documents' order, taken as the documents come. A station that is off has none.
pub(super) struct Decisions<I: Iterator>(Option<Peekable<I>>);

impl<D: Decided, I: Iterator<Item = Result<D, DedupError>>> Decisions<I> {
    /// The decisions of a station, where it is on.
    pub(super) fn new(decisions: Option<I>) -> Self {
        Self(decisions.map(Iterator::peekable))
    }

    /// What was decided about this document; those before it are passed over.
    pub(super) fn of(&mut self, document: u64) -> Result<Option<D>, DataError> {
        let Some(decisions) = &mut self.0 else { return Ok(None) };
        while let Some(next) =
            decisions.next_if(|next| next.as_ref().map_or(true, |next| next.document() <= document))
        {
            let next = next?;
            if next.document() == document {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }
}

/// Goes through one segment: `decide` is asked in the documents' order and gives what `work` gets beside the document, which runs on all
/// threads; `take` gets the results in order.
pub(super) fn walk<D: Send, R: Send>(
    segments: &Segments,
    number: usize,
    mut decide: impl FnMut(&Document) -> Result<D, DataError>,
    work: impl Fn(Document, D) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut documents = segments.documents_of(number)?;
    let mut next = || -> Result<Vec<Vec<(Document, D)>>, DataError> {
        let mut shares: Vec<Vec<(Document, D)>> = Vec::new();
        for document in documents.by_ref().take(CHUNK) {
            let document = document?;
            let decided = decide(&document)?;
            match shares.last_mut().filter(|share| share.len() < SHARE) {
                Some(share) => share.push((document, decided)),
                None => shares.push(vec![(document, decided)]),
            }
        }
        Ok(shares)
    };
    let mut shares = next()?;
    while !shares.is_empty() {
        let run = |share: Vec<(Document, D)>| -> Vec<R> {
            share.into_iter().map(|(document, decided)| work(document, decided)).collect()
        };
        let results: Vec<Vec<R>> = shares.into_par_iter().map(run).collect();
        for result in results.into_iter().flatten() {
            take(result)?;
        }
        shares = next()?;
    }
    Ok(())
}
