//! A trained classifier.

use rayon::prelude::*;

use super::features::Shape;
use super::known::Known;
use super::scores::{Scores, Scratch, to_probabilities};
use super::{Calibration, ClassifierError, Settings};

/// A trained classifier. It is the same to the bit for the same examples and settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(super) settings: Settings,
    pub(super) labels: Vec<String>,
    pub(super) known: Known,
    pub(super) scores: Scores,
    /// By label.
    pub(super) calibrations: Vec<Option<Calibration>>,
}

impl Model {
    pub(super) fn new(settings: Settings, labels: Vec<String>, known: Known, scores: Scores) -> Self {
        let calibrations = vec![None; labels.len()];
        Self { settings, labels, known, scores, calibrations }
    }

    /// The labels, in the order of the probabilities.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The place of a label.
    pub fn label(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|label| label == name)
    }

    /// What it was trained with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many features it knows.
    pub fn num_features(&self) -> usize {
        self.scores.len()
    }

    /// The probability of each label, as learned: [`Model::calibrated`] makes them frequencies.
    ///
    /// A text of which no feature is known has the same probability for each. Of a text with over a million features, the first million are read.
    pub fn predict<'s>(&self, text: &str, scratch: &'s mut Scratch) -> &'s [f32] {
        let Scratch { words, hashes, features, hidden, logits, probabilities, .. } = scratch;
        Shape::new(&self.settings).buckets(text, words, hashes);
        features.clear();
        features.extend(hashes.iter().filter_map(|bucket| self.known.row(*bucket)));
        self.scores.logits(features, hidden, logits);
        to_probabilities(self.settings.loss, logits, probabilities);
        probabilities
    }

    /// The probability of one label for every text, in their order and the same for any number of threads.
    ///
    /// # Errors
    /// A label that the model has not, threads that can't be started.
    pub fn score_all<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        label: usize,
        threads: usize,
    ) -> Result<Vec<f32>, ClassifierError> {
        if label >= self.labels.len() {
            let count = self.labels.len();
            return Err(ClassifierError::Data(format!("label number {label} of a model of {count}")));
        }
        let score = |scratch: &mut Scratch, text: &T| self.predict(text.as_ref(), scratch)[label];
        if threads <= 1 {
            let mut scratch = Scratch::default();
            return Ok(texts.iter().map(|text| score(&mut scratch, text)).collect());
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(pool.install(|| texts.par_iter().map_init(Scratch::default, score).collect()))
    }

    /// Sets how a label's probabilities become frequencies.
    pub fn set_calibration(&mut self, label: usize, calibration: Calibration) {
        if let Some(place) = self.calibrations.get_mut(label) {
            *place = Some(calibration);
        }
    }

    /// A label's probability as a frequency; as it is where the label has no calibration.
    pub fn calibrated(&self, label: usize, probability: f32) -> f64 {
        let calibration = self.calibrations.get(label).and_then(Option::as_ref);
        calibration.map_or(f64::from(probability), |calibration| calibration.apply(f64::from(probability)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{Example, Loss, TrainingSet, train};

    /// Two kinds of sentences from overlapping vocabularies, a few of them mislabelled.
    pub(in crate::classifier) fn sentences(count: usize) -> Vec<(String, u32)> {
        let words =
            ["the", "of", "ship", "sea", "sail", "king", "code", "type", "trait", "borrow", "a", "is"];
        let sentence = |at: usize| {
            let label = at.is_multiple_of(3) as u32;
            let mut state = at as u64 + 1;
            let mut draw = |limit: u64| {
                state = super::super::rows::mix(state);
                state % limit
            };
            let mut text = String::new();
            for _ in 0..5 + draw(30) {
                let place = if draw(3) == 0 { 0 } else { 2 + 4 * u64::from(label) };
                text.push_str(words[(place + draw(4)) as usize]);
                text.push(' ');
            }
            (text, if at % 50 == 49 { 1 - label } else { label })
        };
        (0..count).map(sentence).collect()
    }

    fn labels() -> Vec<String> {
        vec!["sea".into(), "code".into()]
    }

    fn examples(of: &[(String, u32)]) -> Vec<Example<'_>> {
        of.iter().map(|(text, label)| Example { text, label: *label }).collect()
    }

    fn settings() -> Settings {
        Settings {
            dim: 10,
            word_ngrams: 2,
            min_chars: 2,
            max_chars: 3,
            buckets: 5000,
            lr: 0.3,
            ..Settings::default()
        }
    }

    #[test]
    fn it_learns_and_is_the_same_for_any_threads_and_batches() {
        let sentences = sentences(1500);
        let examples = examples(&sentences);
        for loss in [Loss::Softmax, Loss::OneVsAll] {
            let settings = Settings { loss, ..settings() };
            let one = train(&examples[..1200], &labels(), &settings, 1).unwrap();
            for threads in [2, 7] {
                assert!(train(&examples[..1200], &labels(), &settings, threads).unwrap() == one, "{threads}");
            }
            let mut set = TrainingSet::new(&labels(), &settings).unwrap();
            for (at, batch) in examples[..1200].chunks(77).enumerate() {
                set.extend(batch, at % 3).unwrap();
            }
            assert!(set.train(3).unwrap() == one);
            let mut scratch = Scratch::default();
            let right = |example: &&Example<'_>| {
                let found = one.predict(example.text, &mut scratch);
                (found[1] > found[0]) == (example.label == 1)
            };
            let right = examples[1200..].iter().filter(right).count();
            assert!(right >= 290, "{right} of 300");
            let texts: Vec<&str> = examples.iter().map(|example| example.text).collect();
            assert_eq!(one.score_all(&texts, 1, 1).unwrap(), one.score_all(&texts, 1, 7).unwrap());
        }
    }

    #[test]
    fn another_seed_is_another_model() {
        let sentences = sentences(100);
        let examples = examples(&sentences);
        let of = |seed| train(&examples, &labels(), &Settings { seed, ..settings() }, 1).unwrap();
        assert!(of(1) != of(2));
    }

    #[test]
    fn a_few_examples_are_enough_to_be_sure() {
        let sentences = sentences(48);
        let settings = Settings { dim: 16, word_ngrams: 2, lr: 0.25, ..Settings::default() };
        let sure = |steps: u64| {
            let mut set = TrainingSet::new(&labels(), &settings).unwrap();
            set.extend(&examples(&sentences), 1).unwrap();
            let model = set.at_least(steps).train(1).unwrap();
            let mut scratch = Scratch::default();
            let is_sure =
                |(text, label): &&(String, u32)| model.predict(text, &mut scratch)[*label as usize] > 0.8;
            sentences.iter().filter(is_sure).count()
        };
        assert!(sure(0) < 10 && sure(20_000) > 40, "{} {}", sure(0), sure(20_000));
    }

    #[test]
    fn what_is_unknown_or_hostile_has_a_probability_too() {
        let sentences = sentences(60);
        let model = train(&examples(&sentences), &labels(), &settings(), 1).unwrap();
        let mut scratch = Scratch::default();
        for text in ["", "\0\0", "\u{10ffff}", &"é".repeat(1 << 20), &"\n".repeat(1 << 20)] {
            let found = model.predict(text, &mut scratch);
            assert!((found[0] + found[1] - 1.0).abs() < 1e-5, "{found:?}");
        }
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused() {
        let refused = |examples: &[Example<'_>], labels: &[String], settings: Settings| {
            train(examples, labels, &settings, 1).unwrap_err().to_string()
        };
        let one = [Example { text: "a b c", label: 0 }];
        assert!(refused(&one, &labels(), settings()).contains("no example of the label \"code\""));
        assert!(refused(&one, &labels()[..1], settings()).contains("1 labels"));
        let twice = ["a".to_owned(), "a".to_owned()];
        assert!(refused(&one, &twice, settings()).contains("named twice"));
        let few = Settings { max_features: 3, ..settings() };
        assert!(refused(&one, &labels(), few).contains("`max_features`"));
        let stray = [Example { text: "a", label: 2 }];
        assert!(refused(&stray, &labels(), settings()).contains("label number 2 of 2"));
    }
}
