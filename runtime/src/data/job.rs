//! The data step: source files in, a corpus out.

use std::collections::{BTreeMap, BTreeSet};

use cupola_specs::artifact::{CorpusPair, CorpusStatistics};
use cupola_specs::job::DataParams;
use rayon::prelude::*;
use serde_json::json;

use super::document::{Class, Document};
use super::extract::{extract, select};
use super::funnel::Funnel;
use super::language::LanguageFilter;
use super::read::read_source;
use super::split::validation_units;
use super::write::{write_documents, write_pairs, write_statistics};
use super::{DataError, dedup, filter, pii};
use crate::job::{StepContext, Summary};

/// Stations whose end is told as progress.
const STATIONS: f64 = 8.0;

/// Curates the job's source files into a corpus.
pub fn run(ctx: &StepContext, params: &DataParams) -> Result<Summary, DataError> {
    check(params)?;
    let mut statistics =
        CorpusStatistics { domain_weights: params.domain_weights.clone(), ..CorpusStatistics::default() };
    let mut documents = Vec::new();
    for (index, source) in params.sources.iter().enumerate() {
        let (found, read) = read_source(ctx, index, source, params.split.by)?;
        documents.extend(found);
        statistics.sources.insert(source.name.clone(), read);
    }
    let mut stations = Stations { ctx, params, funnel: Funnel::default(), done: 0.0, documents };
    stations.clean()?;
    let (pairs, unparsed) = stations.pairs()?;
    stations.dedup_parts()?;
    let Stations { funnel, documents, .. } = stations;
    let validation = split(ctx, params, &documents, &funnel)?;
    let shards = params.shard_documents;
    let [train, held_out] = write_documents(ctx.staging(), &params.sources, documents, &validation, shards)?;
    (statistics.train, statistics.validation) = (train, held_out);
    if params.pairs.is_some() {
        [statistics.train_pairs, statistics.validation_pairs] =
            write_pairs(ctx.staging(), &pairs, &validation)?;
    }
    statistics.validation_units = validation.into_iter().collect();
    statistics.rules = funnel.rules;
    write_statistics(ctx.staging(), &funnel.dropped, &statistics)?;
    ctx.events().progress(STATIONS, STATIONS, "stations", "write");
    Ok(summary(&statistics, unparsed))
}

/// What can be wrong with parameters that parse.
fn check(params: &DataParams) -> Result<(), DataError> {
    let wrong = |field: String, expected: &str, got: String| {
        Err(DataError::Parameter { field, expected: expected.to_owned(), got })
    };
    let mut names = BTreeSet::new();
    for source in &params.sources {
        let is_name = !source.domain.is_empty()
            && source.domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !is_name {
            let expected = "letters, digits, `_` and `-`: a domain names files";
            return wrong(format!("sources.{}.domain", source.name), expected, source.domain.clone());
        }
        if !params.domain_weights.contains_key(&source.domain) {
            let known: Vec<&str> = params.domain_weights.keys().map(String::as_str).collect();
            let expected = format!("a domain with a weight ({})", known.join(", "));
            return wrong(format!("sources.{}.domain", source.name), &expected, source.domain.clone());
        }
        if !names.insert(&source.name) {
            return wrong("sources".into(), "a name for each source", source.name.clone());
        }
    }
    if !(0.0..1.0).contains(&params.split.validation) {
        return wrong(
            "split.validation".into(),
            "a share from 0 to below 1",
            params.split.validation.to_string(),
        );
    }
    Ok(())
}

/// The documents on their way.
struct Stations<'c> {
    ctx: &'c StepContext,
    params: &'c DataParams,
    funnel: Funnel,
    documents: Vec<Document>,
    done: f64,
}

