//! The look-ups between the jobs of a spec: references, parts of corpora, judges, and the edges that they make.

use std::collections::HashMap;

use super::codes::Code;
use super::decode::At;
use super::document::DefaultsWritten;
use super::jobs::{WrittenBody, WrittenJob};
use super::lineage::Lineage;
use super::reference::{FilePath, Ref, Rows, Target};
use super::resolved::{ArtifactRef, JobKind, Reference, RowsInput, SourceGlob};
use super::session::Session;
use super::tree::Spot;
use super::wanted::{CORPUS_PARTS, Wanted, makes, part_of, split_part, stage_of};
use super::words::{listed, one_of};
use crate::job::resolve::CorpusMixture;

/// An edge that a reference made; jobs by index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    /// The job that needs.
    pub(crate) from: usize,
    /// The job that is needed.
    pub(crate) to: usize,
    /// Where the reference stands.
    pub(crate) spot: Spot,
}

/// Most edges of one spec.
const MAX_EDGES: usize = 4_000_000;

/// The jobs of a spec by name.
#[derive(Debug, Default)]
pub(crate) struct JobNames<'r> {
    exact: HashMap<&'r str, usize>,
    /// Every name in spec order, each matrix once.
    listed: Vec<&'r str>,
    /// The jobs of each matrix, by the name before its `[`.
    matrices: HashMap<&'r str, Vec<usize>>,
}

impl<'r> JobNames<'r> {
    /// The names of all jobs; of equal ones the first.
    pub(crate) fn new(jobs: &'r [WrittenJob]) -> Self {
        let mut names = Self::default();
        for (at, job) in jobs.iter().enumerate() {
            names.exact.entry(&job.name).or_insert(at);
            let base = job.name.split_once('[').map_or(job.name.as_str(), |(base, _)| base);
            if base.len() < job.name.len() {
                names.matrices.entry(base).or_default().push(at);
            }
            if names.listed.last() != Some(&base) {
                names.listed.push(base);
            }
        }
        names
    }

