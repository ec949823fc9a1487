//! From what is hashed back to what the user wrote: the field of the spec behind a parameter, a seed, an input or files, and its line.
//!
//! A field that a job does not write itself may be said elsewhere: by `defaults`, by the pretrain job whose recipe a law follows, by the
//! model that a tuning goes on from, by the corpus whose weights hold. The first place that is written counts.

mod data;
mod files;
mod own;

use std::collections::HashMap;
use std::sync::OnceLock;

use cupola_specs::spec::{
    ArtifactRef, Origin, PretrainBody, ResolvedJob, ResolvedJobBody, ResolvedSpec, ScalingBody,
};

use self::data::at_written_filter;
use self::files::files_field;
use self::own::{own_paths, suite_field};
use super::{Input, Step};

/// The parameter that the budget gives a law, seconds.
pub(super) const BUDGET_PARAM: &str = "target.device_secs";

/// A field as the user knows it, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Its path: `jobs.base.tokens`.
    pub(super) path: String,
    /// Where it is written; none for a default.
    pub(super) origin: Option<Origin>,
}

/// The fields of one spec.
pub(super) struct Fields<'s> {
    spec: Option<&'s ResolvedSpec>,
    /// The pretrain job whose recipe each law follows, found when the first one is asked for.
    users: OnceLock<HashMap<&'s str, &'s str>>,
}

impl<'s> Fields<'s> {
    /// The fields of a spec; without one a field is named by its parameter.
    pub(super) fn new(spec: Option<&'s ResolvedSpec>) -> Self {
        Self { spec, users: OnceLock::new() }
    }

    /// The fields that a hashed parameter may come from, the likeliest first; never none.
    pub(super) fn parameter(&self, step: &Step, path: &str) -> Vec<String> {
        if step.job.is_empty() {
            return vec![path.to_owned()];
        }
        if path == BUDGET_PARAM {
            return vec!["budget.hours".to_owned()];
        }
        let mut own = own_paths(&step.params, path);
        if let Some(ResolvedJobBody::Data(body)) =
            self.spec.and_then(|spec| spec.job(&step.job)).map(|job| &job.body)
        {
            for field in &mut own {
                at_written_filter(field, &body.filter_items);
            }
        }
        let mut paths: Vec<String> = own.iter().map(|field| format!("jobs.{}.{field}", step.job)).collect();
        paths.extend(self.elsewhere(step, path, &own));
        paths
    }

    /// A field of a step's job.
    pub(super) fn of_job(&self, step: &Step, field: &str) -> Field {
        self.first_written(vec![format!("jobs.{}.{field}", step.job)])
    }

    /// The field behind a seed.
    pub(super) fn seed(&self, step: &Step) -> Field {
        self.first_written(vec![format!("jobs.{}.seed", step.job), "defaults.seed".to_owned()])
    }

    /// The field behind an input.
    pub(super) fn input(&self, step: &Step, role: &str) -> Field {
        let Some(spec) = self.spec.filter(|_| !step.job.is_empty()) else {
            return Field { path: role.to_owned(), origin: None };
        };
        let from = match step.inputs.get(role) {
            Some(Input::Step(name)) => name.as_str(),
            _ => "",
        };
        let path = reference_field(spec, &step.job, role, from);
        self.first_written(vec![path])
    }

    /// The field behind files of a label.
    pub(super) fn sources(&self, step: &Step, label: &str) -> Field {
        let written = |path: &String| self.is_written(path);
        self.first_written(files_field(&step.job, &step.params, label, &written))
    }

    pub(super) fn is_written(&self, path: &str) -> bool {
        self.spec.is_some_and(|spec| spec.origins.contains_key(path))
    }

    /// The first path that is written, or else the first one of all, a default.
    pub(super) fn first_written(&self, paths: Vec<String>) -> Field {
        let found = paths.iter().find_map(|path| Some((path, self.spec?.origins.get(path)?)));
        if let Some((path, origin)) = found {
            return Field { path: path.clone(), origin: Some(origin) };
        }
        let enclosing = paths.iter().find_map(|path| self.enclosing(path));
        enclosing
            .unwrap_or_else(|| Field { path: paths.into_iter().next().unwrap_or_default(), origin: None })
    }

    /// The list or the one-line value that stands for a field which has no line of its own: `filters.0` for a threshold of it.
    fn enclosing(&self, path: &str) -> Option<Field> {
        let (list, rest) = path.rsplit_once('.')?;
        let is_item = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let cut = if is_item(rest) { list.to_owned() } else { return None };
        let origin = self.spec?.origins.get(&cut)?;
        Some(Field { path: cut, origin: Some(origin) })
    }

    /// Where a parameter comes from if not from a field of the job itself.
    fn elsewhere(&self, step: &Step, path: &str, own: &[String]) -> Vec<String> {
        let head = path.split('.').next().unwrap_or(path);
        let mut paths = Vec::new();
        let Some(job) = self.spec.and_then(|spec| spec.job(&step.job)) else { return paths };
        match head {
            "precision" => paths.extend([
                "defaults.precision".to_owned(),
                format!("jobs.{}.device", job.name),
                "defaults.device".to_owned(),
            ]),
            "target" => paths.push("budget".to_owned()),
            "optimizer" | "batch" | "phases" | "shape" | "context_length" | "packing" | "document_mask"
                if matches!(job.body, ResolvedJobBody::Scaling(_)) =>
            {
                let of = |user: &'s str| own.iter().map(move |field| format!("jobs.{user}.{field}"));
                let user = self.user_of(&job.name);
                paths.extend(user.into_iter().flat_map(of));
                let activation = user.filter(|_| own.iter().any(|field| field == "activation"));
                paths.extend(activation.map(|user| format!("jobs.{user}.model.activation")));
            }
            "context_length" => paths.extend(self.positions_of(job)),
            _ => {}
        }
        if matches!(head, "phases" | "domain_weights") {
            paths.extend(weights_of(job, path));
        }
        paths
    }

