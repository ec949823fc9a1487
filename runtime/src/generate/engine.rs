//! Continuous batching: each step runs waiting prompts into free slots of the KV cache and gives every running request one token.
//!
//! With [`BatchShape::Fixed`] every decode step has the same shape: all slots take part, idle ones with a token that nobody reads,
//! and one more row stands at the context's last position, so that attention always spans the whole context. Then no product's
//! shape, and no rounding, depends on a request's neighbours. The batch use (RLHF, eval) takes [`BatchShape::Shrinking`].
//!
//! Shapes: `B` slots in the step, `T` prompt tokens, `C` channels, `V` vocabulary.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use cupola_specs::job::Precision;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::sampling::{log_sum_exp, scored};
use super::{FinishReason, GenerateError, Output, Request, RequestId, Sampler, Scheduler, ScoredToken};
use crate::model::{KvCache, Network, RowSlot};

/// Sizes and number format of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Requests that run at the same time.
    pub max_slots: usize,
    /// Tokens of a request, prompt and answer together.
    pub max_len: usize,
    /// Number format of the matrix products.
    pub precision: Precision,
    /// Prompt tokens that one step may start; a longer prompt runs alone.
    pub prefill_tokens: usize,
    /// Rows of a decode step.
    pub batch: BatchShape,
}

/// Rows of a decode step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchShape {
    /// Always all slots: a request's bits are the same alone and in traffic.
    Fixed,
    /// Only as many as there are requests: faster when few are left.
    Shrinking,
}

impl EngineConfig {
    /// For many requests at once: RLHF and eval.
    pub fn batch(max_slots: usize, max_len: usize, precision: Precision) -> Self {
        Self { max_slots, max_len, precision, prefill_tokens: usize::MAX, batch: BatchShape::Shrinking }
    }

    /// For people who wait: short steps, and the same bytes alone and in traffic.
    pub fn interactive(max_slots: usize, max_len: usize, precision: Precision) -> Self {
        Self { max_slots, max_len, precision, prefill_tokens: 512, batch: BatchShape::Fixed }
    }
}

/// The inference engine around a network (owned, shared or borrowed).
pub struct Engine<N: Borrow<Network>> {
    network: N,
    config: EngineConfig,
    device: Device,
    cache: KvCache,
    scheduler: Scheduler,
    active: BTreeMap<RequestId, Active>,
    last_prompt: Option<LastPrompt>,
    next_id: u64,
}

/// The prompt that ran last: a request with the same one copies its keys and values, as samples of one prompt do.
struct LastPrompt {
    holder: RequestId,
    slot: usize,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

/// A request between its submission and its last output.
struct Active {
    request: Request,
    sampler: Sampler,
    generated: usize,
    last_token: u32,
}

impl<N: Borrow<Network>> Engine<N> {
    /// An engine with room for `config.max_slots` requests of `config.max_len` tokens.
    pub fn new(network: N, config: EngineConfig) -> Result<Self, GenerateError> {
        let limit = network.borrow().shape().max_position_embeddings as usize;
        if config.max_slots == 0 {
            return Err(setting("max_slots", config.max_slots, "at least 1"));
        }
        if config.max_len == 0 || config.max_len > limit {
            return Err(setting("max_len", config.max_len, "1 to the model's max_position_embeddings"));
        }
        let device = network.borrow().device();
        let num_rows = match config.batch {
            BatchShape::Fixed => config.max_slots + 1,
            BatchShape::Shrinking => config.max_slots,
        };
        let cache = network.borrow().new_cache(num_rows as i64, config.max_len as i64, config.precision);
        let scheduler = Scheduler::new(config.max_slots, config.prefill_tokens);
        Ok(Self {
            network,
            config,
            device,
            cache,
            scheduler,
            active: BTreeMap::new(),
            last_prompt: None,
            next_id: 0,
        })
    }

    /// The engine's sizes.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.network.borrow()
    }

