//! The stations that look at one document alone, in the order in which a document passes them.

use cupola_specs::artifact::{CorpusPair, DroppedDocument};
use cupola_specs::job::DataParams;

use super::document::{Class, Document};
use super::extract::extract;
use super::funnel::Funnel;
use super::language::LanguageFilter;
use super::{DataError, filter, pii};

/// A station with its rules looked up.
enum Station<'p> {
    Language(LanguageFilter),
    Filter(&'p cupola_specs::job::FilterParams),
    Pii(&'p cupola_specs::job::PiiParams),
}

/// The stations of a job.
pub(super) struct Stations<'p> {
    params: &'p DataParams,
    stations: Vec<(usize, Station<'p>)>,
    rules: Vec<String>,
}

/// What became of a document.
pub(super) struct Passed {
    /// The document as the stations left it, or why it went.
    pub(super) document: Result<Document, DroppedDocument>,
    /// Its pairs, where it stayed.
    pub(super) pairs: Vec<CorpusPair>,
    /// Whether it is Rust that does not parse.
    pub(super) is_unparsed: bool,
}

impl<'p> Stations<'p> {
    /// Looks up what the job's rules need.
    pub(super) fn new(params: &'p DataParams) -> Result<Self, DataError> {
        let mut stations = Self { params, stations: Vec::new(), rules: Vec::new() };
        if let Some(language) = &params.language {
            stations.push(vec!["language".to_owned()], Station::Language(LanguageFilter::new(language)?));
        }
        for params in &params.filters {
            stations.push(filter::rules(params), Station::Filter(params));
        }
        stations.push(pii::rules(), Station::Pii(&params.pii));
        Ok(stations)
    }

    fn push(&mut self, rules: Vec<String>, station: Station<'p>) {
        self.stations.push((self.rules.len(), station));
        self.rules.extend(rules);
    }

    /// The names of all rules in order.
    pub(super) fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Sends a document of the source with this name through the stations; what they remove is noted in the funnel.
    pub(super) fn pass(&self, funnel: &mut Funnel, source: &str, mut document: Document) -> Passed {
        for (first, station) in &self.stations {
            let outcome = match station {
                Station::Language(language) => language.judge(&document),
                Station::Filter(params) => filter::judge(params, &document),
                Station::Pii(params) => pii::judge(params, &document),
            };
            document = match funnel.record(*first, source, document, outcome) {
                Ok(document) => document,
                Err(dropped) => {
                    return Passed { document: Err(dropped), pairs: Vec::new(), is_unparsed: false };
                }
            };
        }
        let (mut pairs, mut is_unparsed) = (Vec::new(), false);
        if let (Some(params), Class::Rust) = (&self.params.pairs, document.class) {
            let extracted = extract(&document, params);
            (pairs, is_unparsed) = (extracted.pairs, !extracted.parsed);
        }
        Passed { document: Ok(document), pairs, is_unparsed }
    }
}
