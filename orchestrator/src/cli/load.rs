//! From the command line to a spec, and on to a plan with decisions.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cupola_specs::contract::ErrorClass;
use cupola_specs::spec::{Code, Diagnostics, Environment, Format, ProcessEnvironment, ResolvedSpec};

use super::environment::{Remembered, Variables};
use super::{CliError, Global};
use crate::plan::{
    Decision, Estimate, FileHashes, KnownRates, Machine, Plan, PlanError, Resources, decide, estimate, lower,
};
use crate::run::{Slots, done_run};
use crate::state::{Projection, read_state};
use crate::store::Store;

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Source lines with carets.
    Text,
    /// One JSON object, as with --json.
    Json,
    /// SARIF 2.1.0, for editors and code scanning.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

/// Which spec, and what of it is overridden.
#[derive(Debug, Clone, Default, Args)]
pub struct SpecArgs {
    /// The spec file.
    pub spec: PathBuf,
    /// Overrides a value: `--set vars.depth=6`, `--set jobs.base.tokens=2M`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,
    /// Format of the spec's errors. Default: text, or json with --json.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
}

impl SpecArgs {
    /// How diagnostics are printed.
    pub(super) fn format(&self, global: &Global) -> Format {
        match self.format {
            Some(FormatArg::Text) => Format::Text,
            Some(FormatArg::Json) => Format::Json,
            Some(FormatArg::Sarif) => Format::Sarif,
            Some(FormatArg::Github) => Format::Github,
            None => format_of(global.json),
        }
    }
}

/// The format of a command that has no choice but --json.
fn format_of(json: bool) -> Format {
    if json { Format::Json } else { Format::Text }
}

/// Which jobs of a spec.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectArgs {
    /// Only these jobs, with what they need.
    #[arg(long, value_name = "JOB")]
    pub only: Vec<String>,
    /// These jobs and all that needs them.
    #[arg(long, value_name = "JOB", conflicts_with = "only")]
    pub from: Vec<String>,
}

/// A spec with its plan and what is to be done.
pub(super) struct Prepared {
    pub(super) spec: ResolvedSpec,
    pub(super) plan: Plan,
    pub(super) decisions: Vec<Decision>,
    pub(super) machine: Machine,
    /// The run that has done all of it.
    pub(super) done: Option<String>,
    /// Whether nothing is left to decide about what that run's spec serves.
    pub(super) is_settled: bool,
    /// What it takes.
    pub(super) estimate: Estimate,
    /// The variables that the spec names, with their values.
    pub(super) environment: Variables,
}

impl Prepared {
    /// What this machine has for steps.
    pub(super) fn slots(&self) -> Slots {
        let Resources { memory_bytes, .. } = self.estimate.resources;
        let memory_bytes = if memory_bytes == 0 { Slots::ANY_MEMORY } else { memory_bytes };
        Slots { cores: self.machine.cores, devices: self.machine.devices, memory_bytes }
    }

    /// Refuses trainings that do not fit this machine's memory, before anything runs.
    pub(super) fn check_memory(&self) -> Result<(), CliError> {
        let messages = self.estimate.refusals.clone();
        if messages.is_empty() {
            Ok(())
        } else {
            Err(CliError::Refused { code: Code::TooMuchMemory, messages })
        }
    }
}

/// Loads a spec, or gives every error in it.
pub(super) fn load_spec(
    path: &Path,
    overrides: &[(String, String)],
    json: bool,
) -> Result<ResolvedSpec, CliError> {
    load_in(path, overrides, format_of(json))
}

/// The same, with errors in a format of the user's choice.
pub(super) fn load_in(
    path: &Path,
    overrides: &[(String, String)],
    format: Format,
) -> Result<ResolvedSpec, CliError> {
    load_by(&ProcessEnvironment, path, overrides, format)
}

fn load_by(
    environment: &dyn Environment,
    path: &Path,
    overrides: &[(String, String)],
    format: Format,
) -> Result<ResolvedSpec, CliError> {
    cupola_specs::spec::load(path, overrides, environment)
        .map_err(|diagnostics| CliError::Diagnostics { diagnostics, format })
}

/// Diagnostics as the command's error.
pub(super) fn diagnostics(errors: &Diagnostics, json: bool) -> CliError {
    CliError::Diagnostics { diagnostics: errors.clone(), format: format_of(json) }
}

/// Lowers a spec and decides what is to be done, against state that may be read while an orchestrator runs.
pub(super) fn prepare(global: &Global, args: &SpecArgs, select: &SelectArgs) -> Result<Prepared, CliError> {
    let dir = global.state_dir();
    let machine = Machine::detect();
    let planned = || -> Result<(ResolvedSpec, Plan, Variables), CliError> {
        let remembered = Remembered::default();
        let spec = load_by(&remembered, &args.spec, &args.overrides, args.format(global))?;
        let plan = build_plan(global, &spec, machine)?;
        let plan = match (select.only.is_empty(), select.from.is_empty()) {
            (false, _) => plan.select(&select.only, false)?,
            (true, false) => plan.select(&select.from, true)?,
            (true, true) => plan,
        };
        Ok((spec, plan, remembered.variables()))
    };
    // Neither needs the other, and of a long run each takes a while.
    let (planned, projection) = rayon::join(planned, || read_state(&dir));
    let ((spec, mut plan, environment), projection) = (planned?, projection?);
    let decisions = decide_now(&plan, &spec, &projection, global)?;
    let done = done_run(&projection, &plan, &decisions);
    let is_settled = done.is_none_or(|run| super::promotions::is_settled(&spec, run, &projection));
    let done = done.map(|run| run.id.clone());
    let resources = Resources::detect(machine.cores, dir.root());
    let estimate =
        estimate(&plan, &decisions, &projection, &KnownRates::read(&projection), (resources, &spec.budget))?;
    plan.reserve(&estimate);
    Ok(Prepared { spec, plan, decisions, machine, done, is_settled, estimate, environment })
}

/// The plan of a spec; hashes of source files are remembered in the state folder.
pub(super) fn build_plan(global: &Global, spec: &ResolvedSpec, machine: Machine) -> Result<Plan, CliError> {
    let side_file = global.state_dir().file_hashes();
    let mut hashes = FileHashes::load(&side_file);
    let steps = lower(spec, machine)?;
    let mut plan = Plan::build(&spec.name, &spec.file, steps, &mut hashes)?;
    plan.telemetry.clone_from(&spec.telemetry);
    if global.state_dir().root().is_dir() {
        hashes.save(&side_file).map_err(|source| CliError::Io { path: side_file, source })?;
    }
    Ok(plan)
}

/// What is to be done now.
pub(super) fn decide_now(
    plan: &Plan,
    spec: &ResolvedSpec,
    projection: &Projection,
    global: &Global,
) -> Result<Vec<Decision>, PlanError> {
    let store = Store::new(&global.state_dir());
    decide(plan, Some(spec), projection, &|kind, fingerprint| store.contains(kind, fingerprint))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, got `{text}`"))?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

macro_rules! from_room {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class: error.class() }
            }
        }
    )*};
}

from_room!(
    PlanError,
    crate::state::StateError,
    crate::store::StoreError,
    crate::run::RunError,
    crate::chaos::ChaosError,
    crate::report::ReportError
);

impl From<crate::executor::ExecutorError> for CliError {
    fn from(error: crate::executor::ExecutorError) -> Self {
        let class = match error {
            crate::executor::ExecutorError::NoWorker { .. }
            | crate::executor::ExecutorError::NoShim { .. } => ErrorClass::User,
            _ => ErrorClass::Transient,
        };
        Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class }
    }
}
