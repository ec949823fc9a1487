//! An eval job, resolved.

use std::collections::HashSet;

use super::written::{ContaminationWritten, EvalJob, JudgeSuiteWritten, MultipleChoiceWritten, SuiteWritten};
use super::{EvalParams, JudgeParams, MultipleChoiceParams, SuiteParams};
use crate::job::Precision;
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::lineage::Base;
use crate::spec::list::Filled;
use crate::spec::reference::{FilePath, Ref, Rows, Target};
use crate::spec::tree::Key;
use crate::spec::wanted::{CORPUS_PARTS, Wanted};
use crate::spec::words::one_of;
use crate::spec::{ArtifactRef, Code, EvalBody, RowsInput};

/// Parts whose rows are chats.
const CHATS: &[&str] = &["validation_pairs", "pairs"];

/// Resolves an eval job.
pub(crate) fn eval(w: &EvalJob, precision: Precision, resolver: &mut Resolver<'_, '_>) -> Option<EvalBody> {
    let models = models(w, resolver);
    let names: Vec<String> = models.iter().flatten().map(|(name, _)| name.clone()).collect();
    // Where a model is wrong, any job may be the one that it means.
    let mut known = names.clone();
    if models.iter().any(Option::is_none) {
        known.extend(resolver.jobs.iter().map(|job| job.name.clone()));
    }
    let suites: Vec<Option<(RowsInput, SuiteParams)>> = w
        .suites
        .iter()
        .enumerate()
        .map(|(index, written)| suite(written, &format!("suite.{index}"), &known, resolver))
        .collect();
    let train = train(w, resolver);
    let models = models.into_iter().collect::<Option<Vec<_>>>()?;
    let (suites, params): (Vec<_>, Vec<_>) =
        suites.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
    Some(EvalBody {
        models,
        suites,
        train: train?,
        params: EvalParams { models: names, suites: params, precision },
    })
}

/// The models by name, matrices in full.
fn models(w: &EvalJob, resolver: &mut Resolver<'_, '_>) -> Vec<Option<(String, ArtifactRef)>> {
    let mut out: Vec<Option<(String, ArtifactRef)>> = Vec::new();
    let mut known = HashSet::new();
    for entry in w.models.iter() {
        let spot = entry.model.spot;
        let mut found = Vec::new();
        match &entry.model.target {
            Target::Job(name) if !name.contains('.') => {
                for job in resolver.find_all(name, spot) {
                    let reference = Ref { target: Target::Job(job.name.clone()), spot };
                    let artifact = resolver.artifact(&reference, Wanted::Model);
                    found.push(artifact.map(|artifact| (job.name.clone(), artifact)));
                }
                if found.is_empty() {
                    found.push(None);
                }
            }
            Target::Job(name) => {
                let artifact = resolver.artifact(&entry.model, Wanted::Model);
                found.push(artifact.map(|artifact| (name.clone(), artifact)));
            }
            Target::Path(path) => {
                let folder =
                    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                let name = entry.name.clone().unwrap_or(folder);
                found.push(Some((name, ArtifactRef::Path(path.clone()))));
            }
            Target::Huggingface | Target::Broken => found.push(None),
        }
        for model in &found {
            let Some((name, _)) = model else { continue };
            if !known.insert(name.clone()) {
                resolver
                    .session
                    .error(Code::DuplicateName, spot, format!("two models are named `{name}`"))
                    .expecting("each model once, or {name: …, path: DIR}");
            }
        }
        out.append(&mut found);
    }
    out
}

/// One suite with its rows.
fn suite(
    written: &SuiteWritten,
    label: &str,
    models: &[String],
    resolver: &mut Resolver<'_, '_>,
) -> Option<(RowsInput, SuiteParams)> {
    match written {
        SuiteWritten::Perplexity(w) => {
            let (rows, part) = resolver.rows(&w.on, label, &["validation", "train"])?;
            if part.is_empty() {
                resolver
                    .session
                    .error(Code::WrongKind, w.on.spot, "perplexity is measured on a corpus")
                    .expecting("a part such as corpus.validation");
                return None;
            }
            Some((rows, SuiteParams::Perplexity { part, max_bytes: w.max_bytes.map_or(0, |bytes| bytes.0) }))
        }
        SuiteWritten::ChatLoss(w) => {
            let (rows, part) = resolver.rows(&w.on, label, CHATS)?;
            Some((rows, SuiteParams::ChatLoss { part, limit: w.limit }))
        }
        SuiteWritten::MultipleChoice(w, key) => multiple_choice(w, key, label, resolver),
        SuiteWritten::Judge(w) => judge(w, label, models, resolver),
        SuiteWritten::Contamination(w, key) => contamination(w, key, label, resolver),
        SuiteWritten::Generate => None,
    }
}

