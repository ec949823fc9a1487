//! Any network as a [`Decoder`], on libtorch: each sequence has one block, a slot of the network's [`KvCache`].
//!
//! With [`BatchShape::Fixed`] every pass over running sequences has the same shape: one row for each slot, idle ones with a token that nobody
//! reads, and one more row at the context's last position, so that attention always spans the whole context. Then no product's shape, and no
//! rounding, depends on a sequence's neighbours. A sequence with drafts takes a row for each of its tokens. The batch use (RLHF, eval) takes
//! [`BatchShape::Shrinking`].
//!
//! A prompt runs alone and whole, since libtorch's products round by their shape. The one that ran last is remembered: samples of one prompt copy
//! its keys and values.
//!
//! Shapes: `B` rows of a pass, `T` prompt tokens, `C` channels, `V` vocabulary.

use std::borrow::Borrow;

use cupola_specs::job::Precision;
use tch::{Device, Kind, Tensor};

use super::{Chunk, Decoder, GenerateError, Positions, Rows, Wanted};
use crate::model::{KvCache, Network, RowSlot};

/// Sizes and number format of a [`TorchDecoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TorchConfig {
    /// Sequences that it holds at the same time.
    pub max_slots: usize,
    /// Tokens of a sequence, prompt and answer together.
    pub max_len: usize,
    /// Number format of the matrix products.
    pub precision: Precision,
    /// Rows of a pass over running sequences.
    pub batch: BatchShape,
}

/// Rows of a pass over running sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchShape {
    /// Always all slots: a request's bits are the same alone and in traffic.
    Fixed,
    /// Only as many as there are requests: faster when few are left.
    Shrinking,
}

impl TorchConfig {
    /// For many requests at once: RLHF and eval.
    pub fn batch(max_slots: usize, max_len: usize, precision: Precision) -> Self {
        Self { max_slots, max_len, precision, batch: BatchShape::Shrinking }
    }

    /// For people who wait: the same bytes alone and in traffic.
    pub fn interactive(max_slots: usize, max_len: usize, precision: Precision) -> Self {
        Self { max_slots, max_len, precision, batch: BatchShape::Fixed }
    }
}

/// A network (owned, shared or borrowed) with a cache.
#[derive(Debug)]
pub struct TorchDecoder<N: Borrow<Network>> {
    network: N,
    config: TorchConfig,
    device: Device,
    cache: KvCache,
    last_prompt: Option<LastPrompt>,
}

/// The prompt that ran last, whose keys and values are still in its slot.
#[derive(Debug)]
struct LastPrompt {
    slot: u32,
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

/// A row of a pass over running sequences: a token, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Step {
    token: u32,
    slot: u32,
    position: usize,
}

impl<N: Borrow<Network>> TorchDecoder<N> {
    /// A decoder with room for `config.max_slots` sequences of `config.max_len` tokens.
    pub fn new(network: N, config: TorchConfig) -> Result<Self, GenerateError> {
        let limit = network.borrow().shape().max_position_embeddings as usize;
        let setting = |field: &'static str, got: usize, expected: &'static str| {
            Err(GenerateError::Setting { field, got: got.to_string(), expected })
        };
        if config.max_slots == 0 {
            return setting("max_slots", config.max_slots, "at least 1");
        }
        if config.max_len == 0 || config.max_len > limit {
            return setting("max_len", config.max_len, "1 to the model's max_position_embeddings");
        }
        let device = network.borrow().device();
        let num_rows = match config.batch {
            BatchShape::Fixed => config.max_slots + 1,
            BatchShape::Shrinking => config.max_slots,
        };
        let cache = network.borrow().new_cache(num_rows as i64, config.max_len as i64, config.precision);
        Ok(Self { network, config, device, cache, last_prompt: None })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.network.borrow()
    }

