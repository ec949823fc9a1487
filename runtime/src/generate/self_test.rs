//! What must hold before an engine's numbers are used: cached and full forward agree, and the sampler's log-probabilities are the
//! trainer's.

use cupola_specs::job::Precision;
use tch::{Device, Tensor};

use super::{Engine, EngineConfig, GenerateError, Request, Sampling, generate_all};
use crate::model::{Network, RowLayout, token_log_probs};

/// What [`self_test`] measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfTestReport {
    /// Largest difference between the sampler's and the trainer's log-probability of the same token, nats.
    pub max_logprob_difference: f64,
    /// Tokens compared.
    pub tokens: usize,
}

/// Largest difference allowed, nats: rounding of another order of sums.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 | Precision::Auto => 2e-4,
        Precision::Bf16 => 0.25,
    }
}

/// Samples a few short answers at temperature 1 through the KV cache and scores them with the training forward; an error names the
/// difference where the two disagree. Takes well under a second for a small model.
pub fn self_test(network: &Network, precision: Precision) -> Result<SelfTestReport, GenerateError> {
    let max_len = 24.min(network.shape().max_position_embeddings as usize);
    let vocab_size = network.vocab_size() as u32;
    let mut engine = Engine::new(network, EngineConfig::batch(4, max_len, precision))?;
    let requests: Vec<Request> = (0..6u32)
        .map(|row| {
            let prompt_tokens = (1 + row as usize).min(max_len - 1);
            let ids: Vec<u32> =
                (0..prompt_tokens as u32).map(|t| (row * 31 + t * 17 + 1) % vocab_size).collect();
            let new_tokens = (max_len - prompt_tokens).min(12);
            Request::new(ids, Sampling::with_temperature(1.0, u64::from(row)), new_tokens, Vec::new())
        })
        .collect();
    let answers = generate_all(&mut engine, requests.clone())?;
    let mut report = SelfTestReport { max_logprob_difference: 0.0, tokens: 0 };
    for (request, answer) in requests.iter().zip(&answers) {
        let all: Vec<i64> = request.ids.iter().chain(&answer.ids).map(|&id| i64::from(id)).collect();
        let trainer = trainer_log_probs(network, &all, precision)?;
        for (offset, sampler) in answer.logprobs.iter().enumerate() {
            let difference = f64::from(*sampler - trainer[request.ids.len() - 1 + offset]).abs();
            // A NaN must not pass: `max` would drop it.
            if difference.is_nan() || difference > report.max_logprob_difference {
                report.max_logprob_difference = difference;
            }
            report.tokens += 1;
        }
    }
    let tolerance = tolerance(precision);
    if report.max_logprob_difference <= tolerance {
        return Ok(report);
    }
    Err(GenerateError::SelfTest {
        check: "sampler log-probs equal trainer log-probs",
        got: report.max_logprob_difference,
        tolerance,
    })
}

/// Log-probabilities of tokens 2 to T by the training forward.
fn trainer_log_probs(
    network: &Network,
    all: &[i64],
    precision: Precision,
) -> Result<Vec<f32>, GenerateError> {
    let _no_grad = tch::no_grad_guard();
    let device = network.device();
    let row = |ids: &[i64]| Tensor::from_slice(ids).view([1, -1]).to_device(device); // [1, T - 1]
    let (tokens, targets) = (row(&all[..all.len() - 1]), row(&all[1..]));
    let log_probs = token_log_probs(network, &tokens, &targets, &RowLayout::Causal, precision); // [1, T - 1]
    Ok(Vec::<f32>::try_from(log_probs.f_view([-1])?.f_to_device(Device::Cpu)?)?)
}
