//! Chooses the next token from fp32 logits: penalties and bias, temperature, top-k, top-p, min-p, then one draw.
//!
//! The order is the one of Hugging Face's generation code. A draw uses one uniform number that depends on the request's seed and
//! on the index of the new token alone, so a request is repeatable whatever runs beside it. Tokens are drawn by walking the
//! kept ids in ascending order; equal logits are ranked by id. Sources: CTRL's repetition penalty (2019, arXiv:1909.05858);
//! nucleus sampling, "The Curious Case of Neural Text Degeneration" (2019, arXiv:1904.09751); min-p (2024, arXiv:2407.01082).

use std::collections::BTreeMap;

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

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
        let (prompt, position) = (self.prompt_tokens, self.position as usize);
        let normalizer = log_sum_exp(logits).ok_or(GenerateError::NonFiniteLogits { prompt, position })?;
        let allowed = self.constraint.as_mut().map(|constraint| constraint.0.allowed()).transpose()?;
        let token = if self.sampling.changes_logits() || allowed.is_some() {
            let mut changed = logits.to_vec();
            self.change(&mut changed);
            if let Some(allowed) = &allowed {
                allowed.apply(&mut changed);
            }
            self.choose(&changed)
        } else {
            self.choose(logits)
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

    fn choose(&self, logits: &[f32]) -> u32 {
        let sampling = &self.sampling;
        let best = argmax(logits);
        if sampling.temperature == 0.0 || sampling.top_k == 1 {
            return best;
        }
        let scale = (1.0 / sampling.temperature) as f32;
        let peak = logits[best as usize];
        let weights: Vec<f32> = logits.iter().map(|&logit| ((logit - peak) * scale).exp()).collect(); // [V]
        let uniform = self.uniform();
        if sampling.top_k == 0 && sampling.top_p >= 1.0 && sampling.min_p == 0.0 {
            return draw(
                weights.iter().copied().enumerate().map(|(id, weight)| (id as u32, weight)),
                uniform,
            )
            .unwrap_or(best);
        }
        let mut kept = self.keep(&weights);
        kept.sort_unstable();
        draw(kept.iter().map(|&id| (id, weights[id as usize])), uniform).unwrap_or(best)
    }

    /// Ids that survive top-k, top-p and min-p.
    fn keep(&self, weights: &[f32]) -> Vec<u32> {
        let sampling = &self.sampling;
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        // Tokens below this share sum to less than 1 - top_p, so the nucleus lies above it: the sort stays short.
        let floor = (total * (1.0 - sampling.top_p) / weights.len() as f64).max(0.0) as f32;
        let floor = if sampling.top_k == 0 { floor * 0.999 } else { 0.0 };
        let mut ids: Vec<u32> = (0..weights.len() as u32)
            .filter(|&id| weights[id as usize] >= floor.max(sampling.min_p as f32))
            .collect();
        let by_weight =
            |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]).then_with(|| a.cmp(b));
        if sampling.top_k > 0 && sampling.top_k < ids.len() {
            ids.select_nth_unstable_by(sampling.top_k - 1, by_weight);
            ids.truncate(sampling.top_k);
        }
        if sampling.top_p < 1.0 {
            ids.sort_unstable_by(by_weight);
            let mass = if sampling.top_k > 0 {
                ids.iter().map(|&id| f64::from(weights[id as usize])).sum()
            } else {
                total
            };
            let mut sum = 0.0;
            let nucleus = ids.iter().position(|&id| {
                sum += f64::from(weights[id as usize]);
                sum >= mass * sampling.top_p
            });
            ids.truncate(nucleus.map_or(ids.len(), |last| last + 1));
        }
        ids
    }

    /// The uniform number of this position of the request's stream.
    fn uniform(&self) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.sampling.seed);
        rng.set_stream(self.position);
        rng.random::<f64>()
    }
}

/// Walks weights in order until `uniform` of their sum is passed.
fn draw(weights: impl Iterator<Item = (u32, f32)> + Clone, uniform: f64) -> Option<u32> {
    let total: f64 = weights.clone().map(|(_, weight)| f64::from(weight)).sum();
    let mut left = uniform * total;
    let mut last = None;
    for (id, weight) in weights {
        if weight > 0.0 {
            left -= f64::from(weight);
            last = Some(id);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// The log of the sum of exponentials; none where a logit is not finite.
pub(super) fn log_sum_exp(logits: &[f32]) -> Option<f64> {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - peak).exp())).sum();
    // A NaN among the logits makes the sum NaN; an infinite peak does too (inf - inf).
    (sum.is_finite() && peak.is_finite()).then(|| f64::from(peak) + sum.ln())
}

