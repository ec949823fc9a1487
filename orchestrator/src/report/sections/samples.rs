//! What the models write, side by side.

use cupola_specs::artifact::EvalSample;

use super::{Sample, Section};
use crate::report::format::words;
use crate::report::{ModelFacts, ReportFacts};

const MOST: usize = 8;

/// Samples of the evaluations; where there are none, the last ones of each training.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    let mut samples: Vec<Sample> =
        facts.evals.iter().flat_map(|eval| &eval.facts.samples).take(MOST).map(of_eval).collect();
    let mut lead =
        "The same prompt to each model, with the text that a person wrote. Nothing is picked by hand.";
    if samples.is_empty() {
        samples = facts.models.iter().flat_map(of_training).take(MOST).collect();
        lead = "What the models wrote at the end of their training.";
    }
    (!samples.is_empty()).then(|| Section {
        id: "samples",
        title: "Samples".to_owned(),
        lead: lead.to_owned(),
        samples,
        ..Section::default()
    })
}

fn of_eval(sample: &EvalSample) -> Sample {
    let mut answers = Vec::new();
    if !sample.reference.is_empty() {
        answers.push(("reference".to_owned(), sample.reference.clone()));
    }
    answers.extend(sample.answers.iter().cloned());
    Sample { title: words(&sample.suite), prompt: sample.prompt.clone(), answers }
}

fn of_training(model: &ModelFacts) -> Vec<Sample> {
    let last = model.samples.iter().rev().take(2);
    last.map(|sample| Sample {
        title: format!("{} at step {}", model.step, sample.step),
        prompt: sample.prompt.clone(),
        answers: vec![(model.job.clone(), sample.text.clone())],
    })
    .collect()
}
