//! What must hold before an engine's numbers are used: cached and full forward agree, and the sampler's log-probabilities are the
//! trainer's.

use cupola_specs::job::Precision;
use tch::{Device, Kind, Tensor};

use super::{Engine, GenerateError, Request, Sampling, TorchConfig, generate_all};
use crate::model::{Network, ParamGroup, Parameter, RowLayout, RowSlot, token_log_probs};

/// What [`self_test`] measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfTestReport {
    /// Largest difference between the sampler's and the trainer's log-probability of the same token, nats.
    pub max_logprob_difference: f64,
    /// Largest difference between a logit through the KV cache and the same one of the full forward, as a share of the largest logit.
    pub max_logit_difference: f64,
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

/// Reads a row through the KV cache in parts and at once, and compares the logits; then samples a few short answers at temperature 1 through the
/// cache and scores them with the training forward. An error names the difference where the two disagree. Takes well under a second for a
/// small model.
pub fn self_test(network: &Network, precision: Precision) -> Result<SelfTestReport, GenerateError> {
    let stirred = stirred(network)?;
    let network = stirred.as_ref().unwrap_or(network);
    let max_logit_difference = compare_cache((network, network), precision)?;
    let report = compare_sampler((network, network), precision)?;
    Ok(SelfTestReport { max_logit_difference, ..report })
}

/// A copy without matrices of zeros, where the network has such: one that has not trained yet begins with blocks and a head that give nothing, and
/// no test would see what is wrong within them. Their rows have nothing in common: matrices of few directions would blow up the stream, and the
/// rounding of its sums with it.
pub(crate) fn stirred(network: &Network) -> Result<Option<Network>, GenerateError> {
    let _no_grad = tch::no_grad_guard();
    let is_zero = |parameter: &Parameter| {
        parameter.group != ParamGroup::Vector && parameter.tensor.abs().max().double_value(&[]) == 0.0
    };
    if !network.parameters().iter().any(is_zero) {
        return Ok(None);
    }
    let copy = network.copy()?;
    for parameter in copy.parameters().iter().filter(|parameter| is_zero(parameter)) {
        let (count, size) = (parameter.tensor.numel() as i64, parameter.tensor.size());
        let columns = size.last().copied().unwrap_or(1) as f64;
        let wave =
            Tensor::f_arange(count, (Kind::Double, network.device()))?.f_mul_scalar(12.9898)?.f_sin()?;
        // As good as drawn from -1 to 1.
        let scattered = wave.f_mul_scalar(43_758.545_3)?.f_frac()?;
        let values = (scattered / columns.sqrt()).f_to_kind(Kind::Float)?.f_view(size.as_slice())?;
        parameter.tensor.shallow_clone().f_copy_(&values)?;
    }
    Ok(Some(copy))
}

/// Tokens of a row read through the cache, and the parts in which it is read: position and length.
const ROW_TOKENS: i64 = 12;
const ROW_PARTS: [(i64, i64); 4] = [(0, 8), (8, 1), (9, 2), (11, 1)];

/// Logits of a row read in parts through the first network's cache, against those of the second one's full forward.
fn compare_cache((cached, full): (&Network, &Network), precision: Precision) -> Result<f64, GenerateError> {
    let _no_grad = tch::no_grad_guard();
    let vocab_size = full.vocab_size();
    let ids: Vec<i64> = (0..ROW_TOKENS).map(|i| (i * 7919 + 13) % vocab_size).collect();
    let tokens = Tensor::f_from_slice(&ids)?.f_to_device(full.device())?.f_view([1, ROW_TOKENS])?; // [1, T]
    let whole = full.logits(&full.hidden(&tokens, &RowLayout::Causal, precision)); // [1, T, V]
    let mut cache = cached.new_cache(2, ROW_TOKENS, precision);
    let mut parts = Vec::new();
    for (start, count) in ROW_PARTS {
        // The second slot: what is only right for the first one is wrong here.
        let row = [RowSlot { slot: 1, start }];
        let hidden = cached.hidden_cached(&tokens.f_narrow(1, start, count)?, &mut cache, &row, precision);
        parts.push(cached.logits(&hidden));
    }
    let difference = (Tensor::f_cat(&parts, 1)? - &whole).abs().max().f_double_value(&[])?;
    let difference = difference / whole.abs().max().f_double_value(&[])?.max(1.0);
    let tolerance = tolerance(precision);
    // Not `>`: a NaN must not pass.
    if difference <= tolerance {
        return Ok(difference);
    }
    let check = "logits with KV cache equal those of the full forward";
    Err(GenerateError::SelfTest { check, got: difference, tolerance })
}

