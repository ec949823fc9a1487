//! `cupola run`.

use std::path::{Path, PathBuf};

use clap::Args;
use cupola_specs::spec::{ProcessEnvironment, Reference, ResolvedSpec, parse};
use serde_yaml::{Mapping, Value};

use super::apply::carry_out;
use super::environment::Variables;
use super::load::{Prepared, build_plan, decide_now, diagnostics};
use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::plan::{Estimate, Machine, result_step};
use crate::state::RunState;

/// Arguments of `cupola run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The job's kind: data, tokenizer, scaling, pretrain, sft, rlhf or eval.
    pub kind: String,
    /// A field of the job: `--set tokens=2M`, `--set corpus='{path: ./corpus}'`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub fields: Vec<String>,
    /// The folder that gets the job's artifact; it must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Runs one job without a spec file.
pub(super) fn run(args: &RunArgs, global: &Global) -> Result<Outcome, CliError> {
    if args.out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(CliError::input(format!("{} is not empty", args.out.display()), "give another folder"));
    }
    let spec = spec_of(args, global)?;
    let machine = Machine::detect();
    let plan = build_plan(global, &spec, machine)?;
    let decisions = decide_now(&plan, &spec, &projection(global)?, global)?;
    let prepared = Prepared {
        spec,
        plan,
        decisions,
        machine,
        done: None,
        is_settled: true,
        estimate: Estimate::default(),
        environment: Variables::new(),
    };
    let applied = carry_out(&prepared, None, global)?.applied;
    if applied.run.state != RunState::Succeeded {
        return super::apply::outcome_of(&applied);
    }
    let reference = Reference { job: args.kind.clone(), part: None };
    let step = result_step(&prepared.spec, &reference).and_then(|name| applied.run.step(&name).cloned());
    let artifact = step.and_then(|step| step.artifact);
    let artifact =
        artifact.ok_or_else(|| CliError::input("the job gave no artifact", "see `cupola status`"))?;
    copy_folder(&artifact, &args.out)?;
    if global.json {
        println!("{}", serde_json::json!({ "out": args.out, "artifact": artifact }));
    } else {
        println!("{}", args.out.display());
    }
    Ok(Outcome::Done)
}

/// A spec with this one job, named after its kind.
fn spec_of(args: &RunArgs, global: &Global) -> Result<ResolvedSpec, CliError> {
    let mut job = Mapping::new();
    job.insert("kind".into(), args.kind.as_str().into());
    for field in &args.fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| CliError::input(format!("expected KEY=VALUE, got `{field}`"), ""))?;
        let value: Value = serde_yaml::from_str(value)
            .map_err(|error| CliError::input(format!("the value of `{key}` is not YAML: {error}"), ""))?;
        insert(&mut job, key, value);
    }
    let mut jobs = Mapping::new();
    jobs.insert(args.kind.as_str().into(), job.into());
    let mut spec = Mapping::new();
    spec.insert("cupola".into(), "v1".into());
    spec.insert("name".into(), format!("run-{}", args.kind).into());
    spec.insert("jobs".into(), jobs.into());
    let text = serde_yaml::to_string(&spec).map_err(|error| CliError::input(error.to_string(), ""))?;
    parse(Path::new("command-line.yaml"), text.as_bytes(), &[], &ProcessEnvironment)
        .map_err(|errors| diagnostics(&errors, global.json))
}

fn insert(map: &mut Mapping, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            map.insert(key.into(), value);
        }
        Some((head, rest)) => {
            let inner = map.entry(head.into()).or_insert_with(|| Mapping::new().into());
            if !inner.is_mapping() {
                *inner = Mapping::new().into();
            }
            if let Some(inner) = inner.as_mapping_mut() {
                insert(inner, rest, value);
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), CliError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| CliError::Io { path, source }
    };
    std::fs::create_dir_all(to).map_err(io(to))?;
    for entry in std::fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(io(&source))?;
        }
    }
    Ok(())
}
