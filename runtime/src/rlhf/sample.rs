//! Answers of a policy to prompts, through the inference engine. A prompt that does not fit with its answer is left out whole.

use std::ops::ControlFlow;

use cupola_specs::job::Precision;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Prompt, RlhfError};
use crate::generate::{
    Completion, Engine, FinishReason, Request, Sampling, TorchConfig, TorchDecoder, generate_each,
};
use crate::job::{JobError, StepContext};
use crate::model::Network;
use crate::sft::message;
use crate::tokenizer::Tokenizer;

/// Requests that run at the same time.
const MAX_SLOTS: usize = 64;

/// How answers are sampled.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions {
    /// Answers a prompt.
    pub samples: u64,
    /// Sampling temperature.
    pub temperature: f64,
    /// Longest answer, tokens.
    pub max_new_tokens: usize,
    /// Number format.
    pub precision: Precision,
    /// Seed of the whole stage; each answer's own seed depends on it, on the prompt's text and on the sample's number.
    pub seed: u64,
}

/// A prompt as ids, up to where the assistant answers.
#[derive(Debug, Clone)]
pub struct EncodedPrompt {
    /// Index among the prompts that were given.
    pub index: usize,
    /// The ids.
    pub ids: Vec<u32>,
    /// Hash of the text: names the prompt's random streams.
    pub key: u64,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its text, without the stop token.
    pub text: String,
    /// What the engine gave: ids with the stop token, log-probabilities at temperature 1.
    pub completion: Completion,
}

impl Answer {
    /// Whether it was cut at the most tokens that an answer may have.
    pub fn is_truncated(&self) -> bool {
        self.completion.finish == FinishReason::Length
    }
}

/// Encodes prompts; those that leave no room for an answer in `context` are left out, and counted in the second value.
pub fn encode_prompts(
    tokenizer: &Tokenizer,
    prompts: &[Prompt],
    max_new_tokens: usize,
    context: usize,
) -> Result<(Vec<EncodedPrompt>, u64), RlhfError> {
    let mut encoded = Vec::with_capacity(prompts.len());
    let mut too_long = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        let ids = tokenizer.chat().encode_prompt(tokenizer, &[message("user", &prompt.text)], &[], None)?;
        if ids.len() + max_new_tokens > context {
            too_long += 1;
        } else {
            encoded.push(EncodedPrompt { index, ids, key: xxh3_64_with_seed(prompt.text.as_bytes(), 0) });
        }
    }
    Ok((encoded, too_long))
}

/// An engine that just holds the longest of these prompts and its answer.
pub fn engine_for<'n>(
    net: &'n Network,
    prompts: &[EncodedPrompt],
    options: &SampleOptions,
) -> Result<Engine<TorchDecoder<&'n Network>>, RlhfError> {
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(1);
    let max_len = longest + options.max_new_tokens;
    Ok(Engine::on_torch(net, TorchConfig::batch(MAX_SLOTS, max_len, options.precision))?)
}

/// Samples answers; the outer vector is by prompt, the inner by sample. `progress` hears how many answers are done.
pub fn sample_answers(
    ctx: &StepContext,
    engine: &mut Engine<TorchDecoder<&Network>>,
    tokenizer: &Tokenizer,
    prompts: &[EncodedPrompt],
    options: &SampleOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Answer>>, RlhfError> {
    let stop_ids = tokenizer.chat().stop_ids();
    let mut requests = Vec::with_capacity(prompts.len() * options.samples as usize);
    for prompt in prompts {
        for sample in 0..options.samples {
            let seed = xxh3_64_with_seed(&sample.to_le_bytes(), prompt.key ^ options.seed);
            let sampling = Sampling::with_temperature(options.temperature, seed);
            requests.push(Request::new(
                prompt.ids.clone(),
                sampling,
                options.max_new_tokens,
                stop_ids.clone(),
            ));
        }
    }
    let completions = generate_each(engine, requests, &mut |done, _| {
        progress(done);
        if ctx.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if ctx.stop_requested() {
        return Err(JobError::Cancelled.into());
    }
    let answers: Vec<Answer> = completions
        .into_iter()
        .map(|completion| Answer { text: tokenizer.decode(completion.text_ids()), completion })
        .collect();
    Ok(answers.chunks(options.samples as usize).map(<[Answer]>::to_vec).collect())
}
