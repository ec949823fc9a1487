//! Boosted trees that say how likely a block is content (Friedman, "Greedy Function Approximation", Annals of
//! Statistics 2001), in two stages: the second sees what the first said of the blocks around. Learnt by
//! `training/extraction.py`, which wrote the tables beside this file.

use std::sync::LazyLock;

/// A question about a feature, or a leaf: that leads to itself and has its value in place of a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Node {
    feature: u16,
    /// Where it goes on: for values up to the threshold, and for larger ones.
    next: [u16; 2],
    threshold: f32,
}

/// A tree: its nodes, the root first, and how many questions lead to its deepest leaf.
#[derive(Debug, Clone, PartialEq)]
struct Tree {
    nodes: Vec<Node>,
    depth: usize,
}

/// A sum of trees.
#[derive(Debug, Default)]
pub(super) struct Forest {
    trees: Vec<Tree>,
    /// How many features it asks about at most.
    width: usize,
    /// Trees of the table that were not understood; a test says there are none.
    num_broken: usize,
}

/// The first stage.
pub(super) static FIRST: LazyLock<Forest> = LazyLock::new(|| Forest::read(include_str!("model-first.txt")));

/// The second stage.
pub(super) static SECOND: LazyLock<Forest> = LazyLock::new(|| Forest::read(include_str!("model-second.txt")));

/// The kinds of pages: one tree after the other for each kind in turn.
pub(super) static KINDS: LazyLock<Forest> = LazyLock::new(|| Forest::read(include_str!("model-kinds.txt")));

/// Rows that go through a tree together: a processor waits for one while it looks at the next.
const LANES: usize = 8;

impl Forest {
    /// Reads a table: a tree a line, splits as `feature,threshold,left,right`, then `|` and the leaves.
    fn read(table: &'static str) -> Self {
        let mut out = Self::default();
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            match tree(line) {
                Some(tree) => out.trees.push(tree),
                None => out.num_broken += 1,
            }
        }
        let features =
            out.trees.iter().flat_map(|tree| &tree.nodes).map(|node| usize::from(node.feature) + 1);
        out.width = features.max().unwrap_or(0);
        out
    }

    /// Adds what each tree says of each row, to one of `classes` sums a row; trees of the classes take turns.
    /// A row is `stride` numbers of `values`; rows with fewer than the trees ask about have nothing added.
    fn sums(&self, values: &[f32], stride: usize, classes: usize) -> Vec<f32> {
        let count = values.len().checked_div(stride).unwrap_or(0);
        let mut out = vec![0.0; count * classes];
        if stride < self.width {
            return out;
        }
        for first in (0..count).step_by(LANES) {
            let rows: [&[f32]; LANES] = std::array::from_fn(|lane| {
                let row = (first + lane).min(count - 1);
                &values[row * stride..(row + 1) * stride]
            });
            for (index, tree) in self.trees.iter().enumerate() {
                let leaves = tree.leaves(&rows);
                for (lane, leaf) in leaves.iter().enumerate().take(count - first) {
                    out[(first + lane) * classes + index % classes] += leaf;
                }
            }
        }
        out
    }

    /// How likely each row is what the trees were trained to find.
    pub(super) fn likely(&self, values: &[f32], stride: usize) -> Vec<f32> {
        self.sums(values, stride, 1).into_iter().map(|sum| 1.0 / (1.0 + (-sum).exp())).collect()
    }

    /// The sums of a row for each of `count` classes.
    pub(super) fn classes(&self, row: &[f32], count: usize) -> Vec<f32> {
        let sums = self.sums(row, row.len(), count);
        if sums.is_empty() { vec![0.0; count] } else { sums }
    }

    /// Whether the whole table was read and its questions are about these features.
    #[cfg(test)]
    pub(super) fn is_whole(&self, width: usize) -> bool {
        !self.trees.is_empty() && self.num_broken == 0 && self.width <= width
    }
}

impl Tree {
    /// The values of the leaves that rows lead to.
    fn leaves(&self, rows: &[&[f32]; LANES]) -> [f32; LANES] {
        let mut at = [0_u16; LANES];
        for _ in 0..self.depth {
            for (at, row) in at.iter_mut().zip(rows) {
                let node = &self.nodes[usize::from(*at)];
                // An index, not a branch: which way a row goes is a coin's toss to the processor.
                *at = node.next[usize::from(row[usize::from(node.feature)] > node.threshold)];
            }
        }
        let mut values = [0.0; LANES];
        for (value, at) in values.iter_mut().zip(at) {
            *value = self.nodes[usize::from(at)].threshold;
        }
        values
    }
}

/// Reads a line. Children come after their parents, so that no walk goes round in a circle.
fn tree(line: &str) -> Option<Tree> {
    let (splits, leaves) = line.split_once('|')?;
    let num_splits = splits.split_ascii_whitespace().count();
    let num_leaves = leaves.split_ascii_whitespace().count();
    let mut nodes = Vec::with_capacity(num_splits + num_leaves);
    let mut depths = vec![0_usize; num_splits + num_leaves];
    for (index, split) in splits.split_ascii_whitespace().enumerate() {
        let mut fields = split.split(',');
        let feature = fields.next()?.parse().ok()?;
        let threshold = fields.next()?.parse().ok()?;
        let mut child = || {
            let child: i32 = fields.next()?.parse().ok()?;
            let child = if child < 0 {
                num_splits + usize::try_from(-1 - child).ok()?
            } else {
                usize::try_from(child).ok()?
            };
            let depth = depths[index] + 1;
            let slot = depths.get_mut(child).filter(|_| child > index)?;
            *slot = (*slot).max(depth);
            u16::try_from(child).ok()
        };
        let next = [child()?, child()?];
        nodes.push(Node { feature, next, threshold });
    }
    for (index, leaf) in leaves.split_ascii_whitespace().enumerate() {
        let at = u16::try_from(num_splits + index).ok()?;
        nodes.push(Node { feature: 0, next: [at, at], threshold: leaf.parse().ok()? });
    }
    (num_splits > 0).then(|| Tree { nodes, depth: depths.into_iter().max().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_goes_left_or_right() {
        let forest = Forest::read(
            "# a comment\n1,0.5,1,-1 0,2,-2,-3 | 10 20 30\n0,0,-1,-1 | 1 1\nbroken\n0,1,0,-1 | 1 2",
        );
        assert_eq!((forest.trees.len(), forest.num_broken, forest.width), (2, 2, 2));
        let rows = [[2.0, 0.5], [2.1, 0.5], [0.0, 0.6]].concat();
        assert_eq!(forest.sums(&rows.repeat(4), 2, 1), [21.0, 31.0, 11.0].repeat(4));
        assert_eq!(forest.sums(&rows, 2, 2), [20.0, 1.0, 30.0, 1.0, 10.0, 1.0]);
        assert_eq!(forest.sums(&[1.0], 1, 1), [0.0]);
    }
}
