//! The data step: source files in, a corpus out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cupola_curation::rules::Preset;
use cupola_specs::artifact::{
    CorpusPair, CorpusStatistics, DomainStatistics, MixtureStatistics, RuleStatistics,
};
use cupola_specs::job::{DataParams, SplitUnit};
use serde_json::json;

use super::decontamination::Decontamination;
use super::document::Document;
use super::extract::select as select_pairs;
use super::funnel::Funnel;
use super::listing::files_of;
use super::portrait::Portrait;
use super::rules::Rules;
use super::segment::Segments;
use super::select::Selected;
use super::split::{HeldOut, Units};
use super::stations::Stations;
use super::write::{Sides, write_dropped, write_pairs, write_statistics};
use super::{DataError, crawl, mixture, select, sieve, trim};
use crate::job::{StepContext, Summary};

/// Curates the job's source files into a corpus.
pub fn run(ctx: &StepContext, params: &DataParams) -> Result<Summary, DataError> {
    check(params)?;
    let mixture = mixture::fit(ctx, params)?;
    crawl::run(ctx, params)?;
    let stations = Stations::new(ctx, params)?;
    let rules = Rules::new(stations.rules(), params);
    let mut sieved = Segments::open(&ctx.job().checkpoints.join("sieved"))?;
    sieve::run(ctx, params, &stations, &mut sieved)?;
    let (trimmed, near) = trim::run(ctx, params, &rules, &sieved)?;
    let mut selected = select::run(ctx, params, &rules, &trimmed, near.as_ref())?;
    let passes: Vec<&Segments> =
        [&sieved, &trimmed].into_iter().chain(selected.iter().map(|selected| &selected.segments)).collect();

    let mut statistics = CorpusStatistics {
        domain_weights: weights(params, mixture.as_ref()),
        presets: Preset::among(&params.filters)
            .into_iter()
            .map(|preset| (preset.name().to_owned(), preset.hash()))
            .collect(),
        mixture,
        toxicity: stations.toxicity,
        ..CorpusStatistics::default()
    };
    let funnel = add_up(ctx, params, &rules, &passes, &mut statistics)?;
    ctx.events().progress(0.0, 1.0, "corpus", "write");
    let held_out = split(ctx, params, passes[passes.len() - 1], &funnel)?;
    let dropped = passes.iter().flat_map(|pass| pass.dropped());
    let mut leaked_pairs = 0;
    write_dropped(ctx.staging(), dropped)?;
    write_leaks(ctx.staging(), &trimmed)?;
    crawl::keep(ctx, params)?;
    if params.pairs.is_some() {
        let (pairs, leaked) = pairs(ctx, params, &sieved, passes[passes.len() - 1])?;
        leaked_pairs = leaked;
        [statistics.train_pairs, statistics.validation_pairs] =
            write_pairs(ctx.staging(), &pairs, &held_out)?;
    }
    statistics.quality = selected.as_ref().and_then(|selected| selected.quality);
    match &mut selected {
        Some(Selected { segments, clusters, .. }) => {
            write(ctx, params, segments, &held_out, &mut statistics, &mut |document| {
                clusters.look(document);
            })?;
        }
        None => write(ctx, params, &trimmed, &held_out, &mut statistics, &mut |_| {})?,
    }
    statistics.near_duplicates = selected.and_then(|selected| selected.clusters.statistics());
    let unparsed = sieved.records().iter().map(|record| record.unparsed).sum();
    let documents = sieved.records().iter().map(|record| record.documents).sum();
    let bytes = sieved.records().iter().map(|record| record.bytes).sum();
    statistics.rules = unread(&statistics, documents, bytes);
    statistics.rules.extend(funnel.finish(documents, bytes));
    write_statistics(ctx.staging(), &statistics)?;
    warn_of_nothing(ctx, &statistics);
    ctx.events().progress(1.0, 1.0, "corpus", "write");
    let mut summary = summary(&statistics, unparsed);
    if params.decontaminate.is_some() && params.pairs.is_some() {
        summary.insert("leaked_pairs".to_owned(), json!(leaked_pairs));
    }
    Ok(summary)
}

