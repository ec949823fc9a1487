//! Continuous batching: each step gives every running request its next token, and runs prompts that wait.
//!
//! [`Scheduler`] says what runs over which blocks, a [`Decoder`] runs it, and a [`Sampler`] for each request chooses. Where a [`Drafter`] guesses
//! what follows, one pass checks several tokens: a guess stands where the sampler chooses the same, so that the answer is what it is without
//! guesses (the idea of Leviathan et al. 2023, arXiv:2211.17192; here the sampler's random numbers are given by position, and nothing has to be
//! drawn again).

use std::borrow::Borrow;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::blocks::{BlockPool, CacheSpace};
use super::request::Pooling;
use super::sampling::{log_sum_exp, scored};
use super::scheduler::{Arrival, PlannedPart, Prompts, StepLimits, StepPlan};
use super::speculation::{Drafter, Guess};
use super::{
    BatchShape, Chunk, Decoder, EngineStats, FinishReason, GenerateError, Output, Positions, Request,
    RequestId, Rows, Sampler, Scheduler, ScoredToken, TorchConfig, TorchDecoder, Wanted,
};
use crate::model::Network;

/// How much an engine does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Requests that run at the same time.
    pub max_running: usize,
    /// Tokens of a step: the running requests', and prompts as far as there is room. A prompt that a decoder can't run in parts runs whole.
    pub step_tokens: usize,
}

/// The inference engine around a decoder.
pub struct Engine<D: Decoder> {
    decoder: D,
    drafter: Option<Box<dyn Drafter>>,
    scheduler: Scheduler,
    active: BTreeMap<RequestId, Active>,
    rows: Rows,
    next_id: u64,
    drafted_tokens: u64,
    accepted_tokens: u64,
}

/// A request between its submission and its last output.
struct Active {
    request: Request,
    prompt_tokens: usize,
    sampler: Sampler,
    generated: usize,
    /// Scores of the prompt so far.
    scores: Vec<ScoredToken>,
    /// Sum of the prompt's hidden states so far, or the last of them.
    hidden: Vec<f64>,
}

/// A part that ran, with what the pass gave for it.
struct Ran<'a> {
    part: PlannedPart,
    tokens: &'a [u32],
    wanted: Wanted,
    logits: &'a [f32],
    hidden: &'a [f32],
}

/// What a request made of a part that ran.
#[derive(Default)]
struct Taken {
    chosen: Vec<ScoredToken>,
    /// The prompt has run, and `scores` and `embedding` are whole.
    is_prompt_done: bool,
    finished: Option<FinishReason>,
    failure: Option<GenerateError>,
}

