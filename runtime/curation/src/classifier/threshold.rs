//! "Keep the best tenth" as a score, exactly and in bounded memory.
//!
//! Scores are counted by the upper half of their bits, then those of the one cell where the cut falls by the lower half: half a megabyte whatever the corpus, two passes over the
//! scores, and sums of whole numbers that come out the same in any order.

use serde::{Deserialize, Serialize};

use super::ClassifierError;

/// Which scores are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The least score that is kept.
    pub score: f32,
    /// The weight of what is kept, in the unit of the weights. It may be over the fraction where scores are equal.
    pub kept: u64,
    /// The weight of all.
    pub total: u64,
}

impl Threshold {
    /// The highest score at which at least this fraction of the weight is kept. The weight of a document may be 1, its bytes or its tokens.
    ///
    /// # Errors
    /// A fraction that is not above 0 and to 1; no weight at all; nothing but scores that are not numbers.
    pub fn keep_fraction(scored: &[(f32, u64)], fraction: f64) -> Result<Self, ClassifierError> {
        let mut selection = Selection::new(fraction)?;
        for _ in 0..2 {
            for (score, weight) in scored {
                selection.add(*score, *weight);
            }
            selection.end_pass()?;
        }
        selection.threshold()
    }

    /// Whether a score is kept; what is not a number is not.
    pub fn keeps(&self, score: f32) -> bool {
        score >= self.score
    }

    /// The share of the weight that is kept.
    pub fn kept_fraction(&self) -> f64 {
        self.kept as f64 / self.total.max(1) as f64
    }
}

/// A [`Threshold`] in the making, for scores that are not in memory: add all, end the pass, add all again, end the pass.
#[derive(Debug, Clone)]
pub struct Selection {
    fraction: f64,
    cells: Vec<u64>,
    pass: Pass,
    total: u64,
    /// What lies above the cell that is looked into.
    above: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    Upper,
    Lower { upper: u32 },
    Done(Threshold),
}

impl Selection {
    /// Nothing yet.
    ///
    /// # Errors
    /// A fraction that is not above 0 and to 1.
    pub fn new(fraction: f64) -> Result<Self, ClassifierError> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            let expected = "above 0, to 1".to_owned();
            return Err(ClassifierError::Setting { field: "keep", got: fraction.to_string(), expected });
        }
        Ok(Self { fraction, cells: vec![0; 1 << 16], pass: Pass::Upper, total: 0, above: 0 })
    }

    /// Adds a score and its weight. Weights sum up to 2^64 - 1 at most, and stay there.
    pub fn add(&mut self, score: f32, weight: u64) {
        let key = key(score);
        let cell = match self.pass {
            Pass::Upper => {
                self.total = self.total.saturating_add(weight);
                key >> 16
            }
            Pass::Lower { upper } if key >> 16 == upper => key & 0xffff,
            Pass::Lower { .. } | Pass::Done(_) => return,
        };
        let cell = &mut self.cells[cell as usize];
        *cell = cell.saturating_add(weight);
    }

    /// Adds what another thread has counted in the same pass.
    pub fn merge(&mut self, other: &Self) {
        if self.pass == Pass::Upper {
            self.total = self.total.saturating_add(other.total);
        }
        for (cell, other) in self.cells.iter_mut().zip(&other.cells) {
            *cell = cell.saturating_add(*other);
        }
    }

    /// Ends a pass over all scores.
    ///
    /// # Errors
    /// No weight, or none of a score that is a number; a second pass that differs from the first.
    pub fn end_pass(&mut self) -> Result<(), ClassifierError> {
        // A product that should be whole may come out a hair above it.
        let wanted = ((self.fraction - 1e-12) * self.total as f64).ceil().max(1.0) as u64;
        let found = self.cells.iter().enumerate().rev().find_map(|(cell, weight)| {
            if self.above.saturating_add(*weight) >= wanted {
                return Some((cell as u32, *weight));
            }
            self.above = self.above.saturating_add(*weight);
            None
        });
        let Some((cell, weight)) = found else {
            let what = if self.total == 0 {
                "nothing has a weight: there is nothing to keep a fraction of"
            } else {
                "the second pass over the scores differs from the first"
            };
            return Err(ClassifierError::Data(what.into()));
        };
        match self.pass {
            Pass::Upper => self.pass = Pass::Lower { upper: cell },
            Pass::Lower { upper } => {
                let key = upper << 16 | cell;
                if key == 0 {
                    let what = "so much has a score that is not a number that the fraction can't be kept";
                    return Err(ClassifierError::Data(what.into()));
                }
                let kept = self.above.saturating_add(weight);
                self.pass = Pass::Done(Threshold { score: score(key), kept, total: self.total });
            }
            Pass::Done(_) => {}
        }
        self.cells.fill(0);
        Ok(())
    }

    /// The threshold.
    ///
    /// # Errors
    /// Before two passes have ended.
    pub fn threshold(&self) -> Result<Threshold, ClassifierError> {
        match self.pass {
            Pass::Done(threshold) => Ok(threshold),
            Pass::Upper | Pass::Lower { .. } => {
                Err(ClassifierError::Data("a threshold takes two passes over the scores".into()))
            }
        }
    }
}