/// The first rules of the funnel: what the readers could not read, by name.
fn unread(statistics: &CorpusStatistics, documents: u64, bytes: u64) -> Vec<RuleStatistics> {
    let mut rejected: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in statistics.sources.values().flat_map(|source| &source.rejected) {
        *rejected.entry(reason).or_default() += count;
    }
    let mut left = documents + rejected.values().sum::<u64>();
    let rule = |(reason, count): (&str, u64)| {
        left -= count;
        RuleStatistics {
            rule: format!("read.{reason}"),
            dropped_documents: count,
            remaining_documents: left,
            remaining_bytes: bytes,
            ..RuleStatistics::default()
        }
    };
    rejected.into_iter().map(rule).collect()
}

/// Warns of sources that gave nothing, and of domains with a weight and no document.
fn warn_of_nothing(ctx: &StepContext, statistics: &CorpusStatistics) {
    for (name, source) in &statistics.sources {
        if source.read_files == 0 {
            let message = format!(
                "source {name}: none of its {} files was read; look at its `paths` and `max_bytes`",
                source.listed_files
            );
            ctx.events().warning("source_not_read", message);
        }
    }
    for (domain, weight) in &statistics.domain_weights {
        let is_there = statistics.train.get(domain).is_some_and(|side| side.documents > 0);
        if *weight > 0.0 && !is_there {
            let message = format!("domain {domain} has the weight {weight:.4} and no document to train on");
            ctx.events().warning("domain_empty", message);
        }
    }
}

/// The weights of the domains: as the job says, or as they were fitted.
fn weights(params: &DataParams, fitted: Option<&MixtureStatistics>) -> BTreeMap<String, f64> {
    match fitted {
        Some(fitted) => fitted.weights.iter().map(|(name, weight)| (name.clone(), weight.value)).collect(),
        None => params.domain_weights.clone(),
    }
}

