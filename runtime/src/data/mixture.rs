//! `weights: fit`: the domains' weights from runs of small models, before anything else is done.

use std::collections::BTreeSet;

use cupola_curation::mixture::{FitOptions, ProxyRuns, Regressor, fit_mixture};
use cupola_specs::artifact::MixtureStatistics;
use cupola_specs::job::DataParams;

use super::DataError;
use crate::job::StepContext;

/// Fits the weights; none where the job says what they are. Which mixture is better hardly depends on a model's size (RegMix, 2024, arXiv:2407.01492).
pub(super) fn fit(ctx: &StepContext, params: &DataParams) -> Result<Option<MixtureStatistics>, DataError> {
    if !params.domain_weights.is_empty() {
        return Ok(None);
    }
    let runs = read(ctx, params)?;
    ctx.events().progress(0.0, 1.0, "fits", "fit weights");
    let options = FitOptions { seed: ctx.seed("mixture"), ..FitOptions::default() };
    let statistics = fit_to(&runs, &options)?;
    for caveat in &statistics.caveats {
        ctx.events().warning("weak_mixture", format!("domains.weights: {caveat}"));
    }
    Ok(Some(statistics))
}

/// The runs of the job's files, over its domains.
fn read(ctx: &StepContext, params: &DataParams) -> Result<ProxyRuns, DataError> {
    let domains: BTreeSet<&String> = if params.classify.is_empty() {
        params.sources.iter().map(|source| &source.domain).collect()
    } else {
        params.classify.iter().collect()
    };
    let mut runs = ProxyRuns::new(domains.into_iter().cloned().collect());
    for file in ctx.sources("mixture.runs")? {
        runs.add_lines(&file.name, &ctx.read_source(&file)?)?;
    }
    Ok(runs)
}

fn fit_to(runs: &ProxyRuns, options: &FitOptions) -> Result<MixtureStatistics, DataError> {
    let fit = fit_mixture(runs, options)?;
    let best = &fit.cross_validation[0];
    let regressor = match best.regressor {
        Regressor::Linear => "linear",
        Regressor::Trees => "trees",
    };
    Ok(MixtureStatistics {
        num_runs: runs.losses.len() as u64,
        predicted_loss: fit.predicted_loss,
        mean_mixture_loss: fit.prior_loss,
        best_run_loss: fit.best_run.1,
        regressor: regressor.to_owned(),
        rank_correlation: best.spearman,
        caveats: fit.caveats,
        weights: fit.weights,
    })
}

#[cfg(test)]
mod tests {
    use cupola_specs::contract::JobFile;
    use cupola_specs::job::{SourceFormat, StepParams};

    use super::*;
    use crate::data::sample::{job_of, source, write_sources};
    use crate::job::sample::job_in;

    /// What runs over two domains come to, with fewer draws than a job takes.
    fn fit_of(runs: &str) -> Result<MixtureStatistics, DataError> {
        let dir = tempfile::tempdir().unwrap();
        write_sources(dir.path(), &[("mixture.runs", "runs.jsonl", runs.as_bytes().to_vec())]);
        let mut params =
            job_of(vec![source("a", SourceFormat::Text, "code"), source("b", SourceFormat::Text, "prose")]);
        params.domain_weights.clear();
        let job = JobFile { params: StepParams::Data(params.clone()), ..job_in(dir.path()) };
        let ctx = StepContext::new(job, std::sync::Arc::default()).unwrap();
        let options = FitOptions { draws: 10, candidates: 300, top: 10, ..FitOptions::default() };
        fit_to(&read(&ctx, &params)?, &options)
    }

    #[test]
    fn the_weights_of_the_least_loss_are_found_and_sum_to_one() {
        let line = |at: u32| {
            let code = f64::from(at) / 63.0;
            let loss = 3.0 + (code - 0.7) * (code - 0.7);
            format!("{{\"weights\": {{\"code\": {code}, \"prose\": {}}}, \"loss\": {loss}}}\n", 1.0 - code)
        };
        let fit = fit_of(&(0..64).map(line).collect::<String>()).unwrap();
        let (code, prose) = (fit.weights["code"], fit.weights["prose"]);
        assert!(
            (code.value - 0.7).abs() < 0.1 && code.low <= code.value && code.value <= code.high,
            "{code:?}"
        );
        assert!((code.value + prose.value - 1.0).abs() < 1e-9);
        assert_eq!(fit.num_runs, 64);
    }

    #[test]
    fn runs_of_other_domains_and_too_few_are_refused() {
        let told = fit_of("{\"weights\": {\"law\": 1}, \"loss\": 3}").unwrap_err().to_string();
        assert!(told.contains("runs.jsonl, line 1:") && told.contains("code, prose"), "{told}");
        let told = fit_of("{\"weights\": {\"code\": 1}, \"loss\": 3}").unwrap_err().to_string();
        assert!(told.contains("1 runs over 2"), "{told}");
    }
}
