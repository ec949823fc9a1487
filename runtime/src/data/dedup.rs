//! Deduplication across documents: which stations are on, and what they decide. Of equal things the first in the corpus' order stays.
//!
//! What is compared: whole documents; lines that stand in many documents; paragraphs; near-duplicates; long substrings. The keys lie in
//! sorted files, so that memory does not grow with the corpus.

use std::ops::Range;
use std::path::Path;

use cupola_curation::dedup::{
    Budget, Cut, CutReader, ExactDedup, Members, Part, PartCounter, PartRule, TextKind, lines, paragraphs,
    text_hash,
};
use cupola_specs::job::{DedupParams, DedupScope};
use rayon::prelude::*;

use super::DataError;
use super::document::{Class, Document};
use super::funnel::Outcome;
use super::segment::Segments;
use super::walk::{Decisions, walk};

/// Memory of a sort, bytes.
const BUDGET_BYTES: usize = 256 << 20;
/// What is left of a document that has nothing to say, bytes.
const MIN_DOCUMENT: usize = 32;

/// The memory that sorting may take, shared by so many writers.
pub(super) fn budget(writers: usize) -> Budget {
    Budget::new(BUDGET_BYTES).with_writers(writers)
}

/// Documents of one group are compared with each other.
pub(super) fn group(params: &DedupParams, document: &Document) -> u32 {
    match params.scope {
        DedupScope::Corpus => 0,
        DedupScope::Source => document.source as u32,
    }
}

/// How a document's lines and paragraphs are told.
pub(super) fn kind(document: &Document) -> TextKind {
    if document.class == Class::Rust { TextKind::Rust } else { TextKind::Prose }
}

/// Drops documents in which hardly anything is left.
pub(super) fn empty(text: &str) -> Outcome {
    let length = text.trim().len();
    if length >= MIN_DOCUMENT {
        return Outcome::default();
    }
    Outcome::drop(0, format!("{length} bytes are left, of {MIN_DOCUMENT} at least"))
}

/// The keys of whole documents.
pub(super) fn gather_exact(
    params: &DedupParams,
    folder: &Path,
    segments: &Segments,
) -> Result<Option<ExactDedup>, DataError> {
    if !params.exact_document {
        return Ok(None);
    }
    let exact = ExactDedup::open(&folder.join("exact"), budget(rayon::current_num_threads()))?;
    (0..segments.len()).into_par_iter().try_for_each(|number| -> Result<(), DataError> {
        let Some(mut input) = exact.input(&number.to_string())? else { return Ok(()) };
        for document in segments.documents_of(number)? {
            let document = document?;
            input.add(document.number, group(params, &document), text_hash(&document.text))?;
        }
        Ok(input.finish()?)
    })?;
    Ok(Some(exact))
}

/// The copies among whole documents.
pub(super) fn copies(exact: Option<&ExactDedup>) -> Result<Decisions<Members>, DataError> {
    Ok(Decisions::new(exact.map(ExactDedup::finish).transpose()?))
}

/// The keys of lines and paragraphs.
pub(super) struct PartKeys {
    lines: Option<(PartCounter, PartRule)>,
    paragraphs: Option<PartCounter>,
}

/// Keys of the lines and of the paragraphs of one document; none where it goes as a copy.
type Keys = Option<[Vec<Option<u128>>; 2]>;

impl PartKeys {
    /// Gathers them from documents that are no copies.
    pub(super) fn gather(
        params: &DedupParams,
        folder: &Path,
        segments: &Segments,
        exact: Option<&ExactDedup>,
    ) -> Result<Self, DataError> {
        let open = |name: &str| PartCounter::open(&folder.join(name), budget(2));
        let min_documents = params.lines_min_repeats;
        let keys = Self {
            lines: if min_documents == 0 {
                None
            } else {
                Some((open("lines")?, PartRule::Everywhere { min_documents }))
            },
            paragraphs: params.paragraphs.then(|| open("paragraphs")).transpose()?,
        };
        if keys.lines.is_none() && keys.paragraphs.is_none() {
            return Ok(keys);
        }
        let mut copies = copies(exact)?;
        for number in 0..segments.len() {
            let name = number.to_string();
            let mut of_lines =
                keys.lines.as_ref().map(|(counter, _)| counter.input(&name)).transpose()?.flatten();
            let mut of_paragraphs =
                keys.paragraphs.as_ref().map(|counter| counter.input(&name)).transpose()?.flatten();
            if of_lines.is_none() && of_paragraphs.is_none() {
                continue;
            }
            let wanted = (of_lines.is_some(), of_paragraphs.is_some());
            walk(
                segments,
                number,
                |document| Ok(copies.of(document.number)?.is_some_and(|member| !member.is_first())),
                |document, is_copy| {
                    (document.number, group(params, &document), keys_of(&document, is_copy, wanted))
                },
                |(document, group, keys)| {
                    let Some([lines, paragraphs]) = keys else { return Ok(()) };
                    if let Some(input) = &mut of_lines {
                        input.add(document, group, lines)?;
                    }
                    if let Some(input) = &mut of_paragraphs {
                        input.add(document, group, paragraphs)?;
                    }
                    Ok(())
                },
            )?;
            for input in [of_lines, of_paragraphs].into_iter().flatten() {
                input.finish()?;
            }
        }
        Ok(keys)
    }

