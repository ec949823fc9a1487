//! Which items (packed rows, pairs) each micro-batch of each optimiser step reads: whole passes in fresh orders, the last step takes what is
//! left.

use std::ops::Range;

use crate::train::{TrainError, eased};

/// Items that a self-test takes.
const SELF_TEST_ITEMS: u64 = 3;

/// The arithmetic of steps over a stream of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemSchedule {
    /// Items in all: passes times items.
    pub total_items: u64,
    /// Items of an optimiser step.
    pub step_items: u64,
    /// Items of a forward pass.
    pub micro_items: u64,
}

impl ItemSchedule {
    /// A schedule of `epochs` passes over `num_items`.
    pub fn new(num_items: u64, epochs: f64, step_items: u64, micro_items: u64) -> Self {
        let total_items = ((num_items as f64 * epochs).round() as u64).max(1);
        let step_items = step_items.clamp(1, total_items);
        Self { total_items, step_items, micro_items: micro_items.clamp(1, step_items) }
    }

    /// The same in micro-batches half as large, as often as earlier attempts ran out of memory.
    ///
    /// # Errors
    /// Where they were as small as can be already.
    pub fn eased(self, halvings: u32) -> Result<Self, TrainError> {
        Ok(Self { micro_items: eased(self.micro_items, halvings)?, ..self })
    }

    /// The same in micro-batches so small that each of some ranks has one, as far as there are items.
    #[must_use]
    pub fn shared(self, ranks: u64) -> Self {
        Self { micro_items: self.micro_items.min((self.step_items / ranks.max(1)).max(1)), ..self }
    }

    /// The first items as one step, in micro-batches of `micro_items`: what a self-test cuts in several ways. No more items than fit a
    /// forward pass.
    #[must_use]
    pub fn first(self, micro_items: u64) -> Self {
        let step_items = self.first_items();
        Self { total_items: step_items, step_items, micro_items }
    }

    /// Items of [`ItemSchedule::first`].
    pub fn first_items(self) -> u64 {
        self.micro_items.min(SELF_TEST_ITEMS)
    }

    /// Optimiser steps.
    pub fn steps(&self) -> u64 {
        self.total_items.div_ceil(self.step_items)
    }

    /// Positions in the item stream that a step reads.
    pub fn step_range(&self, step: u64) -> Range<u64> {
        let start = (step * self.step_items).min(self.total_items);
        start..(start + self.step_items).min(self.total_items)
    }

    /// Micro-batches of a step.
    pub fn micro_batches(&self, step: u64) -> u64 {
        let range = self.step_range(step);
        (range.end - range.start).div_ceil(self.micro_items)
    }

    /// Positions in the item stream that a micro-batch reads.
    pub fn micro_range(&self, step: u64, micro: u64) -> Range<u64> {
        let range = self.step_range(step);
        let start = (range.start + micro * self.micro_items).min(range.end);
        start..(start + self.micro_items).min(range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_read_once() {
        let schedule = ItemSchedule::new(10, 2.5, 8, 3);
        let mut read = Vec::new();
        for step in 0..schedule.steps() {
            for micro in 0..schedule.micro_batches(step) {
                read.extend(schedule.micro_range(step, micro));
            }
        }
        assert_eq!(read, (0..25).collect::<Vec<_>>());
        assert_eq!((schedule.steps(), schedule.micro_batches(3)), (4, 1));
        assert_eq!([1, 2, 3, 9].map(|ranks| schedule.shared(ranks).micro_batches(0)), [3, 3, 4, 8]);
    }
}
