//! All rules of a corpus over one document: measured once, edited where a rule takes lines out, judged by the values alone.
//!
//! The verdict is a function of the stored values, so that judging them again with other thresholds is judging the text again.

use std::borrow::Cow;

use cupola_specs::job::{FilterParams, Signal};
use xxhash_rust::xxh3::xxh3_64;

use super::c4::C4;
use super::checks::{self, Check, Dropped};
use super::counters::{Measure, Scratch, WordCount, count};
use super::edit::{Draft, Edit, Removed};
use super::error::RulesError;
use super::refinedweb::{Refinedweb, removed_share};
use super::signals::{Signals, Values};
use super::word_list::WordList;
use super::words::Words;

/// Filters in their order, ready to judge documents.
#[derive(Debug, Clone)]
pub struct Ruleset {
    words: Words,
    short_line_chars: u64,
    steps: Vec<Step>,
    names: Vec<String>,
    bad_words: Option<WordList>,
    measured: u64,
}

/// One filter.
#[derive(Debug, Clone)]
struct Step {
    /// How it edits the text before its checks; none where it does not.
    edits: Option<Edits>,
    checks: Vec<Check>,
    /// What the stage that an edit makes must hold.
    needs: Needs,
}

/// A filter that takes lines out.
#[derive(Debug, Clone)]
enum Edits {
    C4(C4),
    Refinedweb(Refinedweb),
}

/// What the rules behind an edit look at.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a switch for each part of the count")]
struct Needs {
    /// Anything that is counted of the text.
    counts: bool,
    /// More of words than how many there are.
    words: bool,
    /// Equal words and repeated runs of them.
    ngrams: bool,
    /// Sentences and the shape of source code.
    rest: bool,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Why it goes; none where it stays.
    pub dropped: Option<Dropped>,
    /// The new text, where rules changed it.
    pub text: Option<String>,
    /// What they took out of it, in the order of the rules' filters; only those that ran before the rule that drops the document.
    pub removed: Vec<Removed>,
    /// Everything that was measured.
    pub signals: Signals,
}

impl Ruleset {
    /// Filters without a word list.
    ///
    /// # Errors
    /// A custom expression is wrong, a filter needs a word list, or two filters measure lines in two ways.
    pub fn new(filters: &[FilterParams], words: Words) -> Result<Self, RulesError> {
        Self::with_word_list(filters, words, None)
    }

