//! What runs in a step, and over which blocks: first come, first served. A pure state machine, without a tensor or a clock.
//!
//! A step gives each running request that knows its last token one more, and spends what is left of its tokens on prompts, in parts (Agrawal
//! et al. 2024, arXiv:2403.02310). A request is admitted when blocks for all its tokens are free, and a running one takes another block when
//! it grows into it. Where none is left, the request that came last goes back to the head of the line: it loses its blocks, and runs again
//! what it has, which costs time and changes nothing.
//!
//! Invariants: a request either waits or runs; who runs came before who waits; every running request advances or is the next to; no block
//! is held by a request that waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::RequestId;
use super::blocks::{BlockCounts, BlockPool, CacheSpace, ContentId};

/// How much a scheduler does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimits {
    /// Requests that run at the same time.
    pub max_running: usize,
    /// Tokens of a step, as long as the running requests leave room for prompts: at least a block's worth of these runs.
    pub step_tokens: usize,
    /// How prompts run.
    pub prompts: Prompts,
}

/// How prompts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompts {
    /// In parts, and behind the blocks of others that begin alike.
    InParts,
    /// Whole; one that is longer than a step runs with no other.
    Whole,
}

/// A request as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Tokens that prompt and answer have at most. Their blocks must fit the pool.
    pub max_tokens: usize,
    /// With whom it shares.
    pub space: CacheSpace,
    /// Whether it may skip what others have run: not where each position of the prompt is asked about.
    pub skips_known: bool,
}

/// What one step does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepPlan {
    /// What runs, the running requests first.
    pub parts: Vec<PlannedPart>,
    /// Requests that went back into the line.
    pub preempted: Vec<RequestId>,
}

/// A part of a sequence that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPart {
    /// Whose.
    pub id: RequestId,
    /// Position of the first token.
    pub start: usize,
    /// Tokens, drafts among them.
    pub count: usize,
    /// How many of the last tokens are drafts.
    pub drafts: usize,
    /// Whether the known tokens end within it, so that the next one can be chosen.
    pub is_last: bool,
}

/// What a scheduler counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScheduleCounts {
    /// Tokens that admitted requests began with.
    pub admitted_tokens: u64,
    /// Those of them that were found in blocks.
    pub found_tokens: u64,
    /// Requests that went back into the line.
    pub preemptions: u64,
}

#[derive(Debug)]
struct Sequence {
    /// Prompt and answer, then drafts.
    tokens: Vec<u32>,
    drafts: usize,
    /// Positions whose keys and values are in the blocks.
    computed: usize,
    max_tokens: usize,
    /// Tokens that were found in the cache when it was admitted last.
    found: usize,
    blocks: Vec<u32>,
    /// Blocks that the pool knows, and the content of the last of them.
    recorded: usize,
    content: ContentId,
    space: CacheSpace,
    skips_known: bool,
}

impl Sequence {
    /// Known tokens.
    fn len(&self) -> usize {
        self.tokens.len() - self.drafts
    }

    /// Known tokens that have not run; at least one.
    fn pending(&self) -> usize {
        self.len() - self.computed
    }

    fn drop_drafts(&mut self) {
        self.tokens.truncate(self.tokens.len() - self.drafts);
        self.drafts = 0;
    }
}

/// The line, the running requests and the blocks.
#[derive(Debug)]
pub struct Scheduler {
    limits: StepLimits,
    pool: BlockPool,
    sequences: BTreeMap<RequestId, Sequence>,
    waiting: VecDeque<RequestId>,
    running: BTreeSet<RequestId>,
    counts: ScheduleCounts,
}

impl Scheduler {
    /// A scheduler over a pool of free blocks.
    pub fn new(pool: BlockPool, limits: StepLimits) -> Self {
        let counts = ScheduleCounts::default();
        Self {
            limits,
            pool,
            sequences: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: BTreeSet::new(),
            counts,
        }
    }

    /// Puts a request at the end of the line. Ids grow from arrival to arrival.
    pub fn enqueue(&mut self, id: RequestId, arrival: Arrival) {
        let Arrival { tokens, max_tokens, space, skips_known } = arrival;
        let sequence = Sequence {
            tokens,
            drafts: 0,
            computed: 0,
            found: 0,
            max_tokens,
            blocks: Vec::new(),
            recorded: 0,
            content: ContentId::NOTHING,
            space,
            skips_known,
        };
        self.sequences.insert(id, sequence);
        self.waiting.push_back(id);
    }

    /// Running requests that know their last token, in the order of arrival.
    pub fn decoding(&self) -> impl Iterator<Item = RequestId> {
        self.running.iter().copied().filter(|id| self.sequences[id].pending() == 1)
    }

