//! Who runs in which slot: first come, first served. A pure state machine, without a tensor or a clock.
//!
//! Invariants: a slot holds at most one request; a request is either waiting or in one slot; the order of admission is the order of
//! arrival; the lowest free slot is taken first.

use std::collections::VecDeque;

use super::RequestId;

/// What one step does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepPlan {
    /// Requests whose prompts run now, with the slots that they got.
    pub admitted: Vec<(RequestId, usize)>,
    /// Requests that get one more token, by slot.
    pub running: Vec<(RequestId, usize)>,
}

/// The waiting line and the slots.
#[derive(Debug)]
pub struct Scheduler {
    waiting: VecDeque<(RequestId, usize)>,
    slots: Vec<Option<RequestId>>,
    prefill_tokens: usize,
}

impl Scheduler {
    /// A scheduler of `num_slots` slots that starts prompts of at most `prefill_tokens` tokens in one step (one prompt always may).
    pub fn new(num_slots: usize, prefill_tokens: usize) -> Self {
        Self { waiting: VecDeque::new(), slots: vec![None; num_slots], prefill_tokens }
    }

    /// Puts a request at the end of the line.
    pub fn enqueue(&mut self, id: RequestId, prompt_tokens: usize) {
        self.waiting.push_back((id, prompt_tokens));
    }

    /// Plans a step and gives slots to the admitted requests.
    pub fn plan(&mut self) -> StepPlan {
        let running = self.running().collect();
        let mut admitted = Vec::new();
        let mut budget = self.prefill_tokens;
        while let Some(&(id, prompt_tokens)) = self.waiting.front() {
            let Some(slot) = self.slots.iter().position(Option::is_none) else { break };
            if prompt_tokens > budget && !admitted.is_empty() {
                break;
            }
            budget = budget.saturating_sub(prompt_tokens);
            self.waiting.pop_front();
            self.slots[slot] = Some(id);
            admitted.push((id, slot));
        }
        StepPlan { admitted, running }
    }

    /// Frees a request's slot, or takes it out of the line; false where it is in neither.
    pub fn release(&mut self, id: RequestId) -> bool {
        if let Some(slot) = self.slots.iter_mut().find(|slot| **slot == Some(id)) {
            *slot = None;
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|&(waiting, _)| waiting != id);
        self.waiting.len() < before
    }

    /// Requests in line.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests in slots.
    pub fn num_running(&self) -> usize {
        self.running().count()
    }

    fn running(&self) -> impl Iterator<Item = (RequestId, usize)> {
        self.slots.iter().enumerate().filter_map(|(slot, id)| id.map(|id| (id, slot)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_come_first_served_within_the_prefill_budget() {
        let mut scheduler = Scheduler::new(2, 100);
        for (id, prompt) in [(0, 60), (1, 60), (2, 500)] {
            scheduler.enqueue(RequestId(id), prompt);
        }
        assert_eq!(scheduler.plan().admitted, [(RequestId(0), 0)]);
        let second = scheduler.plan();
        assert_eq!((second.running, second.admitted), (vec![(RequestId(0), 0)], vec![(RequestId(1), 1)]));
        assert!(scheduler.plan().admitted.is_empty());
        assert!(scheduler.release(RequestId(0)));
        // A prompt over the budget still starts, alone.
        assert_eq!(scheduler.plan().admitted, [(RequestId(2), 0)]);
        assert!(!scheduler.release(RequestId(0)));
    }

    proptest! {
        #[test]
        fn no_request_is_lost_doubled_or_overtaken(
            slots in 1usize..6, events in prop::collection::vec((0u8..4, 0u64..20, 1usize..80), 1..120)
        ) {
            let mut scheduler = Scheduler::new(slots, 64);
            let (mut next, mut last_admitted) = (0u64, None);
            let mut alive = std::collections::BTreeSet::new();
            for (kind, pick, prompt) in events {
                match kind {
                    0 | 1 => {
                        scheduler.enqueue(RequestId(next), prompt);
                        alive.insert(next);
                        next += 1;
                    }
                    2 => prop_assert_eq!(scheduler.release(RequestId(pick)), alive.remove(&pick)),
                    _ => {
                        let plan = scheduler.plan();
                        for (id, slot) in &plan.admitted {
                            prop_assert!(last_admitted.is_none_or(|last| last < id.0));
                            prop_assert!(*slot < slots && alive.contains(&id.0));
                            prop_assert!(plan.running.iter().all(|(_, taken)| taken != slot));
                            last_admitted = Some(id.0);
                        }
                    }
                }
                prop_assert_eq!(scheduler.num_waiting() + scheduler.num_running(), alive.len());
            }
        }
    }
}
