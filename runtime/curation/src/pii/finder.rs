//! Finds, redacts, decides.

use std::collections::BTreeMap;
use std::ops::Range;

use cupola_specs::job::PiiAction;

use super::class::{Actions, Class, Found, Placeholders};
use super::scan::scan;

/// A find depends on no more than this many bytes to either side (private keys and web tokens aside, which depend on what is in them).
const REACH: usize = 700;

/// Looks for personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finder {
    actions: Actions,
    placeholders: Placeholders,
}

/// What becomes of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Kept,
    /// Finds were replaced.
    Redacted {
        /// The text with tags.
        text: String,
        /// Finds by class.
        counts: BTreeMap<Class, u64>,
    },
    /// It goes, for the finds of this class.
    Dropped {
        /// The class that drops.
        class: Class,
        /// How many of it.
        count: u64,
    },
}

impl Finder {
    /// A finder of the classes that are not kept.
    pub fn new(actions: impl Into<Actions>) -> Self {
        Self { actions: actions.into(), placeholders: Placeholders::default() }
    }

    /// The same finder with another view of addresses that are reserved for documents.
    #[must_use]
    pub fn with_placeholders(self, placeholders: Placeholders) -> Self {
        Self { placeholders, ..self }
    }

    /// All finds of the classes that are not kept: sorted, without overlap, on the borders of characters. What appears only
    /// once others are replaced by their tags is found too.
    pub fn find(&self, text: &str) -> Vec<Found> {
        let wanted = |found: &Found| self.actions.of(found.class) != PiiAction::Keep;
        let mut all: Vec<Found> = scan(text, self.placeholders).into_iter().filter(wanted).collect();
        let mut fresh: Vec<Range<usize>> = all.iter().map(|found| found.range.clone()).collect();
        while !fresh.is_empty() {
            let mut uncovered = Vec::new();
            for window in windows(text, &all, &fresh) {
                let piece = Masked::new(text, window, &all);
                let again = scan(&piece.text, self.placeholders).into_iter().filter(wanted);
                uncovered.extend(again.filter_map(|found| piece.original(&found)));
            }
            fresh = uncovered.iter().map(|found| found.range.clone()).collect();
            all = merge(all, uncovered);
        }
        all
    }

    /// The text with every find replaced by the tag of its class.
    pub fn redact(&self, text: &str) -> String {
        redact(text, &self.find(text))
    }

    /// Carries the actions out: a class that drops comes first.
    pub fn judge(&self, text: &str) -> Verdict {
        let found = self.find(text);
        if found.is_empty() {
            return Verdict::Kept;
        }
        let mut counts = BTreeMap::new();
        for one in &found {
            *counts.entry(one.class).or_default() += 1;
        }
        let drops = counts.iter().find(|(class, _)| self.actions.of(**class) == PiiAction::Drop);
        match drops {
            Some((class, count)) => Verdict::Dropped { class: *class, count: *count },
            None => Verdict::Redacted { text: redact(text, &found), counts },
        }
    }
}

/// The text with each find replaced by the tag of its class. Finds are sorted and don't overlap; one that does not lie in the text is left out.
pub fn redact(text: &str, found: &[Found]) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut done = 0;
    for one in found {
        let Some(before) = text.get(done..one.range.start).filter(|_| text.is_char_boundary(one.range.end))
        else {
            continue;
        };
        cleaned.push_str(before);
        cleaned.push_str(one.class.tag());
        done = one.range.end;
    }
    cleaned.push_str(text.get(done..).unwrap_or(""));
    cleaned
}

/// The stretches around fresh finds that must be looked at again: overlapping ones joined, their borders outside of all finds.
fn windows(text: &str, all: &[Found], fresh: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in fresh {
        let mut start = range.start.saturating_sub(2 * REACH);
        let mut end = (range.end + 2 * REACH).min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let around = |at: usize| {
            all.get(all.partition_point(|found| found.range.end <= at)).filter(|found| found.range.start < at)
        };
        start = around(start).map_or(start, |found| found.range.start);
        end = around(end).map_or(end, |found| found.range.end);
        match merged.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => merged.push(start..end),
        }
    }
    merged
}

/// A stretch of a text with its finds replaced, and the way back.
struct Masked {
    text: String,
    /// Copies: where one starts here, where in the text, how long.
    copies: Vec<(usize, usize, usize)>,
    /// The part where a find is no effect of the stretch's own borders.
    inner: Range<usize>,
}

impl Masked {
    fn new(text: &str, window: Range<usize>, all: &[Found]) -> Self {
        let first = all.partition_point(|found| found.range.end <= window.start);
        let mut masked =
            Self { text: String::with_capacity(window.len()), copies: Vec::new(), inner: 0..text.len() };
        if window.start > 0 {
            masked.inner.start = window.start + REACH.min(window.len() / 4);
        }
        if window.end < text.len() {
            masked.inner.end = window.end - REACH.min(window.len() / 4);
        }
        let mut done = window.start;
        for found in all[first..].iter().take_while(|found| found.range.start < window.end) {
            masked.copy(text, done..found.range.start);
            masked.text.push_str(found.class.tag());
            done = found.range.end;
        }
        masked.copy(text, done..window.end);
        masked
    }

    fn copy(&mut self, text: &str, range: Range<usize>) {
        let Some(part) = text.get(range.clone()).filter(|part| !part.is_empty()) else { return };
        self.copies.push((self.text.len(), range.start, part.len()));
        self.text.push_str(part);
    }

    /// The find in the text's own bytes; none where a border of it is in a tag or outside of the inner part.
    fn original(&self, found: &Found) -> Option<Found> {
        let back = |at: usize, is_end: bool| {
            let holds = |copy: &&(usize, usize, usize)| {
                let offset = at.wrapping_sub(copy.0);
                if is_end { offset > 0 && offset <= copy.2 } else { offset < copy.2 }
            };
            self.copies.iter().find(holds).map(|copy| copy.1 + (at - copy.0))
        };
        let range = back(found.range.start, false)?..back(found.range.end, true)?;
        (range.start < self.inner.end && range.end > self.inner.start)
            .then_some(Found { class: found.class, range })
    }
}

/// All finds; a new one takes the place of those that lie in it.
fn merge(all: Vec<Found>, mut fresh: Vec<Found>) -> Vec<Found> {
    if fresh.is_empty() {
        return all;
    }
    fresh.extend(all);
    fresh.sort_by_key(|found| (found.range.start, std::cmp::Reverse(found.range.end)));
    let mut merged: Vec<Found> = Vec::with_capacity(fresh.len());
    for found in fresh {
        match merged.last_mut() {
            Some(last) if found.range.start < last.range.end => {
                last.range.end = last.range.end.max(found.range.end);
            }
            _ => merged.push(found),
        }
    }
    merged
}
