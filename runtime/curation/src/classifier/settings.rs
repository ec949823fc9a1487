//! What a classifier is trained with.

use serde::{Deserialize, Serialize};

use super::ClassifierError;

/// How scores become probabilities, and what training lowers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// One label for each text: probabilities sum to 1.
    Softmax,
    /// Each label for itself: a text may have several or none.
    OneVsAll,
}

/// What a classifier is trained with. The defaults are fastText's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Values of a feature's row, 1 to 256.
    pub dim: usize,
    /// Times that each example is seen, 1 to 1000.
    pub epochs: u32,
    /// Learning rate at the start; it falls linearly to 0. Above 0, to 10.
    pub lr: f32,
    /// Longest word n-gram, 1 to 8.
    pub word_ngrams: usize,
    /// Shortest character n-gram of a word, characters, with `<` and `>` around it.
    pub min_chars: usize,
    /// Longest character n-gram, to 12; 0 for none.
    pub max_chars: usize,
    /// What features are hashed to, 1 to 2^28.
    pub buckets: u32,
    /// A bucket that the examples hit less often is left out.
    pub min_count: u32,
    /// What is learned.
    pub loss: Loss,
    /// Of the rows' start and of the order of the examples.
    pub seed: u64,
    /// The most features that the examples may have, repeats in one text counted once; each takes 6 bytes.
    pub max_features: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dim: 100,
            epochs: 5,
            lr: 0.1,
            word_ngrams: 1,
            min_chars: 0,
            max_chars: 0,
            buckets: 2_000_000,
            min_count: 1,
            loss: Loss::Softmax,
            seed: 0,
            max_features: 500_000_000,
        }
    }
}

impl Settings {
    /// Whether each value is in its range.
    ///
    /// # Errors
    /// The first one that is not, with its range.
    pub fn check(&self) -> Result<(), ClassifierError> {
        let whole = |field, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ClassifierError::Setting {
                field,
                got: value.to_string(),
                expected: format!("{low} to {high}"),
            })
        };
        whole("dim", self.dim as u64, 1, 256)?;
        whole("epochs", u64::from(self.epochs), 1, 1000)?;
        whole("word_ngrams", self.word_ngrams as u64, 1, 8)?;
        whole("max_chars", self.max_chars as u64, 0, 12)?;
        whole("buckets", u64::from(self.buckets), 1, 1 << 28)?;
        whole("min_count", u64::from(self.min_count), 1, u64::from(u32::MAX))?;
        whole("max_features", self.max_features, 1, 1 << 40)?;
        if self.max_chars > 0 {
            whole("min_chars", self.min_chars as u64, 1, self.max_chars as u64)?;
        }
        if self.lr > 0.0 && self.lr <= 10.0 {
            return Ok(());
        }
        let expected = "above 0, to 10".to_owned();
        Err(ClassifierError::Setting { field: "lr", got: self.lr.to_string(), expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named_with_its_range() {
        let bad = Settings { dim: 300, ..Settings::default() };
        assert_eq!(bad.check().unwrap_err().to_string(), "classifier: `dim` is 300, expected 1 to 256");
        for lr in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(Settings { lr, ..Settings::default() }.check().is_err(), "{lr}");
        }
        assert!(Settings { min_chars: 5, max_chars: 3, ..Settings::default() }.check().is_err());
        assert!(Settings::default().check().is_ok());
    }
}