    /// The job of this name, or those of the matrix of this name.
    fn of(&self, name: &str) -> &[usize] {
        match self.exact.get(name) {
            Some(at) => std::slice::from_ref(at),
            None => self.matrices.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

/// What resolution works with.
pub(crate) struct Resolver<'r, 's> {
    /// Errors and the world.
    pub(crate) session: &'r mut Session<'s>,
    /// Every job, in spec order.
    pub(crate) jobs: &'r [WrittenJob],
    /// Defaults of jobs.
    pub(crate) defaults: &'r DefaultsWritten,
    /// Device-seconds of the budget; 0 without one.
    pub(crate) device_secs: f64,
    /// Names of judges; none where they can't be told.
    pub(crate) judges: Option<Vec<String>>,
    /// The jobs by name.
    pub(crate) names: JobNames<'r>,
    /// Edges so far.
    pub(crate) edges: Vec<Edge>,
    /// The job that is being resolved; none for what stands beside the jobs.
    pub(crate) current: Option<usize>,
    /// What is behind the models, as far as somebody asked.
    pub(crate) lineage: Lineage,
}

impl<'r> Resolver<'r, '_> {
    /// The job of a name that the user wrote: the job itself, or the only one of its matrix.
    fn find(&mut self, name: &str, spot: Spot) -> Option<usize> {
        match *self.names.of(name) {
            [] => {
                self.unknown_job(name, spot);
                None
            }
            [at] => Some(at),
            ref several => {
                let message = format!("`{name}` is a matrix of {} jobs", several.len());
                let names = one_of(several.iter().map(|at| self.jobs[*at].name.as_str()));
                self.session.error(Code::AmbiguousMatrix, spot, message).expecting(names);
                None
            }
        }
    }

    /// Every job of a name; an error where there is none.
    pub(crate) fn find_all(&mut self, name: &str, spot: Spot) -> Vec<&'r WrittenJob> {
        let jobs = self.jobs;
        self.indices(name, spot).into_iter().map(|at| &jobs[at]).collect()
    }

    /// The same by index.
    pub(crate) fn indices(&mut self, name: &str, spot: Spot) -> Vec<usize> {
        let found = self.names.of(name).to_vec();
        if found.is_empty() {
            self.unknown_job(name, spot);
        }
        found
    }

    /// The job of this name, or the first of the matrix of this name; no error where there is none.
    pub(crate) fn first(&self, name: &str) -> Option<usize> {
        self.names.of(name).first().copied()
    }

    fn unknown_job(&mut self, name: &str, spot: Spot) {
        if self.session.cut_names.contains(name) {
            return;
        }
        let message = format!("there is no job `{name}`");
        let error = self.session.error(Code::UnknownJob, spot, message);
        error.expecting(one_of(&self.names.listed));
        if name.contains('[') {
            error.suggesting(name, self.jobs.iter().map(|job| job.name.as_str()));
        } else {
            error.suggesting(name, &self.names.listed);
        }
    }

    /// Checks a reference and notes its edge.
    pub(crate) fn artifact(&mut self, reference: &Ref, wanted: Wanted) -> Option<ArtifactRef> {
        let text = match &reference.target {
            Target::Path(path) => return Some(ArtifactRef::Path(path.clone())),
            Target::Huggingface | Target::Broken => return None,
            Target::Job(text) => text,
        };
        let (name, part) = split_part(text);
        let at = self.find(name, reference.spot)?;
        self.edge(at, reference.spot);
        let job = &self.jobs[at];
        let kind = job.kind?;
        match (makes(kind, stage_of(job), part), part) {
            (Ok(made), _) if made.contains(&wanted) => {
                Some(ArtifactRef::Job(Reference { job: job.name.clone(), part: part_of(wanted, kind) }))
            }
            (Ok(_), _) => {
                let fits = |job: &WrittenJob| {
                    let made = job.kind.map(|kind| makes(kind, stage_of(job), None));
                    made.is_some_and(|made| made.is_ok_and(|made| made.contains(&wanted)))
                };
                self.wrong_kind(at, kind, reference.spot, wanted.describe(), &fits);
                None
            }
            (Err(parts), Some(part)) => {
                let spot =
                    if parts.is_empty() { reference.spot } else { self.part_spot(reference.spot, part) };
                self.unknown_part(&job.name, kind, part, spot, parts);
                None
            }
            (Err(_), None) => None,
        }
    }

    /// Checks rows of text: a part of a corpus out of `parts`, or files under a label. Gives the part's name too, empty for files.
    pub(crate) fn rows(
        &mut self,
        rows: &At<Rows>,
        label: &str,
        parts: &[&'static str],
    ) -> Option<(RowsInput, String)> {
        match &rows.value {
            Rows::Files(paths) => Some((RowsInput::Files(self.glob(label, paths)?), String::new())),
            Rows::Part(reference) => {
                let (artifact, part) = self.corpus_part(reference, parts)?;
                Some((RowsInput::Artifact(artifact), part))
            }
        }
    }

    /// Checks a reference to a part of a corpus.
    pub(crate) fn corpus_part(
        &mut self,
        reference: &Ref,
        parts: &[&'static str],
    ) -> Option<(ArtifactRef, String)> {
        let Target::Job(text) = &reference.target else {
            if matches!(reference.target, Target::Path(_)) {
                let expected = format!("a part of a data job ({}), or {{paths: […]}}", parts.join(", "));
                self.session
                    .error(Code::WrongKind, reference.spot, "rows are not read from an exported artifact")
                    .expecting(expected);
            }
            return None;
        };
        let (name, part) = split_part(text);
        let at = self.find(name, reference.spot)?;
        self.edge(at, reference.spot);
        let job = &self.jobs[at];
        let kind = job.kind?;
        if kind != JobKind::Data {
            let fits = |job: &WrittenJob| job.kind == Some(JobKind::Data);
            self.wrong_kind(at, kind, reference.spot, "a part of a data job", &fits);
            return None;
        }
        let known = CORPUS_PARTS;
        let Some(part) = part else {
            let parts: Vec<String> = parts.iter().map(|part| format!("{name}.{part}")).collect();
            self.session
                .error(Code::UnknownPart, reference.spot, format!("this needs a part of `{name}`"))
                .expecting(one_of(&parts))
                .suggestion = if let [part] = &parts[..] { Some(part.clone()) } else { None };
            return None;
        };
        if !known.contains(&part) || !parts.contains(&part) {
            let spot = self.part_spot(reference.spot, part);
            self.unknown_part(&job.name, kind, part, spot, parts);
            return None;
        }
        if let (true, Some(WrittenBody::Data(data))) = (part.ends_with("pairs"), &job.body)
            && data.pairs.is_none()
        {
            let spot = self.part_spot(reference.spot, part);
            self.session
                .error(Code::UnknownPart, spot, format!("the job `{}` extracts no pairs", job.name))
                .expecting("`pairs` in that job");
            return None;
        }
        let reference = Reference { job: job.name.clone(), part: Some(part.to_owned()) };
        Some((ArtifactRef::Job(reference), part.to_owned()))
    }

    /// A judge by name; `others` are words that may stand instead of one.
    pub(crate) fn check_judge(&mut self, judge: &At<String>, others: &[&str]) -> bool {
        let Some(judges) = &self.judges else { return true };
        let known: Vec<&str> = judges.iter().map(String::as_str).chain(others.iter().copied()).collect();
        let is_known = known.contains(&judge.value.as_str());
        if !is_known {
            let expected = match known[..] {
                [] => "the name of an entry of `judges`, of which this spec has none".to_owned(),
                _ => one_of(&known),
            };
            self.session
                .error(Code::UnknownJudge, judge.spot, format!("there is no judge `{}`", judge.value))
                .expecting(expected)
                .suggesting(&judge.value, known);
        }
        is_known
    }

    /// File patterns under a label; each must be a glob.
    pub(crate) fn glob(&mut self, label: &str, paths: &[At<FilePath>]) -> Option<SourceGlob> {
        let (mut patterns, mut is_right) = (Vec::new(), true);
        for path in paths {
            let Some(text) = path.value.0.to_str() else { continue };
            if let Err(error) = globset::Glob::new(text) {
                self.session
                    .error(Code::BadPattern, path.spot, format!("this is not a glob: {}", error.kind()))
                    .expecting("a path, with `*` within a folder and `**` at any depth");
                is_right = false;
            }
            patterns.push(text.to_owned());
        }
        is_right.then(|| SourceGlob { label: label.to_owned(), patterns })
    }

    /// Notes that the current job needs another one.
    pub(crate) fn edge(&mut self, to: usize, spot: Spot) {
        let Some(from) = self.current else { return };
        if self.edges.len() < MAX_EDGES {
            self.edges.push(Edge { from, to, spot });
        } else {
            self.session
                .error(Code::TooLarge, spot, "the jobs of this spec need each other too often")
                .expecting(format!(
                    "at most {MAX_EDGES} references and entries of `after`, matrices in full"
                ));
        }
    }

    /// The mixture of a corpus; none where it is a folder or is wrong itself.
    pub(crate) fn corpus_mixture(&self, corpus: &ArtifactRef) -> Option<CorpusMixture> {
        let job = self.first(corpus.job()?)?;
        match &self.jobs[job].body {
            Some(WrittenBody::Data(data)) => Some(data.mixture()),
            _ => None,
        }
    }

    fn part_spot(&self, spot: Spot, part: &str) -> Spot {
        let found = self.session.find(spot, &format!(".{part}"));
        if found == spot {
            spot
        } else {
            Spot { column: found.column + 1, length: found.length - 1, ..found }
        }
    }

    /// Says that a job is of another kind, and which jobs would fit.
    fn wrong_kind(
        &mut self,
        job: usize,
        kind: JobKind,
        spot: Spot,
        expected: &str,
        fits: &dyn Fn(&WrittenJob) -> bool,
    ) {
        let article = if matches!(kind, JobKind::Sft | JobKind::Rlhf | JobKind::Eval) { "an" } else { "a" };
        let message = format!("`{}` is {article} {} job", self.jobs[job].name, kind.as_str());
        let others: Vec<&str> = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(at, job)| Some(*at) != self.current && fits(job))
            .map(|(_, job)| job.name.as_str())
            .collect();
        let others = if others.is_empty() { "none".to_owned() } else { listed(others) };
        self.session
            .error(Code::WrongKind, spot, message)
            .expecting(format!("{expected}; this spec has {others}"));
    }

    fn unknown_part(&mut self, job: &str, kind: JobKind, part: &str, spot: Spot, parts: &[&str]) {
        let expected = if parts.is_empty() { format!("`{job}` alone") } else { one_of(parts) };
        let message = format!("`{part}` is not a part of the {} job `{job}` that fits here", kind.as_str());
        let error = self.session.error(Code::UnknownPart, spot, message);
        error.expecting(expected);
        if parts.is_empty() {
            error.suggestion = Some(job.to_owned());
        } else {
            error.suggesting(part, parts);
        }
    }
}
