//! Which row of which domain every row of a run is: a function of the seed and the row's number.
//!
//! Within a domain each epoch visits every row once, in the order of a seeded permutation. Within a phase the domains follow its weights
//! within two rows at every prefix, however many domains there are.
//!
//! Both are found without walking there. The domains of a phase are the leaves of a Huffman tree over their weights; of the first `n` rows that come
//! to a node, `⌊n·w + ½⌋` go to its left child, where `w` is that child's share, in whole numbers. A child with children of its own has at most two
//! thirds of its parent, so the halves that are rounded off on the way down sum up to less than two. A seek takes as many steps as the tree is
//! deep, at row 10^12 as at row 0, and nothing is held for each row. Nothing here knows of ranks, micro-batches or restarts.

use std::collections::BTreeMap;

use super::permutation::mix;
use super::{Permutation, RowId, TrainError};

/// The whole of a node's rows, in the unit of its left child's share.
const WHOLE: u128 = 1 << 60;

/// A stretch of a run with one mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct MixturePhase {
    /// The row where the phase ends (not in it).
    pub end_row: u64,
    /// Weight by domain name; names that are absent weigh nothing.
    pub weights: BTreeMap<String, f64>,
}

/// The order of a run's rows.
#[derive(Debug)]
pub struct MixtureOrder {
    seed: u64,
    phases: Vec<Phase>,
    /// Rows of each domain.
    sizes: Vec<u64>,
}

#[derive(Debug)]
struct Phase {
    begin: u64,
    end: u64,
    /// Rows taken of each domain before the phase.
    before: Vec<u64>,
    mixture: Mixture,
}

impl MixtureOrder {
    /// The order for domains, given by name and rows. A phase that weighs a domain without a row is an error.
    pub fn new(domains: &[(String, u64)], phases: &[MixturePhase], seed: u64) -> Result<Self, TrainError> {
        let sizes: Vec<u64> = domains.iter().map(|(_, rows)| *rows).collect();
        let mut taken = vec![0; sizes.len()];
        let mut begin = 0;
        let mut out = Vec::new();
        for phase in phases {
            check(domains, phase)?;
            let weights: Vec<f64> =
                domains.iter().map(|(name, _)| phase.weights.get(name).copied().unwrap_or(0.0)).collect();
            let mixture = Mixture::new(&weights)?;
            let end = phase.end_row.max(begin);
            let before = taken.clone();
            mixture.count(end - begin, &mut taken);
            out.push(Phase { begin, end, before, mixture });
            begin = end;
        }
        Ok(Self { seed, phases: out, sizes })
    }

    /// Rows in all.
    pub fn num_rows(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.end)
    }

    /// Domain and row of the run's row number `row`.
    ///
    /// # Panics
    /// Past the last row.
    pub fn at(&self, row: u64) -> RowId {
        let phase = &self.phases[self.phases.partition_point(|phase| phase.end <= row)];
        let (domain, earlier) = phase.mixture.at(row - phase.begin);
        self.place(domain, phase.before[domain] + earlier)
    }

    /// Domains and rows of `count` consecutive rows.
    pub fn range(&self, from: u64, count: u64) -> Vec<RowId> {
        (from..from + count).map(|row| self.at(row)).collect()
    }

    fn place(&self, domain: usize, taken: u64) -> RowId {
        let (epoch, index) = (taken / self.sizes[domain], taken % self.sizes[domain]);
        let key = mix(self.seed ^ mix((domain as u64) << 32 ^ epoch));
        (domain, Permutation::new(self.sizes[domain], key).at(index))
    }

    /// How often the run's rows go through each domain.
    pub fn epochs(&self) -> Vec<f64> {
        self.epochs_at(self.num_rows())
    }

    /// How often the run's first `rows` rows go through each domain.
    pub fn epochs_at(&self, rows: u64) -> Vec<f64> {
        let mut taken = vec![0; self.sizes.len()];
        if let Some(phase) = self.phases.iter().rfind(|phase| phase.begin < rows) {
            taken.clone_from(&phase.before);
            phase.mixture.count(rows.min(phase.end) - phase.begin, &mut taken);
        }
        taken.iter().zip(&self.sizes).map(|(&count, &size)| count as f64 / size.max(1) as f64).collect()
    }
}

