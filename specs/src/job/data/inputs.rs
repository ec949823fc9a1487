//! What a data job reads beside its sources, each with the files that it needs, and where a crawl goes.

use std::collections::BTreeMap;

use super::written::{DataJob, SourceWritten};
use super::{
    CrawlParams, DecontaminateParams, QualityParams, SourceFormat, ToxicityClassifierParams, ToxicityParams,
    UrlList,
};

use crate::job::eval::written::{EvalJob, SuiteWritten};
use crate::spec::decode::At;
use crate::spec::jobs::{Resolver, WrittenBody};
use crate::spec::list::Filled;
use crate::spec::reference::{FilePath, Rows};
use crate::spec::tree::Spot;
use crate::spec::words::one_of;
use crate::spec::{Code, JobKind, SourceGlob};

/// Links that a crawl follows where the spec does not say.
const MAX_DEPTH: u64 = 3;
/// Pages of a crawl where the spec does not say.
const MAX_PAGES: u64 = 10_000;
/// Requests a second to one host where the spec does not say.
const RATE: f64 = 1.0;
/// Who a crawl says that it is where the spec does not say.
const USER_AGENT: &str = "cupola (+https://github.com/cupola-ml/cupola)";

/// Parameters with the files that they need.
type WithFiles<P> = Option<(P, Vec<SourceGlob>)>;