/// A token with its log-probability and the `top` likeliest tokens of the same logits.
pub(super) fn scored(logits: &[f32], normalizer: f64, token: u32, top: usize) -> ScoredToken {
    let logprob = |id: u32| (f64::from(logits[id as usize]) - normalizer) as f32;
    let mut ids: Vec<u32> = Vec::new();
    if top > 0 {
        let by_logit =
            |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then_with(|| a.cmp(b));
        ids = (0..logits.len() as u32).collect();
        if top < ids.len() {
            ids.select_nth_unstable_by(top - 1, by_logit);
            ids.truncate(top);
        }
        ids.sort_unstable_by(by_logit);
    }
    ScoredToken { token, logprob: logprob(token), top: ids.into_iter().map(|id| (id, logprob(id))).collect() }
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
        let mut sampling = Sampling::with_temperature(1.0, 7);
        change(&mut sampling);
        Sampler::new(sampling, &[0], 0)
    }

    fn frequencies(change: impl Fn(&mut Sampling), logits: &[f32], draws: u64) -> Vec<f64> {
        let mut hits = vec![0.0; logits.len()];
        for seed in 0..draws {
            let mut one = sampler(|sampling| {
                change(sampling);
                sampling.seed = seed;
            });
            hits[one.sample(logits).unwrap().token as usize] += 1.0 / draws as f64;
        }
        hits
    }

    #[test]
    fn samples_follow_the_distribution() {
        let probs = [0.5f32, 0.25, 0.15, 0.1];
        let logits: Vec<f32> = probs.iter().map(|p| p.ln()).collect();
        for (seen, expected) in frequencies(|_| {}, &logits, 20_000).iter().zip(probs) {
            assert!((seen - f64::from(expected)).abs() < 0.012, "{seen} for {expected}");
        }
        // At temperature 0.5 probabilities are squared and normalised.
        let squared: f32 = probs.iter().map(|p| p * p).sum();
        for (seen, p) in frequencies(|s| s.temperature = 0.5, &logits, 20_000).iter().zip(probs) {
            assert!((seen - f64::from(p * p / squared)).abs() < 0.012);
        }
    }

    #[test]
    fn filters_keep_what_they_say() {
        let logits: Vec<f32> = [0.5f32, 0.25, 0.15, 0.1].iter().map(|p| p.ln()).collect();
        let alive = |change: &dyn Fn(&mut Sampling)| {
            frequencies(change, &logits, 3000).iter().map(|&share| share > 0.0).collect::<Vec<_>>()
        };
        assert_eq!(alive(&|s| s.top_k = 2), [true, true, false, false]);
        assert_eq!(alive(&|s| s.top_p = 0.7), [true, true, false, false]);
        assert_eq!(alive(&|s| s.top_p = 0.76), [true, true, true, false]);
        assert_eq!(alive(&|s| s.min_p = 0.29), [true, true, true, false]);
        assert_eq!(alive(&|s| s.logit_bias = vec![(0, -100.0)]), [false, true, true, true]);
        // top-p counts within what top-k left: of 0.5 and 0.25, the first is two thirds.
        assert_eq!(
            alive(&|s| {
                s.top_k = 2;
                s.top_p = 0.66;
            }),
            [true, false, false, false]
        );
    }

    #[test]
    fn nucleus_equals_a_full_sort() {
        let logits: Vec<f32> =
            (0..4096u32).map(|id| ((id.wrapping_mul(2_654_435_761) >> 8) % 1000) as f32 / 90.0).collect();
        let one = sampler(|s| s.top_p = 0.9);
        let peak = logits.iter().copied().fold(f32::MIN, f32::max);
        let weights: Vec<f32> = logits.iter().map(|logit| (logit - peak).exp()).collect();
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let mut order: Vec<u32> = (0..4096).collect();
        order.sort_by(|a, b| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b)));
        let mut sum = 0.0;
        let len = order.iter().position(|&id| {
            sum += f64::from(weights[id as usize]);
            sum >= 0.9 * total
        });
        order.truncate(len.unwrap() + 1);
        assert_eq!(one.keep(&weights), order);
    }

    #[test]
    fn penalties_push_repeats_down() {
        let logits = [2.0f32, 1.9, 0.0];
        let mut frequency = sampler(|s| {
            s.temperature = 0.0;
            s.frequency_penalty = 0.15;
        });
        let tokens: Vec<u32> = (0..4).map(|_| frequency.sample(&logits).unwrap().token).collect();
        assert_eq!(tokens, [0, 1, 0, 1]);
        let mut presence = sampler(|s| {
            s.temperature = 0.0;
            s.presence_penalty = 0.2;
        });
        assert_eq!(
            (presence.sample(&logits).unwrap().token, presence.sample(&logits).unwrap().token),
            (0, 1)
        );
        // The prompt holds token 0: the repetition penalty counts it at once, presence and frequency do not.
        let mut repetition = sampler(|s| {
            s.temperature = 0.0;
            s.repetition_penalty = 1.2;
        });
        assert_eq!(repetition.sample(&logits).unwrap().token, 1);
    }

    #[test]
    fn a_stream_depends_on_seed_and_position_only() {
        let logits = vec![0.0f32; 1000];
        let run = |seed| {
            let mut one = sampler(|s| s.seed = seed);
            (0..20).map(|_| one.sample(&logits).unwrap().token).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn logprobs_are_those_of_the_raw_logits() {
        let mut one = Sampler::new(
            Sampling { logit_bias: vec![(2, 50.0)], ..Sampling::with_temperature(0.3, 1) },
            &[0],
            2,
        );
        let out = one.sample(&[1.0, 2.0, 0.5]).unwrap();
        let total = 1f64.exp() + 2f64.exp() + 0.5f64.exp();
        assert_eq!(out.token, 2);
        assert!((f64::from(out.logprob) - (0.5 - total.ln())).abs() < 1e-6);
        assert_eq!(out.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 0]);
        assert!((f64::from(out.top[0].1) - (2.0 - total.ln())).abs() < 1e-6);
    }

    #[test]
    fn bad_logits_and_settings_are_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(sampler(|_| {}).sample(&[0.0, bad, 1.0]).is_err());
        }
        assert!(sampler(|_| {}).sample(&[f32::NEG_INFINITY; 3]).is_err());
        for sampling in [
            Sampling { temperature: -1.0, ..Sampling::greedy() },
            Sampling { temperature: f64::NAN, ..Sampling::greedy() },
            Sampling { top_p: 0.0, ..Sampling::greedy() },
            Sampling { logit_bias: vec![(9, 1.0)], ..Sampling::greedy() },
        ] {
            assert!(sampling.validate(9).is_err(), "{sampling:?}");
        }
    }
}
