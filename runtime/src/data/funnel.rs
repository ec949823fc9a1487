//! The data funnel: what each rule removed, and how much was left after it.
//!
//! Documents go through the stations one after another, each on its own, so that parts of a corpus have funnels of their own that
//! add up: [`Funnel::merge`] in the documents' order gives what one funnel over all would have given.

use cupola_specs::artifact::{DroppedDocument, RuleExample, RuleStatistics};
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::personal::mask;

/// Examples of a rule.
const EXAMPLES: usize = 3;
/// Longest excerpt, characters.
const EXCERPT_CHARS: usize = 240;

/// What a station did to one document. Rules are named by their index among the station's rules.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The new text, where a rule changed it.
    pub(super) text: Option<String>,
    /// Rule, bytes that it took out of the text, and an excerpt of them.
    pub(super) changes: Vec<(usize, u64, String)>,
    /// The rule that drops the document, with value and threshold.
    pub(super) dropped: Option<(usize, String)>,
    /// What was measured.
    pub(super) signals: Vec<(String, f64)>,
    /// The language, where the station tells it.
    pub(super) language: Option<&'static str>,
}

impl Outcome {
    /// The document goes.
    pub(super) fn drop(rule: usize, reason: String) -> Self {
        Self { dropped: Some((rule, reason)), ..Self::default() }
    }
}

/// The rules in the order that they run, with what each removed.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Funnel {
    rules: Vec<RuleStatistics>,
}

impl Funnel {
    /// A funnel in which nothing has been removed yet.
    pub(super) fn new(rules: &[String]) -> Self {
        let rules =
            rules.iter().map(|rule| RuleStatistics { rule: rule.clone(), ..RuleStatistics::default() });
        Self { rules: rules.collect() }
    }

    /// Carries out what a station said of a document, whose rules begin at `first`. `source` is the name of its source.
    pub(super) fn record(
        &mut self,
        first: usize,
        source: &str,
        mut document: Document,
        outcome: Outcome,
    ) -> Result<Document, Box<DroppedDocument>> {
        let mut bytes = document.text.len() as u64;
        for (rule, removed, excerpt) in &outcome.changes {
            let rule = &mut self.rules[first + rule];
            rule.changed_documents += 1;
            rule.dropped_bytes += removed;
            bytes = bytes.saturating_sub(*removed);
            *document.signals.entry(format!("cut.{}", rule.rule)).or_default() += *removed as f64;
            add_example(rule, &document, excerpt);
        }
        document.signals.extend(outcome.signals);
        if let Some(language) = outcome.language {
            document.language = Some(language.to_owned());
        }
        if let Some((index, reason)) = outcome.dropped {
            let rule = &mut self.rules[first + index];
            rule.dropped_documents += 1;
            rule.dropped_bytes += bytes;
            add_example(rule, &document, &document.text);
            let rule = rule.rule.clone();
            let signals = document.signals;
            return Err(Box::new(DroppedDocument {
                id: document.id,
                source: source.to_owned(),
                file: document.file,
                url: document.url,
                rule,
                reason,
                signals,
            }));
        }
        if let Some(text) = outcome.text {
            document.text = text;
        }
        Ok(document)
    }

    /// Adds what the same rules removed from the documents that follow.
    pub(super) fn merge(&mut self, next: &Self) {
        for (rule, more) in self.rules.iter_mut().zip(&next.rules) {
            rule.dropped_documents += more.dropped_documents;
            rule.dropped_bytes += more.dropped_bytes;
            rule.changed_documents += more.changed_documents;
            for example in &more.examples {
                keep_example(rule, &example.document, || example.clone());
            }
        }
    }

    /// The rules' statistics, of so many documents and bytes that were read.
    pub(super) fn finish(mut self, documents: u64, bytes: u64) -> Vec<RuleStatistics> {
        let mut left = (documents, bytes);
        for rule in &mut self.rules {
            left = (left.0.saturating_sub(rule.dropped_documents), left.1.saturating_sub(rule.dropped_bytes));
            (rule.remaining_documents, rule.remaining_bytes) = left;
        }
        self.rules
    }

