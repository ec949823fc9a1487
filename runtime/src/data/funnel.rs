//! The data funnel: what each rule removed, and how much was left after it.

use cupola_specs::artifact::{DroppedDocument, RuleStatistics};
use rayon::prelude::*;

use super::document::Document;
use super::pii::mask;

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
    pub(super) signals: Vec<(&'static str, f64)>,
}

impl Outcome {
    /// The document goes.
    pub(super) fn drop(rule: usize, reason: String) -> Self {
        Self { dropped: Some((rule, reason)), ..Self::default() }
    }
}

/// The rules that ran, and the documents that they removed.
#[derive(Debug, Default)]
pub(super) struct Funnel {
    /// In the order that they ran.
    pub(super) rules: Vec<RuleStatistics>,
    /// In the order that they went.
    pub(super) dropped: Vec<DroppedDocument>,
}

impl Funnel {
    /// Runs a station over all documents in parallel; `sources` are the sources' names.
    pub(super) fn apply(
        &mut self,
        rules: &[String],
        sources: &[String],
        documents: &mut Vec<Document>,
        judge: impl Fn(&Document) -> Outcome + Sync + Send,
    ) {
        let outcomes: Vec<Outcome> = documents.par_iter().map(judge).collect();
        self.record(rules, sources, documents, outcomes);
    }

    /// Takes the outcomes of a station, one for each document, and carries them out.
    pub(super) fn record(
        &mut self,
        rules: &[String],
        sources: &[String],
        documents: &mut Vec<Document>,
        outcomes: Vec<Outcome>,
    ) {
        let mut left = (documents.len() as u64, documents.iter().map(|d| d.text.len() as u64).sum::<u64>());
        let mut station: Vec<RuleStatistics> = rules
            .iter()
            .map(|rule| RuleStatistics { rule: rule.clone(), ..RuleStatistics::default() })
            .collect();
        let before = std::mem::take(documents);
        for (mut document, outcome) in before.into_iter().zip(outcomes) {
            let mut bytes = document.text.len() as u64;
            for (rule, removed, excerpt) in &outcome.changes {
                let rule = &mut station[*rule];
                rule.changed_documents += 1;
                rule.dropped_bytes += removed;
                bytes = bytes.saturating_sub(*removed);
                example(rule, &document, excerpt);
            }
            document
                .signals
                .extend(outcome.signals.into_iter().map(|(name, value)| (name.to_owned(), value)));
            if let Some((index, reason)) = outcome.dropped {
                let rule = &mut station[index];
                rule.dropped_documents += 1;
                rule.dropped_bytes += bytes;
                example(rule, &document, &document.text);
                let source = sources[document.source].clone();
                let rule = rule.rule.clone();
                self.dropped.push(DroppedDocument { id: document.id, source, rule, reason });
                continue;
            }
            if let Some(text) = outcome.text {
                document.text = text;
            }
            documents.push(document);
        }
        for rule in &mut station {
            left = (left.0 - rule.dropped_documents, left.1.saturating_sub(rule.dropped_bytes));
            (rule.remaining_documents, rule.remaining_bytes) = left;
        }
        self.rules.extend(station);
    }

    /// The rule that removed most documents.
    pub(super) fn hardest(&self) -> String {
        let most = self.rules.iter().max_by_key(|rule| rule.dropped_documents);
        most.map_or_else(|| "none".to_owned(), |rule| rule.rule.clone())
    }
}

fn example(rule: &mut RuleStatistics, document: &Document, text: &str) {
    let known = rule.examples.iter().any(|(file, _)| file == &document.file);
    if rule.examples.len() < EXAMPLES && !known {
        rule.examples.push((document.file.clone(), excerpt(text)));
    }
}

/// The start of a text without personal data: what is found is masked whatever the spec keeps.
fn excerpt(text: &str) -> String {
    // A secret that the cut would halve is found in twice the length.
    let ample: String = text.trim().chars().take(2 * EXCERPT_CHARS).collect();
    let masked = mask(&ample);
    let short: String = masked.chars().take(EXCERPT_CHARS).collect();
    if short.len() < masked.len() || ample.len() < text.trim().len() { format!("{short} …") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_adds_up_and_no_excerpt_shows_an_address() {
        let document = |text: &str| Document { text: text.into(), file: text.into(), ..Document::default() };
        let mut documents =
            vec![document("write to jane@corp.de"), document("keep this"), document("cut that")];
        let mut funnel = Funnel::default();
        let rules = ["first".to_owned(), "second".to_owned()];
        funnel.apply(&rules, &["s".to_owned()], &mut documents, |document| {
            match document.text.split(' ').next() {
                Some("write") => Outcome::drop(1, "because".into()),
                Some("cut") => Outcome {
                    text: Some("that".into()),
                    changes: vec![(0, 4, "cut ".into())],
                    ..Outcome::default()
                },
                _ => Outcome::default(),
            }
        });
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(texts, ["keep this", "that"]);
        assert_eq!((funnel.rules[1].remaining_documents, funnel.rules[1].remaining_bytes), (2, 13));
        assert_eq!(funnel.rules[1].examples[0].1, "write to <EMAIL>");
        assert_eq!(funnel.hardest(), "second");
    }
}
