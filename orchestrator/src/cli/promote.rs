//! `cupola promote`.

use std::path::Path;
use std::process::Command;

use clap::Args;
use cupola_specs::artifact::SEAL_FILE;

use super::export::worker_failed;
use super::model::{FoundModel, find_model};
use super::promotions::{change_served, check_there, identify, person, say};
use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::executor::LocalExecutor;
use crate::promote::{
    Candidate, Change, ModelRules, PromotionBook, Proposal, Rules, promote_by_hand, propose, rules_of,
};
use crate::state::Projection;

/// Arguments of `cupola promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// A job, a step, the start of a fingerprint or a model folder; what the newest spec serves where it is left out.
    pub model: Option<String>,
    /// The spec that serves it; the model's own where it is left out.
    #[arg(long, value_name = "NAME")]
    pub spec: Option<String>,
    /// Promotes past a gate that refuses and without approval; needs a reason.
    #[arg(long)]
    pub force: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Promotes a model by hand. The gate of its spec holds for hands too.
pub(super) fn run(args: &PromoteArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let book = PromotionBook::of(&projection);
    let proposal = proposal(args, &projection, global)?;
    let act = global.act();
    let records = promote_by_hand(&book, &proposal, args.force, person(&act.actor.who(), &args.reason))?;
    check_there(&records[0], &projection)?;
    check_seal(&projection.dir().root().join(&records[0].model.folder), global)?;
    change_served(&projection, &Change::new(&book, records.clone()), act, global)?;
    say(&records[..1], global);
    Ok(Outcome::Done)
}

/// Has the worker check a model by its parity seal: a server would refuse one that does not keep it.
fn check_seal(folder: &Path, global: &Global) -> Result<(), CliError> {
    if !folder.join(SEAL_FILE).is_file() {
        if !global.json {
            eprintln!("no parity seal in {}: served without a check", folder.display());
        }
        return Ok(());
    }
    let worker = LocalExecutor::worker_of_this_program()?;
    let output = Command::new(&worker)
        .arg("seal")
        .arg(folder)
        .output()
        .map_err(|source| CliError::Io { path: worker, source })?;
    if output.status.success() { Ok(()) } else { Err(worker_failed(&output)) }
}

/// The model that is meant, with what its spec's gate makes of it.
fn proposal(args: &PromoteArgs, projection: &Projection, global: &Global) -> Result<Proposal, CliError> {
    let newest = || projection.runs().iter().rev().find_map(|run| rules_of(projection, &run.spec_name));
    let rules = args.spec.as_ref().map_or_else(newest, |spec| rules_of(projection, spec));
    let found = match (&args.model, rules.as_ref().map(|rules| &rules.model)) {
        (Some(name), _) => find_model(projection, Some(name))?,
        (None, Some(ModelRules::Step(step))) => find_model(projection, Some(step))?,
        (None, Some(ModelRules::Folder(folder))) => find_model(projection, Some(&folder.to_string_lossy()))?,
        (None, None) => {
            let hint = "name a model: `cupola promote JOB`; a spec says it by `serve: { model: JOB }`";
            return Err(CliError::input("no spec that was applied here serves a model", hint));
        }
    };
    let spec = args.spec.clone().or_else(|| found.spec.clone()).or_else(|| rules.map(|rules| rules.spec));
    let spec = spec.ok_or_else(|| {
        CliError::input("it is not clear which spec serves this model", "say it: `--spec NAME`")
    })?;
    let candidate = candidate(found, global)?;
    Ok(match rules_of(projection, &spec) {
        Some(rules) => propose(&of_hand(rules, &candidate), &candidate, projection),
        // Where a spec serves nothing there is no gate.
        None => propose(&without_gate(&spec, &candidate), &candidate, projection),
    })
}

/// The rules as they hold for a model that a person names: a gate about a folder holds for that folder alone.
fn of_hand(rules: Rules, candidate: &Candidate) -> Rules {
    match &rules.model {
        ModelRules::Folder(folder) if *folder != candidate.folder => {
            Rules { model: ModelRules::Step(folder.display().to_string()), ..rules }
        }
        _ => rules,
    }
}

fn without_gate(spec: &str, candidate: &Candidate) -> Rules {
    Rules {
        spec: spec.to_owned(),
        model: ModelRules::Step(candidate.step.clone()),
        name: candidate.name.clone(),
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)),
        promote_if: None,
        approval: cupola_specs::spec::Approval::None,
        evals: Vec::new(),
    }
}

fn candidate(found: FoundModel, global: &Global) -> Result<Candidate, CliError> {
    let identified = found.fingerprint.clone().or_else(|| identify(global)(&found.folder));
    let fingerprint = identified.ok_or_else(|| {
        let message = format!("{} can't be read whole", found.folder.display());
        CliError::input(message, "every file of a model folder must be readable")
    })?;
    Ok(Candidate {
        name: found.name,
        step: found.step,
        fingerprint,
        folder: found.folder,
        run: found.run.unwrap_or_default(),
    })
}