    /// Tokens that a decoding request may be given as drafts for its next step: those before its last one.
    pub fn room_for_drafts(&self, id: RequestId) -> usize {
        self.sequences.get(&id).map_or(0, |sequence| (sequence.max_tokens - sequence.len()).saturating_sub(1))
    }

    /// Guesses of what follows a decoding request's last token, for the next plan alone; it drops them where blocks are short.
    pub fn set_drafts(&mut self, id: RequestId, drafts: &[u32]) {
        let room = self.room_for_drafts(id);
        let is_running = self.running.contains(&id);
        if let Some(sequence) = self.sequences.get_mut(&id).filter(|one| is_running && one.pending() == 1) {
            sequence.drop_drafts();
            sequence.tokens.extend(drafts.iter().take(room));
            sequence.drafts = drafts.len().min(room);
        }
    }

    /// Plans a step and gives the blocks that it needs. What it plans must be told to [`Scheduler::advance`], or is planned again.
    pub fn plan(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        let decoding: Vec<RequestId> = self.decoding().collect();
        for id in decoding {
            // It may have lost its place to one before it.
            if self.running.contains(&id) && self.grow(id, &mut plan.preempted) {
                let sequence = &self.sequences[&id];
                plan.parts.push(PlannedPart {
                    id,
                    start: sequence.computed,
                    count: 1 + sequence.drafts,
                    drafts: sequence.drafts,
                    is_last: true,
                });
            }
        }
        let spent: usize = plan.parts.iter().map(|part| part.count).sum();
        let least = self.pool.block_tokens().min(self.limits.step_tokens);
        let mut budget = self.limits.step_tokens.saturating_sub(spent).max(least);
        let mut is_first = true;
        let begun: Vec<RequestId> =
            self.running.iter().copied().filter(|id| self.sequences[id].pending() > 1).collect();
        for id in begun {
            let Some(part) = self.prompt_part(id, budget, is_first) else { return plan };
            budget -= part.count.min(budget);
            is_first = false;
            plan.parts.push(part);
        }
        while let Some(part) = self.admit(budget, is_first) {
            budget -= part.count.min(budget);
            is_first = false;
            plan.parts.push(part);
        }
        plan
    }

