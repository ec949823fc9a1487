//! BFGS with a weak-Wolfe bisection: for a handful of parameters, and for functions like a Huber loss whose curvature jumps.
//!
//! Lewis and Overton, Nonsmooth optimization via quasi-Newton methods (2013): the bisection needs nothing but values and slopes,
//! and holds where a cubic interpolation is misled by a kink.

/// Where a minimisation ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Minimum {
    /// The parameters.
    pub at: Vec<f64>,
    /// The function's value there.
    pub value: f64,
    /// Whether the gradient or the steps had vanished (else the iterations ran out).
    pub converged: bool,
}

/// Minimises `function`, which returns its value and writes its gradient, from `start`.
pub(super) fn minimize(
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
    start: &[f64],
    iterations: usize,
) -> Minimum {
    let size = start.len();
    let mut at = start.to_vec();
    let mut gradient = vec![0.0; size];
    let mut value = function(&at, &mut gradient);
    let mut inverse = identity(size);
    let mut fresh = true;
    for _ in 0..iterations {
        if norm(&gradient) <= 1e-10 * (1.0 + value.abs()) {
            return Minimum { at, value, converged: true };
        }
        let mut direction = times(&inverse, &gradient);
        for d in &mut direction {
            *d = -*d;
        }
        if dot(&direction, &gradient) >= 0.0 {
            inverse = identity(size);
            fresh = true;
            direction = gradient.iter().map(|g| -g).collect();
        }
        if fresh {
            let scale = 1.0 / norm(&gradient).max(1.0);
            for d in &mut direction {
                *d *= scale;
            }
        }
        let Some((next, next_value, next_gradient)) =
            search(&mut function, &at, value, &gradient, &direction)
        else {
            if fresh {
                return Minimum { at, value, converged: true };
            }
            inverse = identity(size);
            fresh = true;
            continue;
        };
        let moved: Vec<f64> = next.iter().zip(&at).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let still = value - next_value <= 1e-14 * (1e-6 + value.abs());
        (at, value, gradient) = (next, next_value, next_gradient);
        if still {
            if fresh {
                return Minimum { at, value, converged: true };
            }
            inverse = identity(size);
            fresh = true;
            continue;
        }
        if fresh {
            let curvature = dot(&moved, &turned) / dot(&turned, &turned).max(f64::MIN_POSITIVE);
            if curvature > 0.0 {
                for entry in inverse.iter_mut().flatten() {
                    *entry *= curvature;
                }
            }
        }
        fresh = false;
        update(&mut inverse, &moved, &turned);
    }
    Minimum { at, value, converged: false }
}

type Found = (Vec<f64>, f64, Vec<f64>);

/// Finds a step that lowers the value enough (Armijo) and flattens the slope enough (weak Wolfe); if the bisection ends before
/// both hold, the lowest step that Armijo allowed.
fn search(
    function: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
    at: &[f64],
    value: f64,
    gradient: &[f64],
    direction: &[f64],
) -> Option<Found> {
    let slope = dot(gradient, direction);
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, 1.0);
    let mut found = None;
    for _ in 0..40 {
        let next: Vec<f64> = at.iter().zip(direction).map(|(a, d)| a + step * d).collect();
        let mut next_gradient = vec![0.0; at.len()];
        let next_value = function(&next, &mut next_gradient);
        if !next_value.is_finite() || next_value > value + 1e-4 * step * slope {
            high = step;
        } else {
            let flat = dot(&next_gradient, direction) >= 0.9 * slope;
            found = Some((next, next_value, next_gradient));
            if flat {
                return found;
            }
            low = step;
        }
        step = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * low };
        if !(low < step && step < high) {
            break;
        }
    }
    found
}

/// The BFGS update of the inverse Hessian: (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ, left out where the curvature isn't positive.
fn update(inverse: &mut [Vec<f64>], moved: &[f64], turned: &[f64]) {
    let curvature = dot(moved, turned);
    if curvature <= 1e-12 * norm(moved) * norm(turned) {
        return;
    }
    let rho = 1.0 / curvature;
    let image = times(inverse, turned);
    let factor = rho * (1.0 + rho * dot(turned, &image));
    for (i, row) in inverse.iter_mut().enumerate() {
        for (j, entry) in row.iter_mut().enumerate() {
            *entry += factor * moved[i] * moved[j] - rho * (image[i] * moved[j] + moved[i] * image[j]);
        }
    }
}

fn identity(size: usize) -> Vec<Vec<f64>> {
    (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect()
}

fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| dot(row, vector)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrocks_valley_is_walked_to_its_end() {
        let rosenbrock = |x: &[f64], g: &mut [f64]| {
            g[0] = -400.0 * x[0] * (x[1] - x[0] * x[0]) - 2.0 * (1.0 - x[0]);
            g[1] = 200.0 * (x[1] - x[0] * x[0]);
            100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)
        };
        let found = minimize(rosenbrock, &[-1.2, 1.0], 200);
        assert!(found.converged);
        assert!((found.at[0] - 1.0).abs() < 1e-6 && (found.at[1] - 1.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn a_kink_does_not_stop_it() {
        let sum_of_kinks = |x: &[f64], g: &mut [f64]| {
            g[0] = x[0].signum() + 0.2 * x[0];
            g[1] = 3.0 * (x[1] - 2.0).signum();
            x[0].abs() + 0.1 * x[0] * x[0] + 3.0 * (x[1] - 2.0).abs()
        };
        let found = minimize(sum_of_kinks, &[5.0, -3.0], 500);
        assert!(found.value < 1e-4, "{found:?}");
    }
}
