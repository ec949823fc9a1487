//! The tree to a resolved spec: the top, the jobs in spec order, and what holds between them.

use std::path::Path;

use super::codes::Code;
use super::decode::{At, Decode, Named, wrong_type};
use super::document::{DefaultsWritten, JobCommon, JudgeWritten, ResourcesWritten, ScheduleWritten, Top};
use super::graph::check_cycles;
use super::jobs::{WrittenBody, WrittenJob, check_name};
use super::lineage::Lineage;
use super::origin::Origins;
use super::resolved::{Budget, JobIndex, Judge, ResolvedJob, ResolvedJobBody, ResolvedSpec, Resources};
use super::resolver::{JobNames, Resolver};
use super::schedule::{Schedule, resolve_schedules};
use super::serve::resolve_serve;
use super::session::Session;
use super::telemetry::check_servers;
use super::tree::{Key, Node, Value};
use super::unsupported;
use super::written::{check_keys, missing};
use crate::job::{ParallelParams, Recompute, resolve as kinds};

/// Keys of the top that are not in [`Top`].
pub(crate) const HEAD: &[&str] = &["cupola", "name", "vars", "jobs"];

/// Resolves a whole tree; none after an error.
pub(crate) fn resolve(path: &Path, root: &Node, session: &mut Session<'_>) -> Option<ResolvedSpec> {
    if root.value == Value::Null && !session.is_cut {
        session
            .error(Code::MissingField, root.spot, "there is nothing in this file")
            .expecting("cupola: v1, a name and jobs; `cupola init` writes a spec to start from");
        return None;
    }
    check_keys(&without_jobs(root, session), &[HEAD, &["include"], Top::FIELDS], session)?;
    let origins = Origins::new(root.clone(), session.text_names());
    let name = head(root, session);
    let (top, is_whole) = top(root, session)?;
    let jobs: Vec<WrittenJob> = written_jobs(root, session);
    let budget = Budget {
        hours: top.budget.hours.unwrap_or(0.0),
        devices: top.budget.devices,
        usd_per_device_hour: top.budget.usd_per_device_hour,
    };
    // Where the budget itself is wrong, no law lacks one.
    let device_secs = if is_whole { budget.device_secs() } else { budget.device_secs().max(1.0) };
    let mut resolver = Resolver {
        session,
        jobs: &jobs,
        defaults: &top.defaults,
        device_secs,
        judges: judge_names(root),
        names: JobNames::new(&jobs),
        edges: Vec::new(),
        current: None,
        lineage: Lineage::default(),
    };
    let resolved: Vec<Option<ResolvedJob>> =
        (0..jobs.len()).map(|at| resolve_job(at, &mut resolver)).collect();
    resolver.current = None;
    check_cycles(&jobs, &resolver.edges, resolver.session);
    let serve = top.serve.as_ref().map(|serve| resolve_serve(serve, &resolved, &mut resolver));
    let schedules = if is_whole {
        resolve_schedules(&top.schedules, &mut resolver)
    } else {
        schedules(root, &top.schedules, &mut resolver)
    };
    check_judges(&top.judges, resolver.session);
    check_servers(&top.telemetry, resolver.session);
    let serve = match serve {
        Some(serve) => Some(serve?),
        None => None,
    };
    if !is_whole {
        return None;
    }
    Some(ResolvedSpec {
        file: path.to_owned(),
        telemetry: top.telemetry.resolve(name.as_deref().unwrap_or_default()),
        name: name?,
        description: top.description,
        jobs: resolved.into_iter().collect::<Option<_>>()?,
        budget,
        serve,
        schedules,
        judges: judges(&top.judges.0),
        origins,
        index: JobIndex::default(),
    })
}

/// The top without jobs that stand beside `jobs` rather than under it: they are reported as such.
fn without_jobs(root: &Node, session: &mut Session<'_>) -> Node {
    let is_job = |(key, node): &(Key, Node)| {
        !HEAD.contains(&key.name.as_str())
            && !Top::FIELDS.contains(&key.name.as_str())
            && node.get("kind").is_some()
    };
    if !root.entries().iter().any(is_job) {
        return root.clone();
    }
    for (key, _) in root.entries().iter().filter(|entry| is_job(entry)) {
        session
            .error(Code::UnknownKey, key.spot, format!("the job `{}` stands beside `jobs`", key.name))
            .expecting("it under `jobs`, indented by two spaces more");
    }
    let rest = root.entries().iter().filter(|entry| !is_job(entry)).cloned().collect();
    Node { value: Value::map(rest), spot: root.spot }
}

