//! Measuring how fast this machine trains, for the times of plans.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use cupola_specs::contract::{ErrorClass, MachineRates, RatesKey, Trial, TrialSecs};
use cupola_specs::job::{Device, Precision};
use serde::de::DeserializeOwned;

use super::load::Prepared;
use super::{CliError, Global};
use crate::executor::LocalExecutor;
use crate::plan::{Action, KnownRates, MACHINE_RATES, RatesOf, TRIALS, needed_rates, trial_name, trials};
use crate::state::{Fact, Projection, State, read_state};

/// What nobody measured on this machine yet.
#[derive(Default)]
struct Needed {
    rates: Vec<RatesOf>,
    /// Trials, with their steps and the keys of their rates.
    trials: Vec<(String, RatesKey, Trial)>,
}

impl Needed {
    /// What a plan's trainings need that are to run.
    fn of(prepared: &Prepared, projection: &Projection) -> Result<Self, CliError> {
        let known = KnownRates::read(projection);
        let mut needed = Self::default();
        let mut tried: Vec<String> = projection.notes(TRIALS).map(|(name, _)| name.clone()).collect();
        for (planned, decision) in prepared.plan.steps.iter().zip(&prepared.decisions) {
            if decision.action == Action::Cached {
                continue;
            }
            if let Some(of_step) = needed_rates(&planned.step)
                && !needed.rates.contains(&of_step)
                && known.find(of_step).is_none()
            {
                needed.rates.push(of_step);
            }
            for (of_training, trial) in trials(&prepared.plan, planned, projection)? {
                let key = of_training.key();
                let name = trial_name(&key, &trial);
                if !tried.contains(&name) {
                    tried.push(name);
                    needed.trials.push((planned.step.name.clone(), key, trial));
                }
            }
        }
        Ok(needed)
    }
}

/// Measures the rates that a plan's trainings need and runs a trial of each, one after the other, where nobody did on this machine yet, and notes
/// them in the journal. Whether there were any.
pub(super) fn measure(global: &Global, prepared: &Prepared) -> Result<bool, CliError> {
    let dir = global.state_dir();
    let needed = Needed::of(prepared, &read_state(&dir)?)?;
    if needed.rates.is_empty() && needed.trials.is_empty() {
        return Ok(false);
    }
    // Nothing else of this folder runs meanwhile, or the figures would be of a machine that is shared.
    let mut state = State::open(&dir, "plan --measure")?;
    let say = |what: String| {
        if !global.json {
            eprintln!("{what}");
        }
    };
    for of_step in needed.rates {
        let key = of_step.key();
        let RatesKey { hardware, threads, ranks, .. } = &key;
        say(format!("measuring how fast {hardware} trains with {threads} threads in {ranks} processes"));
        let device = if key.device == Device::Cuda { "cuda" } else { "cpu" };
        let precision = if key.precision == Precision::Bf16 { "bf16" } else { "fp32" };
        let words = ["rates", device, precision, &key.threads.to_string()];
        let rates: MachineRates = run_workers(&words, "", key.ranks)?;
        let value = serde_json::json!(rates);
        state.record(vec![Fact::Noted { topic: MACHINE_RATES.to_owned(), key: key.name(), value }])?;
    }
    let count = needed.trials.len();
    for (at, (step, key, trial)) in needed.trials.into_iter().enumerate() {
        say(format!("trying the training of {step} ({} of {count})", at + 1));
        let took: TrialSecs = run_workers(&["trial"], &serde_json::json!(trial).to_string(), key.ranks)?;
        let (key, value) = (trial_name(&key, &trial), serde_json::json!(took));
        state.record(vec![Fact::Noted { topic: TRIALS.to_owned(), key, value }])?;
    }
    Ok(true)
}

/// Has workers measure, as many at the same time as there are ranks: they slow each other as ranks do. What the first one says counts.
fn run_workers<T: DeserializeOwned>(words: &[&str], input: &str, ranks: u32) -> Result<T, CliError> {
    let worker = LocalExecutor::worker_of_this_program()?;
    let failed = |message: String| CliError::Other {
        message,
        hint: "`cupola doctor` checks the worker".to_owned(),
        class: ErrorClass::Transient,
    };
    let io = |source| CliError::Io { path: worker.clone(), source };
    let start = || {
        let mut command = Command::new(&worker);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // The pipe holds it, and a worker that reads nothing says why itself.
        if let Some(mut pipe) = child.stdin.take() {
            let _ = pipe.write_all(input.as_bytes());
        }
        Ok(child)
    };
    let others = (1..ranks).map(|_| start()).collect::<Result<Vec<Child>, _>>().map_err(io)?;
    let output = start().and_then(Child::wait_with_output);
    for other in others {
        other.wait_with_output().map_err(io)?;
    }
    let output = output.map_err(io)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("the speed of this machine could not be measured: {said}")));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(format!("what the worker measured does not parse: {error}")))
}