    /// The first pretrain job that refers to a law.
    fn user_of(&self, law: &str) -> Option<&'s str> {
        let users = self.users.get_or_init(|| {
            let mut users = HashMap::new();
            for job in self.spec.into_iter().flat_map(|spec| &spec.jobs) {
                if let ResolvedJobBody::Pretrain(body) = &job.body
                    && let Some(law) = body.law.as_ref().and_then(ArtifactRef::job)
                {
                    users.entry(law).or_insert(job.name.as_str());
                }
            }
            users
        });
        users.get(law).copied()
    }

    /// Where the row length of a tuning comes from: the positions of the model behind it.
    fn positions_of(&self, job: &ResolvedJob) -> Vec<String> {
        let mut job = Some(job);
        for _ in 0..self.spec.map_or(0, |spec| spec.jobs.len()) {
            let Some(here) = job else { break };
            let model = match &here.body {
                ResolvedJobBody::Pretrain(_) => {
                    let fields = ["model.max_position_embeddings", "context.length", "context.extend.length"];
                    return fields.iter().map(|field| format!("jobs.{}.{field}", here.name)).collect();
                }
                ResolvedJobBody::Sft(body) => &body.model,
                ResolvedJobBody::Rlhf(body) => &body.policy,
                _ => break,
            };
            job = model.job().and_then(|name| self.spec?.job(name));
        }
        Vec::new()
    }
}

/// The field of a job that refers to what a step reads in a role; `after` is a role too.
pub(super) fn reference_field(spec: &ResolvedSpec, job: &str, role: &str, needs: &str) -> String {
    let (head, rest) = role.split_once('.').unwrap_or((role, ""));
    let field = match (head, spec.job(job).map(|job| &job.body)) {
        ("tokens", body) => corpus_field(body, rest).unwrap_or_else(|| "corpus".to_owned()),
        ("data", _) => role.to_owned(),
        ("adapter", _) => "lora.from".to_owned(),
        ("suite", Some(ResolvedJobBody::Eval(body))) => {
            let fields = suite_field(&body.params.suites, rest, "part");
            let is_written = |field: &&String| spec.origins.contains_key(&format!("jobs.{job}.{field}"));
            fields.iter().find(is_written).cloned().unwrap_or_else(|| format!("suites.{rest}"))
        }
        ("law", _) => {
            let fields = ["model.from", "forecast", "tokens.from"];
            let is_written = |field: &&&str| spec.origins.contains_key(&format!("jobs.{job}.{field}"));
            (*fields.iter().find(is_written).unwrap_or(&"forecast")).to_owned()
        }
        ("model", Some(ResolvedJobBody::Eval(body))) => {
            let at = body.models.iter().position(|(name, _)| name == rest).unwrap_or(0);
            format!("models.{at}")
        }
        ("after", _) => {
            let after = spec.job(job).map(|job| job.after.as_slice()).unwrap_or_default();
            let is_it = |other: &String| {
                needs == other || needs.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/'))
            };
            after.iter().position(is_it).map_or_else(|| "after".to_owned(), |at| format!("after.{at}"))
        }
        _ => head.to_owned(),
    };
    format!("jobs.{job}.{field}")
}

/// The place in `phases` that first names another corpus, by its number among the job's inputs.
fn corpus_field(body: Option<&ResolvedJobBody>, number: &str) -> Option<String> {
    let input: u64 = number.parse().ok()?;
    let phases = match body? {
        ResolvedJobBody::Pretrain(body) => &body.params.phases,
        ResolvedJobBody::Scaling(body) => &body.sweeps.first()?.params.phases,
        _ => return None,
    };
    phases.iter().enumerate().find_map(|(phase, params)| {
        let at = params.corpora.iter().position(|corpus| corpus.input == input)?;
        Some(format!("phases.{phase}.corpora.{at}.corpus"))
    })
}

/// The corpus behind a job's mixture, or behind the part of a phase at `path` that reads another one.
fn weights_of(job: &ResolvedJob, path: &str) -> Vec<String> {
    let (own, others, phases) = match &job.body {
        ResolvedJobBody::Data(_) => (Some(job.name.as_str()), [].as_slice(), [].as_slice()),
        ResolvedJobBody::Pretrain(PretrainBody { corpus, other_corpora, params, .. }) => {
            (corpus.job(), other_corpora.as_slice(), params.phases.as_slice())
        }
        ResolvedJobBody::Scaling(ScalingBody { corpus, other_corpora, sweeps, .. }) => {
            let phases = sweeps.first().map_or([].as_slice(), |sweep| sweep.params.phases.as_slice());
            (corpus.job(), other_corpora.as_slice(), phases)
        }
        _ => return Vec::new(),
    };
    let corpus = match path.split('.').collect::<Vec<_>>()[..] {
        ["phases", phase, "corpora", at, ..] => {
            let number = |text: &str| text.parse::<usize>().ok();
            let named = number(phase).and_then(|phase| phases.get(phase)).map(|phase| &phase.corpora);
            let named = named.zip(number(at)).and_then(|(corpora, at)| corpora.get(at));
            named.and_then(|named| others.get(named.input as usize - 1)).and_then(ArtifactRef::job)
        }
        _ => own,
    };
    let of = |corpus: &str| [format!("jobs.{corpus}.domains.weights"), format!("jobs.{corpus}.sources")];
    corpus.map(of).into_iter().flatten().collect()
}