/// Log-probabilities of answers as the first network samples them, against those that the second one trains with.
fn compare_sampler(
    (sampler, trainer): (&Network, &Network),
    precision: Precision,
) -> Result<SelfTestReport, GenerateError> {
    let network = sampler;
    let max_len = 24.min(network.shape().max_position_embeddings as usize);
    let vocab_size = network.vocab_size() as u32;
    let mut engine = Engine::on_torch(network, TorchConfig::batch(4, max_len, precision))?;
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
    let mut report = SelfTestReport { max_logprob_difference: 0.0, max_logit_difference: 0.0, tokens: 0 };
    for (request, answer) in requests.iter().zip(&answers) {
        let all: Vec<i64> = request.ids.iter().chain(&answer.ids).map(|&id| i64::from(id)).collect();
        let of_trainer = trainer_log_probs(trainer, &all, precision)?;
        for (offset, of_sampler) in answer.logprobs.iter().enumerate() {
            let difference = f64::from(*of_sampler - of_trainer[request.ids.len() - 1 + offset]).abs();
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

#[cfg(test)]
mod tests {
    use cupola_specs::job::{Family, ModelShape, ModelType};

    use super::*;
    use crate::model::depth_shape;

    fn network(family: Family) -> Network {
        let fresh = Network::init(&depth_shape(family, 2, 32), 64, 1, Device::Cpu).unwrap();
        stirred(&fresh).unwrap().unwrap_or(fresh)
    }

    fn is_found<T: std::fmt::Debug>(result: Result<T, GenerateError>, words: &str) {
        let error = result.unwrap_err();
        assert!(matches!(error, GenerateError::SelfTest { check, .. } if check.contains(words)), "{error}");
    }

    #[test]
    fn both_tests_hold_for_a_network_and_itself() {
        for family in [Family::Transformer, Family::Lstm] {
            let report = self_test(&network(family), Precision::Fp32).unwrap();
            assert!(report.tokens > 20 && report.max_logit_difference < 1e-4, "{report:?}");
        }
    }

    /// Nothing norms its queries and keys, and so its rounding grows the most.
    #[test]
    fn rounding_stays_small_in_deep_networks_of_any_seed() {
        let shape = ModelShape {
            model_type: ModelType::Llama,
            qk_norm: false,
            ..depth_shape(Family::Transformer, 8, 192)
        };
        for seed in 0..8 {
            let fresh = Network::init(&shape, 1024, seed, Device::Cpu).unwrap();
            let report = self_test(&fresh, Precision::Fp32).unwrap();
            println!("seed {seed}: {report:?}");
            assert!(report.max_logit_difference < 2e-5 && report.max_logprob_difference < 2e-5, "{report:?}");
        }
    }

    #[test]
    fn weights_that_the_sampler_did_not_get_are_found() {
        let (stale, trained) = (network(Family::Transformer), network(Family::Transformer));
        let value = trained.parameters().iter().find(|p| p.name.contains("layers.1.self_attn.v")).unwrap();
        let mut weight = value.tensor.shallow_clone();
        let _ = tch::no_grad(|| weight.g_mul_scalar_(1.5));
        is_found(compare_sampler((&stale, &trained), Precision::Fp32), "sampler log-probs");
        is_found(compare_cache((&stale, &trained), Precision::Fp32), "KV cache");
    }
}
