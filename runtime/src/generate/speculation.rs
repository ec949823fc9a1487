//! Guesses of what follows, which one pass of the network then checks.
//!
//! [`PromptLookup`] guesses that what followed the last few tokens before follows them again (Saxena 2023, prompt lookup decoding): right where an
//! answer repeats its prompt, as in summaries and edits of code. [`DraftModel`] asks a smaller network of the same vocabulary (Leviathan et al. 2023,
//! arXiv:2211.17192), and samples from it as the request does, with the random numbers that the request will have.

use std::collections::BTreeMap;

use super::{Chunk, Decoder, GenerateError, Positions, RequestId, Rows, Sampler, Wanted};

/// A request for which something is guessed.
#[derive(Debug, Clone, Copy)]
pub struct Guess<'a> {
    /// Which.
    pub id: RequestId,
    /// Its prompt and what it has of its answer.
    pub tokens: &'a [u32],
    /// How it chooses.
    pub sampler: &'a Sampler,
    /// Tokens that may be guessed.
    pub most: usize,
}

/// Guesses what follows.
pub trait Drafter: Send {
    /// A guess for each request, in their order; an empty one says nothing.
    ///
    /// # Errors
    /// What the tensor library refuses.
    fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError>;

    /// A request ended; its id does not come again.
    fn end(&mut self, id: RequestId) {
        let _ = id;
    }
}

/// Guesses by what followed the same tokens before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLookup {
    /// Tokens that must be the same, at most; fewer are tried where these are nowhere.
    pub longest_match: usize,
    /// Tokens that must be the same, at least.
    pub shortest_match: usize,
    /// Tokens of a guess.
    pub draft_tokens: usize,
}

/// How far back it is looked, so that a step's cost does not grow with the context.
const LOOK_BACK: usize = 8192;

impl PromptLookup {
    fn guess(&self, tokens: &[u32], most: usize) -> Vec<u32> {
        let tokens = &tokens[tokens.len().saturating_sub(LOOK_BACK)..];
        let count = self.draft_tokens.min(most);
        for len in (self.shortest_match.max(1)..=self.longest_match.min(tokens.len().saturating_sub(1))).rev()
        {
            let last = &tokens[tokens.len() - len..];
            // The newest place that has as much behind it as is asked for is the best guess.
            let earlier = tokens[..tokens.len() - 1].windows(len).enumerate().rev();
            let mut best: &[u32] = &[];
            for (at, _) in earlier.filter(|(_, window)| *window == last) {
                let follows = &tokens[at + len..];
                let follows = &follows[..follows.len().min(count)];
                if follows.len() > best.len() {
                    best = follows;
                }
                if best.len() == count {
                    break;
                }
            }
            if !best.is_empty() {
                return best.to_vec();
            }
        }
        Vec::new()
    }
}

impl Drafter for PromptLookup {
    fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError> {
        Ok(guesses.iter().map(|guess| self.guess(guess.tokens, guess.most)).collect())
    }
}

/// Guesses by a smaller network. Each request holds blocks for its whole context from its first guess to its end; where none are left, it
/// goes without guesses. It goes without as well until the smaller network has run its prompt, a part at a time: all others wait for each pass.
pub struct DraftModel<D: Decoder> {
    decoder: D,
    draft_tokens: usize,
    held: BTreeMap<RequestId, Held>,
    free: Vec<u32>,
    rows: Rows,
}

/// Tokens of prompts that run for a guess, for all requests together.
const PROMPT_TOKENS: usize = 512;

/// What the smaller network has of a request.
#[derive(Default)]
struct Held {
    blocks: Vec<u32>,
    /// Tokens whose positions have run.
    tokens: Vec<u32>,
}

/// A guess that grows.
struct Growing {
    id: RequestId,
    sampler: Sampler,
    /// The request's tokens and the guess so far.
    tokens: Vec<u32>,
    /// Tokens that it may have.
    end: usize,
}

