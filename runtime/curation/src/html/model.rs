//! Boosted trees that say how likely a block is content (Friedman, "Greedy Function Approximation", 2001), in two stages: the second sees what the first said
//! of the blocks around. Learnt by `runtime/curation/training/extraction.py`, which wrote the tables beside this file.

use std::sync::LazyLock;

/// A question about a feature; children below zero are leaves.
#[derive(Debug, Clone, Copy)]
struct Split {
    feature: u16,
    left: i16,
    right: i16,
    threshold: f32,
}

/// A sum of trees.
#[derive(Debug, Default)]
pub(super) struct Forest {
    splits: Vec<Split>,
    leaves: Vec<f32>,
    /// Where each tree's splits and leaves start.
    trees: Vec<(u32, u32)>,
    /// How many features it asks about at most.
    pub(super) width: usize,
}

/// The first stage, the second stage, and that of page types.
pub(super) static FIRST: LazyLock<Forest> = LazyLock::new(|| Forest::read(include_str!("model-first.txt")));
/// The second stage.
pub(super) static SECOND: LazyLock<Forest> = LazyLock::new(|| Forest::read(include_str!("model-second.txt")));
/// The kinds of pages: one tree after the other for each kind in turn.
pub(super) static KINDS: LazyLock<Forest> = LazyLock::new(|| Forest::read(include_str!("model-kinds.txt")));

impl Forest {
    /// Reads a table: a tree a line, splits as `feature,threshold,left,right`, then `|` and the leaves. What does not parse is left out, which a test
    /// would see.
    fn read(table: &'static str) -> Self {
        let mut out = Self::default();
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let Some((splits, leaves)) = line.split_once('|') else { continue };
            out.trees.push((out.splits.len() as u32, out.leaves.len() as u32));
            out.splits.extend(splits.split_ascii_whitespace().filter_map(split));
            out.leaves.extend(leaves.split_ascii_whitespace().filter_map(|leaf| leaf.parse::<f32>().ok()));
        }
        out.width = out.splits.iter().map(|split| usize::from(split.feature) + 1).max().unwrap_or(0);
        out
    }

    /// Whether every line of the table was read and every child exists.
    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        let ends = self.trees.iter().skip(1).copied().chain([(self.splits.len() as u32, self.leaves.len() as u32)]);
        let is_whole = |((splits, leaves), (next_splits, next_leaves)): ((u32, u32), (u32, u32))| {
            let own = &self.splits[splits as usize..next_splits as usize];
            let exists = |child: i16| if child >= 0 { (child as usize) < own.len() } else { (!child as u32) < next_leaves - leaves };
            !own.is_empty() && own.len() as u32 + 1 >= next_leaves - leaves && own.iter().all(|split| exists(split.left) && exists(split.right))
        };
        !self.trees.is_empty() && self.trees.iter().copied().zip(ends).all(is_whole)
    }

    fn tree(&self, index: usize, row: &[f32]) -> f32 {
        let Some(&(splits, leaves)) = self.trees.get(index) else { return 0.0 };
        let mut at = 0_i16;
        while at >= 0 {
            let Some(split) = self.splits.get(splits as usize + at as usize) else { return 0.0 };
            let value = row.get(usize::from(split.feature)).copied().unwrap_or(0.0);
            at = if value <= split.threshold { split.left } else { split.right };
        }
        self.leaves.get(leaves as usize + !at as usize).copied().unwrap_or(0.0)
    }

    /// How likely it is.
    pub(super) fn probability(&self, row: &[f32]) -> f32 {
        let sum: f32 = (0..self.trees.len()).map(|index| self.tree(index, row)).sum();
        1.0 / (1.0 + (-sum).exp())
    }

    /// The sums of each of `count` classes, whose trees take turns.
    pub(super) fn classes(&self, row: &[f32], count: usize) -> Vec<f32> {
        let mut sums = vec![0.0; count];
        for index in 0..self.trees.len() {
            sums[index % count] += self.tree(index, row);
        }
        sums
    }
}

fn split(text: &'static str) -> Option<Split> {
    let mut fields = text.split(',');
    Some(Split {
        feature: fields.next()?.parse().ok()?,
        threshold: fields.next()?.parse().ok()?,
        left: fields.next()?.parse().ok()?,
        right: fields.next()?.parse().ok()?,
    })
}
