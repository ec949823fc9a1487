//! Classifiers that fastText trained, `.bin` and quantised `.ftz`: the same predictions without its code.
//!
//! Joulin et al. 2016, "FastText.zip: Compressing text classification models" (arXiv:1612.03651). fastText's own output adds 1e-5 to a probability before it takes its logarithm; here it is the probability.
//! For one-vs-all and negative sampling fastText reads the sigmoid off a table of 512 steps, and so is it here.

use std::path::Path;

use super::ClassifierError;
use super::fasttext_dictionary::Dictionary;
use super::fasttext_file;
use super::scores::{Scores, Scratch, sigmoid, softmax};

/// A classifier of fastText's.
#[derive(Debug)]
pub struct FastText {
    pub(super) dictionary: Dictionary,
    pub(super) labels: Vec<String>,
    pub(super) scores: Scores,
    pub(super) output: Output,
}

/// How scores become probabilities.
#[derive(Debug)]
pub(super) enum Output {
    Softmax,
    /// Each label for itself.
    Sigmoids,
    /// A walk down a Huffman tree of the labels: each inner node has a score.
    Tree(Vec<Branch>),
}

/// An inner node: whom its left and its right child are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    pub(super) left: usize,
    pub(super) right: usize,
}

impl FastText {
    /// Reads a model. Of a dense one with fewer labels than dimensions the rows are multiplied with the outputs as they are read, so that 800 MB become a few.
    ///
    /// # Errors
    /// A file that can't be read, is not fastText's, is of another version or of word vectors, or is damaged.
    pub fn open(path: &Path) -> Result<Self, ClassifierError> {
        fasttext_file::read(path)
    }

    /// The labels without their `__label__`, in the order of the probabilities.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The place of a label.
    pub fn label(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|label| label == name)
    }

    /// The probability of each label. Zeros for a text of which the model knows nothing: fastText gives no label then. Line breaks are blanks.
    pub fn predict<'s>(&self, text: &str, scratch: &'s mut Scratch) -> &'s [f32] {
        self.dictionary.features(text, scratch);
        let Scratch { features, hidden, logits, probabilities, .. } = scratch;
        self.scores.logits(features, hidden, logits);
        probabilities.clear();
        if features.is_empty() {
            probabilities.resize(self.labels.len(), 0.0);
            return probabilities;
        }
        match &self.output {
            Output::Softmax => {
                probabilities.extend_from_slice(logits);
                softmax(probabilities);
            }
            Output::Sigmoids => probabilities.extend(logits.iter().map(|logit| table_sigmoid(*logit))),
            Output::Tree(branches) => walk(branches, logits, self.labels.len(), probabilities),
        }
        probabilities
    }
}

/// Probabilities from the root, the last branch, down to the labels, which are the first nodes.
fn walk(branches: &[Branch], logits: &[f32], labels: usize, out: &mut Vec<f32>) {
    out.resize(labels + branches.len(), 0.0);
    if let Some(root) = out.last_mut() {
        *root = 1.0;
    }
    for (at, branch) in branches.iter().enumerate().rev() {
        let (here, right) = (out[labels + at], sigmoid(logits[at]));
        out[branch.left] = here * (1.0 - right);
        out[branch.right] = here * right;
    }
    out.truncate(labels);
}

/// fastText's sigmoid: 512 steps from -8 to 8, each with the value at its lower end.
fn table_sigmoid(x: f32) -> f32 {
    match () {
        () if x < -8.0 => 0.0,
        () if x > 8.0 => 1.0,
        () => sigmoid(((x + 8.0) * 32.0).floor() / 32.0 - 8.0),
    }
}

/// The tree of labels by how often each is, the most frequent first, as fastText builds it: labels from the rarest on, inner nodes as they come. Counts that are equal or that cycle back can't break it.
pub(super) fn tree(counts: &[i64]) -> Vec<Branch> {
    let labels = counts.len();
    let mut branches: Vec<Branch> = Vec::new();
    let mut sums: Vec<i64> = Vec::new();
    let (mut leaves, mut node) = (labels, 0);
    for _ in 1..labels {
        let mut take = || {
            let inner = sums.get(node).copied().unwrap_or(i64::MAX);
            if leaves > 0 && (counts[leaves - 1] < inner || node >= sums.len()) {
                leaves -= 1;
                (leaves, counts[leaves])
            } else {
                node += 1;
                (labels + node - 1, inner)
            }
        };
        let (left, right) = (take(), take());
        branches.push(Branch { left: left.0, right: right.0 });
        sums.push(left.1.saturating_add(right.1));
    }
    branches
}

#[cfg(test)]
#[path = "fasttext_tests.rs"]
mod tests;
