//! The mixture of a corpus: its domains, and how much of each is read.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::written::{DataJob, SourceWritten};
use crate::spec::decode::{Decode, Named, wrong_type};
use crate::spec::jobs::Resolver;
use crate::spec::session::Session;
use crate::spec::tree::{Node, Spot};
use crate::spec::words::one_of;
use crate::spec::{Code, SourceGlob};

/// The word for weights that the job fits.
const FIT: &str = "fit";
/// The label of the files of runs.
const RUNS: &str = "mixture.runs";

/// Sampling weights as written.
#[derive(Debug, Clone)]
pub(crate) enum WeightsWritten {
    /// Those of the least loss that runs of small models let expect.
    Fit,
    /// By domain.
    ByDomain(Named<f64>),
}

impl Decode for WeightsWritten {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match node.text() {
            Some(FIT) => {
                session.range = None;
                Some(Self::Fit)
            }
            Some(_) => {
                wrong_type(node, "a weight for each domain, or fit", session);
                None
            }
            None => Named::decode(node, session).map(Self::ByDomain),
        }
    }
}

impl JsonSchema for WeightsWritten {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weights".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": [FIT] }, generator.subschema_for::<Named<f64>>()] })
    }
}

/// What a job says of its corpus's mixture.
#[derive(Debug, Clone)]
pub(crate) struct CorpusMixture {
    /// The domains that its documents have.
    pub(crate) domains: BTreeSet<String>,
    /// Their weights; empty where the data step fits them.
    pub(crate) weights: BTreeMap<String, f64>,
}

impl DataJob {
    /// The domains of the corpus, and their weights: as written, else the same for each.
    pub(crate) fn mixture(&self) -> CorpusMixture {
        let domains = self.domain_names();
        let written = self.domains.as_ref().and_then(|domains| domains.weights.as_ref());
        let weights = match written.map(|weights| &weights.value) {
            Some(WeightsWritten::Fit) => BTreeMap::new(),
            Some(WeightsWritten::ByDomain(weights)) => weights.to_map(),
            None => {
                let share = 1.0 / domains.len().max(1) as f64;
                domains.iter().map(|domain| (domain.clone(), share)).collect()
            }
        };
        CorpusMixture { domains, weights }
    }

    /// The domains that documents are sorted into, or else those of the sources.
    fn domain_names(&self) -> BTreeSet<String> {
        match self.domains.as_ref().and_then(|domains| domains.classify.as_ref()) {
            Some(classify) => classify.labels.0.iter().map(|(key, _)| key.name.clone()).collect(),
            None => self.sources.iter().map(|source| domain_of(&source.value)).collect(),
        }
    }
}

/// The domain of a source's documents.
pub(super) fn domain_of(source: &SourceWritten) -> String {
    source.domain.clone().unwrap_or_else(|| source.name.value.clone())
}

/// Weights sum to 1 and name the domains of the corpus, each of them.
pub(super) fn check_domains(w: &DataJob, resolver: &mut Resolver<'_, '_>) {
    let Some(written) = w.domains.as_ref().and_then(|domains| domains.weights.as_ref()) else { return };
    let WeightsWritten::ByDomain(weights) = &written.value else { return };
    check_sum(weights, written.spot, resolver);
    let known = w.domain_names();
    let is_sorted = w.domains.as_ref().is_some_and(|domains| domains.classify.is_some());
    let mut meant = BTreeSet::new();
    for (key, _) in &weights.0 {
        if !known.contains(&key.name) {
            let message = if is_sorted {
                format!("`classify` has no label `{}`", key.name)
            } else {
                format!("no source has the domain `{}`", key.name)
            };
            let error = resolver.session.error(Code::UnknownDomain, key.spot, message);
            error.expecting(one_of(&known)).suggesting(&key.name, &known);
            meant.extend(error.suggestion.clone());
        }
    }
    for domain in known {
        if !meant.contains(&domain) && !weights.0.iter().any(|(key, _)| key.name == domain) {
            resolver
                .session
                .error(Code::UnknownDomain, written.spot, format!("the domain `{domain}` has no weight"))
                .expecting(format!("a weight for `{domain}` (0 leaves it out of training)"));
        }
    }
}

/// Weights sum to 1.
pub(crate) fn check_sum(weights: &Named<f64>, spot: Spot, resolver: &mut Resolver<'_, '_>) {
    let sum: f64 = weights.0.iter().map(|(_, weight)| weight).sum();
    if (sum - 1.0).abs() > 1e-6 {
        let rounded = (sum * 1e6).round() / 1e6;
        resolver
            .session
            .error(Code::BadWeights, spot, format!("these weights sum to {rounded}"))
            .expecting("weights that sum to 1");
    }
}

/// The files of runs that weights are fitted to; files without such weights, or the other way round, are an error.
#[allow(clippy::option_option, reason = "the outer one is an error, the inner one weights that are written")]
pub(super) fn runs(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> Option<Option<SourceGlob>> {
    let Some(domains) = &w.domains else { return Some(None) };
    let fits = domains.weights.as_ref().filter(|weights| matches!(weights.value, WeightsWritten::Fit));
    match (fits, &domains.runs) {
        (None, None) => Some(None),
        (Some(weights), None) => {
            let message = "there are no runs to fit the weights to";
            let error = resolver.session.error(Code::MissingField, weights.spot, message);
            error.expecting("runs: [file, …] beside it, with lines such as {\"weights\": {\"code\": 0.4, \"prose\": 0.6}, \"loss\": 3.1}");
            None
        }
        (None, Some(runs)) => {
            let message = "no weights are fitted to these runs";
            resolver
                .session
                .error(Code::Conflict, runs.spot, message)
                .expecting("`weights: fit`, or no `runs`");
            None
        }
        (Some(_), Some(runs)) => resolver.glob(RUNS, &runs.value).map(Some),
    }
}