/// A number that is ordered as the scores are; 0 for what is not a number.
fn key(score: f32) -> u32 {
    // Adding 0 makes -0 the same as 0.
    let bits = (score + 0.0).to_bits();
    match () {
        () if score.is_nan() => 0,
        () if bits >> 31 == 1 => !bits,
        () => bits | 1 << 31,
    }
}

fn score(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_highest_score_that_keeps_enough(
            scored in prop::collection::vec((-2.0f32..2.0, 0u64..50), 1..200),
            equal in prop::collection::vec(-2i8..2, 0..50),
            fraction in 0.01f64..1.0,
        ) {
            let mut scored = scored;
            scored.extend(equal.into_iter().map(|score| (f32::from(score) * 0.5, 7)));
            scored.push((f32::NEG_INFINITY, 1));
            let total: u64 = scored.iter().map(|(_, weight)| weight).sum();
            let found = Threshold::keep_fraction(&scored, fraction).unwrap();
            let kept = |at: f32| scored.iter().filter(|(score, _)| *score >= at).map(|(_, w)| w).sum::<u64>();
            prop_assert_eq!(found.total, total);
            prop_assert_eq!(found.kept, kept(found.score));
            prop_assert!(found.kept as f64 >= fraction * total as f64 - 1e-6);
            let above = scored.iter().filter(|(score, weight)| *score > found.score && *weight > 0)
                .map(|(score, _)| *score).fold(f32::INFINITY, f32::min);
            prop_assert!((kept(above) as f64) < fraction * total as f64);
        }

        #[test]
        fn threads_count_the_same(scored in prop::collection::vec((any::<f32>(), 1u64..9), 2..100)) {
            let whole = Threshold::keep_fraction(&scored, 0.3);
            let mut selection = Selection::new(0.3).unwrap();
            let mut ended = Ok(());
            for _ in 0..2 {
                let mut parts = [selection.clone(), selection.clone()];
                for (at, (score, weight)) in scored.iter().enumerate() {
                    parts[at % 2].add(*score, *weight);
                }
                for part in &parts {
                    selection.merge(part);
                }
                ended = ended.and_then(|()| selection.end_pass());
            }
            prop_assert_eq!(ended.is_ok(), whole.is_ok());
            if let Ok(whole) = whole {
                prop_assert_eq!(selection.threshold().unwrap(), whole);
            }
        }
    }

    #[test]
    fn a_tenth_of_a_thousand_is_a_hundred() {
        let scored: Vec<(f32, u64)> = (0..1000_u16).map(|at| (f32::from(at), 1)).collect();
        let found = Threshold::keep_fraction(&scored, 0.1).unwrap();
        assert_eq!((found.score, found.kept), (900.0, 100));
        assert!(found.keeps(900.0) && !found.keeps(899.9) && !found.keeps(f32::NAN));
    }

    #[test]
    fn nothing_to_keep_is_an_error() {
        assert!(Threshold::keep_fraction(&[], 0.1).is_err());
        assert!(Threshold::keep_fraction(&[(0.5, 0)], 0.1).is_err());
        assert!(Threshold::keep_fraction(&[(f32::NAN, 1)], 0.1).is_err());
        for fraction in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(Threshold::keep_fraction(&[(0.5, 1)], fraction).is_err(), "{fraction}");
        }
    }
}