    /// Tells that `count` more tokens of a request are in its blocks, and what was chosen after them. Drafts that are not among `chosen` are gone.
    pub fn advance(&mut self, id: RequestId, count: usize, chosen: &[u32]) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        sequence.drop_drafts();
        sequence.tokens.extend_from_slice(chosen);
        sequence.computed += count;
        if self.limits.prompts == Prompts::Whole {
            return;
        }
        let size = self.pool.block_tokens();
        while (sequence.recorded + 1) * size <= sequence.computed {
            let part = &sequence.tokens[sequence.recorded * size..][..size];
            let block = sequence.blocks[sequence.recorded];
            sequence.content = self.pool.record(block, sequence.content, &sequence.space, part);
            sequence.recorded += 1;
        }
    }

    /// Ends a request, wherever it is; its blocks are free for the next plan. False where it is not there.
    pub fn release(&mut self, id: RequestId) -> bool {
        let Some(sequence) = self.sequences.remove(&id) else { return false };
        self.pool.leave(&sequence.blocks);
        if !self.running.remove(&id) {
            self.waiting.retain(|&waiting| waiting != id);
        }
        true
    }

    /// A request's known tokens and drafts.
    pub fn tokens(&self, id: RequestId) -> &[u32] {
        self.sequences.get(&id).map_or(&[], |sequence| &sequence.tokens)
    }

    /// A request's table of blocks.
    pub fn blocks(&self, id: RequestId) -> &[u32] {
        self.sequences.get(&id).map_or(&[], |sequence| &sequence.blocks)
    }

    /// Requests in line.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a request is in line.
    pub fn is_waiting(&self, id: RequestId) -> bool {
        self.sequences.contains_key(&id) && !self.running.contains(&id)
    }

    /// Requests that run.
    pub fn num_running(&self) -> usize {
        self.running.len()
    }

    /// What was counted so far.
    pub fn counts(&self) -> ScheduleCounts {
        self.counts
    }

    /// How many of a request's tokens were found in the cache when it was admitted last.
    pub fn found(&self, id: RequestId) -> usize {
        self.sequences.get(&id).map_or(0, |sequence| sequence.found)
    }

    /// How many blocks are what.
    pub fn block_counts(&self) -> BlockCounts {
        self.pool.counts()
    }

    /// Gives a decoding request the blocks of its next tokens; false where it had to go back into the line.
    fn grow(&mut self, id: RequestId, preempted: &mut Vec<RequestId>) -> bool {
        loop {
            let Some(sequence) = self.sequences.get_mut(&id) else { return false };
            let missing = self.pool.blocks_for(sequence.tokens.len()).saturating_sub(sequence.blocks.len());
            if missing <= self.pool.num_available() {
                sequence.blocks.extend((0..missing).filter_map(|_| self.pool.take()));
                return true;
            }
            if sequence.drafts > 0 {
                sequence.drop_drafts();
                continue;
            }
            let Some(last) = self.running.pop_last() else { return false };
            self.send_back(last);
            preempted.push(last);
            if last == id {
                return false;
            }
        }
    }

    /// Takes a request's blocks; what it wrote stays, and it runs its tokens again when it is its turn.
    fn send_back(&mut self, id: RequestId) {
        self.waiting.push_front(id);
        self.counts.preemptions += 1;
        if let Some(sequence) = self.sequences.get_mut(&id) {
            self.pool.leave(&std::mem::take(&mut sequence.blocks));
            sequence.drop_drafts();
            (sequence.computed, sequence.recorded, sequence.content) = (0, 0, ContentId::NOTHING);
        }
    }

    /// The next part of a running request's known tokens, within the budget.
    fn prompt_part(&self, id: RequestId, budget: usize, is_first: bool) -> Option<PlannedPart> {
        let sequence = &self.sequences[&id];
        let pending = sequence.pending();
        let count = match self.limits.prompts {
            Prompts::InParts => pending.min(budget),
            Prompts::Whole if pending <= budget || is_first => pending,
            Prompts::Whole => 0,
        };
        let is_last = count == pending;
        (count > 0).then_some(PlannedPart { id, start: sequence.computed, count, drafts: 0, is_last })
    }

    /// Admits the first in line, where there is room, and plans its first part.
    fn admit(&mut self, budget: usize, is_first: bool) -> Option<PlannedPart> {
        let &id = self.waiting.front()?;
        if budget == 0 || self.running.len() >= self.limits.max_running {
            return None;
        }
        let sequence = &self.sequences[&id];
        let shares = self.limits.prompts == Prompts::InParts && sequence.skips_known;
        // The last token always runs: what follows it is asked for.
        let (found, content) = if shares {
            self.pool.find(&sequence.space, &sequence.tokens[..sequence.tokens.len() - 1])
        } else {
            (Vec::new(), ContentId::NOTHING)
        };
        let missing = self.pool.blocks_for(sequence.tokens.len()) - found.len();
        let available = self.pool.num_available() - self.pool.num_idle(&found);
        if missing + self.num_growing() > available && !self.running.is_empty() {
            return None;
        }
        if self.limits.prompts == Prompts::Whole && sequence.pending() > budget && !is_first {
            return None;
        }
        self.waiting.pop_front();
        self.running.insert(id);
        for &block in &found {
            self.pool.hold(block);
        }
        let size = self.pool.block_tokens();
        let sequence = self.sequences.get_mut(&id)?;
        self.counts.admitted_tokens += sequence.tokens.len() as u64;
        self.counts.found_tokens += (found.len() * size) as u64;
        (sequence.computed, sequence.recorded, sequence.content) = (found.len() * size, found.len(), content);
        sequence.found = sequence.computed;
        sequence.blocks = found;
        sequence.blocks.extend((0..missing).filter_map(|_| self.pool.take()));
        self.prompt_part(id, budget, is_first)
    }

    /// Running requests that may yet need another block: one is kept for each, so that an admission does not send another back at once.
    fn num_growing(&self) -> usize {
        let grows = |id: &&RequestId| {
            let sequence = &self.sequences[id];
            self.pool.blocks_for(sequence.max_tokens) > sequence.blocks.len()
        };
        self.running.iter().filter(grows).count()
    }

    /// Panics where the books disagree.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.pool.check(self.sequences.values().map(|sequence| sequence.blocks.as_slice()));
        assert_eq!(self.sequences.len(), self.waiting.len() + self.running.len());
        assert!(self.waiting.iter().is_sorted(), "the line is in the order of arrival");
        let newest = self.running.last();
        assert!(self.waiting.front().is_none_or(|first| newest.is_none_or(|newest| newest < first)));
        assert!(self.waiting.iter().all(|id| self.sequences[id].blocks.is_empty()));
        for sequence in self.sequences.values() {
            assert!(sequence.pending() >= 1 && sequence.len() <= sequence.max_tokens);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
