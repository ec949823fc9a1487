//! The graphs of drills. Their steps are law fits by kind, since a plan's kinds are a closed set, and are run by `cupola-drill`.

use std::path::Path;

use cupola_specs::job::{FitMethod, FitParams, FitTarget, StepParams};
use rand::Rng;

use crate::plan::{FileHashes, Input, Plan, PlanError, Step, StepSettings};

/// Attempts that a drill step may need: each kill of its worker costs one.
const RETRIES: u32 = 1_000;

/// A step that takes one core and reads the outputs of `inputs`.
fn step(name: &str, inputs: &[String]) -> Step {
    let roles = inputs.iter().enumerate();
    Step {
        name: name.to_owned(),
        job: name.split('[').next().unwrap_or(name).to_owned(),
        params: StepParams::Fit(FitParams {
            methods: vec![FitMethod::Envelope],
            target: FitTarget::Flops { flops: 1.0 },
            inference_tokens: 0.0,
        }),
        inputs: roles.map(|(at, name)| (format!("sweep.{at:05}"), Input::Step(name.clone()))).collect(),
        sources: Vec::new(),
        after: Vec::new(),
        // Identity: two steps that differ in nothing else are two steps.
        seed: u64::from_le_bytes(
            blake3::hash(name.as_bytes()).as_bytes()[..8].try_into().unwrap_or_default(),
        ),
        settings: StepSettings { retries: RETRIES, ..StepSettings::PLAIN },
    }
}

/// The graph of a drill: 60 steps; a chain, diamonds, a fan, a matrix, flaky steps and one of three seconds, joined at the end.
pub fn drill_plan(spec: &Path) -> Result<Plan, PlanError> {
    let mut steps = vec![step("root", &[])];
    let mut before = "root".to_owned();
    for at in 0..10 {
        let name = format!("chain-{at}");
        steps.push(step(&name, &[before]));
        before = name;
    }
    let mut ends = vec![before];
    for at in 0..3 {
        let [top, left, right, bottom] =
            ["top", "left", "right", "bottom"].map(|part| format!("diamond-{at}-{part}"));
        steps.push(step(&top, &["root".to_owned()]));
        steps.push(step(&left, std::slice::from_ref(&top)));
        steps.push(step(&right, &[top]));
        steps.push(step(&bottom, &[left, right]));
        ends.push(bottom);
    }
    for at in 0..20 {
        let name = format!("fan[{at}]");
        steps.push(step(&name, &["root".to_owned()]));
        ends.push(name);
    }
    for row in 0..4 {
        for column in 0..3 {
            let name = format!("matrix[{row},{column}]");
            steps.push(step(&name, &[format!("fan[{row}]"), format!("fan[{}]", 10 + column)]));
            ends.push(name);
        }
    }
    for name in ["flaky-early", "slow", "flaky-late"] {
        let inputs = if name == "flaky-late" { vec!["slow".to_owned()] } else { vec!["root".to_owned()] };
        steps.push(step(name, &inputs));
        ends.push(name.to_owned());
    }
    steps.push(step("gather", &ends));
    steps.push(step("last", &["gather".to_owned()]));
    Plan::build("drill", spec, steps, &mut FileHashes::default())
}

/// A fan of `count` steps that do nothing.
pub fn fan_plan(spec: &Path, count: usize) -> Result<Plan, PlanError> {
    let steps = (0..count).map(|at| step(&format!("fan[{at}]"), &[])).collect();
    Plan::build("fan", spec, steps, &mut FileHashes::default())
}

/// A small random plan, for the simulation.
pub(crate) fn random_plan(rng: &mut impl Rng, seed: u64) -> Result<Plan, PlanError> {
    let names: Vec<String> = (0..rng.random_range(1..10)).map(|at| format!("s{at}")).collect();
    let mut steps = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let inputs: Vec<String> = names[..at].iter().filter(|_| rng.random_bool(0.3)).cloned().collect();
        let mut step = step(name, &inputs);
        // Now and then two steps are one by identity.
        step.seed = if rng.random_bool(0.1) { seed } else { step.seed };
        step.settings.cores = rng.random_range(1..4);
        step.settings.devices = rng.random_range(0..2);
        step.settings.memory_bytes = rng.random_range(0..10);
        step.settings.retries = rng.random_range(0..4);
        step.settings.timeout_secs = if rng.random_bool(0.2) { 15.0 } else { 0.0 };
        step.settings.priority = rng.random_range(-1..2);
        steps.push(step);
    }
    Plan::build("simulation", Path::new("simulation.yaml"), steps, &mut FileHashes::default())
}
