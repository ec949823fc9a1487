//! The eval step: models in, one report out.

use cupola_specs::job::{EvalParams, SuiteParams};
use serde_json::json;

use super::{EvalError, EvalModel, ReportBuilder, Suite};
use super::{chat_loss, contamination_suite, judge, multiple_choice, perplexity};
use crate::job::{StepContext, Summary};

/// Runs the step.
pub fn run(ctx: &StepContext, params: &EvalParams) -> Result<Summary, EvalError> {
    let mut models = Vec::with_capacity(params.models.len());
    for name in &params.models {
        models.push(EvalModel::load(ctx, name, params.precision)?);
    }
    let mut report = ReportBuilder::new(params.models.clone());
    for (index, suite_params) in params.suites.iter().enumerate() {
        let suite = Suite { ctx, index };
        let first_row = report.rows().len();
        run_suite(&suite, &models, params, suite_params, &mut report)?;
        for row in &report.rows()[first_row..] {
            let name = format!("{} {} {}", row.suite, row.model, row.metric);
            let line = format!("{name}: {:.4} [{:.4}, {:.4}], n = {}", row.value, row.low, row.high, row.n);
            ctx.events().log(line);
        }
        ctx.check_stop()?;
    }
    let report = report.write(ctx.staging())?;
    let mut summary = Summary::new();
    summary.insert("models".into(), json!(params.models));
    for row in report.rows.iter().filter(|row| ["bpb", "loss", "win_rate"].contains(&row.metric.as_str())) {
        summary.insert(format!("{}.{}.{}", row.suite, row.model, row.metric), json!(row.value));
    }
    Ok(summary)
}

fn run_suite(
    suite: &Suite<'_>,
    models: &[EvalModel],
    step: &EvalParams,
    params: &SuiteParams,
    report: &mut ReportBuilder,
) -> Result<(), EvalError> {
    match params {
        SuiteParams::Perplexity { part, max_bytes } => {
            perplexity::run(suite, models, part, *max_bytes, report)
        }
        SuiteParams::ChatLoss { part, limit } => chat_loss::run(suite, models, part, *limit, report),
        SuiteParams::MultipleChoice(params) => multiple_choice::run(suite, models, params, report),
        SuiteParams::Judge(params) => judge::run(suite, models, params, step.precision, report),
        SuiteParams::Contamination { part, ngram } => contamination_suite::run(suite, part, *ngram, report),
    }
}