impl Stations<'_> {
    fn names(&self) -> Vec<String> {
        self.params.sources.iter().map(|source| source.name.clone()).collect()
    }

    fn next(&mut self, stage: &str) -> Result<(), DataError> {
        self.ctx.check_stop()?;
        self.done += 1.0;
        self.ctx.events().progress(self.done.min(STATIONS), STATIONS, "stations", stage);
        Ok(())
    }

    /// Copies, other languages, low quality, personal data.
    fn clean(&mut self) -> Result<(), DataError> {
        let names = self.names();
        if self.params.dedup.exact_document {
            self.next("exact_document")?;
            let outcomes = dedup::exact_documents(&self.documents);
            self.funnel.record(&["exact_document".into()], &names, &mut self.documents, outcomes);
        }
        if let Some(language) = &self.params.language {
            self.next("language")?;
            let language = LanguageFilter::new(language)?;
            let rule = ["language".to_owned()];
            self.funnel.apply(&rule, &names, &mut self.documents, |document| language.judge(document));
        }
        self.next("filters")?;
        for filter in &self.params.filters {
            let rules = filter::rules(filter);
            self.funnel
                .apply(&rules, &names, &mut self.documents, |document| filter::judge(filter, document));
        }
        self.next("pii")?;
        let personal = &self.params.pii;
        self.funnel
            .apply(&pii::rules(), &names, &mut self.documents, |document| pii::judge(personal, document));
        Ok(())
    }

    /// Instruction pairs of the documents so far, and how many Rust files did not parse.
    fn pairs(&mut self) -> Result<(Vec<CorpusPair>, u64), DataError> {
        let Some(params) = &self.params.pairs else { return Ok((Vec::new(), 0)) };
        self.next("pairs")?;
        let rust = self.documents.par_iter().filter(|document| document.class == Class::Rust);
        let extracted: Vec<_> = rust.map(|document| extract(document, params)).collect();
        let unparsed = extracted.iter().filter(|found| !found.parsed).count() as u64;
        let pairs = extracted.into_iter().flat_map(|found| found.pairs).collect();
        Ok((select(pairs, params.max_per_crate), unparsed))
    }

    /// Lines and paragraphs of other documents, and documents in which nothing is left.
    fn dedup_parts(&mut self) -> Result<(), DataError> {
        let names = self.names();
        let min_repeats = self.params.dedup.lines_min_repeats;
        if min_repeats > 0 {
            self.next("lines")?;
            let outcomes = dedup::repeated_lines(&self.documents, min_repeats);
            self.funnel.record(&["lines".into()], &names, &mut self.documents, outcomes);
        }
        if self.params.dedup.paragraphs {
            self.next("paragraphs")?;
            let outcomes = dedup::repeated_paragraphs(&self.documents);
            self.funnel.record(&["paragraphs".into()], &names, &mut self.documents, outcomes);
        }
        self.funnel.apply(&["empty".into()], &names, &mut self.documents, dedup::empty);
        Ok(())
    }
}

/// The units that go to validation; a side without a document is an error.
fn split(
    ctx: &StepContext,
    params: &DataParams,
    documents: &[Document],
    funnel: &Funnel,
) -> Result<BTreeSet<String>, DataError> {
    let domain_of = |document: &Document| params.sources[document.source].domain.clone();
    let units = validation_units(&params.split, ctx.seed("split"), documents, &domain_of);
    if documents.iter().all(|document| units.contains(&document.unit)) {
        return Err(DataError::Empty { side: "train", rule: funnel.hardest() });
    }
    if units.is_empty() && params.split.validation > 0.0 {
        return Err(DataError::Empty {
            side: "validation",
            rule: "split (all documents are of one unit)".into(),
        });
    }
    Ok(units)
}

fn summary(statistics: &CorpusStatistics, unparsed: u64) -> Summary {
    let mut summary = Summary::new();
    let read: u64 = statistics.sources.values().map(|source| source.read_bytes).sum();
    let rejected: u64 = statistics.sources.values().flat_map(|source| source.rejected.values()).sum();
    let side = |domains: &BTreeMap<String, cupola_specs::artifact::DomainStatistics>| {
        domains
            .values()
            .fold((0, 0), |(documents, bytes), domain| (documents + domain.documents, bytes + domain.bytes))
    };
    let (train, validation) = (side(&statistics.train), side(&statistics.validation));
    for (name, value) in [
        ("read_bytes", read),
        ("rejected", rejected),
        ("unparsed_rust_files", unparsed),
        ("train_documents", train.0),
        ("train_bytes", train.1),
        ("validation_documents", validation.0),
        ("validation_bytes", validation.1),
        ("validation_units", statistics.validation_units.len() as u64),
        ("train_pairs", statistics.train_pairs),
        ("validation_pairs", statistics.validation_pairs),
    ] {
        summary.insert(name.to_owned(), json!(value));
    }
    summary
}