/// The schedules. Of one without times or jobs only the references are checked: what it lacks is reported already.
fn schedules(
    root: &Node,
    written: &Named<ScheduleWritten>,
    resolver: &mut Resolver<'_, '_>,
) -> Vec<Schedule> {
    let node = |name: &str| root.get("schedules").and_then(|schedules| schedules.get(name));
    let is_whole = |(key, _): &(Key, ScheduleWritten)| {
        let cron = node(&key.name).and_then(|schedule| schedule.get("cron"));
        let jobs = node(&key.name).and_then(|schedule| schedule.get("jobs"));
        cron.and_then(Node::text).is_some() && jobs.is_some_and(|jobs| matches!(jobs.value, Value::List(_)))
    };
    let (whole, rough) = written.0.iter().cloned().partition(is_whole);
    resolver.session.only = Some(REFERENCES);
    resolve_schedules(&Named(rough), resolver);
    resolver.session.only = None;
    resolve_schedules(&Named(whole), resolver)
}

/// Checks version, name and variables; gives the name.
fn head(root: &Node, session: &mut Session<'_>) -> Option<String> {
    if root.get("cupola").is_none() {
        lacks(root, "cupola", "cupola: v1, the version of the language", session);
    }
    check_version(root, session);
    if let Some(vars) = root.get("vars") {
        match &vars.value {
            Value::Map(entries) => {
                for (key, value) in entries.iter() {
                    check_name(key, session);
                    if matches!(value.value, Value::List(_) | Value::Map(_)) {
                        wrong_type(value, "a single value: variables stand for words and numbers", session);
                    }
                }
            }
            Value::Null | Value::Broken => {}
            _ => {
                wrong_type(vars, "a mapping from names to values", session);
            }
        }
    }
    let Some(node) = root.get("name") else {
        lacks(root, "name", "name: the spec's name", session);
        return None;
    };
    let name = String::decode(node, session)?;
    check_name(&Key { name: name.clone(), spot: node.spot }, session);
    Some(name)
}

/// Refuses another version of the language.
pub(super) fn check_version(root: &Node, session: &mut Session<'_>) {
    match root.get("cupola") {
        Some(node) if node.text() != Some("v1") && node.value != Value::Broken => {
            let written = node.text().map_or("this".to_owned(), |text| format!("`{text}`"));
            let is_near = matches!(node.text(), Some("1" | "V1" | "1.0" | "v1.0"));
            session
                .error(Code::UnknownWord, node.spot, format!("{written} is not a version of the language"))
                .expecting("v1")
                .suggestion = is_near.then(|| "v1".to_owned());
        }
        _ => {}
    }
}

/// Says that a field of the top is missing, unless it may be among what is not YAML.
fn lacks(root: &Node, name: &str, expected: &str, session: &mut Session<'_>) {
    if !session.is_cut {
        missing(root, name, expected, session);
    }
}

/// What stands beside the jobs, and whether all of it is right: after an error with stand-ins, so that the jobs are checked too.
fn top(root: &Node, session: &mut Session<'_>) -> Option<(Top, bool)> {
    for (key, node) in root.entries() {
        if Top::FIELDS.contains(&key.name.as_str()) {
            unsupported::refuse(&key.name, node, session);
        }
    }
    match Top::decode_fields(root, session) {
        Some(top) => Some((top, true)),
        None => session.roughly(|session| Top::decode_fields(root, session)).map(|top| (top, false)),
    }
}

/// The names of the judges, those with errors too; none where nobody can tell.
fn judge_names(root: &Node) -> Option<Vec<String>> {
    match root.get("judges") {
        None => Some(Vec::new()),
        Some(Node { value: Value::Map(entries), .. }) => {
            Some(entries.iter().map(|(key, _)| key.name.clone()).collect())
        }
        Some(_) => None,
    }
}

/// Every entry of `jobs`.
fn written_jobs(root: &Node, session: &mut Session<'_>) -> Vec<WrittenJob> {
    if let Some(jobs) = root.get("jobs") {
        match &jobs.value {
            Value::Map(entries) if !entries.is_empty() => {
                entries.iter().map(|(key, node)| WrittenJob::decode(key, node, session)).collect()
            }
            Value::Map(_) => {
                session.error(Code::MissingField, jobs.spot, "there is no job").expecting("at least one job");
                Vec::new()
            }
            _ => {
                wrong_type(jobs, "a mapping from names to jobs", session);
                Vec::new()
            }
        }
    } else {
        lacks(root, "jobs", "at least one job", session);
        Vec::new()
    }
}

/// What is said of a job with stand-ins, beside what is wrong with a field alone: only what does not hang on them.
const REFERENCES: &[Code] = &[
    Code::UnknownWord,
    Code::UnknownJob,
    Code::UnknownPart,
    Code::WrongKind,
    Code::AmbiguousMatrix,
    Code::UnknownJudge,
    Code::BadPattern,
    Code::TooLarge,
];