    /// The lines that go, and the paragraphs that go.
    pub(super) fn cuts(&self) -> Result<[Decisions<CutReader>; 2], DataError> {
        let lines = self.lines.as_ref().map(|(counter, rule)| counter.finish(*rule)).transpose()?;
        let paragraphs =
            self.paragraphs.as_ref().map(|counter| counter.finish(PartRule::Later)).transpose()?;
        Ok([Decisions::new(lines), Decisions::new(paragraphs)])
    }
}

fn keys_of(document: &Document, is_copy: bool, (wants_lines, wants_paragraphs): (bool, bool)) -> Keys {
    if is_copy {
        return None;
    }
    let kind = kind(document);
    let of = |is_wanted: bool, parts: Splits| {
        let parts = if is_wanted { parts(&document.text, kind) } else { Vec::new() };
        parts.into_iter().map(|part| part.key).collect()
    };
    Some([of(wants_lines, lines), of(wants_paragraphs, paragraphs)])
}

/// What splits a text into its parts.
type Splits = fn(&str, TextKind) -> Vec<Part>;

/// A document's text without the lines and paragraphs that go; a paragraph's bytes that went with a line are the line's.
pub(super) fn without_parts(
    document: &Document,
    line_cut: Option<&Cut>,
    paragraph_cut: Option<&Cut>,
) -> [Outcome; 2] {
    let text = &document.text;
    let kind = kind(document);
    let mut ranges = Vec::new();
    let stations: [(Option<&Cut>, Splits); 2] = [(line_cut, lines), (paragraph_cut, paragraphs)];
    for (station, (cut, parts)) in stations.into_iter().enumerate() {
        let Some(cut) = cut else { continue };
        let parts = parts(text, kind);
        let going = cut.parts.iter().filter_map(|index| parts.get(*index as usize));
        ranges.extend(going.map(|part| (part.range.clone(), station)));
    }
    cut_ranges(text, ranges)
}

/// Takes ranges out of a text, each for its station: what two want is the first one's.
fn cut_ranges(text: &str, ranges: Vec<(Range<usize>, usize)>) -> [Outcome; 2] {
    let mut outcomes = [Outcome::default(), Outcome::default()];
    if ranges.is_empty() {
        return outcomes;
    }
    let mut taken_by_lines: Vec<Range<usize>> =
        ranges.iter().filter(|(_, station)| *station == 0).map(|(range, _)| range.clone()).collect();
    taken_by_lines.sort_by_key(|range| range.start);
    let after_lines = remove(text, &taken_by_lines);
    let mut all: Vec<Range<usize>> = ranges.into_iter().map(|(range, _)| range).collect();
    all.sort_by_key(|range| range.start);
    let after_all = remove(text, &all);
    let before = [(text.len(), after_lines.0.len()), (after_lines.0.len(), after_all.0.len())];
    for (station, ((from, to), (kept, excerpt))) in
        before.into_iter().zip([after_lines, after_all]).enumerate()
    {
        if to < from {
            let removed = (from - to) as u64;
            outcomes[station] =
                Outcome { text: Some(kept), changes: vec![(0, removed, excerpt)], ..Outcome::default() };
        }
    }
    outcomes
}

/// The text without ranges, ascending by their starts, and what they hold. Blank lines that it would begin with go too.
fn remove(text: &str, ranges: &[Range<usize>]) -> (String, String) {
    let (mut kept, mut gone) = (String::with_capacity(text.len()), String::new());
    let mut at = 0;
    for range in ranges {
        if range.start > at {
            kept.push_str(&text[at..range.start]);
        }
        if range.end > at {
            gone.push_str(&text[range.start.max(at)..range.end]);
            at = range.end;
        }
    }
    kept.push_str(&text[at..]);
    if gone.is_empty() {
        return (kept, gone);
    }
    (kept.trim_start_matches('\n').to_owned(), gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(
        text: &str,
        line_range: Option<Range<usize>>,
        paragraph_range: Option<Range<usize>>,
    ) -> [Outcome; 2] {
        let lines = line_range.map(|range| (range, 0));
        let paragraphs = paragraph_range.map(|range| (range, 1));
        cut_ranges(text, lines.into_iter().chain(paragraphs).collect())
    }

    #[test]
    fn each_station_has_its_own_bytes_and_none_is_counted_twice() {
        let text = "aaaa\nbbbb\n\ncccc\n";
        let [lines, paragraphs] = cut(text, Some(5..10), Some(0..11));
        assert_eq!((lines.text.as_deref(), lines.changes[0].1), (Some("aaaa\n\ncccc\n"), 5));
        assert_eq!((paragraphs.text.as_deref(), paragraphs.changes[0].1), (Some("cccc\n"), 6));
        let [lines, paragraphs] = cut(text, None, Some(0..11));
        assert!(lines.text.is_none() && lines.changes.is_empty());
        assert_eq!((paragraphs.text.as_deref(), paragraphs.changes[0].1), (Some("cccc\n"), 11));
        assert!(cut(text, None, None).iter().all(|outcome| outcome.text.is_none()));
    }
}
