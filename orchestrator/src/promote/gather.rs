//! From rules and the journal to a proposal: which model, which reports, and what the gate makes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::{EvalReport, MANIFEST_FILE, Manifest, ReportRow};
use cupola_specs::gate::{Gate, GateFacts, GateOutcome};
use cupola_specs::job::StepParams;
use cupola_specs::spec::Approval;

use super::{GateRecord, ModelRecord, ModelRules, PromotionBook, PromotionRecord, Proposal, Rules};
use crate::state::{Projection, RunRow};

/// A model with where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What clients call it.
    pub name: String,
    /// The step that made it; empty for a folder from outside.
    pub step: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The run that it is proposed for.
    pub run: String,
}

impl Candidate {
    /// The model that a run made or found for its spec's rules; none where it has none. `identify` gives the identity of a folder.
    pub fn of(
        rules: &Rules,
        run: &RunRow,
        projection: &Projection,
        identify: &dyn Fn(&Path) -> Option<String>,
    ) -> Option<Self> {
        let (step, fingerprint, folder) = match &rules.model {
            ModelRules::Step(name) => {
                let step = run.step(name).filter(|step| step.state.is_done())?;
                let artifact = projection.artifacts().get(&step.fingerprint)?;
                (name.clone(), step.fingerprint.clone(), artifact.path.clone())
            }
            ModelRules::Folder(folder) => (String::new(), identify(folder)?, folder.clone()),
        };
        Some(Self { name: rules.name.clone(), step, fingerprint, folder, run: run.id.clone() })
    }
}

/// Proposes a model: gathers its reports and asks the gate.
pub fn propose(rules: &Rules, candidate: &Candidate, projection: &Projection) -> Proposal {
    let book = PromotionBook::of(projection);
    let served = book.served(&rules.spec).map(|served| served.now);
    let reports = newest_reports(rules, candidate, projection);
    let gate = rules.promote_if.as_ref().map(|expression| GateRecord {
        expression: expression.clone(),
        outcome: match &rules.model {
            ModelRules::Step(step) if *step != candidate.step => GateOutcome {
                problem: format!("the gate speaks of `{}`, not of `{}`", rules.name, candidate.name),
                ..GateOutcome::default()
            },
            _ => ask(expression, rules, &reports, (served, projection)),
        },
    });
    Proposal {
        spec: rules.spec.clone(),
        name: candidate.name.clone(),
        model: model_record(candidate, projection),
        run: candidate.run.clone(),
        reports,
        gate,
        needs_approval: rules.approval == Approval::Required,
    }
}

/// What is kept of a model: its folder as the journal names it, and the hashes that tell whether another one answers alike.
fn model_record(candidate: &Candidate, projection: &Projection) -> ModelRecord {
    let manifest = manifest_of(&candidate.folder);
    let hash_of = |names: &[&str]| {
        let recorded = |name: &&str| manifest.as_ref()?.files.get(*name).map(|file| file.blake3.clone());
        let read = |name: &&str| std::fs::read(candidate.folder.join(name)).ok();
        let hashed =
            |name: &&str| recorded(name).or_else(|| Some(blake3::hash(&read(name)?).to_hex().to_string()));
        names.iter().find_map(hashed).unwrap_or_default()
    };
    ModelRecord {
        step: candidate.step.clone(),
        fingerprint: candidate.fingerprint.clone(),
        folder: projection.dir().below(&candidate.folder),
        tokenizer: hash_of(&["tokenizer.json"]),
        // The template is its own file, or part of the tokenizer's configuration.
        template: hash_of(&["chat_template.jinja", "tokenizer_config.json"]),
    }
}

/// The newest report about a model of each eval job: of its own run, else of the newest run that measured this very model.
fn newest_reports(rules: &Rules, candidate: &Candidate, projection: &Projection) -> BTreeMap<String, String> {
    let newest = |job: &str| {
        reports_about(&candidate.step, &candidate.fingerprint, job, &rules.spec, projection)
            .into_iter()
            .next()
    };
    let of_run = |job: &str| {
        let run = projection.run(&candidate.run)?;
        Some(run.step(job).filter(|step| step.state.is_done())?.fingerprint.clone())
    };
    let found = rules
        .evals
        .iter()
        .filter_map(|eval| Some((eval.job.clone(), of_run(&eval.job).or_else(|| newest(&eval.job))?)));
    found.collect()
}

