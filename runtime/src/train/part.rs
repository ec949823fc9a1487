//! What one rank's micro-batches of a step gave, and what those of all ranks come to.

use super::TrainError;

/// Numbers that a stage may add to its loss.
const MOST_METRICS: usize = 16;
/// Numbers of a part before its metrics.
const HEAD: usize = 6;

/// A rank's part of a step, or the sum of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Part {
    /// Whether the process was asked to stop before the part was whole.
    pub(super) is_stopped: bool,
    /// The first micro-batch whose loss is no number, and that loss.
    pub(super) bad: Option<(u64, f64)>,
    /// Loss.
    pub(super) loss: f64,
    /// Tokens that carry loss.
    pub(super) tokens: u64,
    /// Seconds in which this rank read and laid out rows; not summed.
    pub(super) data_secs: f64,
    /// The stage's own numbers.
    pub(super) metrics: Vec<(&'static str, f64)>,
    /// Which weights have a gradient.
    pub(super) has_gradient: Vec<bool>,
}

impl Part {
    /// Adds a micro-batch.
    pub(super) fn add(&mut self, tokens: u64, metrics: Vec<(&'static str, f64)>) {
        self.tokens += tokens;
        for (name, value) in metrics {
            match self.metrics.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += value,
                None => self.metrics.push((name, value)),
            }
        }
    }

    /// The part as numbers, as many on every rank.
    pub(super) fn numbers(&self) -> Result<Vec<f64>, TrainError> {
        let number = |flag: bool| f64::from(u8::from(flag));
        if self.metrics.len() > MOST_METRICS {
            let got = self.metrics.len();
            return Err(TrainError::Refused(format!(
                "a stage has at most {MOST_METRICS} numbers, got {got}"
            )));
        }
        let (micro, value) = self.bad.unwrap_or_default();
        let head = [number(self.is_stopped), number(self.bad.is_some()), micro as f64, value, self.loss];
        let mut numbers: Vec<f64> = head.into_iter().chain([self.tokens as f64]).collect();
        numbers.extend(self.metrics.iter().map(|(_, value)| *value));
        numbers.resize(HEAD + MOST_METRICS, 0.0);
        numbers.extend(self.has_gradient.iter().copied().map(number));
        Ok(numbers)
    }

    /// The sum over all ranks, in their order. Names of numbers are this rank's: every micro-batch has the same, in one order.
    pub(super) fn sum(&self, all: &[Vec<f64>]) -> Self {
        let sum = |at: usize| all.iter().map(|numbers| numbers[at]).sum::<f64>();
        let is_any = |at: usize| all.iter().any(|numbers| numbers[at] != 0.0);
        let bad =
            all.iter().filter(|numbers| numbers[1] != 0.0).map(|numbers| (numbers[2] as u64, numbers[3]));
        let named = self.metrics.iter().enumerate();
        let from = HEAD + MOST_METRICS;
        Self {
            is_stopped: is_any(0),
            bad: bad.min_by_key(|(micro, _)| *micro),
            loss: sum(4),
            tokens: sum(5) as u64,
            data_secs: self.data_secs,
            metrics: named.map(|(at, (name, _))| (*name, sum(HEAD + at))).collect(),
            has_gradient: (from..from + self.has_gradient.len()).map(is_any).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_every_ranks_and_names_the_first_bad_micro_batch() {
        let part = |micro: Option<u64>, loss: f64| Part {
            is_stopped: false,
            bad: micro.map(|micro| (micro, f64::NAN)),
            loss,
            tokens: 5,
            data_secs: 0.0,
            metrics: vec![("kl", loss), ("accuracy", 0.5)],
            has_gradient: vec![loss > 1.0, false],
        };
        let idle = Part { has_gradient: vec![false, false], ..Part::default() };
        let parts = [part(None, 1.0), part(Some(7), 2.0), part(Some(4), 3.0), idle];
        let all: Vec<Vec<f64>> = parts.iter().map(|part| part.numbers().unwrap()).collect();
        let sum = parts[0].sum(&all);
        assert_eq!(sum.bad.map(|(micro, loss)| (micro, loss.is_nan())), Some((4, true)));
        assert_eq!((sum.loss, sum.tokens, sum.is_stopped), (6.0, 15, false));
        assert_eq!(sum.metrics, [("kl", 6.0), ("accuracy", 1.5)]);
        assert_eq!(sum.has_gradient, [true, false]);
        let stopped = Part { is_stopped: true, ..Part::default() }.numbers().unwrap();
        assert!(Part::default().sum(&[Part::default().numbers().unwrap(), stopped]).is_stopped);
        let many = Part { metrics: vec![("kl", 0.0); 17], ..Part::default() };
        assert!(many.numbers().is_err());
    }
}