    /// Runs a whole prompt into its slot.
    fn run_prompt(&mut self, chunk: &Chunk<'_>, rows: &mut Rows) -> Result<(), GenerateError> {
        let slot = chunk.blocks[0];
        if chunk.wanted == Wanted::Last && self.copy_last_prompt(chunk.tokens, slot, rows) {
            return Ok(());
        }
        self.last_prompt = None;
        let tokens: Vec<i64> = chunk.tokens.iter().map(|&token| i64::from(token)).collect();
        let tokens = Tensor::from_slice(&tokens).view([1, -1]).to_device(self.device); // [1, T]
        let row = [RowSlot { slot: i64::from(slot), start: 0 }];
        let network = self.network.borrow();
        let hidden = network.hidden_cached(&tokens, &mut self.cache, &row, self.config.precision); // [1, T, C]
        match chunk.wanted {
            Wanted::Nothing => {}
            Wanted::Last => {
                let last = hidden.narrow(1, chunk.tokens.len() as i64 - 1, 1); // [1, 1, C]
                let logits = to_rows(&network.logits(&last))?; // [V]
                rows.logits.extend_from_slice(&logits);
                self.last_prompt = Some(LastPrompt { slot, tokens: chunk.tokens.to_vec(), logits });
            }
            Wanted::All => rows.logits.extend(to_rows(&network.logits(&hidden))?), // T rows of [V]
            Wanted::Hidden => rows.hidden.extend(to_rows(&hidden)?),               // T rows of [C]
        }
        Ok(())
    }

    /// Gives what the last prompt gave, where this is the same; false where it has to run.
    fn copy_last_prompt(&mut self, tokens: &[u32], slot: u32, rows: &mut Rows) -> bool {
        let Some(last) = self.last_prompt.as_ref().filter(|last| last.tokens == tokens) else { return false };
        let is_there = last.slot == slot && self.keeps_positions()
            || self.cache.copy_prefix(last.slot as usize, slot as usize, tokens.len());
        if is_there {
            rows.logits.extend_from_slice(&last.logits);
        }
        is_there
    }

    fn keeps_positions(&self) -> bool {
        self.positions() != Positions::Running
    }

    /// Logits or hidden states after each of the steps, in passes of one token a row.
    fn run_steps(&mut self, steps: &[Step], wanted: Wanted) -> Result<Vec<f32>, GenerateError> {
        let most = match self.config.batch {
            BatchShape::Fixed => self.config.max_slots,
            // One pass for all: its idle rows must not write where another pass's sequences are.
            BatchShape::Shrinking => steps.len().max(1),
        };
        let mut found = Vec::new();
        for steps in steps.chunks(most) {
            let (rows, places) = self.place(steps);
            let tokens: Vec<i64> = rows.iter().map(|step| i64::from(step.token)).collect();
            let slots: Vec<RowSlot> = rows
                .iter()
                .map(|step| RowSlot { slot: i64::from(step.slot), start: step.position as i64 })
                .collect();
            let tokens = Tensor::from_slice(&tokens).view([-1, 1]).to_device(self.device); // [B, 1]
            let network = self.network.borrow();
            let hidden = network.hidden_cached(&tokens, &mut self.cache, &slots, self.config.precision); // [B, 1, C]
            let values = match wanted {
                Wanted::Hidden => to_rows(&hidden)?,     // B rows of [C]
                _ => to_rows(&network.logits(&hidden))?, // B rows of [V]
            };
            let width = values.len() / rows.len();
            for place in places {
                found.extend_from_slice(&values[place * width..][..width]);
            }
        }
        Ok(found)
    }

