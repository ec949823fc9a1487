//! The stations that look at one document alone, in the order in which a document passes them.

use cupola_curation::html::ExtractOptions;
use cupola_curation::pii::Finder;
use cupola_curation::rules::WordList;
use cupola_curation::urls::UrlFilter;
use cupola_specs::artifact::{CorpusPair, DroppedDocument, ToxicityStatistics};
use cupola_specs::job::{DataParams, SourceFormat, SourceParams, ToxicityParams};

use super::document::{Class, Document};
use super::extract::extract;
use super::filters::Filters;
use super::funnel::{Funnel, Outcome};
use super::language::LanguageStation;
use super::toxicity::{ToxicityClassifier, judge_words, word_list};
use super::{DataError, addresses, main_text, personal};
use crate::job::StepContext;

/// A station with what it needs looked up.
enum Station {
    MainText(ExtractOptions),
    Addresses(Box<UrlFilter>),
    Language(LanguageStation),
    Filters(Box<Filters>),
    ToxicWords(Box<WordList>, ToxicityParams),
    Toxicity(Box<ToxicityClassifier>),
    Personal(Finder),
}

impl Station {
    fn judge(&self, document: &Document) -> Outcome {
        match self {
            Self::MainText(options) => main_text::judge(options, document),
            Self::Addresses(filter) => addresses::judge(filter, document),
            Self::Language(language) => language.judge(document),
            Self::Filters(filters) => filters.judge(document),
            Self::ToxicWords(words, params) => judge_words(words, params, document),
            Self::Toxicity(classifier) => classifier.judge(document),
            Self::Personal(finder) => personal::judge(finder, document),
        }
    }
}

/// The stations of a job.
pub(super) struct Stations<'p> {
    params: &'p DataParams,
    in_order: Vec<(usize, Station)>,
    rules: Vec<String>,
    /// What the classifier of toxic text learned, where one was trained.
    pub(super) toxicity: Option<ToxicityStatistics>,
}

/// What became of a document.
pub(super) struct Passed {
    /// The document as the stations left it, or why it went.
    pub(super) document: Result<Document, Box<DroppedDocument>>,
    /// Its pairs, where it stayed.
    pub(super) pairs: Vec<CorpusPair>,
    /// Whether it is Rust that does not parse.
    pub(super) is_unparsed: bool,
}

impl<'p> Stations<'p> {
    /// Looks up what the job's rules need.
    pub(super) fn new(ctx: &StepContext, params: &'p DataParams) -> Result<Self, DataError> {
        let mut stations = Self { params, in_order: Vec::new(), rules: Vec::new(), toxicity: None };
        if !params.urls.is_empty() {
            let filter = addresses::filter(ctx, &params.urls)?;
            stations.push(addresses::rules(), Station::Addresses(Box::new(filter)));
        }
        let has_pages = |source: &SourceParams| {
            matches!(source.format, SourceFormat::Html | SourceFormat::Warc | SourceFormat::Crawl)
        };
        if params.sources.iter().any(has_pages) {
            stations.push(main_text::rules(), Station::MainText(main_text::options(&params.extract)));
        }
        let language = LanguageStation::new(params.language.as_ref())?;
        let rules = if params.language.is_some() { vec!["language".to_owned()] } else { Vec::new() };
        stations.push(rules, Station::Language(language));
        let words = params.toxicity.as_ref().map(|_| word_list(ctx)).transpose()?;
        let filters = Filters::new(params, words.as_ref())?;
        stations.push(filters.rules().to_vec(), Station::Filters(Box::new(filters)));
        if let (Some(words), Some(toxicity)) = (words, &params.toxicity) {
            stations
                .push(vec!["toxicity".to_owned()], Station::ToxicWords(Box::new(words), toxicity.clone()));
        }
        if let Some(classifier) = &params.toxicity_classifier {
            let classifier = ToxicityClassifier::new(ctx, classifier)?;
            stations.toxicity = classifier.statistics;
            let rules = vec!["toxicity_classifier".to_owned()];
            stations.push(rules, Station::Toxicity(Box::new(classifier)));
        }
        stations.push(personal::rules(), Station::Personal(personal::finder(&params.pii)));
        Ok(stations)
    }

    fn push(&mut self, rules: Vec<String>, station: Station) {
        self.in_order.push((self.rules.len(), station));
        self.rules.extend(rules);
    }

    /// The names of all rules in order.
    pub(super) fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Sends a document of the source with this name through the stations; what they remove is noted in the funnel.
    pub(super) fn pass(&self, funnel: &mut Funnel, source: &str, mut document: Document) -> Passed {
        for (first, station) in &self.in_order {
            let outcome = station.judge(&document);
            document = match funnel.record(*first, source, document, outcome) {
                Ok(document) => document,
                Err(dropped) => {
                    return Passed { document: Err(dropped), pairs: Vec::new(), is_unparsed: false };
                }
            };
        }
        document.is_page = false;
        let (mut pairs, mut is_unparsed) = (Vec::new(), false);
        if let (Some(params), Class::Rust) = (&self.params.pairs, document.class) {
            let extracted = extract(&document, params);
            (pairs, is_unparsed) = (extracted.pairs, !extracted.parsed);
        }
        Passed { document: Ok(document), pairs, is_unparsed }
    }
}
