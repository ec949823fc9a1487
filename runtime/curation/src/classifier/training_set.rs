//! Examples on their way to a model: kept as features, so that no text is read twice or held.

use rayon::prelude::*;

use super::examples::Examples;
use super::features::{Shape, Words};
use super::{ClassifierError, Model, Settings, trainer};

/// A text and which label it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example<'a> {
    /// Any text.
    pub text: &'a str,
    /// The label's place among the labels.
    pub label: u32,
}

/// Trains on examples that are in memory.
///
/// # Errors
/// Settings out of range, examples that nothing can be learned from, threads that can't be started.
pub fn train(
    examples: &[Example<'_>],
    labels: &[String],
    settings: &Settings,
    threads: usize,
) -> Result<Model, ClassifierError> {
    let mut set = TrainingSet::new(labels, settings)?;
    set.extend(examples, threads)?;
    set.train(threads)
}

/// Examples that come in batches: six bytes are held for each feature, and none of the text.
#[derive(Debug)]
pub struct TrainingSet {
    settings: Settings,
    labels: Vec<String>,
    examples: Examples,
}

impl TrainingSet {
    /// An empty set.
    ///
    /// # Errors
    /// Settings out of range; fewer than two labels, or one twice.
    pub fn new(labels: &[String], settings: &Settings) -> Result<Self, ClassifierError> {
        settings.check()?;
        let mut sorted: Vec<&String> = labels.iter().collect();
        sorted.sort_unstable();
        if let Some([twice, _]) = sorted.array_windows().find(|[a, b]| a == b) {
            return Err(ClassifierError::Data(format!("the label {twice:?} is named twice")));
        }
        if labels.len() < 2 || labels.len() > MAX_LABELS {
            return Err(ClassifierError::Data(format!(
                "{} labels, expected 2 to {MAX_LABELS}",
                labels.len()
            )));
        }
        Ok(Self { settings: settings.clone(), labels: labels.to_vec(), examples: Examples::default() })
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.examples.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds examples, in their order. The set is the same for any batches and any number of threads.
    ///
    /// # Errors
    /// A label that is not one of the set's; more features than `max_features`. What was added before stays.
    pub fn extend(&mut self, examples: &[Example<'_>], threads: usize) -> Result<(), ClassifierError> {
        if let Some(example) = examples.iter().find(|example| example.label as usize >= self.labels.len()) {
            let (label, count) = (example.label, self.labels.len());
            return Err(ClassifierError::Data(format!("an example has label number {label} of {count}")));
        }
        let shape = Shape::new(&self.settings);
        let read = |examples: &[Example<'_>]| read(shape, examples);
        if threads <= 1 {
            return self.examples.append(&read(examples), self.settings.max_features);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        // A few texts for each task, and a bounded number of them at once.
        for batch in examples.chunks(threads * 4 * TASK) {
            let parts: Vec<Examples> = pool.install(|| batch.par_chunks(TASK).map(read).collect());
            for part in parts {
                self.examples.append(&part, self.settings.max_features)?;
            }
        }
        Ok(())
    }

    /// Has the training see so many examples, repeats included, where there are few: each up to 100 times. After a few hundred steps from the start all probabilities are about the
    /// same, whatever the texts say.
    #[must_use]
    pub fn at_least(mut self, steps: u64) -> Self {
        let epochs = steps.div_ceil(self.len().max(1) as u64).min(100) as u32;
        self.settings.epochs = self.settings.epochs.max(epochs);
        self
    }

    /// Learns from the examples: stochastic gradient descent with a rate that falls linearly to 0.
    ///
    /// Examples are taken in an order that the seed gives, in blocks of at most 32 of them. Within a block every text's mean is taken of the rows as they were
    /// before it; then the outputs learn from one text after the other; then every row takes its gradients in the order of the texts. Which thread does what
    /// has no part in any of the three.
    ///
    /// # Errors
    /// A label without an example; threads that can't be started.
    pub fn train(self, threads: usize) -> Result<Model, ClassifierError> {
        let mut counts = vec![0_u64; self.labels.len()];
        for label in &self.examples.labels {
            counts[*label as usize] += 1;
        }
        if let Some(at) = counts.iter().position(|count| *count == 0) {
            let label = &self.labels[at];
            return Err(ClassifierError::Data(format!(
                "no example of the label {label:?}, of {} in all",
                self.len()
            )));
        }
        let examples = self.examples.number(&self.settings);
        let (known, scores) = trainer::run(examples, self.labels.len(), &self.settings, threads)?;
        Ok(Model::new(self.settings, self.labels, known, scores))
    }
}

/// The most labels: with more, the softmax over all of them is the work, and another method is right.
const MAX_LABELS: usize = 10_000;
/// Texts of one task.
const TASK: usize = 16;

/// The features of some texts.
fn read(shape: Shape, examples: &[Example<'_>]) -> Examples {
    let mut out = Examples::default();
    let (mut words, mut buckets) = (Words::default(), Vec::new());
    for example in examples {
        shape.buckets(example.text, &mut words, &mut buckets);
        out.push(&mut buckets, example.label);
    }
    out
}