/// Resolves one job.
fn resolve_job(at: usize, resolver: &mut Resolver<'_, '_>) -> Option<ResolvedJob> {
    resolver.current = Some(at);
    let job = &resolver.jobs[at];
    let (common, written) = match job.rough.as_deref() {
        None => (job.common.as_ref(), job.body.as_ref()),
        Some((common, body)) => {
            resolver.session.only = Some(REFERENCES);
            resolver.session.sound.clone_from(&job.sound);
            (common.as_ref(), body.as_ref())
        }
    };
    let after = common.and_then(|common| after(common, resolver));
    let precision = common.and_then(|common| common.precision).unwrap_or(resolver.defaults.precision);
    let body = written.and_then(|written| match written {
        WrittenBody::Data(w) => kinds::data(w, resolver).map(ResolvedJobBody::Data),
        WrittenBody::Tokenizer(w) => kinds::tokenizer(w, resolver).map(ResolvedJobBody::Tokenizer),
        WrittenBody::Scaling(w) => kinds::scaling(w, precision, resolver).map(ResolvedJobBody::Scaling),
        WrittenBody::Pretrain(w) => kinds::pretrain(w, precision, resolver).map(ResolvedJobBody::Pretrain),
        WrittenBody::Sft(w) => kinds::sft(w, precision, resolver).map(ResolvedJobBody::Sft),
        WrittenBody::Rlhf(w) => kinds::rlhf(w, precision, resolver).map(ResolvedJobBody::Rlhf),
        WrittenBody::Eval(w) => kinds::eval(w, precision, resolver).map(ResolvedJobBody::Eval),
    });
    resolver.session.only = None;
    resolver.session.sound.clear();
    if job.rough.is_some() {
        return None;
    }
    let defaults: &DefaultsWritten = resolver.defaults;
    let common: &JobCommon = common?;
    let timeout = common.timeout.or(defaults.timeout);
    Some(ResolvedJob {
        name: job.name.clone(),
        kind: job.kind?,
        description: common.description.clone(),
        after: after?,
        seed: common.seed.unwrap_or(defaults.seed),
        device: common.device.unwrap_or(defaults.device),
        deterministic: common.deterministic.unwrap_or(defaults.deterministic),
        precision,
        retries: common.retries.unwrap_or(defaults.retries) as u32,
        timeout_secs: timeout.map_or(0.0, |timeout| timeout.0),
        priority: common.priority.unwrap_or(defaults.priority),
        resources: resources(common.resources.as_ref().or(defaults.resources.as_ref())),
        parallel: match written {
            Some(WrittenBody::Pretrain(w)) => w.parallel.resolved(),
            Some(WrittenBody::Sft(w)) => w.parallel.resolved(),
            Some(WrittenBody::Rlhf(w)) => w.parallel.value.resolved(),
            _ => ParallelParams::ALONE,
        },
        recompute: match written {
            Some(WrittenBody::Pretrain(w)) => w.recompute,
            Some(WrittenBody::Sft(w)) => w.recompute,
            Some(WrittenBody::Rlhf(w)) => w.recompute.value,
            _ => Recompute::None,
        },
        origin: resolver.session.origin(job.spot),
        body: body?,
    })
}

/// The jobs of `after`, matrices in full.
fn after(common: &JobCommon, resolver: &mut Resolver<'_, '_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut is_right = true;
    for name in &common.after {
        let found = resolver.indices(&name.value, name.spot);
        is_right &= !found.is_empty();
        for at in found {
            resolver.edge(at, name.spot);
            names.push(resolver.jobs[at].name.clone());
        }
    }
    is_right.then_some(names)
}

/// What a step occupies.
fn resources(written: Option<&ResourcesWritten>) -> Resources {
    Resources {
        cores: written.map_or(0, |written| written.cores as u32),
        memory_bytes: written.and_then(|written| written.memory).map_or(0, |memory| memory.0),
        overcommit: written.is_some_and(|written| written.overcommit),
        devices: written.map_or(0, |written| written.devices as u32),
    }
}

/// The address of a judge is a URL.
fn check_judges(judges: &Named<JudgeWritten>, session: &mut Session<'_>) {
    for (_, judge) in &judges.0 {
        check_url(&judge.base_url, "http://HOST:PORT/v1 or https://HOST/v1", session);
    }
}

/// Refuses what is no URL.
pub(super) fn check_url(url: &At<String>, expected: &str, session: &mut Session<'_>) {
    // A stand-in for one with an error is empty.
    let is_right = ["http://", "https://"].iter().any(|scheme| {
        url.value
            .strip_prefix(scheme)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '['))
    });
    if !is_right && !url.value.is_empty() {
        let is_host = url.value.starts_with(char::is_alphanumeric) && !url.value.contains("://");
        session
            .error(Code::BadAddress, url.spot, format!("`{}` is not a URL", url.value))
            .expecting(expected)
            .suggestion = is_host.then(|| format!("http://{}", url.value));
    }
}

/// Judges in spec order.
fn judges(written: &[(Key, JudgeWritten)]) -> Vec<Judge> {
    written
        .iter()
        .map(|(key, judge)| Judge {
            name: key.name.clone(),
            base_url: judge.base_url.value.clone(),
            model: judge.model.clone(),
            api_key: judge.api_key.as_ref().map(|key| key.0.clone()),
            max_usd: judge.max_usd.unwrap_or(0.0),
            temperature: judge.temperature,
        })
        .collect()
}
