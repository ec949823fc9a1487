//! Curves, thinned as they grow.

use serde::{Deserialize, Serialize};

/// A curve, thinned to [`MetricSeries::MAX_POINTS`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MetricSeries {
    /// Points in the order of the x axis.
    pub points: Vec<(u64, f64)>,
    /// The newest point, which thinning may have left out of `points`.
    pub last: Option<(u64, f64)>,
    stride: u64,
    seen: u64,
}

impl MetricSeries {
    /// Most points that are kept.
    pub const MAX_POINTS: usize = 512;

    /// Adds a point; one at or before the last x (a resumed attempt) cuts the curve back to it first.
    pub fn push(&mut self, step: u64, value: f64) {
        if self.last.is_some_and(|(last, _)| step <= last) {
            self.points.retain(|(x, _)| *x < step);
        }
        self.last = Some((step, value));
        if self.stride == 0 {
            self.stride = 1;
        }
        if self.seen.is_multiple_of(self.stride) {
            self.points.push((step, value));
        }
        self.seen += 1;
        if self.points.len() >= Self::MAX_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
            self.seen = 1;
        }
    }

    /// The points, the newest one included.
    pub fn all(&self) -> Vec<(u64, f64)> {
        let mut points = self.points.clone();
        if let Some(last) = self.last
            && points.last().is_none_or(|(x, _)| *x != last.0)
        {
            points.push(last);
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends() {
        let mut series = MetricSeries::default();
        for step in 0..10_000 {
            series.push(step, step as f64);
        }
        let points = series.all();
        assert!(points.len() <= MetricSeries::MAX_POINTS + 1 && points.len() > 200, "{}", points.len());
        assert_eq!(points.first(), Some(&(0, 0.0)));
        assert_eq!(points.last(), Some(&(9_999, 9_999.0)));
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_resumed_attempt_overwrites_the_tail() {
        let mut series = MetricSeries::default();
        for step in 0..10 {
            series.push(step, 1.0);
        }
        series.push(5, 2.0);
        assert_eq!(series.all().last(), Some(&(5, 2.0)));
        assert_eq!(series.all().len(), 6);
    }
}