impl<D: Decoder> Engine<D> {
    /// An engine over all of a decoder's blocks.
    pub fn new(decoder: D, config: EngineConfig) -> Result<Self, GenerateError> {
        let at_least_one = |field: &'static str, got: usize| match got {
            0 => Err(GenerateError::Setting { field, got: "0".into(), expected: "at least 1" }),
            _ => Ok(()),
        };
        at_least_one("max_running", config.max_running)?;
        at_least_one("step_tokens", config.step_tokens)?;
        at_least_one("num_blocks", decoder.num_blocks())?;
        let prompts = match decoder.positions() {
            Positions::Apart => Prompts::InParts,
            Positions::Whole | Positions::Running => Prompts::Whole,
        };
        let limits = StepLimits { max_running: config.max_running, step_tokens: config.step_tokens, prompts };
        let pool = BlockPool::new(decoder.num_blocks(), decoder.block_tokens());
        Ok(Self {
            decoder,
            drafter: None,
            scheduler: Scheduler::new(pool, limits),
            active: BTreeMap::new(),
            rows: Rows::default(),
            next_id: 0,
            drafted_tokens: 0,
            accepted_tokens: 0,
        })
    }

    /// Lets `drafter` guess what follows. The tokens stay the same; there are fewer passes where it is right.
    ///
    /// # Errors
    /// A decoder that can't go back.
    pub fn with_drafter(mut self, drafter: Box<dyn Drafter>) -> Result<Self, GenerateError> {
        if self.decoder.positions() == Positions::Running {
            return Err(GenerateError::Setting {
                field: "drafter",
                got: "a network with a running state".into(),
                expected: "a network whose sequences can go back: a transformer",
            });
        }
        self.drafter = Some(drafter);
        Ok(self)
    }

    /// The decoder.
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// The decoder alone: requests that have not ended are gone.
    pub fn into_decoder(self) -> D {
        self.decoder
    }

    /// Tokens that a request may have, prompt and answer together.
    pub fn context(&self) -> usize {
        self.decoder.max_len().min(self.decoder.num_blocks() * self.decoder.block_tokens())
    }

    /// Puts a request in line. A request that cannot be carried out whole is refused here.
    pub fn submit(&mut self, mut request: Request) -> Result<RequestId, GenerateError> {
        request.validate(self.context(), self.decoder.vocab_size())?;
        if let Some(adapter) = request.adapter.filter(|&adapter| !self.decoder.has_adapter(adapter)) {
            return Err(GenerateError::UnknownAdapter(adapter));
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let sampler = Sampler::new(request.sampling.clone(), &request.ids, request.top_logprobs)
            .within(request.constraint.take());
        let tokens = std::mem::take(&mut request.ids);
        let prompt_tokens = tokens.len();
        let arrival = Arrival {
            max_tokens: prompt_tokens + request.max_new_tokens,
            tokens,
            space: CacheSpace { scope: request.cache_scope.clone(), adapter: request.adapter },
            skips_known: !request.score_prompt && request.embed.is_none(),
        };
        self.scheduler.enqueue(id, arrival);
        let (scores, hidden) = (Vec::new(), Vec::new());
        self.active.insert(id, Active { request, prompt_tokens, sampler, generated: 0, scores, hidden });
        Ok(id)
    }

    /// Ends a request; its blocks are free for the next step. False where it had ended before.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        if let Some(drafter) = &mut self.drafter {
            drafter.end(id);
        }
        self.active.remove(&id).is_some() && self.scheduler.release(id)
    }

    /// Requests in line.
    pub fn num_waiting(&self) -> usize {
        self.scheduler.num_waiting()
    }

    /// Whether a request is in line. Requests leave it for the first time in the order of their submission.
    pub fn is_waiting(&self, id: RequestId) -> bool {
        self.scheduler.is_waiting(id)
    }

    /// Requests that run.
    pub fn num_running(&self) -> usize {
        self.scheduler.num_running()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// What the engine holds and what it has counted.
    pub fn stats(&self) -> EngineStats {
        let counts = self.scheduler.counts();
        EngineStats {
            blocks: self.scheduler.block_counts(),
            prompt_tokens: counts.admitted_tokens,
            prefix_hit_tokens: counts.found_tokens,
            preemptions: counts.preemptions,
            drafted_tokens: self.drafted_tokens,
            accepted_tokens: self.accepted_tokens,
        }
    }

    /// Runs one step. A request may get several tokens, each an output of its own, in order; an output with a failure is its last.
    ///
    /// # Errors
    /// The pass itself failed: no token was chosen. A network with a running state may have moved on, so that all requests are better ended.
    pub fn step(&mut self) -> Result<Vec<Output>, GenerateError> {
        self.draft()?;
        let plan = self.scheduler.plan();
        for id in &plan.preempted {
            if let Some(active) = self.active.get_mut(id) {
                active.scores.clear();
                active.hidden.clear();
            }
        }
        if plan.parts.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<Wanted> = plan
            .parts
            .iter()
            .map(|part| self.active.get(&part.id).map_or(Wanted::Nothing, |active| active.wanted(part)))
            .collect();
        self.run(&plan, &wanted)?;
        let taken = self.take(&plan, &wanted);
        let mut outputs = Vec::with_capacity(taken.len());
        for (part, taken) in taken {
            self.settle(part, taken, &mut outputs);
        }
        Ok(outputs)
    }

    /// Guesses for the requests that decode.
    fn draft(&mut self) -> Result<(), GenerateError> {
        let Some(drafter) = &mut self.drafter else { return Ok(()) };
        let scheduler = &self.scheduler;
        let guesses: Vec<Guess<'_>> = scheduler
            .decoding()
            .filter_map(|id| {
                let most = scheduler.room_for_drafts(id);
                let active = self.active.get(&id).filter(|_| most > 0)?;
                Some(Guess { id, tokens: scheduler.tokens(id), sampler: &active.sampler, most })
            })
            .collect();
        let ids: Vec<RequestId> = guesses.iter().map(|guess| guess.id).collect();
        let drafts = drafter.draft(&guesses)?;
        for (id, drafts) in ids.into_iter().zip(drafts) {
            self.scheduler.set_drafts(id, &drafts);
        }
        Ok(())
    }

    /// The pass of a step.
    fn run(&mut self, plan: &StepPlan, wanted: &[Wanted]) -> Result<(), GenerateError> {
        let scheduler = &self.scheduler;
        let chunks: Vec<Chunk<'_>> = plan
            .parts
            .iter()
            .zip(wanted)
            .map(|(part, &wanted)| Chunk {
                tokens: &scheduler.tokens(part.id)[part.start..][..part.count],
                start: part.start,
                blocks: scheduler.blocks(part.id),
                adapter: self.active.get(&part.id).and_then(|active| active.request.adapter),
                wanted,
            })
            .collect();
        self.decoder.forward(&chunks, &mut self.rows)
    }

    /// Lets each request take what the pass gave for it, in the order of arrival.
    fn take(&mut self, plan: &StepPlan, wanted: &[Wanted]) -> Vec<(PlannedPart, Taken)> {
        let (vocab_size, width) = (self.decoder.vocab_size(), self.decoder.hidden_size());
        let (mut logits, mut hidden) = (self.rows.logits.as_slice(), self.rows.hidden.as_slice());
        let mut ran: BTreeMap<RequestId, Ran<'_>> = BTreeMap::new();
        for (&part, &wanted) in plan.parts.iter().zip(wanted) {
            let (num_logits, num_hidden) = match wanted {
                Wanted::Nothing => (0, 0),
                Wanted::Last => (vocab_size, 0),
                Wanted::All => (part.count * vocab_size, 0),
                Wanted::Hidden => (0, part.count * width),
            };
            let (of_logits, of_hidden);
            (of_logits, logits) = logits.split_at(num_logits);
            (of_hidden, hidden) = hidden.split_at(num_hidden);
            let tokens = self.scheduler.tokens(part.id);
            ran.insert(part.id, Ran { part, tokens, wanted, logits: of_logits, hidden: of_hidden });
        }
        let items: Vec<(&mut Active, Ran<'_>)> = self
            .active
            .iter_mut()
            .filter_map(|(id, active)| ran.remove(id).map(|ran| (active, ran)))
            .collect();
        let take = |(active, ran): (&mut Active, Ran<'_>)| (ran.part, active.take(&ran, vocab_size));
        if items.len() < PARALLEL_ROWS {
            items.into_iter().map(take).collect()
        } else {
            items.into_par_iter().map(take).collect()
        }
    }

    /// Tells the scheduler what was chosen, and the caller.
    fn settle(&mut self, part: PlannedPart, taken: Taken, outputs: &mut Vec<Output>) {
        let Taken { chosen, is_prompt_done, finished, failure } = taken;
        let id = part.id;
        let accepted = chosen.len().saturating_sub(1);
        self.drafted_tokens += part.drafts as u64;
        self.accepted_tokens += accepted as u64;
        let ids: Vec<u32> = chosen.iter().map(|token| token.token).collect();
        self.scheduler.advance(id, part.count - part.drafts + accepted, &ids);
        let first = outputs.len();
        outputs.extend(chosen.into_iter().map(|token| Output { token: Some(token), ..Output::of(id) }));
        if outputs.len() == first && (finished.is_some() || failure.is_some()) {
            outputs.push(Output::of(id));
        }
        if let Some(active) = self.active.get_mut(&id).filter(|_| is_prompt_done) {
            let prompt = std::mem::take(&mut active.scores);
            let embedding = active.embedding();
            let found = self.scheduler.found(id);
            if let Some(output) = outputs.get_mut(first) {
                (output.prompt, output.embedding) = (prompt, embedding);
                output.cached = found;
            }
        }
        if finished.is_none() && failure.is_none() {
            return;
        }
        if let Some(output) = outputs.last_mut() {
            (output.finished, output.failure) = (finished, failure);
        }
        self.cancel(id);
    }
}

impl<N: Borrow<Network>> Engine<TorchDecoder<N>> {
    /// An engine around a network, owned, shared or borrowed, on libtorch.
    pub fn on_torch(network: N, config: TorchConfig) -> Result<Self, GenerateError> {
        let step_tokens = match config.batch {
            BatchShape::Fixed => config.max_slots + INTERACTIVE_TOKENS,
            BatchShape::Shrinking => usize::MAX,
        };
        let limits = EngineConfig { max_running: config.max_slots, step_tokens };
        Self::new(TorchDecoder::new(network, config)?, limits)
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.decoder.network()
    }
}

/// Prompt tokens of a step when people wait for theirs.
const INTERACTIVE_TOKENS: usize = 512;

/// From this many requests on, sampling is worth a second thread.
const PARALLEL_ROWS: usize = 16;

impl Active {
    /// What it wants to know of a part.
    fn wanted(&self, part: &PlannedPart) -> Wanted {
        let is_prompt = self.generated == 0;
        if is_prompt && self.request.embed.is_some() {
            Wanted::Hidden
        } else if is_prompt && self.request.score_prompt || part.drafts > 0 {
            Wanted::All
        } else if part.is_last {
            Wanted::Last
        } else {
            Wanted::Nothing
        }
    }

    /// Takes what a pass gave.
    fn take(&mut self, ran: &Ran<'_>, vocab_size: usize) -> Taken {
        let mut taken = Taken { is_prompt_done: self.generated == 0 && ran.part.is_last, ..Taken::default() };
        let result = self.take_prompt(ran, vocab_size).and_then(|()| {
            if !ran.part.is_last {
                return Ok(());
            }
            if self.request.max_new_tokens == 0 {
                taken.finished = Some(FinishReason::Length);
                return Ok(());
            }
            self.choose(ran, vocab_size, &mut taken)
        });
        taken.failure = result.err();
        if taken.failure.is_some() {
            taken.finished = Some(FinishReason::Failed);
        }
        taken
    }

    /// Scores of the prompt's tokens, or its hidden states, where they are asked for.
    fn take_prompt(&mut self, ran: &Ran<'_>, vocab_size: usize) -> Result<(), GenerateError> {
        if self.generated > 0 {
            return Ok(());
        }
        if ran.wanted == Wanted::Hidden {
            let width = ran.hidden.len() / ran.part.count;
            for row in ran.hidden.chunks_exact(width) {
                match self.request.embed {
                    Some(Pooling::Mean) if !self.hidden.is_empty() => {
                        self.hidden.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
                    }
                    _ => self.hidden = row.iter().map(|&value| f64::from(value)).collect(),
                }
            }
        }
        if self.request.score_prompt {
            // Row `t` of the logits predicts token `t + 1`.
            let next = ran.tokens[..self.prompt_tokens].iter().skip(ran.part.start + 1);
            for (&token, row) in next.zip(ran.logits.chunks_exact(vocab_size)) {
                let not_finite = GenerateError::NonFiniteLogits { prompt: self.prompt_tokens, position: 0 };
                let (_, normalizer) = log_sum_exp(row).ok_or(not_finite)?;
                self.scores.push(scored(row, normalizer, token, self.request.top_logprobs));
            }
        }
        Ok(())
    }

    /// Chooses the next token, and those after it as long as the drafts are what it chooses.
    fn choose(&mut self, ran: &Ran<'_>, vocab_size: usize, taken: &mut Taken) -> Result<(), GenerateError> {
        let drafts = &ran.tokens[ran.tokens.len() - ran.part.drafts..];
        let rows: Vec<&[f32]> = ran.logits.chunks_exact(vocab_size).collect();
        let rows = &rows[rows.len() - 1 - drafts.len()..];
        for (index, row) in rows.iter().enumerate() {
            let token = self.sampler.sample(row)?;
            self.generated += 1;
            let id = token.token;
            taken.chosen.push(token);
            if self.request.stop_ids.contains(&id) {
                taken.finished = Some(FinishReason::Stop);
            } else if self.generated == self.request.max_new_tokens {
                taken.finished = Some(FinishReason::Length);
            }
            if taken.finished.is_some() || drafts.get(index) != Some(&id) {
                break;
            }
        }
        Ok(())
    }

    /// The prompt's embedding, where it is asked for.
    fn embedding(&mut self) -> Option<Vec<f32>> {
        let count = match self.request.embed? {
            Pooling::Mean => self.prompt_tokens as f64,
            Pooling::Last => 1.0,
        };
        Some(std::mem::take(&mut self.hidden).into_iter().map(|sum| (sum / count) as f32).collect())
    }
}