    /// Filters with the list that C4's rule against bad words looks for.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn with_word_list(
        filters: &[FilterParams],
        words: Words,
        bad_words: Option<WordList>,
    ) -> Result<Self, RulesError> {
        let (mut steps, mut names, mut custom) = (Vec::new(), Vec::new(), 0);
        let mut short_line_chars = None;
        for filter in filters {
            let first = names.len();
            custom += usize::from(matches!(filter, FilterParams::Custom { .. }));
            names.extend(checks::names(filter, custom));
            if let FilterParams::Fineweb { short_line_chars: chars, .. } = filter {
                match short_line_chars.replace(*chars) {
                    Some(first) if first != *chars => {
                        let field = "short_line_chars";
                        return Err(RulesError::Conflict { field, first, second: *chars });
                    }
                    _ => {}
                }
            }
            if matches!(filter, FilterParams::C4 { drop_bad_words: true, .. }) && bad_words.is_none() {
                return Err(RulesError::NoWordList { rule: "c4.drop_bad_words".into() });
            }
            let c4 = C4::of(filter, first).map(Edits::C4);
            let edits = c4.or_else(|| Refinedweb::of(filter, first).map(Edits::Refinedweb));
            steps.push(Step { edits, checks: checks::of(filter, first)?, needs: Needs::default() });
        }
        set_needs(&mut steps);
        let short_line_chars = short_line_chars.unwrap_or(30);
        let measured = measured(filters, words, short_line_chars, bad_words.as_ref());
        Ok(Self { words, short_line_chars, steps, names, bad_words, measured })
    }

    /// The names of the rules, `FILTER.RULE`, in the order that they are tried.
    pub fn rules(&self) -> &[String] {
        &self.names
    }

    /// Judges a document.
    pub fn judge(&self, text: &str, scratch: &mut Scratch) -> Judged {
        let mut current = Cow::Borrowed(text);
        let mut edit = Edit::of(text.len());
        let mut removed = Vec::new();
        let mut signals = Signals { measured: self.measured, stages: Vec::with_capacity(2) };
        let mut latest = count(
            text,
            self.measure(Needs { counts: true, words: true, ngrams: true, rest: true }),
            None,
            scratch,
        );
        signals.stages.push(latest);
        for step in &self.steps {
            let Some(edits) = &step.edits else { continue };
            let (mut draft, own) = self.edit(edits, &current, scratch);
            let is_same = draft.text == *current;
            let mut next = if is_same {
                latest
            } else if step.needs.counts {
                let known = draft.removed_lines().and_then(|lines| {
                    let whole = WordCount {
                        tokens: latest.get(Signal::Tokens)? as u64,
                        plain: latest.get(Signal::Words)? as u64,
                    };
                    Some(whole.without(&current, lines, self.words, scratch))
                });
                count(&draft.text, self.measure(step.needs), known, scratch)
            } else {
                Values::default()
            };
            self.add_own(edits, &draft, (&latest, own), &mut next);
            edit.accept(&mut draft, &mut removed);
            signals.stages.push(next);
            latest = next;
            if !is_same {
                current = Cow::Owned(draft.text);
            }
        }
        // The values were measured by this very set, so that none is missing.
        let dropped = self.judge_signals(&signals).unwrap_or_default();
        if let Some(dropped) = &dropped {
            removed.retain(|gone| gone.rule < dropped.rule);
        }
        let text = match current {
            Cow::Owned(text) => Some(text),
            Cow::Borrowed(_) => None,
        };
        Judged { dropped, text, removed, signals }
    }

    /// Judges a document by its stored values.
    ///
    /// # Errors
    /// The values were measured in another way, or one that a rule needs is not there: the text must be read again.
    pub fn judge_signals(&self, signals: &Signals) -> Result<Option<Dropped>, RulesError> {
        if signals.measured != self.measured {
            return Err(RulesError::MeasuredOtherwise);
        }
        let mut stage = 0;
        for step in &self.steps {
            stage += usize::from(step.edits.is_some());
            let Some(values) = signals.stages.get(stage) else {
                return Err(RulesError::MeasuredOtherwise);
            };
            for check in &step.checks {
                if let Some(dropped) = check.broken(values, stage)? {
                    return Ok(Some(dropped));
                }
            }
        }
        Ok(None)
    }

    fn measure(&self, needs: Needs) -> Measure {
        Measure {
            words: self.words,
            short_line_chars: self.short_line_chars,
            has_words: needs.words,
            has_ngrams: needs.ngrams,
            has_rest: needs.rest,
        }
    }

    /// Edits a text; the values are those that only the edit knows.
    fn edit(&self, edits: &Edits, text: &str, scratch: &mut Scratch) -> (Draft, Values) {
        match edits {
            Edits::C4(rules) => rules.edit(text, self.words, &mut scratch.splitter),
            Edits::Refinedweb(rules) => (rules.edit(text), Values::default()),
        }
    }

    /// Adds what an edit measured itself to the values of the text that it made.
    fn add_own(&self, edits: &Edits, draft: &Draft, (before, own): (&Values, Values), next: &mut Values) {
        match edits {
            Edits::C4(_) => {
                for signal in [Signal::C4Sentences, Signal::C4CurlyBracket, Signal::C4LoremIpsum] {
                    own.get(signal).into_iter().for_each(|value| next.set(signal, value));
                }
                if let Some(list) = &self.bad_words {
                    let draw = (xxh3_64(draft.text.as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
                    next.set(Signal::C4BadWords, list.find(&draft.text).count as f64);
                    next.set(Signal::C4BadWordsDraw, draw);
                }
            }
            Edits::Refinedweb(_) => {
                let words = |values: &Values| values.get(Signal::Words).unwrap_or(0.0);
                next.set(Signal::RemovedWords, removed_share(words(before), words(next)));
            }
        }
    }
}

/// Finds out what the rules behind each edit look at.
fn set_needs(steps: &mut [Step]) {
    let mut needs = Needs::default();
    for step in steps.iter_mut().rev() {
        let signals = step.checks.iter().flat_map(Check::signals);
        for signal in signals {
            let is_own = (Signal::C4Sentences..=Signal::C4BadWordsDraw).contains(&signal);
            needs.counts |= !is_own;
            needs.words |= (Signal::MeanWordLength..=Signal::EllipsisRatio).contains(&signal);
            needs.ngrams |= signal == Signal::UniqueWords
                || (Signal::Top2gramChars..=Signal::Duplicate10gramChars).contains(&signal);
            needs.rest |=
                signal == Signal::Sentences || (Signal::MaxLineLength..=Signal::Generated).contains(&signal);
        }
        if step.edits.is_some() {
            step.needs = needs;
            // RefinedWeb's rule compares the words before with those behind it.
            let counts = matches!(step.edits, Some(Edits::Refinedweb(_)));
            needs = Needs { counts, ..Needs::default() };
        }
    }
}

/// What the values depend on beside the text: words, lines that are short, the fields of line rules, the list.
fn measured(filters: &[FilterParams], words: Words, short_line_chars: u64, list: Option<&WordList>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(&format!("{} {} {short_line_chars}", super::presets::DEFINITIONS, words.name()));
    for filter in filters {
        let mut filter = filter.clone();
        match &mut filter {
            FilterParams::C4 {
                min_sentences,
                drop_curly_bracket,
                drop_lorem_ipsum,
                drop_bad_words,
                bad_words_keep,
                ..
            } => {
                (*min_sentences, *bad_words_keep) = (0, 0.0);
                (*drop_curly_bracket, *drop_lorem_ipsum, *drop_bad_words) = (false, false, false);
            }
            FilterParams::Refinedweb { max_removed_words, .. } => *max_removed_words = 0.0,
            _ => continue,
        }
        add(&serde_json::to_string(&filter).unwrap_or_default());
    }
    for word in list.into_iter().flat_map(WordList::words) {
        add(word);
    }
    let hash = hasher.finalize();
    hash.as_bytes()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