impl<D: Decoder> DraftModel<D> {
    /// Guesses of `draft_tokens` tokens by `decoder`, for a network of `vocab_size` tokens.
    ///
    /// # Errors
    /// A decoder that can't go back, or of another vocabulary.
    pub fn new(decoder: D, draft_tokens: usize, vocab_size: usize) -> Result<Self, GenerateError> {
        let refused = |got: String, expected: &'static str| GenerateError::Setting {
            field: "draft model",
            got,
            expected,
        };
        if decoder.positions() == Positions::Running {
            return Err(refused("a network with a running state".into(), "a transformer"));
        }
        if decoder.vocab_size() != vocab_size {
            let got = format!("a vocabulary of {}", decoder.vocab_size());
            return Err(refused(got, "the vocabulary of the model that it drafts for"));
        }
        let free = (0..decoder.num_blocks() as u32).rev().collect();
        Ok(Self { decoder, draft_tokens, held: BTreeMap::new(), free, rows: Rows::default() })
    }

    /// Gives a request blocks for `len` positions; false where there are not enough.
    fn holds(&mut self, id: RequestId, len: usize) -> bool {
        let needed = len.div_ceil(self.decoder.block_tokens());
        let held = self.held.entry(id).or_default();
        let missing = needed.saturating_sub(held.blocks.len());
        if len > self.decoder.max_len() || missing > self.free.len() {
            return false;
        }
        held.blocks.extend(self.free.drain(self.free.len() - missing..).rev());
        true
    }

    /// Forgets positions that are not those of a sequence, and gives how many of its tokens still have to run; its last one always does.
    fn go_back(&mut self, id: RequestId, tokens: &[u32]) -> usize {
        let held = self.held.entry(id).or_default();
        let same = held.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        held.tokens.truncate(same.min(tokens.len() - 1));
        tokens.len() - held.tokens.len()
    }

    /// Runs parts of prompts that are too long to run at once, and puts their guesses off.
    fn catch_up(&mut self, growing: &mut [Growing]) -> Result<(), GenerateError> {
        // What a step of the engine adds is no prompt.
        let most_new = self.draft_tokens + 1;
        let mut late: Vec<(usize, &mut Growing)> = growing
            .iter_mut()
            .filter(|one| one.tokens.len() < one.end)
            .map(|one| (self.go_back(one.id, &one.tokens), one))
            .filter(|(missing, _)| *missing > most_new)
            .collect();
        // Nobody waits for a prompt that is longer than its own.
        late.sort_by_key(|(missing, _)| *missing);
        let mut room = PROMPT_TOKENS;
        let mut parts: Vec<(RequestId, &[u32])> = Vec::new();
        for (missing, Growing { id, tokens, end, .. }) in late {
            let part = missing.min(room);
            room -= part;
            if part == missing {
                continue;
            }
            *end = tokens.len();
            if part > 0 {
                let start = tokens.len() - missing;
                parts.push((*id, &tokens[start..start + part]));
            }
        }
        let mut chunks = Vec::with_capacity(parts.len());
        for (id, tokens) in &parts {
            let held = &self.held[id];
            let (start, blocks) = (held.tokens.len(), held.blocks.as_slice());
            chunks.push(Chunk { tokens, start, blocks, adapter: None, wanted: Wanted::Nothing });
        }
        if !chunks.is_empty() {
            self.decoder.forward(&chunks, &mut self.rows)?;
        }
        for (id, tokens) in &parts {
            self.held.entry(*id).or_default().tokens.extend_from_slice(tokens);
        }
        Ok(())
    }

    /// Runs what has not run of each sequence, and adds a token to its guess.
    fn grow(&mut self, growing: &mut [&mut Growing]) -> Result<(), GenerateError> {
        for one in growing.iter() {
            self.go_back(one.id, &one.tokens);
        }
        let mut chunks = Vec::with_capacity(growing.len());
        for one in growing.iter() {
            let held = &self.held[&one.id];
            let (start, blocks) = (held.tokens.len(), held.blocks.as_slice());
            chunks.push(Chunk {
                tokens: &one.tokens[start..],
                start,
                blocks,
                adapter: None,
                wanted: Wanted::Last,
            });
        }
        self.decoder.forward(&chunks, &mut self.rows)?;
        let rows = self.rows.logits.chunks_exact(self.decoder.vocab_size());
        for (one, row) in growing.iter_mut().zip(rows) {
            if let Some(held) = self.held.get_mut(&one.id) {
                held.tokens.extend_from_slice(&one.tokens[held.tokens.len()..]);
            }
            match one.sampler.sample(row) {
                Ok(token) => one.tokens.push(token.token),
                // A guess need not be there: what is wrong with the network that drafts is no matter of the request's.
                Err(_) => one.end = one.tokens.len(),
            }
        }
        Ok(())
    }
}

impl<D: Decoder + Send> Drafter for DraftModel<D> {
    fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError> {
        let mut growing: Vec<Growing> = Vec::with_capacity(guesses.len());
        for guess in guesses {
            let known = guess.tokens.len();
            let end = known + self.draft_tokens.min(guess.most);
            let end = if self.holds(guess.id, end) { end } else { known };
            let (id, sampler, tokens) = (guess.id, guess.sampler.for_drafts(), guess.tokens.to_vec());
            growing.push(Growing { id, sampler, tokens, end });
        }
        self.catch_up(&mut growing)?;
        loop {
            let mut open: Vec<&mut Growing> =
                growing.iter_mut().filter(|one| one.tokens.len() < one.end).collect();
            if open.is_empty() {
                break;
            }
            self.grow(&mut open)?;
        }
        let guessed = growing.into_iter().zip(guesses);
        Ok(guessed.map(|(mut one, guess)| one.tokens.split_off(guess.tokens.len())).collect())
    }

    fn end(&mut self, id: RequestId) {
        if let Some(held) = self.held.remove(&id) {
            self.free.extend(held.blocks);
        }
    }
}
