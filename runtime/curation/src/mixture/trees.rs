//! Gradient-boosted regression trees: the loss as a sum of many small steps.
//!
//! Friedman 2001, "Greedy Function Approximation"; shares are put into bins first, as in LightGBM (Ke et al. 2017), so that a split is found in one pass. Nothing is drawn: the same runs give the same trees.

use super::runs::ProxyRuns;

/// Trees at most.
pub(super) const ROUNDS: usize = 600;
/// How much of each tree is added.
const RATE: f64 = 0.05;
/// Questions from the root to a leaf at most.
const DEPTH: usize = 5;
/// Runs of a leaf at least.
const LEAST: f64 = 4.0;
/// Drawn towards 0 as if so many runs with no residual were in each leaf.
const DAMPING: f64 = 1.0;
/// Bins of a share at most.
const BINS: usize = 64;

/// A sum of trees.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    mean: f64,
    trees: Vec<Vec<Node>>,
}

/// A node; the root is the first.
#[derive(Debug, Clone, Copy)]
enum Node {
    Leaf(f64),
    /// Left if the domain's share is at most the border; right is the node behind left's number.
    Split {
        domain: usize,
        border: f64,
        left: usize,
    },
}

impl Trees {
    /// Grows trees; after each, `watch` is told what has been grown so far.
    pub(super) fn fit(runs: &ProxyRuns, rounds: usize, mut watch: impl FnMut(&Self)) -> Self {
        let bins = Bins::new(runs);
        let mean = runs.losses.iter().sum::<f64>() / runs.losses.len() as f64;
        let mut residuals: Vec<f64> = runs.losses.iter().map(|loss| loss - mean).collect();
        let mut out = Self { mean, trees: Vec::with_capacity(rounds) };
        for _ in 0..rounds {
            let tree = grow(&bins, &mut residuals);
            out.trees.push(tree);
            watch(&out);
        }
        out
    }

    /// Of the first so many trees.
    pub(super) fn predict(&self, mixture: &[f64]) -> f64 {
        self.mean + self.trees.iter().map(|tree| value(tree, mixture)).sum::<f64>()
    }

    /// What the last tree adds.
    pub(super) fn last(&self, mixture: &[f64]) -> f64 {
        self.trees.last().map_or(0.0, |tree| value(tree, mixture))
    }

    /// What is said before any tree.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }
}

fn value(tree: &[Node], mixture: &[f64]) -> f64 {
    let mut at = 0;
    loop {
        match tree[at] {
            Node::Leaf(value) => return value,
            Node::Split { domain, border, left } => at = left + usize::from(mixture[domain] > border),
        }
    }
}

/// Shares as numbers of bins.
struct Bins {
    /// Upper borders of each domain's bins, ascending; the last bin has none.
    borders: Vec<Vec<f64>>,
    /// `[domains][runs]`.
    of_runs: Vec<Vec<u8>>,
}

impl Bins {
    fn new(runs: &ProxyRuns) -> Self {
        let mut out = Self { borders: Vec::new(), of_runs: Vec::new() };
        for domain in 0..runs.domains.len() {
            let shares: Vec<f64> = runs.mixtures.iter().map(|mixture| mixture[domain]).collect();
            let mut sorted = shares.clone();
            sorted.sort_by(f64::total_cmp);
            let mut values = sorted.clone();
            values.dedup();
            // Where there are more values than bins, about as many runs to each.
            if values.len() > BINS {
                values = (0..BINS).map(|at| sorted[at * (sorted.len() - 1) / (BINS - 1)]).collect();
                values.dedup();
            }
            let borders: Vec<f64> = values.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect();
            let bin = |share: &f64| borders.partition_point(|border| border < share) as u8;
            out.of_runs.push(shares.iter().map(bin).collect());
            out.borders.push(borders);
        }
        out
    }
}