    /// The rule that removed most documents.
    pub(super) fn hardest(&self) -> String {
        let took = self.rules.iter().filter(|rule| rule.dropped_documents > 0);
        let most = took.max_by_key(|rule| rule.dropped_documents);
        most.map_or_else(|| "none: the sources gave no document".to_owned(), |rule| rule.rule.clone())
    }
}

fn add_example(rule: &mut RuleStatistics, document: &Document, text: &str) {
    if text.is_empty() {
        return;
    }
    keep_example(rule, &document.id, || RuleExample {
        document: document.id.clone(),
        file: document.file.clone(),
        excerpt: excerpt(text),
    });
}

/// Of all examples those with the least ids stay: ids are hashes, so that this is a draw, and the parts of a corpus draw alike.
fn keep_example(rule: &mut RuleStatistics, id: &str, example: impl FnOnce() -> RuleExample) {
    let at = rule.examples.partition_point(|known| known.document.as_str() < id);
    let is_known = rule.examples.get(at).is_some_and(|known| known.document == id);
    if at < EXAMPLES && !is_known {
        rule.examples.insert(at, example());
        rule.examples.truncate(EXAMPLES);
    }
}

/// The start of a text without personal data: what is found is masked whatever the spec keeps.
pub(super) fn excerpt(text: &str) -> String {
    // A secret that the cut would halve is found in twice the length.
    let ample: String = text.trim().chars().take(2 * EXCERPT_CHARS).collect();
    let masked = mask(&ample);
    let short: String = masked.chars().take(EXCERPT_CHARS).collect();
    if short.len() < masked.len() || ample.len() < text.trim().len() { format!("{short} …") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document { text: text.into(), id: text.into(), file: "f".into(), ..Document::default() }
    }

    /// A station whose first rule drops letters and whose second cuts.
    fn judge(document: &Document) -> Outcome {
        match document.text.split(' ').next() {
            Some("write") => Outcome::drop(1, "because".into()),
            Some("cut") => Outcome {
                text: Some("that".into()),
                changes: vec![(0, 4, "cut ".into())],
                ..Outcome::default()
            },
            _ => Outcome::default(),
        }
    }

    fn run(texts: &[&str]) -> (Funnel, Vec<String>) {
        let mut funnel = Funnel::new(&["first".to_owned(), "second".to_owned()]);
        let left = texts.iter().filter_map(|text| {
            let document = document(text);
            let outcome = judge(&document);
            funnel.record(0, "s", document, outcome).ok()
        });
        let left = left.map(|document| document.text).collect();
        (funnel, left)
    }

    #[test]
    fn what_is_left_adds_up_and_no_excerpt_shows_an_address() {
        let texts = ["write to jane@corp.de", "keep this", "cut that"];
        let (funnel, left) = run(&texts);
        assert_eq!(left, ["keep this", "that"]);
        assert_eq!(funnel.hardest(), "second");
        let bytes = texts.iter().map(|text| text.len() as u64).sum();
        let rules = funnel.finish(3, bytes);
        assert_eq!((rules[1].remaining_documents, rules[1].remaining_bytes), (2, 13));
        assert_eq!(rules[1].examples[0].excerpt, "write to <EMAIL>");
    }

    #[test]
    fn the_funnels_of_parts_add_up_to_that_of_all() {
        let texts = ["write a", "cut b", "keep", "write c", "write d", "cut e", "write f", "write a"];
        let (whole, _) = run(&texts);
        for border in 0..=texts.len() {
            let (mut first, _) = run(&texts[..border]);
            first.merge(&run(&texts[border..]).0);
            assert_eq!(first, whole, "cut at {border}");
        }
    }
}
