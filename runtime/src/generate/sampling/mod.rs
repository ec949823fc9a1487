//! Chooses the next token from fp32 logits: penalties and bias, temperature, top-k, top-p, min-p, then one draw.
//!
//! The order is the one of Hugging Face's generation code; presence and frequency penalties are vLLM's, behind the repetition penalty. The
//! fixture in `runtime/tests/fixtures/sampling/` compares the chances. Only `top_k: 1` differs: it takes the lowest of equal ones, as greedy
//! does. A draw uses one uniform number that depends on the request's seed and
//! on the index of the new token alone, so a request is repeatable whatever runs beside it. Tokens are drawn by walking the
//! kept ids in ascending order; equal logits are ranked by id. Sources: CTRL's repetition penalty (2019, arXiv:1909.05858);
//! nucleus sampling, "The Curious Case of Neural Text Degeneration" (2019, arXiv:1904.09751); min-p (2024, arXiv:2407.01082).

mod choice;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::choice::{Filter, draw, first_of, peak};
pub(super) use self::choice::{log_sum_exp, scored};
use super::{Constraint, GenerateError, ScoredToken};

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f64,
    /// Keeps tokens with at least this share of the likeliest token's probability; 0 keeps all.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the answer; 1 is off.
    pub repetition_penalty: f64,
    /// Subtracted from the logits of tokens in the answer; 0 is off.
    pub presence_penalty: f64,
    /// Subtracted from a token's logit for each time that it stands in the answer; 0 is off.
    pub frequency_penalty: f64,
    /// Added to single logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// The request's own random stream.
    pub seed: u64,
}

impl Sampling {
    /// The likeliest token at every step.
    pub fn greedy() -> Self {
        Self::with_temperature(0.0, 0)
    }

    /// Plain sampling from the whole vocabulary.
    pub fn with_temperature(temperature: f64, seed: u64) -> Self {
        Self {
            temperature,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed,
        }
    }

    /// Refuses values outside their range.
    pub fn validate(&self, vocab_size: usize) -> Result<(), GenerateError> {
        let ranges = [
            ("temperature", self.temperature, 0.0..=100.0, "0 to 100"),
            ("top_p", self.top_p, f64::MIN_POSITIVE..=1.0, "over 0, at most 1"),
            ("min_p", self.min_p, 0.0..=1.0, "0 to 1"),
            ("repetition_penalty", self.repetition_penalty, f64::MIN_POSITIVE..=100.0, "over 0, at most 100"),
            ("presence_penalty", self.presence_penalty, -100.0..=100.0, "-100 to 100"),
            ("frequency_penalty", self.frequency_penalty, -100.0..=100.0, "-100 to 100"),
        ];
        for (field, value, range, expected) in ranges {
            if !range.contains(&value) {
                return Err(GenerateError::Setting { field, got: value.to_string(), expected });
            }
        }
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab_size {
                return Err(GenerateError::UnknownToken { field: "logit_bias", token, vocab_size });
            }
            if !bias.is_finite() {
                return Err(GenerateError::Setting {
                    field: "logit_bias",
                    got: bias.to_string(),
                    expected: "a finite number",
                });
            }
        }
        Ok(())
    }

    fn changes_logits(&self) -> bool {
        self.needs_counts() || !self.logit_bias.is_empty()
    }

    #[expect(clippy::float_cmp, reason = "off is exactly 1 and exactly 0")]
    fn needs_counts(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// A request's sampler: its settings, what it has written so far, and its place in its random stream.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    prompt_tokens: usize,
    top_logprobs: usize,
    /// How often each token stands in the answer; tokens of the prompt are there with 0. Empty where no penalty needs it.
    counts: BTreeMap<u32, u32>,
    constraint: Option<Constraint>,
    position: u64,
}

impl Sampler {
    /// Starts a request's stream.
    pub fn new(sampling: Sampling, prompt: &[u32], top_logprobs: usize) -> Self {
        let counts = if sampling.needs_counts() {
            prompt.iter().map(|&id| (id, 0)).collect()
        } else {
            BTreeMap::new()
        };
        Self { sampling, prompt_tokens: prompt.len(), top_logprobs, counts, constraint: None, position: 0 }
    }

    /// The same sampler, choosing only what a constraint allows.
    #[must_use]
    pub fn within(self, constraint: Option<Constraint>) -> Self {
        Self { constraint, ..self }
    }

    /// The same sampler for guesses: it goes the same way, without a constraint, and tells less.
    #[must_use]
    pub fn for_drafts(&self) -> Self {
        Self {
            sampling: self.sampling.clone(),
            prompt_tokens: self.prompt_tokens,
            top_logprobs: 0,
            counts: self.counts.clone(),
            constraint: None,
            position: self.position,
        }
    }

    /// Chooses the next token from `logits` (`[V]`).
    ///
    /// # Errors
    /// A logit that is not finite, or a constraint that can't be followed further.
    pub fn sample(&mut self, logits: &[f32]) -> Result<ScoredToken, GenerateError> {
        let not_finite =
            GenerateError::NonFiniteLogits { prompt: self.prompt_tokens, position: self.position as usize };
        let Some((likeliest, normalizer)) = log_sum_exp(logits) else {
            return Err(not_finite);
        };
        let allowed = self.constraint.as_mut().map(|constraint| constraint.0.allowed()).transpose()?;
        let token = if self.sampling.changes_logits() || allowed.is_some() {
            let mut changed = logits.to_vec();
            self.change(&mut changed);
            if let Some(allowed) = &allowed {
                allowed.apply(&mut changed);
            }
            let likeliest = peak(&changed).ok_or(not_finite)?;
            self.choose(&changed, likeliest)
        } else {
            self.choose(logits, likeliest)
        };
        if let Some(constraint) = &mut self.constraint {
            constraint.0.advance(token)?;
        }
        self.position += 1;
        if self.sampling.needs_counts() {
            *self.counts.entry(token).or_insert(0) += 1;
        }
        Ok(scored(logits, normalizer, token, self.top_logprobs))
    }

    fn change(&self, logits: &mut [f32]) {
        let sampling = &self.sampling;
        for (&id, &count) in &self.counts {
            let logit = &mut logits[id as usize];
            let mut value = f64::from(*logit);
            value = if value > 0.0 {
                value / sampling.repetition_penalty
            } else {
                value * sampling.repetition_penalty
            };
            if count > 0 {
                value -= sampling.presence_penalty + sampling.frequency_penalty * f64::from(count);
            }
            *logit = value as f32;
        }
        for &(id, bias) in &sampling.logit_bias {
            logits[id as usize] += bias;
        }
    }

    fn choose(&self, logits: &[f32], peak: f32) -> u32 {
        let sampling = &self.sampling;
        if sampling.temperature == 0.0 || sampling.top_k == 1 {
            return first_of(logits, peak);
        }
        draw(&self.filter().candidates(logits, peak), self.uniform())
            .unwrap_or_else(|| first_of(logits, peak))
    }

    fn filter(&self) -> Filter {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        Filter { temperature, top_k, top_p, min_p }
    }

    /// The uniform number of this position of the request's stream.
    fn uniform(&self) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.sampling.seed);
        rng.set_stream(self.position);
        rng.random::<f64>()
    }
}
