//! The best of many candidates, and how many of them are as good.
//!
//! Candidates come one by one, so that memory grows with those that are kept and not with those that are tried.

/// Predictions that differ by less, in parts of the loss, tie: rounding makes such differences.
const TIE: f64 = 1e-9;

/// The candidates with the least predicted losses, and those that tie with the least.
#[derive(Debug)]
pub(super) struct Best {
    top: usize,
    num_seen: usize,
    /// Loss, place and mixture: the best so far, with others up to the next cut.
    kept: Vec<(f64, usize, Vec<f64>)>,
    ties: Ties,
}

/// Candidates that tie with the least loss so far.
#[derive(Debug)]
struct Ties {
    least: f64,
    count: usize,
    first: Vec<f64>,
    sum: Vec<f64>,
}

impl Best {
    /// Takes predicted losses with their mixtures; `top` counts, 1 or more. Of equal losses the earlier counts: candidates come in no order, so that this favours none.
    pub(super) fn of(scored: impl Iterator<Item = (f64, Vec<f64>)>, top: usize) -> Self {
        let ties = Ties { least: f64::INFINITY, count: 0, first: Vec::new(), sum: Vec::new() };
        let mut out = Self { top, num_seen: 0, kept: Vec::with_capacity(2 * top), ties };
        for (loss, mixture) in scored {
            out.ties.add(loss, &mixture);
            out.kept.push((loss, out.num_seen, mixture));
            out.num_seen += 1;
            if out.kept.len() == 2 * top {
                out.cut();
            }
        }
        out.cut();
        out
    }

    /// The mean of the best, or of all that tie where they are more; none where every candidate ties, so that nothing says which is better.
    pub(super) fn mean(&self) -> Option<Vec<f64>> {
        if self.ties.count == self.num_seen {
            return None;
        }
        if self.ties.count > self.top {
            return Some(self.ties.sum.iter().map(|sum| sum / self.ties.count as f64).collect());
        }
        Some(self.mean_kept())
    }

    /// What a bootstrap sample says: the mean of the best. Where more tie, one of them, because their mean would look surer than it is: over many samples they lie as the ties do.
    pub(super) fn sample(self) -> Vec<f64> {
        if self.ties.count > self.top { self.ties.first } else { self.mean_kept() }
    }

    fn mean_kept(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.kept.first().map_or(0, |(_, _, mixture)| mixture.len())];
        for (_, _, mixture) in &self.kept {
            mean.iter_mut().zip(mixture).for_each(|(mean, share)| *mean += share / self.kept.len() as f64);
        }
        mean
    }

    fn cut(&mut self) {
        self.kept.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.kept.truncate(self.top);
    }
}

impl Ties {
    fn add(&mut self, loss: f64, mixture: &[f64]) {
        let tolerance = TIE * loss.abs();
        if loss < self.least - tolerance {
            *self = Self { least: loss, count: 0, first: mixture.to_vec(), sum: vec![0.0; mixture.len()] };
        }
        if loss <= self.least + tolerance {
            self.count += 1;
            self.sum.iter_mut().zip(mixture).for_each(|(sum, share)| *sum += share);
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what is compared is exact")]
mod tests {
    use super::*;

    /// The best `top` where candidate `at` is the mixture `[at]`.
    fn best(losses: &[f64], top: usize) -> Best {
        Best::of(losses.iter().enumerate().map(|(at, loss)| (*loss, vec![at as f64])), top)
    }

    #[test]
    fn the_mean_is_of_the_least_losses() {
        let losses = [5.0, 1.0, 4.0, 2.0, 1.5, 3.0, 8.0, 9.0];
        assert_eq!(best(&losses, 1).mean(), Some(vec![1.0]));
        assert_eq!(best(&losses, 2).mean(), Some(vec![2.5]));
        assert_eq!(best(&losses, 2).sample(), [2.5]);
        assert_eq!(best(&losses, 4).sample(), [3.25]);
    }

    #[test]
    fn more_ties_than_are_kept_all_count_and_a_sample_is_one_of_them() {
        let losses = [5.0, 1.0, 1.0 + 1e-12, 4.0, 1.0, 1.0];
        assert_eq!(best(&losses, 2).mean(), Some(vec![3.0]));
        assert_eq!(best(&losses, 2).sample(), [1.0]);
        // As many as are kept: the mean of the best.
        assert_eq!(best(&losses, 4).sample(), [3.0]);
    }

    #[test]
    fn where_all_tie_there_is_no_mean() {
        assert_eq!(best(&[3.0, 3.0 - 1e-12, 3.0], 1).mean(), None);
        assert_eq!(best(&[-3.0, -3.0 + 1e-12, -3.0], 1).sample(), [0.0]);
        assert_eq!(best(&[3.0, 3.0 - 1e-6, 3.0], 1).mean(), Some(vec![1.0]));
    }
}