/// Multiple choice: questions from files, or made from pairs.
fn multiple_choice(
    w: &MultipleChoiceWritten,
    key: &Key,
    label: &str,
    resolver: &mut Resolver<'_, '_>,
) -> Option<(RowsInput, SuiteParams)> {
    let rows = part_or_files(w.on.as_ref(), w.paths.as_ref(), "paths", key, resolver)?;
    let (rows, part) = resolver.rows(&rows, label, CHATS)?;
    let params = MultipleChoiceParams {
        part,
        choices: w.choices,
        limit: w.limit,
        scoring: w.scoring.0.clone(),
        shots: w.shots,
    };
    Some((rows, SuiteParams::MultipleChoice(params)))
}

/// A judge suite: both models are evaluated, the judge is known.
fn judge(
    w: &JudgeSuiteWritten,
    label: &str,
    models: &[String],
    resolver: &mut Resolver<'_, '_>,
) -> Option<(RowsInput, SuiteParams)> {
    let mut is_right = true;
    for name in [&w.model, &w.baseline] {
        if !models.contains(&name.value) {
            is_right = false;
            resolver
                .session
                .error(
                    Code::UnknownModel,
                    name.spot,
                    format!("`{}` is not one of this job's models", name.value),
                )
                .expecting(one_of(models))
                .suggesting(&name.value, models);
        }
    }
    if w.model.value == w.baseline.value {
        is_right = false;
        resolver
            .session
            .error(Code::Conflict, w.baseline.spot, "a model is compared with itself")
            .expecting("another model");
    }
    is_right &= resolver.check_judge(&w.judge, &["reference"]);
    let (rows, part) = resolver.rows(&w.prompts, label, CHATS)?;
    is_right.then(|| {
        let params = JudgeParams {
            model: w.model.value.clone(),
            baseline: w.baseline.value.clone(),
            part,
            limit: w.limit,
            temperature: w.temperature,
            max_new_tokens: w.max_new_tokens,
        };
        (rows, SuiteParams::Judge(params))
    })
}

/// A contamination suite.
fn contamination(
    w: &ContaminationWritten,
    key: &Key,
    label: &str,
    resolver: &mut Resolver<'_, '_>,
) -> Option<(RowsInput, SuiteParams)> {
    let rows = part_or_files(w.on.as_ref(), w.tests.as_ref(), "tests", key, resolver)?;
    let (rows, part) = resolver.rows(&rows, label, CORPUS_PARTS)?;
    Some((rows, SuiteParams::Contamination { part, ngram: w.ngram }))
}

/// Rows from a part or from files, one of both.
fn part_or_files(
    on: Option<&At<Rows>>,
    files: Option<&At<Filled<At<FilePath>>>>,
    field: &str,
    key: &Key,
    resolver: &mut Resolver<'_, '_>,
) -> Option<At<Rows>> {
    match (on, files) {
        (Some(on), None) => Some(on.clone()),
        (None, Some(files)) => Some(At { value: Rows::Files(files.value.0.clone()), spot: files.spot }),
        (given, _) => {
            let code = if given.is_some() { Code::Conflict } else { Code::MissingField };
            let message = format!("`{}` reads a part of a corpus or files", key.name);
            resolver.session.error(code, key.spot, message).expecting(format!("one of `on` and `{field}`"));
            None
        }
    }
}

/// The corpora that trained the models: as written, else those behind the first model. Only contamination reads them.
fn train(w: &EvalJob, resolver: &mut Resolver<'_, '_>) -> Option<Vec<ArtifactRef>> {
    let suite = w.suites.iter().find_map(|suite| match suite {
        SuiteWritten::Contamination(_, key) => Some(key.clone()),
        _ => None,
    });
    if let Some(train) = &w.train {
        return resolver.artifact(train, Wanted::Corpus).map(|train| vec![train]);
    }
    let Some(key) = suite else { return Some(Vec::new()) };
    let mut is_broken = false;
    for entry in w.models.iter() {
        match resolver.base_of(&entry.model) {
            Base::Job { pretrain, .. } => {
                let mut found: Vec<ArtifactRef> = Vec::new();
                for corpus in pretrain.corpora() {
                    let corpus = resolver.artifact(corpus, Wanted::Corpus)?;
                    if !found.contains(&corpus) {
                        found.push(corpus);
                    }
                }
                return Some(found);
            }
            Base::Broken => is_broken = true,
            Base::Outside => {}
        }
    }
    if !is_broken {
        resolver
            .session
            .error(Code::MissingField, key.spot, "no model of this job leads back to a corpus of this spec")
            .expecting("`train` in the eval job: the corpus that trained the models");
    }
    None
}
