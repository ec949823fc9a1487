//! What held-out pairs say about a learner: how often the better answer gets the higher reward.

use std::collections::BTreeMap;

use cupola_specs::artifact::Interval;
use cupola_specs::job::Precision;

use super::RlhfError;
use super::pair_objective::PairLearner;
use super::pairs::EncodedPair;
use crate::eval::{mean, wilson};
use crate::job::StepContext;
use crate::sft::{SftError, to_floats};

/// Pairs of one forward pass.
const BATCH_PAIRS: usize = 16;

/// Accuracy (Wilson's interval), loss and margin on held-out pairs, under `validation_…`.
pub(super) fn measure_held_out(
    ctx: &StepContext,
    learner: &PairLearner<'_>,
    pairs: &[EncodedPair],
    row_tokens: usize,
    precision: Precision,
) -> Result<BTreeMap<String, Interval>, RlhfError> {
    let mut finals = BTreeMap::new();
    if pairs.is_empty() {
        return Ok(finals);
    }
    let (mut losses, mut margins) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..pairs.len()).collect();
    for indices in all.chunks(BATCH_PAIRS) {
        let outcome = tch::no_grad(|| learner.judge(pairs, indices, row_tokens, precision))?;
        losses.extend(to_floats(&outcome.loss)?.into_iter().map(f64::from));
        margins.extend(to_floats(&outcome.margin)?.into_iter().map(f64::from));
        ctx.events().progress(losses.len() as f64, pairs.len() as f64, "pairs", "evaluate");
        ctx.check_stop()?;
    }
    let right = margins.iter().filter(|margin| **margin > 0.0).count();
    finals.insert("validation_accuracy".into(), wilson(right as u64, pairs.len() as u64).interval());
    finals.insert("validation_loss".into(), mean(&losses).interval());
    finals.insert("validation_margin".into(), mean(&margins).interval());
    Ok(finals)
}

/// Checks a learner before its first step: it has no opinion yet, so the loss of a few pairs is `expected`.
pub(super) fn first_loss_self_test(
    learner: &PairLearner<'_>,
    pairs: &[EncodedPair],
    row_tokens: usize,
    precision: Precision,
    (check, expected): (&'static str, f64),
) -> Result<(), RlhfError> {
    let few: Vec<usize> = (0..pairs.len().min(BATCH_PAIRS)).collect();
    let outcome = tch::no_grad(|| learner.judge(pairs, &few, row_tokens, precision))?;
    let losses = to_floats(&outcome.loss)?;
    let got = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len().max(1) as f64;
    let tolerance = match precision {
        Precision::Fp32 | Precision::Auto => 1e-3,
        Precision::Bf16 => 0.05,
    } * expected.max(1.0);
    if (got - expected).abs() <= tolerance {
        return Ok(());
    }
    Err(SftError::SelfTest { check, expected, got, tolerance }.into())
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::Family;
    use tch::Device;

    use super::super::pair_objective::ReferenceLogProbs;
    use super::*;
    use crate::generate::stirred;
    use crate::model::{Network, depth_shape};
    use crate::sft::{ScoreOptions, score_sequences};
    use crate::tokenizer::EncodedChat;

    #[test]
    fn a_policy_that_is_not_its_reference_is_found() {
        let fresh = Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
        let net = stirred(&fresh).unwrap().unwrap();
        let chat = |seed: u32| EncodedChat {
            ids: (0..9).map(|t| (seed * 37 + t * 11 + 5) % 64).collect(),
            trained: (0..9).map(|t| t > 3).collect(),
        };
        let (chosen, rejected) = (chat(1), chat(2));
        let options = ScoreOptions { row_tokens: 16, precision: Precision::Fp32 };
        let both = [chosen.clone(), rejected.clone()];
        let scores = score_sequences::<SftError>(&net, &both, options, &mut |_, _| Ok(())).unwrap();
        let pairs = [EncodedPair { line: 1, chosen, rejected }];
        let test = |moved: f64| {
            let chosen = scores[0].log_prob + moved;
            let reference = [ReferenceLogProbs { chosen, rejected: scores[1].log_prob }];
            let learner = PairLearner::Policy {
                net: &net,
                reference: &reference,
                beta: 0.1,
                identity: false,
                length_normalized: false,
            };
            let check = ("KL(policy, reference) is 0 at step 0", std::f64::consts::LN_2);
            first_loss_self_test(&learner, &pairs, 16, Precision::Fp32, check)
        };
        test(0.0).unwrap();
        for moved in [0.5, -0.5, f64::NAN] {
            let error = test(moved).unwrap_err();
            assert!(error.to_string().contains("KL(policy, reference)"), "{error}");
        }
    }
}