/// Grows a tree on the residuals and takes what it says off them.
fn grow(bins: &Bins, residuals: &mut [f64]) -> Vec<Node> {
    let mut nodes = vec![Node::Leaf(0.0)];
    // Node, its depth and its runs.
    let mut open: Vec<(usize, usize, Vec<u32>)> = vec![(0, 0, (0..residuals.len() as u32).collect())];
    while let Some((at, depth, runs)) = open.pop() {
        let split = if depth < DEPTH { best_split(bins, residuals, &runs) } else { None };
        let Some((domain, bin)) = split else {
            let sum: f64 = runs.iter().map(|run| residuals[*run as usize]).sum();
            let value = RATE * sum / (runs.len() as f64 + DAMPING);
            nodes[at] = Node::Leaf(value);
            for run in runs {
                residuals[run as usize] -= value;
            }
            continue;
        };
        let left = nodes.len();
        nodes[at] = Node::Split { domain, border: bins.borders[domain][usize::from(bin)], left };
        nodes.extend([Node::Leaf(0.0); 2]);
        let is_left = |run: &u32| bins.of_runs[domain][*run as usize] <= bin;
        let (lower, upper) = runs.into_iter().partition(is_left);
        open.push((left + 1, depth + 1, upper));
        open.push((left, depth + 1, lower));
    }
    nodes
}

/// The question that leaves the least squares; the first domain and bin of several.
fn best_split(bins: &Bins, residuals: &[f64], runs: &[u32]) -> Option<(usize, u8)> {
    let count = runs.len() as f64;
    let sum: f64 = runs.iter().map(|run| residuals[*run as usize]).sum();
    let gain_of = |sum: f64, count: f64| sum * sum / (count + DAMPING);
    let mut best = (gain_of(sum, count) + 1e-12, None);
    for (domain, of_runs) in bins.of_runs.iter().enumerate() {
        let mut cells = [(0.0_f64, 0.0_f64); BINS];
        for run in runs {
            let cell = &mut cells[usize::from(of_runs[*run as usize]) % BINS];
            *cell = (cell.0 + residuals[*run as usize], cell.1 + 1.0);
        }
        let mut left = (0.0, 0.0);
        for (bin, cell) in cells.iter().enumerate().take(bins.borders[domain].len()) {
            left = (left.0 + cell.0, left.1 + cell.1);
            if left.1 < LEAST || count - left.1 < LEAST || cell.1 == 0.0 {
                continue;
            }
            let gain = gain_of(left.0, left.1) + gain_of(sum - left.0, count - left.1);
            if gain > best.0 {
                best = (gain, Some((domain, bin as u8)));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_curves_are_learned() {
        let mixtures: Vec<Vec<f64>> = (0..200_u32)
            .map(|at| {
                let a = f64::from(at * 37 % 200) / 200.0;
                vec![a, 1.0 - a]
            })
            .collect();
        let truth = |a: f64| if a > 0.6 { 5.0 } else { 3.0 + a * a };
        let losses = mixtures.iter().map(|mixture| truth(mixture[0])).collect();
        let runs = ProxyRuns { domains: vec!["a".into(), "b".into()], mixtures, losses };
        let mut grown = 0;
        let trees = Trees::fit(&runs, 300, |_| grown += 1);
        assert_eq!(grown, 300);
        for a in [0.1, 0.3, 0.5, 0.7, 0.9] {
            assert!((trees.predict(&[a, 1.0 - a]) - truth(a)).abs() < 0.05, "{a}");
        }
        let again = Trees::fit(&runs, 300, |_| {});
        assert!(trees.predict(&[0.2, 0.8]).to_bits() == again.predict(&[0.2, 0.8]).to_bits());
    }

    #[test]
    fn equal_runs_make_one_leaf() {
        let runs = ProxyRuns {
            domains: vec!["a".into(), "b".into()],
            mixtures: vec![vec![0.5, 0.5]; 20],
            losses: vec![2.0; 20],
        };
        assert!((Trees::fit(&runs, 5, |_| {}).predict(&[0.9, 0.1]) - 2.0).abs() < 1e-12);
    }
}
