//! Whether what is loaded is what was sealed.

use cupola_specs::artifact::{Seal, SealedPrompt};
use serde::Serialize;

use super::SealError;
use super::make::{text_ids, training_log_probs};
use crate::generate::{AdapterId, Decoder, Engine, GenerateError, Request, Sampling, WeightFormat};
use crate::model::Network;
use crate::tokenizer::Tokenizer;

/// By how much log-probabilities may differ, nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// The format's name.
    pub format: &'static str,
    /// Mean over all tokens.
    pub mean: f64,
    /// Largest of any token.
    pub largest: f64,
}

impl Tolerance {
    /// What a format of weights rounds away. In fp32 only the order of sums differs; the others are several times what was measured on
    /// trained and on random networks, and far below what a wrong weight does: one layer left out costs nats.
    pub fn of(format: WeightFormat) -> Self {
        match format {
            WeightFormat::Fp32 => Self { format: "fp32", mean: 1e-4, largest: 2e-3 },
            WeightFormat::Bf16 => Self { format: "bf16", mean: 0.03, largest: 0.3 },
            WeightFormat::Int8 => Self { format: "int8", mean: 0.1, largest: 1.0 },
            WeightFormat::Int4 => Self { format: "int4", mean: 0.5, largest: 5.0 },
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SealReport {
    /// Tokens compared.
    pub tokens: usize,
    /// Mean absolute difference, nats.
    pub mean: f64,
    /// Largest absolute difference, nats.
    pub largest: f64,
}

/// Checks an idle engine, with the kernels that will serve, and with an adapter where one is named.
pub fn check_engine<D: Decoder>(
    seal: &Seal,
    tokenizer: &Tokenizer,
    (engine, adapter): (&mut Engine<D>, Option<AdapterId>),
    tolerance: Tolerance,
) -> Result<SealReport, SealError> {
    let longest = engine.context();
    check(seal, tokenizer, tolerance, &mut |ids| {
        let ids = &ids[..ids.len().min(longest)];
        Ok(engine_log_probs(engine, adapter, ids)?)
    })
}

/// Checks a network by the training forward.
pub fn check_network(seal: &Seal, tokenizer: &Tokenizer, network: &Network) -> Result<SealReport, SealError> {
    let tolerance = Tolerance::of(WeightFormat::Fp32);
    check(seal, tokenizer, tolerance, &mut |ids| Ok(training_log_probs(network, ids)?))
}

/// Gives the log-probabilities of ids from the second on, as far as it has room.
pub type Score<'s> = dyn FnMut(&[u32]) -> Result<Vec<f32>, SealError> + 's;

/// Checks template, ids, and what `score` says of the ids.
pub fn check(
    seal: &Seal,
    tokenizer: &Tokenizer,
    tolerance: Tolerance,
    score: &mut Score<'_>,
) -> Result<SealReport, SealError> {
    let mut report = SealReport { tokens: 0, mean: 0.0, largest: 0.0 };
    let mut sum = 0.0;
    let mut worst = None;
    for (number, prompt) in (1..).zip(&seal.prompts) {
        let ids = ids_of(number, prompt, tokenizer)?;
        let scored = (prompt.logprobs.len() + 1).min(ids.len());
        let got = score(&ids[..scored])?;
        for (position, (&got, &expected)) in (2..).zip(got.iter().zip(&prompt.logprobs)) {
            if !got.is_finite() {
                return Err(SealError::NotFinite { prompt: number, position });
            }
            let difference = f64::from(got - expected).abs();
            sum += difference;
            report.tokens += 1;
            if difference > report.largest || worst.is_none() {
                report.largest = difference;
                worst = Some((number, position, expected, got));
            }
        }
    }
    report.mean = sum / report.tokens.max(1) as f64;
    let holds = report.mean <= tolerance.mean && report.largest <= tolerance.largest;
    match worst {
        Some((prompt, position, expected, got)) if !holds => Err(SealError::Differs {
            prompt,
            position,
            expected,
            got,
            tokens: report.tokens,
            mean: report.mean,
            largest: report.largest,
            format: tolerance.format,
            max_mean: tolerance.mean,
            max_largest: tolerance.largest,
        }),
        _ => Ok(report),
    }
}

/// The prompt's ids by this tokenizer, where they are the sealed ones.
fn ids_of(number: usize, prompt: &SealedPrompt, tokenizer: &Tokenizer) -> Result<Vec<u32>, SealError> {
    let ids = if prompt.messages.is_empty() {
        text_ids(tokenizer, &prompt.text)
    } else {
        let text = tokenizer.chat().render(&prompt.messages, &[], true)?;
        if text != prompt.text {
            let same = text.chars().zip(prompt.text.chars()).take_while(|(a, b)| a == b).count();
            let rest = |text: &str| text.chars().skip(same).take(40).collect::<String>();
            let (expected, got) = (rest(&prompt.text), rest(&text));
            return Err(SealError::Template { prompt: number, expected, got });
        }
        tokenizer.chat().encode_prompt(tokenizer, &prompt.messages, &[], None)?
    };
    let differs = (0..ids.len().max(prompt.ids.len())).find(|&at| ids.get(at) != prompt.ids.get(at));
    match differs {
        None => Ok(ids),
        Some(at) => {
            let word = |id: Option<&u32>| id.map_or_else(|| "none".to_owned(), u32::to_string);
            let (expected, got) = (word(prompt.ids.get(at)), word(ids.get(at)));
            Err(SealError::Ids { prompt: number, position: at + 1, expected, got })
        }
    }
}

/// Log-probabilities of a prompt's ids from the second on, as the engine scores prompts.
pub(crate) fn engine_log_probs<D: Decoder>(
    engine: &mut Engine<D>,
    adapter: Option<AdapterId>,
    ids: &[u32],
) -> Result<Vec<f32>, GenerateError> {
    if ids.len() < 2 {
        return Ok(Vec::new());
    }
    let request = Request {
        score_prompt: true,
        adapter,
        cache_scope: "seal".into(),
        ..Request::new(ids.to_vec(), Sampling::greedy(), 0, Vec::new())
    };
    engine.submit(request)?;
    let mut scores = Vec::new();
    while !engine.is_idle() {
        for output in engine.step()? {
            if let Some(failure) = output.failure {
                return Err(failure);
            }
            scores.extend(output.prompt.iter().map(|token| token.logprob));
        }
    }
    // What did not come is no number.
    scores.resize(ids.len() - 1, f32::NAN);
    Ok(scores)
}
