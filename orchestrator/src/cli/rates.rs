//! Measuring how fast this machine trains, for the times of plans.

use std::process::{Child, Command, Stdio};

use cupola_specs::contract::{ErrorClass, MachineRates, RatesKey};
use cupola_specs::job::{Device, Precision};

use super::load::Prepared;
use super::{CliError, Global};
use crate::executor::LocalExecutor;
use crate::plan::{Action, KnownRates, MACHINE_RATES, RatesOf, needed_rates};
use crate::state::{Fact, State, read_state};

/// Measures the rates that a plan's trainings need and that nobody measured on this machine yet, one after the other, and notes them in the
/// journal. Whether there were any.
pub(super) fn measure(global: &Global, prepared: &Prepared) -> Result<bool, CliError> {
    let dir = global.state_dir();
    let known = KnownRates::read(&read_state(&dir)?);
    let is_open =
        |at: usize| prepared.decisions.get(at).is_some_and(|decision| decision.action != Action::Cached);
    let mut needed: Vec<RatesOf> = Vec::new();
    for of_step in prepared
        .plan
        .steps
        .iter()
        .enumerate()
        .filter(|(at, _)| is_open(*at))
        .filter_map(|(_, planned)| needed_rates(&planned.step))
    {
        if !needed.contains(&of_step) && known.find(of_step).is_none() {
            needed.push(of_step);
        }
    }
    if needed.is_empty() {
        return Ok(false);
    }
    // Nothing else of this folder runs meanwhile, or the figures would be of a machine that is shared.
    let mut state = State::open(&dir, "plan --measure")?;
    for of_step in needed {
        let key = of_step.key();
        if !global.json {
            let RatesKey { hardware, threads, ranks, .. } = &key;
            eprintln!("measuring how fast {hardware} trains with {threads} threads in {ranks} processes");
        }
        let value = serde_json::json!(run_workers(&key)?);
        state.record(vec![Fact::Noted { topic: MACHINE_RATES.to_owned(), key: key.name(), value }])?;
    }
    Ok(true)
}

/// Has workers measure, as many at the same time as there are ranks: they slow each other as ranks do. The first one's rates count.
fn run_workers(key: &RatesKey) -> Result<MachineRates, CliError> {
    let worker = LocalExecutor::worker_of_this_program()?;
    let failed = |message: String| CliError::Other {
        message,
        hint: "`cupola doctor` checks the worker".to_owned(),
        class: ErrorClass::Transient,
    };
    let device = if key.device == Device::Cuda { "cuda" } else { "cpu" };
    let precision = if key.precision == Precision::Bf16 { "bf16" } else { "fp32" };
    let io = |source| CliError::Io { path: worker.clone(), source };
    let start = || {
        let mut command = Command::new(&worker);
        command.arg("rates").args([device, precision, &key.threads.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let others = (1..key.ranks).map(|_| start()).collect::<Result<Vec<Child>, _>>().map_err(io)?;
    let output = start().and_then(Child::wait_with_output);
    for other in others {
        other.wait_with_output().map_err(io)?;
    }
    let output = output.map_err(io)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("the rates of this machine could not be measured: {said}")));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(format!("the worker's rates do not parse: {error}")))
}