    /// Puts a request in line. A request that cannot be carried out whole is refused here.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, GenerateError> {
        let vocab_size = self.network().vocab_size() as usize;
        request.validate(self.config.max_len, vocab_size)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.scheduler.enqueue(id, request.ids.len());
        let sampler = Sampler::new(request.sampling.clone(), &request.ids, request.top_logprobs);
        self.active.insert(id, Active { request, sampler, generated: 0, last_token: 0 });
        Ok(id)
    }

    /// Ends a request; its slot is free for the next step. False where it had ended before.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        self.active.remove(&id).is_some() && self.scheduler.release(id)
    }

    /// Requests in line.
    pub fn num_waiting(&self) -> usize {
        self.scheduler.num_waiting()
    }

    /// Requests in slots.
    pub fn num_running(&self) -> usize {
        self.scheduler.num_running()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Runs one step: a token for each running request and the first one for each newly admitted.
    pub fn step(&mut self) -> Result<Vec<Output>, GenerateError> {
        let _no_grad = tch::no_grad_guard();
        let plan = self.scheduler.plan();
        let mut outputs = self.decode(&plan.running)?;
        for (id, slot) in plan.admitted {
            outputs.push(self.prefill(id, slot)?);
        }
        for output in &outputs {
            if output.finished.is_some() {
                self.cancel(output.id);
            }
        }
        Ok(outputs)
    }

    /// One more token for each running request.
    fn decode(&mut self, running: &[(RequestId, usize)]) -> Result<Vec<Output>, GenerateError> {
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let last_slot = running.iter().map(|&(_, slot)| slot + 1).max().unwrap_or(0);
        // An idle slot writes its unread token at position 0, where the next prompt begins.
        let idle = |slot: usize| RowSlot { slot: slot as i64, start: 0 };
        let mut rows: Vec<RowSlot> = match self.config.batch {
            BatchShape::Fixed => (0..=self.config.max_slots).map(idle).collect(),
            BatchShape::Shrinking => (0..last_slot).map(idle).collect(),
        };
        if let Some(ballast) = rows.get_mut(self.config.max_slots) {
            ballast.start = self.config.max_len as i64 - 1;
        }
        let mut tokens = vec![0i64; rows.len()];
        for (id, slot) in running {
            let active = &self.active[id];
            tokens[*slot] = i64::from(active.last_token);
            rows[*slot].start = (active.request.ids.len() + active.generated - 1) as i64;
        }
        let tokens = Tensor::from_slice(&tokens).view([-1, 1]).to_device(self.device); // [B, 1]
        let precision = self.config.precision;
        let network = self.network.borrow();
        let hidden = network.hidden_cached(&tokens, &mut self.cache, &rows, precision); // [B, 1, C]
        let logits = to_rows(&network.logits(&hidden))?; // B rows of [V]
        let vocab_size = network.vocab_size() as usize;
        let slots: BTreeMap<RequestId, usize> = running.iter().copied().collect();
        let rows =
            self.active.iter_mut().filter_map(|(id, active)| slots.get(id).map(|slot| (*id, *slot, active)));
        let rows: Vec<(RequestId, usize, &mut Active)> = rows.collect();
        let sample = |(id, slot, active): (RequestId, usize, &mut Active)| {
            (id, active.sampler.sample(&logits[slot * vocab_size..][..vocab_size]))
        };
        let sampled: Vec<(RequestId, Option<ScoredToken>)> = if rows.len() < PARALLEL_ROWS {
            rows.into_iter().map(sample).collect()
        } else {
            rows.into_par_iter().map(sample).collect()
        };
        sampled.into_iter().map(|(id, token)| self.advance(id, token, Vec::new())).collect()
    }

    /// Runs a prompt into its slot and chooses the first new token.
    fn prefill(&mut self, id: RequestId, slot: usize) -> Result<Output, GenerateError> {
        let request = &self.active[&id].request;
        if let Some(last) = self.last_prompt.take_if(|last| last.ids == request.ids && !request.score_prompt)
        {
            let is_there = self.active.contains_key(&last.holder);
            if is_there && self.cache.copy_prefix(last.slot, slot, last.ids.len()) {
                let token = self.active.get_mut(&id).and_then(|active| active.sampler.sample(&last.logits));
                self.last_prompt = Some(last);
                return self.advance(id, token, Vec::new());
            }
        }
        let ids: Vec<i64> = request.ids.iter().map(|&token| i64::from(token)).collect();
        let tokens = Tensor::from_slice(&ids).view([1, -1]).to_device(self.device); // [1, T]
        let rows = [RowSlot { slot: slot as i64, start: 0 }];
        let network = self.network.borrow();
        let hidden = network.hidden_cached(&tokens, &mut self.cache, &rows, self.config.precision); // [1, T, C]
        let prompt = if request.score_prompt {
            let logits = to_rows(&network.logits(&hidden))?; // T rows of [V]
            score_prompt(request, &logits, network.vocab_size() as usize)?
        } else {
            Vec::new()
        };
        if request.max_new_tokens == 0 {
            return Ok(Output { id, token: None, prompt, finished: Some(FinishReason::Length) });
        }
        let last = hidden.narrow(1, ids.len() as i64 - 1, 1); // [1, 1, C]
        let logits = to_rows(&network.logits(&last))?; // [V]
        let ids = request.ids.clone();
        let token = self.active.get_mut(&id).and_then(|active| active.sampler.sample(&logits));
        self.last_prompt = Some(LastPrompt { holder: id, slot, ids, logits });
        self.advance(id, token, prompt)
    }

    /// Records a request's new token and says whether it was the last one.
    fn advance(
        &mut self,
        id: RequestId,
        token: Option<ScoredToken>,
        prompt: Vec<ScoredToken>,
    ) -> Result<Output, GenerateError> {
        let Some(active) = self.active.get_mut(&id) else {
            return Ok(Output { id, token: None, prompt, finished: Some(FinishReason::Cancelled) });
        };
        let Some(token) = token else {
            return Err(GenerateError::NonFiniteLogits {
                prompt: active.request.ids.len(),
                position: active.generated,
            });
        };
        active.generated += 1;
        active.last_token = token.token;
        let finished = if active.request.stop_ids.contains(&token.token) {
            Some(FinishReason::Stop)
        } else {
            (active.generated == active.request.max_new_tokens).then_some(FinishReason::Length)
        };
        Ok(Output { id, token: Some(token), prompt, finished })
    }
}

/// From this many rows on, sampling is worth a second thread.
const PARALLEL_ROWS: usize = 16;

/// Scores of a prompt's tokens from the second on: row `t` of the logits predicts token `t + 1`.
fn score_prompt(
    request: &Request,
    logits: &[f32],
    vocab_size: usize,
) -> Result<Vec<ScoredToken>, GenerateError> {
    let next = request.ids.iter().skip(1);
    next.zip(logits.chunks_exact(vocab_size))
        .map(|(&token, row)| {
            let normalizer = log_sum_exp(row)
                .ok_or(GenerateError::NonFiniteLogits { prompt: request.ids.len(), position: 0 })?;
            Ok(scored(row, normalizer, token, request.top_logprobs))
        })
        .collect()
}

/// Logits as one contiguous vector, rows one after another.
fn to_rows(logits: &Tensor) -> Result<Vec<f32>, GenerateError> {
    let flat = logits.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

fn setting(field: &'static str, got: usize, expected: &'static str) -> GenerateError {
    GenerateError::Setting { field, got: got.to_string(), expected }
}
