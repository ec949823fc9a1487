//! How well the finder finds, on labelled text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::{Class, Found};

/// Finds against labels. Adding the same texts in any order gives the same counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// Texts that were added.
    pub texts: u64,
    /// By class; a class without labels and finds is left out.
    pub classes: BTreeMap<Class, ClassEvaluation>,
    /// Texts that are labelled for what has no class here (names, addresses, figures of a business), so that nothing is said about them.
    pub out_of_scope: u64,
}

/// Counts of one class. A find is right where it overlaps a label of its class that no other find took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassEvaluation {
    /// Labels.
    pub labelled: u64,
    /// Finds.
    pub found: u64,
    /// Finds that are right.
    pub right: u64,
    /// Right ones with the label's very borders.
    pub exact: u64,
    /// `right / found`, 1 where nothing was found.
    pub precision: f64,
    /// `right / labelled`, 1 where nothing was labelled.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

impl Evaluation {
    /// Adds a text: its labels and its finds, both sorted and without overlap.
    pub fn add(&mut self, labels: &[Found], found: &[Found]) {
        self.texts += 1;
        for class in Class::ALL {
            let of_class = |all: &[Found]| -> Vec<Found> {
                all.iter().filter(|one| one.class == class).cloned().collect()
            };
            let (labels, found) = (of_class(labels), of_class(found));
            if labels.is_empty() && found.is_empty() {
                continue;
            }
            let (right, exact) = matches(&labels, &found);
            let counts = self.classes.entry(class).or_default();
            counts.labelled += labels.len() as u64;
            counts.found += found.len() as u64;
            counts.right += right;
            counts.exact += exact;
            counts.rate();
        }
    }

    /// Adds a text that is labelled for what has no class here.
    pub fn add_out_of_scope(&mut self) {
        self.texts += 1;
        self.out_of_scope += 1;
    }
}

impl ClassEvaluation {
    fn rate(&mut self) {
        let share = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        self.precision = share(self.right, self.found);
        self.recall = share(self.right, self.labelled);
        let both = self.precision + self.recall;
        self.f1 = if both == 0.0 { 0.0 } else { 2.0 * self.precision * self.recall / both };
    }
}

/// Pairs finds with labels that they overlap, from left to right, each once.
fn matches(labels: &[Found], found: &[Found]) -> (u64, u64) {
    let (mut right, mut exact) = (0, 0);
    let mut rest = labels.iter().peekable();
    for one in found {
        while rest.next_if(|label| label.range.end <= one.range.start).is_some() {}
        if let Some(label) = rest.next_if(|label| label.range.start < one.range.end) {
            right += 1;
            exact += u64::from(label.range == one.range);
        }
    }
    (right, exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_are_paired_with_labels_once() {
        let one = |range| Found { class: Class::Email, range };
        let mut evaluation = Evaluation::default();
        evaluation
            .add(&[one(0..5), one(10..15), one(20..25)], &[one(0..5), one(11..15), one(14..16), one(40..41)]);
        let counts = evaluation.classes[&Class::Email];
        assert_eq!((counts.labelled, counts.found, counts.right, counts.exact), (3, 4, 2, 1));
        assert!((counts.precision - 0.5).abs() < 1e-9 && (counts.recall - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(evaluation.texts, 1);
    }
}
