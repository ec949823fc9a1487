//! Finding what an id on the command line names.

use clap::Args;

use super::{CliError, Global};
use crate::state::{Projection, RunRow, RunView, StepView, load_run, read_state};

/// Which run.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// The run; the newest one where it is left out.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

/// What is true now, read without a lock.
pub(super) fn projection(global: &Global) -> Result<Projection, CliError> {
    Ok(read_state(&global.state_dir())?)
}

/// A run with curves: the named or the newest one.
pub(super) fn find_run(projection: &Projection, id: Option<&str>) -> Result<RunView, CliError> {
    let id = find_row(projection, id)?.id.clone();
    load_run(projection, Some(&id))?.ok_or_else(|| CliError::input(format!("there is no run `{id}`"), ""))
}

/// A run as the projection holds it: the named or the newest one.
pub(super) fn find_row<'a>(projection: &'a Projection, id: Option<&str>) -> Result<&'a RunRow, CliError> {
    let found = match id {
        Some(id) => projection.run(id),
        None => projection.latest_run(None),
    };
    found.ok_or_else(|| match id {
        Some(id) => {
            let known: Vec<&str> =
                projection.runs().iter().rev().take(5).map(|run| run.id.as_str()).collect();
            let hint =
                if known.is_empty() { String::new() } else { format!("the newest are {}", known.join(", ")) };
            CliError::input(format!("there is no run `{id}`"), hint)
        }
        None => {
            CliError::input("there is no run yet", "`cupola apply SPEC` makes one, or give another --state")
        }
    })
}

/// The steps that a name means: one step, or all steps of a job.
pub(super) fn find_steps<'a>(run: &'a RunView, name: &str) -> Result<Vec<&'a StepView>, CliError> {
    let found: Vec<&StepView> =
        run.steps.iter().filter(|step| step.name == name || step.job == name).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let nearest = run.steps.iter().flat_map(|step| [step.name.as_str(), step.job.as_str()]);
    let nearest =
        nearest.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let hint = nearest.map(|nearest| format!("did you mean `{nearest}`?")).unwrap_or_default();
    Err(CliError::input(format!("run {} has no job or step `{name}`", run.id), hint))
}