/// The crawl of a source; fields of a crawl in another source are an error.
#[allow(clippy::option_option, reason = "the outer one is an error, the inner one a source of files")]
pub(super) fn crawl(
    source: &At<SourceWritten>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Option<CrawlParams>> {
    let w = &source.value;
    if w.format == SourceFormat::Crawl {
        let Some(seeds) = &w.seeds else {
            let error =
                resolver.session.error(Code::MissingField, source.spot, "the field `seeds` is missing");
            error.expecting("seeds: [http://…, …]");
            return None;
        };
        return check_seeds(&seeds.value, resolver).then(|| {
            Some(CrawlParams {
                seeds: seeds.value.iter().map(|seed| seed.value.clone()).collect(),
                max_depth: w.max_depth.as_ref().map_or(MAX_DEPTH, |depth| depth.value),
                max_pages: w.max_pages.as_ref().map_or(MAX_PAGES, |pages| pages.value),
                rate: w.rate.as_ref().map_or(RATE, |rate| rate.value.0),
                respect_robots: w.respect_robots.as_ref().is_none_or(|respect| respect.value),
                allow_private_addresses: w.allow_private_addresses.as_ref().is_some_and(|allow| allow.value),
                user_agent: w
                    .user_agent
                    .as_ref()
                    .map_or_else(|| USER_AGENT.to_owned(), |agent| agent.value.clone()),
            })
        });
    }
    let written: [(&str, Option<Spot>); 7] = [
        ("seeds", w.seeds.as_ref().map(|field| field.spot)),
        ("max_depth", w.max_depth.as_ref().map(|field| field.spot)),
        ("max_pages", w.max_pages.as_ref().map(|field| field.spot)),
        ("rate", w.rate.as_ref().map(|field| field.spot)),
        ("respect_robots", w.respect_robots.as_ref().map(|field| field.spot)),
        ("allow_private_addresses", w.allow_private_addresses.as_ref().map(|field| field.spot)),
        ("user_agent", w.user_agent.as_ref().map(|field| field.spot)),
    ];
    let mut is_right = true;
    for (name, spot) in written {
        let Some(spot) = spot else { continue };
        is_right = false;
        let message = format!("`{name}` is for a crawl, and this source is none");
        resolver.session.error(Code::Conflict, spot, message).expecting("`format: crawl`, or no such field");
    }
    is_right.then_some(None)
}

/// Seeds are addresses with a host.
fn check_seeds(seeds: &[At<String>], resolver: &mut Resolver<'_, '_>) -> bool {
    let mut is_right = true;
    for seed in seeds {
        let rest = seed.value.strip_prefix("http://").or_else(|| seed.value.strip_prefix("https://"));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        if host.is_none_or(str::is_empty) {
            is_right = false;
            let message = format!("`{}` is not the address of a page", seed.value);
            resolver.session.error(Code::BadAddress, seed.spot, message).expecting("http://… or https://…");
        }
    }
    is_right
}

/// The lists of addresses.
pub(super) fn url_lists(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> WithFiles<Vec<UrlList>> {
    let Some(urls) = &w.urls else { return Some((Vec::new(), Vec::new())) };
    let written = UrlList::ALL.map(|list| {
        let files = match list {
            UrlList::BlockDomains => &urls.block_domains,
            UrlList::BlockUrls => &urls.block_urls,
            UrlList::BlockWords => &urls.block_words,
            UrlList::SoftWords => &urls.soft_words,
            UrlList::BlockSubstrings => &urls.block_substrings,
        };
        files.as_ref().map(|files| (list, files))
    });
    let globs: Vec<_> = written
        .into_iter()
        .flatten()
        .map(|(list, files)| Some((list, resolver.glob(&format!("urls.{}", list.name()), files)?)))
        .collect();
    Some(globs.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip())
}

/// Word lists.
pub(super) fn toxicity(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> WithFiles<Option<ToxicityParams>> {
    let Some(toxicity) = w.safety.as_ref().and_then(|safety| safety.toxicity.as_ref()) else {
        return Some((None, Vec::new()));
    };
    let files = resolver.glob("safety.toxicity", &toxicity.lists)?;
    let params = ToxicityParams { max_share: toxicity.max_share, min_matches: toxicity.min_matches };
    Some((Some(params), vec![files]))
}

/// What fastText puts in front of a label.
const LABEL: &str = "__label__";

/// A classifier of toxic text: a model and its label, or examples of both kinds.
pub(super) fn toxicity_classifier(
    w: &DataJob,
    resolver: &mut Resolver<'_, '_>,
) -> WithFiles<Option<ToxicityClassifierParams>> {
    let Some(written) = w.safety.as_ref().and_then(|safety| safety.classifier.as_ref()) else {
        return Some((None, Vec::new()));
    };
    let (spot, w) = (written.spot, &written.value);
    let threshold = w.threshold;
    let examples = [("toxic", &w.toxic), ("clean", &w.clean)];
    let Some(model) = &w.model else {
        if let Some(label) = &w.label {
            let error = resolver.session.error(
                Code::Conflict,
                label.spot,
                "a label is one of a model, and there is none",
            );
            error.expecting("`model` beside it, or no `label`");
            return None;
        }
        let globs = examples.map(|(name, files)| {
            let Some(files) = files else {
                let message = format!("the field `{name}` is missing");
                let error = resolver.session.error(Code::MissingField, spot, message);
                error.expecting("model: FILE with label: LABEL, or toxic: [file, …] with clean: [file, …]");
                return None;
            };
            resolver.glob(&format!("safety.classifier.{name}"), &files.value)
        });
        let [toxic, clean] = globs;
        return Some((Some(ToxicityClassifierParams { label: None, threshold }), vec![toxic?, clean?]));
    };
    let mut is_right = true;
    for files in examples.iter().filter_map(|(_, files)| files.as_ref()) {
        is_right = false;
        let message = "the classifier is trained already: it is read from `model`";
        resolver.session.error(Code::Conflict, files.spot, message).expecting("either `model`, or examples");
    }
    let Some(label) = &w.label else {
        let error = resolver.session.error(Code::MissingField, model.spot, "the field `label` is missing");
        error.expecting("label: the model's name for what is not wanted, such as toxic");
        return None;
    };
    let name = label.value.strip_prefix(LABEL).unwrap_or(&label.value);
    if name.is_empty() || name.contains(char::is_whitespace) {
        let message = format!("`{}` is no label of a model", label.value);
        resolver.session.error(Code::UnknownWord, label.spot, message).expecting("a word, such as toxic");
        return None;
    }
    let file = resolver.glob("safety.classifier.model", std::slice::from_ref(model))?;
    let params = ToxicityClassifierParams { label: Some(name.to_owned()), threshold };
    is_right.then_some((Some(params), vec![file]))
}

/// The quality filter: its source is one of the job's, and it has good examples.
pub(super) fn quality(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> WithFiles<Option<QualityParams>> {
    let Some(quality) = &w.quality else { return Some((None, Vec::new())) };
    let names: Vec<String> = w.sources.iter().map(|source| source.value.name.value.clone()).collect();
    let negative = &quality.negative;
    if !names.contains(&negative.value) {
        let message = format!("there is no source `{}`", negative.value);
        let error = resolver.session.error(Code::UnknownWord, negative.spot, message);
        error.expecting(one_of(&names)).suggesting(&negative.value, &names);
        return None;
    }
    if quality.positive.is_none() && quality.positive_links.is_none() {
        let error = resolver.session.error(Code::MissingField, negative.spot, "there are no good examples");
        error.expecting("positive: [file, …], or positive_links: [file, …]");
        return None;
    }
    let labels =
        [("quality.positive", &quality.positive), ("quality.positive_links", &quality.positive_links)];
    let mut files = Vec::new();
    for (label, paths) in labels {
        if let Some(paths) = paths {
            files.push(resolver.glob(label, paths)?);
        }
    }
    let params = QualityParams {
        has_documents: quality.positive.is_some(),
        has_links: quality.positive_links.is_some(),
        negative: negative.value.clone(),
        keep_fraction: quality.keep_fraction,
    };
    Some((Some(params), files))
}

/// Examples of domains.
pub(super) fn classify(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> WithFiles<Vec<String>> {
    let Some(classify) = w.domains.as_ref().and_then(|domains| domains.classify.as_ref()) else {
        return Some((Vec::new(), Vec::new()));
    };
    // Examples are a mapping: the order in which they are written says nothing.
    let labels: BTreeMap<_, _> = classify.labels.0.iter().map(|(key, path)| (&key.name, path)).collect();
    let globs: Vec<_> = labels
        .into_iter()
        .map(|(name, path)| {
            let files = resolver.glob(&format!("domains.{name}"), std::slice::from_ref(path))?;
            Some((name.clone(), files))
        })
        .collect();
    Some(globs.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip())
}

/// The test files of the eval jobs that are named. A suite that is made of a corpus has no files, and is held out by the split.
pub(super) fn decontaminate(
    w: &DataJob,
    resolver: &mut Resolver<'_, '_>,
) -> WithFiles<Option<DecontaminateParams>> {
    let Some(written) = &w.decontaminate else { return Some((None, Vec::new())) };
    let (mut names, mut files, mut is_right) = (Vec::new(), Vec::new(), true);
    for against in written.against.iter() {
        for job in resolver.find_all(&against.value, against.spot) {
            let tests: Vec<At<FilePath>> = match &job.body {
                Some(WrittenBody::Eval(eval)) => test_files(eval),
                None if job.kind.is_none_or(|kind| kind == JobKind::Eval) => continue,
                _ => {
                    is_right = false;
                    let message = format!("`{}` is not an eval job", job.name);
                    resolver.session.error(Code::WrongKind, against.spot, message).expecting("an eval job");
                    continue;
                }
            };
            if tests.is_empty() {
                is_right = false;
                let message = format!("`{}` reads no files of tests", job.name);
                let error = resolver.session.error(Code::WrongKind, against.spot, message);
                error.expecting(
                    "an eval job with suites of files; what is made of a corpus is held out by its split",
                );
                continue;
            }
            match resolver.glob(&format!("decontaminate.{}", job.name), &tests) {
                Some(glob) if !names.contains(&job.name) => {
                    names.push(job.name.clone());
                    files.push(glob);
                }
                Some(_) => {}
                None => is_right = false,
            }
        }
    }
    let action = written.action;
    let params = DecontaminateParams { against: names, ngram: written.ngram, action };
    is_right.then_some((Some(params), files))
}

/// The files that an eval job's suites read.
fn test_files(eval: &EvalJob) -> Vec<At<FilePath>> {
    let of_rows = |rows: &At<Rows>| match &rows.value {
        Rows::Files(files) => files.clone(),
        Rows::Part(_) => Vec::new(),
    };
    let of_list = |files: &At<Filled<At<FilePath>>>| files.value.0.clone();
    let mut files = Vec::new();
    for suite in eval.suites.iter() {
        match suite {
            SuiteWritten::ChatLoss(w) => files.extend(of_rows(&w.on)),
            SuiteWritten::Judge(w) => files.extend(of_rows(&w.prompts)),
            SuiteWritten::MultipleChoice(w, _) => {
                files.extend(w.on.iter().flat_map(of_rows));
                files.extend(w.paths.iter().flat_map(of_list));
            }
            SuiteWritten::Contamination(w, _) => {
                files.extend(w.on.iter().flat_map(of_rows));
                files.extend(w.tests.iter().flat_map(of_list));
            }
            SuiteWritten::Perplexity(_) | SuiteWritten::Generate => {}
        }
    }
    files
}