fn check(domains: &[(String, u64)], phase: &MixturePhase) -> Result<(), TrainError> {
    for (name, weight) in &phase.weights {
        let rows = domains.iter().find(|(known, _)| known == name).map_or(0, |(_, rows)| *rows);
        if *weight > 0.0 && rows == 0 {
            let names: Vec<&str> = domains.iter().map(|(name, _)| name.as_str()).collect();
            return Err(TrainError::Refused(format!(
                "domain {name:?} has weight {weight}, and the corpus has no token of it (domains: {})",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

/// The domains of a phase, as a tree.
#[derive(Debug)]
struct Mixture {
    /// Children before their parents; the root is the last.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Domain(usize),
    Split { left: usize, right: usize, share: u128 },
}

impl Mixture {
    fn new(weights: &[f64]) -> Result<Self, TrainError> {
        let mut nodes = Vec::new();
        // Weight and node of each subtree; ties go by node, so the tree is the same everywhere.
        let mut open: Vec<(f64, usize)> = Vec::new();
        for (domain, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            open.push((*weight, nodes.len()));
            nodes.push(Node::Domain(domain));
        }
        let heaviest_first = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
        loop {
            open.sort_by(heaviest_first);
            let (Some(light), heavy) = (open.pop(), open.pop()) else {
                return Err(TrainError::Refused("a phase has no domain with a weight above 0".into()));
            };
            let Some(heavy) = heavy else { return Ok(Self { nodes }) };
            let sum = light.0 + heavy.0;
            let share = ((heavy.0 / sum) * WHOLE as f64) as u128;
            nodes.push(Node::Split { left: heavy.1, right: light.1, share: share.clamp(1, WHOLE - 1) });
            open.push((sum, nodes.len() - 1));
        }
    }

    /// The domain of row `row`, and how many earlier rows are of that domain.
    fn at(&self, row: u64) -> (usize, u64) {
        let (mut node, mut row) = (self.nodes.len() - 1, row);
        loop {
            match self.nodes[node] {
                Node::Domain(domain) => return (domain, row),
                Node::Split { left, right, share } => {
                    let before = to_left(row, share);
                    (node, row) =
                        if to_left(row + 1, share) > before { (left, before) } else { (right, row - before) };
                }
            }
        }
    }

    /// Adds how many of the first `rows` rows are of each domain.
    fn count(&self, rows: u64, into: &mut [u64]) {
        let mut of_node = vec![0; self.nodes.len()];
        of_node[self.nodes.len() - 1] = rows;
        for (at, node) in self.nodes.iter().enumerate().rev() {
            match *node {
                Node::Domain(domain) => into[domain] += of_node[at],
                Node::Split { left, right, share } => {
                    of_node[left] = to_left(of_node[at], share);
                    of_node[right] = of_node[at] - of_node[left];
                }
            }
        }
    }
}

/// How many of the first `rows` rows go to the left.
fn to_left(rows: u64, share: u128) -> u64 {
    ((u128::from(rows) * share + WHOLE / 2) / WHOLE) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::train::permutation::rounds;

    fn domains(sizes: &[u64]) -> Vec<(String, u64)> {
        sizes.iter().enumerate().map(|(at, rows)| (format!("d{at}"), *rows)).collect()
    }

    fn weights(of: &[f64]) -> BTreeMap<String, f64> {
        let sum: f64 = of.iter().sum();
        of.iter().enumerate().map(|(at, weight)| (format!("d{at}"), weight / sum)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_mixture_holds_at_every_prefix_and_no_row_comes_twice_before_all_came_once(
            sizes in prop::collection::vec(1u64..40, 1..8),
            of in prop::collection::vec(0.001f64..1.0, 8),
            ends in prop::collection::vec(0u64..300, 1..4),
            seed in any::<u64>(),
        ) {
            let of = &of[..sizes.len()];
            let shared = weights(of);
            let mut end_row = 0;
            let phases: Vec<MixturePhase> = ends.iter().map(|rows| {
                end_row += rows;
                MixturePhase { end_row, weights: shared.clone() }
            }).collect();
            let order = MixtureOrder::new(&domains(&sizes), &phases, seed).unwrap();
            let mut taken: Vec<Vec<u64>> = vec![Vec::new(); sizes.len()];
            let mut begin = 0;
            for phase in &phases {
                let mut counts = vec![0u64; sizes.len()];
                for row in begin..phase.end_row {
                    let (domain, place) = order.at(row);
                    counts[domain] += 1;
                    taken[domain].push(place);
                    for (at, count) in counts.iter().enumerate() {
                        let wanted = shared[&format!("d{at}")] * (row + 1 - begin) as f64;
                        prop_assert!((*count as f64 - wanted).abs() < 2.0, "{count} of {wanted}");
                    }
                }
                begin = phase.end_row;
            }
            for (at, (rows, size)) in taken.iter().zip(&sizes).enumerate() {
                prop_assert!((order.epochs()[at] - rows.len() as f64 / *size as f64).abs() < 1e-9);
                for epoch in rows.chunks(*size as usize) {
                    let mut sorted = epoch.to_vec();
                    sorted.sort_unstable();
                    sorted.dedup();
                    prop_assert_eq!(sorted.len(), epoch.len(), "a row came twice in an epoch");
                    prop_assert!(epoch.len() < *size as usize || sorted == (0..*size).collect::<Vec<_>>());
                }
            }
        }
    }

    /// Work, not time: rounds of the permutation's cipher, the only loop of a seek besides the walk down the tree.
    #[test]
    fn a_seek_to_row_ten_to_the_twelve_costs_what_one_to_row_0_costs() {
        let end_row = 1 << 41;
        let sizes = [3_000_000_007, 40_001, 977];
        let mixture = weights(&[0.7, 0.2, 0.1]);
        let half = MixturePhase { end_row: end_row / 2, weights: mixture.clone() };
        let order =
            MixtureOrder::new(&domains(&sizes), &[half, MixturePhase { end_row, weights: mixture }], 9)
                .unwrap();
        assert_eq!(order.phases.iter().map(|phase| phase.mixture.nodes.len()).sum::<usize>(), 10);
        let work = |from: u64| {
            let before = rounds();
            order.range(from, 1000);
            rounds() - before
        };
        let (near, far) = (work(0), work(1_000_000_000_000));
        // Four rounds a try, and at most four tries on average: the cipher's range is under four times the domain.
        assert!(near < 1000 * 16 && far < 1000 * 16, "{near} and {far}");
        let counts = order.range(1_000_000_000_000, 1000).iter().filter(|row| row.0 == 0).count();
        assert!((698..=702).contains(&counts), "{counts}");
    }

    #[test]
    fn a_phase_of_what_is_not_there_is_refused() {
        let phase = MixturePhase { end_row: 4, weights: BTreeMap::from([("poems".to_owned(), 1.0)]) };
        let refused = MixtureOrder::new(&domains(&[3]), &[phase], 3).unwrap_err().to_string();
        assert!(refused.contains("poems") && refused.contains("d0"), "{refused}");
    }
}
