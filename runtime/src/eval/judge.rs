//! Win rate of a model over a baseline: both answer each held-out prompt, and the answer nearer to the reference wins.
//!
//! The judge is ROUGE-L against the real answer. Both models answer with the same random stream, so two equal models tie everywhere. A tie
//! decides nothing: it is counted on its own, and the win rate is over decided prompts.

use cupola_specs::artifact::EvalSample;
use cupola_specs::job::{JudgeParams, Precision};

use super::{Estimate, EvalError, EvalModel, ReportBuilder, RowFacts, Suite, mean, wilson};
use crate::rlhf::{
    Answer, Prompt, SampleOptions, encode_prompts, engine_for, read_prompts, rouge_l, sample_answers,
};
use crate::sft::permutation;

const SUITE: &str = "judge";
/// Below this difference two scores are the same number.
const TIE: f64 = 1e-9;

/// Runs the suite.
pub(super) fn run(
    suite: &Suite<'_>,
    models: &[EvalModel],
    params: &JudgeParams,
    precision: Precision,
    report: &mut ReportBuilder,
) -> Result<(), EvalError> {
    let sides = [suite.model(models, &params.model)?, suite.model(models, &params.baseline)?];
    let prompts = usable_prompts(suite, params, sides)?;
    let options = SampleOptions {
        samples: 1,
        temperature: params.temperature,
        max_new_tokens: params.max_new_tokens as usize,
        precision,
        seed: suite.seed("answers"),
    };
    let [answers, baseline] =
        [answer_all(suite, sides[0], &prompts, &options)?, answer_all(suite, sides[1], &prompts, &options)?];
    let score = |answers: &[Answer]| -> Vec<f64> {
        answers
            .iter()
            .zip(&prompts)
            .map(|(answer, prompt)| rouge_l(&answer.text, &prompt.reference))
            .collect()
    };
    let (scores, baseline_scores) = (score(&answers), score(&baseline));
    add_rows(params, &scores, &baseline_scores, report);
    for (name, answers) in [(&params.model, &answers), (&params.baseline, &baseline)] {
        let lengths: Vec<f64> = answers.iter().map(|answer| answer.completion.ids.len() as f64).collect();
        let method = "length of the sampled answers; n counts prompts, normal interval".to_owned();
        let facts = RowFacts { higher_is_better: false, ..facts("answer_tokens", method, None) };
        report.row(name, &facts, mean(&lengths));
    }
    for (index, prompt) in prompts.iter().enumerate() {
        let side =
            |name: &str, answer: &Answer, score: f64| (format!("{name} ({score:.3})"), answer.text.clone());
        report.example(EvalSample {
            suite: SUITE.into(),
            prompt: prompt.text.clone(),
            reference: prompt.reference.clone(),
            answers: vec![
                side(&params.model, &answers[index], scores[index]),
                side(&params.baseline, &baseline[index], baseline_scores[index]),
            ],
        });
    }
    Ok(())
}

/// The prompts that have a reference and fit both models, in a seeded order, at most `limit`.
fn usable_prompts(
    suite: &Suite<'_>,
    params: &JudgeParams,
    sides: [&EvalModel; 2],
) -> Result<Vec<Prompt>, EvalError> {
    let all = read_prompts(suite.ctx, &suite.role(), &params.part)?;
    if let Some(prompt) = all.iter().find(|prompt| prompt.reference.is_empty()) {
        return Err(suite.nothing(SUITE, format!("prompt {} has no reference to judge by", prompt.name)));
    }
    let mut fits = vec![true; all.len()];
    for model in sides {
        let max_new = params.max_new_tokens as usize;
        let (encoded, too_long) = encode_prompts(&model.tokenizer, &all, max_new, model.context)?;
        suite.warn_too_long(SUITE, model, too_long as usize);
        let mut fits_model = vec![false; all.len()];
        for prompt in &encoded {
            fits_model[prompt.index] = true;
        }
        for (both, one) in fits.iter_mut().zip(fits_model) {
            *both &= one;
        }
    }
    let limit = if params.limit == 0 { usize::MAX } else { params.limit as usize };
    let order = permutation(suite.seed("prompts"), 0, all.len());
    let chosen: Vec<Prompt> =
        order.into_iter().filter(|index| fits[*index]).take(limit).map(|index| all[index].clone()).collect();
    if chosen.is_empty() {
        return Err(suite.nothing_fits(SUITE, sides[0], all.len()));
    }
    Ok(chosen)
}

fn answer_all(
    suite: &Suite<'_>,
    model: &EvalModel,
    prompts: &[Prompt],
    options: &SampleOptions,
) -> Result<Vec<Answer>, EvalError> {
    let (encoded, _) = encode_prompts(&model.tokenizer, prompts, options.max_new_tokens, model.context)?;
    let mut engine = engine_for(&model.net, &encoded, options)?;
    let stage = format!("{SUITE} {}", model.name);
    let total = encoded.len() as f64;
    let answers = sample_answers(suite.ctx, &mut engine, &model.tokenizer, &encoded, options, &mut |done| {
        suite.ctx.events().progress(done as f64, total, "prompts", &stage);
    })?;
    Ok(answers.into_iter().flatten().collect())
}

fn add_rows(params: &JudgeParams, scores: &[f64], baseline: &[f64], report: &mut ReportBuilder) {
    let differences: Vec<f64> = scores.iter().zip(baseline).map(|(a, b)| a - b).collect();
    let wins = differences.iter().filter(|d| **d > TIE).count() as u64;
    let losses = differences.iter().filter(|d| **d < -TIE).count() as u64;
    let ties = differences.len() as u64 - wins - losses;
    let over = format!(
        "ROUGE-L F1 against the reference, {} over {}, one answer a prompt at temperature {}",
        params.model, params.baseline, params.temperature
    );
    let method = format!("{over}; n counts decided prompts ({ties} ties left out), Wilson interval");
    report.row(&params.model, &facts("win_rate", method, Some(0.5)), wilson(wins, wins + losses));
    let halves: Vec<f64> = differences
        .iter()
        .map(|d| if d.abs() <= TIE { 0.5 } else { f64::from(u8::from(*d > 0.0)) })
        .collect();
    let method = format!("{over}; n counts prompts, a tie is half a win, normal interval");
    report.row(&params.model, &facts("win_rate_ties_half", method, Some(0.5)), mean(&halves));
    let row: Estimate = wilson(ties, differences.len() as u64);
    report.row("", &facts("tie_rate", format!("{over}; n counts prompts, Wilson interval"), None), row);
    for (name, scores) in [(&params.model, scores), (&params.baseline, baseline)] {
        let method = "mean ROUGE-L F1 against the reference; n counts prompts, normal interval".to_owned();
        report.row(name, &facts("rouge_l", method, None), mean(scores));
    }
    let method = format!("{over}; mean paired difference of ROUGE-L, n counts prompts, normal interval");
    report.row(&params.model, &facts("rouge_l_gain", method, Some(0.0)), mean(&differences));
}

fn facts(metric: &str, method: String, chance: Option<f64>) -> RowFacts {
    RowFacts { suite: SUITE, metric: metric.to_owned(), method, chance, higher_is_better: true }
}