/// Reports of an eval job about a model, newest first: of runs in which the model was the one that the eval job read.
fn reports_about(
    step: &str,
    fingerprint: &str,
    job: &str,
    spec: &str,
    projection: &Projection,
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for run in projection.runs().iter().rev().filter(|run| run.spec_name == spec) {
        let is_same = run.step(step).is_some_and(|step| step.fingerprint == fingerprint);
        let report = run.step(job).filter(|report| is_same && report.state.is_done());
        found
            .extend(report.map(|report| report.fingerprint.clone()).filter(|report| !found.contains(report)));
    }
    found
}

/// Asks the gate.
fn ask(
    expression: &str,
    rules: &Rules,
    reports: &BTreeMap<String, String>,
    (served, projection): (Option<&PromotionRecord>, &Projection),
) -> GateOutcome {
    let broken = |problem: String| GateOutcome { passed: false, problem, seen: Vec::new() };
    let gate = match Gate::parse(expression) {
        Ok(gate) => gate,
        Err(problem) => return broken(problem.message),
    };
    let needed = gate.jobs(&rules.gate_names());
    if let Some(job) = needed.iter().find(|job| !reports.contains_key(*job)) {
        return broken(format!("`{job}` has not measured this model yet"));
    }
    let mut facts = GateFacts::default();
    for (job, fingerprint) in reports {
        match read_report(fingerprint, projection) {
            Ok(report) => facts.reports.insert(job.clone(), report.rows),
            Err(_) if !needed.contains(job) => continue,
            Err(problem) => return broken(format!("the report of `{job}` can't be read: {problem}")),
        };
        let Some(served) = served else { continue };
        let rows = previous_rows(job, fingerprint, served, projection).unwrap_or_else(|reason| {
            facts.absent.insert(job.clone(), reason);
            Vec::new()
        });
        facts.previous.insert(job.clone(), rows);
    }
    if served.is_none() {
        let reason = "no model is served yet; `cupola promote` makes this one the first, or let the gate ask `!has(previous.JOB) || …`";
        facts.absent.insert(String::new(), reason.to_owned());
    }
    gate.evaluate(&facts)
}

/// The newest comparable report about the served model; why there is none where there is none.
fn previous_rows(
    job: &str,
    report: &str,
    served: &PromotionRecord,
    projection: &Projection,
) -> Result<Vec<ReportRow>, String> {
    let model = &served.model;
    let mut known = reports_about(&model.step, &model.fingerprint, job, &served.spec, projection);
    known.extend(served.reports.get(job).cloned());
    if known.is_empty() {
        return Err(format!("`{job}` has not measured the served model"));
    }
    let wanted = basis_of(report, projection);
    let mut reason = format!(
        "`{job}` measured the served model on other data or in another way, so the numbers can't be compared"
    );
    for fingerprint in &known {
        if wanted.is_none() || basis_of(fingerprint, projection) != wanted {
            continue;
        }
        match read_report(fingerprint, projection) {
            Ok(report) => return Ok(report.rows),
            Err(problem) => reason = format!("the report about the served model can't be read: {problem}"),
        }
    }
    Err(reason)
}

/// What numbers of a report rest on, the models apart: two reports with one basis can be compared.
fn basis_of(fingerprint: &str, projection: &Projection) -> Option<String> {
    let manifest = manifest_of(&projection.artifacts().get(fingerprint)?.path)?;
    let StepParams::Eval(params) = &manifest.params else { return None };
    let suites: BTreeMap<&String, &String> =
        manifest.inputs.iter().filter(|(role, _)| role.starts_with("suite.")).collect();
    let basis = (&params.suites, suites, &manifest.sources_hash, manifest.seed, manifest.code_version);
    serde_json::to_string(&basis).ok()
}

fn read_report(fingerprint: &str, projection: &Projection) -> Result<EvalReport, String> {
    let artifact = projection.artifacts().get(fingerprint).ok_or("it is no longer in the store")?;
    let bytes = std::fs::read(artifact.path.join("report.json")).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn manifest_of(folder: &Path) -> Option<Manifest> {
    serde_json::from_slice(&std::fs::read(folder.join(MANIFEST_FILE)).ok()?).ok()
}