    /// The rows of a pass, and which of them are the steps. Where no slot has two, each stands at its slot's place, and the cache is read where
    /// it lies.
    fn place(&mut self, steps: &[Step]) -> (Vec<Step>, Vec<usize>) {
        let is_fixed = self.config.batch == BatchShape::Fixed;
        let furthest = steps.iter().map(|step| step.position).max().unwrap_or(0);
        // An idle row writes where its slot's next prompt is not, or does not matter: an LSTM begins anew at position 0.
        let idle_position = match (self.keeps_positions(), is_fixed) {
            (true, true) => self.config.max_len - 1,
            (true, false) => furthest,
            (false, _) => 0,
        };
        let mut taken = vec![false; self.config.max_slots];
        let is_apart = steps.iter().all(|step| !std::mem::replace(&mut taken[step.slot as usize], true));
        let ballast = self.config.max_slots as u32;
        let idle = |slot: u32| Step { token: 0, slot, position: idle_position };
        let num_rows = match (is_fixed, is_apart) {
            (true, _) => self.config.max_slots + 1,
            (false, true) => taken.iter().rposition(|&is_taken| is_taken).map_or(0, |last| last + 1),
            (false, false) => steps.len(),
        };
        let mut rows: Vec<Step> =
            (0..num_rows as u32).map(|slot| idle(if is_apart { slot } else { ballast })).collect();
        let places: Vec<usize> = steps
            .iter()
            .enumerate()
            .map(|(index, step)| if is_apart { step.slot as usize } else { index })
            .collect();
        for (&place, &step) in places.iter().zip(steps) {
            rows[place] = step;
        }
        if let Some(row) = rows.get_mut(ballast as usize) {
            // It has a position of its own: an LSTM's state lies in a slot that nobody reads.
            row.position = self.config.max_len - 1;
        }
        let is_overwritten = |last: &mut LastPrompt| {
            rows.iter().any(|row| row.slot == last.slot && row.position < last.tokens.len())
        };
        self.last_prompt.take_if(is_overwritten);
        (rows, places)
    }
}

impl<N: Borrow<Network>> Decoder for TorchDecoder<N> {
    fn vocab_size(&self) -> usize {
        self.network.borrow().vocab_size() as usize
    }

    fn hidden_size(&self) -> usize {
        self.network.borrow().shape().hidden_size as usize
    }

    fn max_len(&self) -> usize {
        self.config.max_len
    }

    fn block_tokens(&self) -> usize {
        self.config.max_len
    }

    fn num_blocks(&self) -> usize {
        self.config.max_slots
    }

    fn positions(&self) -> Positions {
        match self.network.borrow().shape().family {
            cupola_specs::job::Family::Transformer => Positions::Whole,
            cupola_specs::job::Family::Lstm => Positions::Running,
        }
    }

    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError> {
        let _no_grad = tch::no_grad_guard();
        rows.logits.clear();
        rows.hidden.clear();
        // Running sequences come first: an idle row may write into a slot whose prompt runs after it.
        let mut steps = [Vec::new(), Vec::new()];
        for chunk in chunks.iter().filter(|chunk| chunk.start > 0) {
            let of = &mut steps[usize::from(chunk.wanted == Wanted::Hidden)];
            of.extend(chunk.tokens.iter().zip(chunk.start..).map(|(&token, position)| Step {
                token,
                slot: chunk.blocks[0],
                position,
            }));
        }
        let [of_logits, of_hidden] = steps;
        let logits = self.run_steps(&of_logits, Wanted::All)?;
        let hidden = self.run_steps(&of_hidden, Wanted::Hidden)?;
        let (mut logits, mut hidden) =
            (logits.chunks_exact(self.vocab_size()), hidden.chunks_exact(self.hidden_size()));
        for chunk in chunks {
            if chunk.start == 0 {
                self.run_prompt(chunk, rows)?;
                continue;
            }
            for index in 1..=chunk.tokens.len() {
                match chunk.wanted {
                    Wanted::Hidden => rows.hidden.extend(hidden.next().into_iter().flatten()),
                    wanted => {
                        let row = logits.next().unwrap_or_default();
                        if wanted == Wanted::All || wanted == Wanted::Last && index == chunk.tokens.len() {
                            rows.logits.extend_from_slice(row);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A tensor as one contiguous vector, rows one after another.
fn to_rows(rows: &Tensor) -> Result<Vec<f32>, GenerateError> {
    let flat = rows.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}
