//! The heuristic filters of a job: the prose rules look at pages, Markdown, text and JSONL; the `code` rules at Rust. A rule that does not apply
//! to a document lets it pass.

use std::cell::RefCell;
use std::collections::BTreeMap;

use cupola_curation::rules::{Ruleset, Scratch, WordList, Words};
use cupola_specs::job::{DataParams, FilterParams, WordRule};

use super::DataError;
use super::document::{Class, Document};
use super::funnel::Outcome;

/// Bytes of an example of what was taken out.
const EXCERPT_BYTES: usize = 2000;

thread_local! {
    /// Tables that are used again for each document.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The filters, those of prose before those of code.
pub(super) struct Filters {
    prose: Ruleset,
    code: Ruleset,
    rules: Vec<String>,
}

impl Filters {
    /// Looks up what they need. The words are those of the job's lists.
    pub(super) fn new(params: &DataParams, words: Option<&WordList>) -> Result<Self, DataError> {
        let rule = match params.words {
            WordRule::Unicode => Words::Unicode,
            WordRule::SpacyLike => Words::SpacyLike,
        };
        let is_code = |filter: &&FilterParams| matches!(filter, FilterParams::Code { .. });
        let code: Vec<FilterParams> = params.filters.iter().filter(is_code).cloned().collect();
        let prose: Vec<FilterParams> =
            params.filters.iter().filter(|filter| !is_code(filter)).cloned().collect();
        let prose = Ruleset::with_word_list(&prose, rule, words.cloned())?;
        let code = Ruleset::new(&code, rule)?;
        let rules = [prose.rules(), code.rules()].concat();
        Ok(Self { prose, code, rules })
    }

    /// The names of the rules.
    pub(super) fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Judges a document. What was measured is kept as its signals: that of the text as it came under plain names, that of the text which the n-th
    /// rule set left behind as `NAME.n`.
    pub(super) fn judge(&self, document: &Document) -> Outcome {
        let (rules, first) = match document.class {
            Class::Rust => (&self.code, self.prose.rules().len()),
            Class::Markdown | Class::Prose => (&self.prose, 0),
        };
        if rules.rules().is_empty() {
            return Outcome::default();
        }
        let judged = SCRATCH.with_borrow_mut(|scratch| rules.judge(&document.text, scratch));
        let mut taken: BTreeMap<usize, (u64, String)> = BTreeMap::new();
        for removed in &judged.removed {
            let (bytes, excerpt) = taken.entry(removed.rule).or_default();
            *bytes += (removed.end - removed.start) as u64;
            if excerpt.len() < EXCERPT_BYTES {
                excerpt.push_str(document.text.get(removed.start..removed.end).unwrap_or_default());
            }
        }
        let changes =
            taken.into_iter().map(|(rule, (bytes, excerpt))| (first + rule, bytes, excerpt)).collect();
        let signals = judged.signals.iter().map(|(stage, name, value)| {
            let name = if stage == 0 { name.to_owned() } else { format!("{name}.{stage}") };
            (name, value)
        });
        Outcome {
            text: judged.text,
            changes,
            dropped: judged.dropped.map(|dropped| (first + dropped.rule, dropped.reason)),
            signals: signals.collect(),
            language: None,
        }
    }
}