/// What was found of evaluations, where it was looked for.
fn write_leaks(staging: &Path, trimmed: &Segments) -> Result<(), DataError> {
    let reports = trimmed.records().iter().filter_map(|record| record.leaks.clone());
    let Some(report) = reports.reduce(|mut all, next| {
        all.merge(next);
        all
    }) else {
        return Ok(());
    };
    let path = staging.join("contamination.json");
    std::fs::write(&path, format!("{:#}\n", json!(report))).map_err(|e| DataError::io(path, e))
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
        let is_weighed =
            params.domain_weights.is_empty() || params.domain_weights.contains_key(&source.domain);
        if !is_weighed && params.classify.is_empty() {
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

/// What the passes removed, and what the sources gave.
fn add_up(
    ctx: &StepContext,
    params: &DataParams,
    rules: &Rules,
    passes: &[&Segments],
    statistics: &mut CorpusStatistics,
) -> Result<Funnel, DataError> {
    let mut funnel = rules.funnel();
    for record in passes.iter().flat_map(|pass| pass.records()) {
        funnel.merge(&record.funnel);
        for (name, source) in &record.sources {
            statistics.sources.entry(name.clone()).or_default().add(source);
        }
    }
    for source in &params.sources {
        let listed = files_of(ctx, source)?.len() as u64;
        statistics.sources.entry(source.name.clone()).or_default().listed_files = listed;
    }
    Ok(funnel)
}

/// The units that go to validation; a side without a document is an error.
fn split(
    ctx: &StepContext,
    params: &DataParams,
    documents: &Segments,
    funnel: &Funnel,
) -> Result<HeldOut, DataError> {
    let mut units = Units::new(ctx.seed("split"));
    let mut domains: BTreeMap<String, u32> = BTreeMap::new();
    for document in documents.documents() {
        let document = document?;
        let known = domains.len() as u32;
        let domain = *domains.entry(document.domain).or_insert(known);
        units.add(&document.unit, domain, document.text.len() as u64);
    }
    let held_out = units.held_out(&params.split);
    if units.len() == held_out.len() {
        return Err(DataError::Empty { side: "train", rule: funnel.hardest() });
    }
    if held_out.len() == 0 && params.split.validation > 0.0 {
        return Err(DataError::Empty {
            side: "validation",
            rule: "split (all documents are of one unit)".into(),
        });
    }
    Ok(held_out)
}

/// Writes both sides; `look` sees each document.
fn write(
    ctx: &StepContext,
    params: &DataParams,
    documents: &Segments,
    held_out: &HeldOut,
    statistics: &mut CorpusStatistics,
    look: &mut dyn FnMut(&Document),
) -> Result<(), DataError> {
    let sources = params.sources.iter().map(|source| source.name.clone()).collect();
    let mut sides = Sides::new(ctx.staging(), sources, held_out, params.shard_documents)?;
    let mut units = BTreeSet::new();
    let mut portrait = Portrait::default();
    for document in documents.documents() {
        let document = document?;
        let is_listed = params.split.by != SplitUnit::Document && held_out.contains(&document.unit);
        if is_listed && !units.contains(&document.unit) {
            units.insert(document.unit.clone());
        }
        look(&document);
        portrait.add(&document);
        sides.write(document)?;
    }
    [statistics.train, statistics.validation] = sides.finish()?;
    portrait.finish(statistics);
    statistics.num_validation_units = held_out.len() as u64;
    statistics.validation_units = units.into_iter().collect();
    Ok(())
}

/// The pairs of the documents that stay, which are held in memory, and how many did not stay because they hold a question of a test.
fn pairs(
    ctx: &StepContext,
    params: &DataParams,
    sieved: &Segments,
    last: &Segments,
) -> Result<(Vec<CorpusPair>, u64), DataError> {
    let Some(wanted) = &params.pairs else { return Ok((Vec::new(), 0)) };
    let tests = params.decontaminate.as_ref().map(|wanted| Decontamination::open(ctx, wanted)).transpose()?;
    // Pairs and documents are both in the order in which the documents were read.
    let mut documents = last.documents();
    let mut next = documents.next().transpose()?;
    let (mut pairs, mut leaked) = (Vec::new(), 0);
    for pair in sieved.pairs() {
        let (number, pair) = pair?;
        while next.as_ref().is_some_and(|document| document.number < number) {
            next = documents.next().transpose()?;
        }
        if next.as_ref().is_none_or(|document| document.number != number) {
            continue;
        }
        // The text of a document may have lost its leaks; its pairs were made before.
        let leaks = |tests: &Decontamination| tests.forbids(&format!("{}\n{}", pair.prompt, pair.answer));
        if tests.as_ref().is_some_and(leaks) {
            leaked += 1;
        } else {
            pairs.push(pair);
        }
    }
    Ok((select_pairs(pairs, wanted.max_per_crate), leaked))
}

fn summary(statistics: &CorpusStatistics, unparsed: u64) -> Summary {
    let mut summary = Summary::new();
    let read: u64 = statistics.sources.values().map(|source| source.read_bytes).sum();
    let rejected: u64 = statistics.sources.values().flat_map(|source| source.rejected.values()).sum();
    let side = |domains: &BTreeMap<String, DomainStatistics>| {
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
        ("validation_units", statistics.num_validation_units),
        ("train_pairs", statistics.train_pairs),
        ("validation_pairs", statistics.validation_pairs),
    ] {
        summary.insert(name.to_owned(), json!(value));
    }
    for (name, hash) in &statistics.presets {
        summary.insert(format!("preset.{name}"), json!(hash));
    }
    if let Some(toxicity) = &statistics.toxicity {
        summary.insert("toxicity_roc_auc".to_owned(), json!(toxicity.roc_auc));
    }
    if let Some(mixture) = &statistics.mixture {
        summary.insert("predicted_loss".to_owned(), json!(mixture.predicted_loss));
        for (domain, weight) in &mixture.weights {
            summary.insert(format!("weight.{domain}"), json!(weight));
        }
    }
    summary
}
