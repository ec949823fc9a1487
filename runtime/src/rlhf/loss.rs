//! The losses of preference learning, as published.
//!
//! * Bradley–Terry: Bradley and Terry (1952), as a reward model's loss in Ouyang et al. (2022, arXiv:2203.02155).
//! * DPO: Rafailov et al. (2023, arXiv:2305.18290), equation 7. IPO: Azar et al. (2023, arXiv:2310.12036), equation 17. With
//!   the log-ratio of each answer divided by its tokens: Lambert et al. (2024, arXiv:2411.15124), equation 6.
//! * PPO's clipped surrogate: Schulman et al. (2017, arXiv:1707.06347), equation 7. GAE: Schulman et al. (2015, arXiv:1506.02438).
//!
//! Shapes: `P` pairs, `N` tokens. Log-probabilities of answers are sums over their tokens.

use tch::Tensor;

/// A value of both answers of some pairs, such as their log-probabilities under one model. `[P]` each
#[derive(Debug)]
pub struct PairValues {
    /// Of the better answers.
    pub chosen: Tensor,
    /// Of the worse answers.
    pub rejected: Tensor,
}

/// −log σ(r_chosen − r_rejected). `[P]`
pub fn bradley_terry(chosen: &Tensor, rejected: &Tensor) -> Tensor {
    -(chosen - rejected).log_sigmoid()
}

/// How much more a policy prefers the chosen answer than its reference does, nats; with `tokens`, the lengths of the answers, nats a token.
/// `[P]`
pub fn preference_gap(policy: &PairValues, reference: &PairValues, tokens: Option<&PairValues>) -> Tensor {
    let (chosen, rejected) = (&policy.chosen - &reference.chosen, &policy.rejected - &reference.rejected);
    match tokens {
        Some(tokens) => chosen / &tokens.chosen - rejected / &tokens.rejected,
        None => chosen - rejected,
    }
}

/// DPO's loss of a gap: −log σ(β · gap). `[P]`
pub fn dpo(gap: &Tensor, beta: f64) -> Tensor {
    -(gap * beta).log_sigmoid()
}

/// IPO's loss of a gap: (gap − 1 / 2β)². `[P]`
pub fn ipo(gap: &Tensor, beta: f64) -> Tensor {
    (gap - 1.0 / (2.0 * beta)).square()
}

/// PPO's clipped surrogate, to be minimised. `[N]`
pub fn ppo_surrogate(log_probs: &Tensor, old_log_probs: &Tensor, advantages: &Tensor, clip: f64) -> Tensor {
    let ratio = (log_probs - old_log_probs).exp();
    let clipped = ratio.clamp(1.0 - clip, 1.0 + clip) * advantages;
    -(ratio * advantages).minimum(&clipped)
}

/// The critic's squared error, with its step clipped as the policy's is. `[N]`
pub fn clipped_value_loss(values: &Tensor, old_values: &Tensor, returns: &Tensor, clip: f64) -> Tensor {
    let clipped = old_values + (values - old_values).clamp(-clip, clip);
    (values - returns).square().maximum(&(clipped - returns).square()) * 0.5
}

/// Generalised advantage estimates of one answer, whose last token ends the episode.
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    let mut advantages = vec![0.0; rewards.len()];
    let mut running = 0.0;
    for t in (0..rewards.len()).rev() {
        let following = values.get(t + 1).copied().unwrap_or(0.0);
        running = rewards[t] + gamma * following - values[t] + gamma * lambda * running;
        advantages[t] = running;
    }
    advantages
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fixture() -> Value {
        serde_json::from_str(include_str!("fixtures/losses.json")).unwrap()
    }

    fn numbers(fixture: &Value, name: &str) -> Vec<f64> {
        fixture[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn tensor(fixture: &Value, name: &str) -> Tensor {
        Tensor::from_slice(&numbers(fixture, name))
    }

    fn assert_close(got: &Tensor, fixture: &Value, name: &str) {
        let got = Vec::<f64>::try_from(got).unwrap();
        let expected = numbers(fixture, name);
        assert_eq!(got.len(), expected.len());
        for (a, b) in got.iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-10 * b.abs().max(1.0), "{name}: {got:?} and {expected:?}");
        }
    }

    #[test]
    fn preference_losses_are_those_of_the_published_formulas() {
        let f = fixture();
        let beta = f["beta"].as_f64().unwrap();
        let policy = PairValues { chosen: tensor(&f, "chosen"), rejected: tensor(&f, "rejected") };
        let reference = PairValues { chosen: tensor(&f, "ref_chosen"), rejected: tensor(&f, "ref_rejected") };
        let gap = preference_gap(&policy, &reference, None);
        assert_close(&dpo(&gap, beta), &f, "dpo");
        assert_close(&ipo(&gap, beta), &f, "ipo");
        let tokens =
            PairValues { chosen: tensor(&f, "chosen_tokens"), rejected: tensor(&f, "rejected_tokens") };
        let gap = preference_gap(&policy, &reference, Some(&tokens));
        assert_close(&dpo(&gap, beta), &f, "dpo_length_normalized");
        let scores = bradley_terry(&tensor(&f, "scores_chosen"), &tensor(&f, "scores_rejected"));
        assert_close(&scores, &f, "bradley_terry");
    }

    #[test]
    fn ppo_is_that_of_the_published_formulas() {
        let f = fixture();
        let clip = f["clip"].as_f64().unwrap();
        let [new, old, advantages] =
            ["log_probs", "old_log_probs", "advantages"].map(|name| tensor(&f, name));
        assert_close(&ppo_surrogate(&new, &old, &advantages, clip), &f, "ppo");
        let [values, old, returns] = ["values", "old_values", "returns"].map(|name| tensor(&f, name));
        assert_close(&clipped_value_loss(&values, &old, &returns, clip), &f, "value_loss");
        let (gamma, lambda) = (f["gamma"].as_f64().unwrap(), f["lambda"].as_f64().unwrap());
        let advantages = gae(&numbers(&f, "rewards"), &numbers(&f, "values"), gamma, lambda);
        assert_close(&Tensor::from_slice(&advantages), &f, "gae");
    }

    #[test]
    fn a_policy_that_is_its_reference_has_the_loss_of_a_coin() {
        let log_probs = Tensor::from_slice(&[-3.0, -7.5]);
        let same = || PairValues { chosen: log_probs.copy(), rejected: &log_probs - 1.0 };
        let loss = dpo(&preference_gap(&same(), &same(), None), 0.1).mean(None).double_value(&[]);
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-12);
    }
}
