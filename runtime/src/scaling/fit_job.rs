//! The fit step: every sweep's runs to laws, recommendations and plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cupola_specs::artifact::{LawFile, LawFit, SweepRun};
use cupola_specs::job::{Family, FitMethod, FitParams};
use serde_json::json;

use super::envelope::fit_envelope;
use super::isoflop::fit_isoflop;
use super::parametric::fit_parametric;
use super::points::{best_runs, flops_per_sec};
use super::recommend::recommend;
use super::sweep_job::{read_json, write_json};
use super::{ScalingError, plot};
use crate::job::{StepContext, Summary, write_durably};

/// Fits the sweeps of a scaling job.
pub fn run(ctx: &StepContext, params: &FitParams) -> Result<Summary, ScalingError> {
    let mut runs: Vec<SweepRun> = Vec::new();
    for (_, input) in ctx.inputs_with_prefix("sweep.") {
        runs.extend(read_json::<Vec<SweepRun>>(&input.path.join("runs.json"))?);
    }
    let families = families(&runs);
    let mut fits = Vec::new();
    for &family in &families {
        fits.extend(fit_family(ctx, params, &runs, family)?);
    }
    let law = assemble(params, runs, fits, &families)?;
    write_json(&ctx.staging().join("law.json"), &law)?;
    write_durably(&ctx.staging().join("runs.csv"), csv(&law.runs).as_bytes())?;
    plot::draw(&law, ctx.staging())?;
    Ok(tell(ctx, &law))
}

fn families(runs: &[SweepRun]) -> Vec<Family> {
    let mut families: Vec<Family> = runs.iter().map(|run| run.shape.family).collect();
    families.sort_unstable();
    families.dedup();
    families
}

/// Every asked-for method of one family. A method that the runs don't hold is left out with a warning; none at all is an error.
fn fit_family(
    ctx: &StepContext,
    params: &FitParams,
    runs: &[SweepRun],
    family: Family,
) -> Result<Vec<LawFit>, ScalingError> {
    let best = best_runs(runs, family);
    let mut fits = Vec::new();
    let mut reasons = Vec::new();
    for &method in &params.methods {
        let seed = ctx.seed(&format!("bootstrap {family:?} {method:?}"));
        let fitted = match method {
            FitMethod::Parametric => fit_parametric(family, &best, seed),
            FitMethod::Isoflop => fit_isoflop(family, &best, seed),
            FitMethod::Envelope => fit_envelope(family, &best, seed),
        };
        match fitted {
            Ok(fit) => {
                for caveat in &fit.caveats {
                    ctx.events().log(format!("{family:?}, {method:?}: {caveat}"));
                }
                fits.push(fit);
            }
            Err(reason) => {
                ctx.events().warning("fit_left_out", format!("{family:?}, {method:?}: needs {reason}"));
                reasons.push(format!("{method:?} needs {reason}"));
            }
        }
    }
    if fits.is_empty() {
        return Err(ScalingError::TooFewRuns { family, num_points: best.len(), reason: reasons.join("; ") });
    }
    Ok(fits)
}

/// The law file: recommendations from the fits, and the family that is forecast to do better.
fn assemble(
    params: &FitParams,
    runs: Vec<SweepRun>,
    fits: Vec<LawFit>,
    families: &[Family],
) -> Result<LawFile, ScalingError> {
    let first = *families.first().ok_or(ScalingError::NoRuns)?;
    let speeds = families.iter().map(|&family| {
        let own: Vec<SweepRun> = runs.iter().filter(|run| run.shape.family == family).cloned().collect();
        (family, flops_per_sec(&own))
    });
    let flops_per_sec = speeds.collect();
    let mut law = LawFile { runs, fits, recommendations: BTreeMap::new(), best_family: first, flops_per_sec };
    for &family in families {
        let recommendation = recommend(&mut law, family, params)?;
        law.recommendations.insert(family, recommendation);
    }
    let forecast = |family: &Family| law.recommendations.get(family).map_or(f64::INFINITY, |r| r.loss.value);
    if let Some(best) = families.iter().min_by(|a, b| forecast(a).total_cmp(&forecast(b))) {
        law.best_family = *best;
    }
    Ok(law)
}

/// `runs.csv`: one line a run, the curve left out.
fn csv(runs: &[SweepRun]) -> String {
    let mut text = String::from(
        "family,layers,hidden_size,params,total_params,tokens,flops,lr,validation_loss,validation_bpb,secs\n",
    );
    for run in runs {
        let family = family_word(run.shape.family);
        // Writing to a String never fails.
        let _ = writeln!(
            text,
            "{family},{},{},{},{},{},{:e},{:e},{},{},{:.3}",
            run.shape.num_hidden_layers,
            run.shape.hidden_size,
            run.params,
            run.total_params,
            run.tokens,
            run.flops,
            run.lr,
            run.validation_loss,
            run.validation_bpb,
            run.secs
        );
    }
    text
}

/// The family as the spec writes it.
pub(super) fn family_word(family: Family) -> &'static str {
    match family {
        Family::Transformer => "transformer",
        Family::Lstm => "lstm",
    }
}

fn tell(ctx: &StepContext, law: &LawFile) -> Summary {
    let mut summary = Summary::new();
    summary.insert("runs".into(), json!(law.runs.len()));
    summary.insert("fits".into(), json!(law.fits.len()));
    summary.insert("best_family".into(), json!(family_word(law.best_family)));
    for (&family, best) in &law.recommendations {
        let word = family_word(family);
        summary.insert(format!("{word}_params"), json!(best.params));
        summary.insert(format!("{word}_tokens"), json!(best.tokens));
        summary.insert(format!("{word}_loss"), json!(best.loss.value));
        ctx.events().log(format!(
            "{word}: {} layers of width {}, {:.3e} tokens, {:.3e} FLOPs; forecast loss {:.4} ({:.4} to {:.4})",
            best.shape.num_hidden_layers,
            best.shape.hidden_size,
            best.tokens,
            best.flops,
            best.loss.value,
            best.loss.low,
            best.loss.high
        ));
    }
    summary
}
