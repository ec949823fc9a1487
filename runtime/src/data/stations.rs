//! The stations that look at one document alone, in the order in which a document passes them.

use cupola_curation::html::ExtractOptions;
use cupola_curation::pii::Finder;
use cupola_curation::rules::WordList;
use cupola_curation::urls::UrlFilter;
use cupola_specs::artifact::{CorpusPair, DroppedDocument};
use cupola_specs::job::{DataParams, SourceFormat, SourceParams, ToxicityParams};

use super::document::{Class, Document};
use super::extract::extract;
use super::filters::Filters;
use super::funnel::{Funnel, Outcome};
use super::language::LanguageStation;
use super::{DataError, addresses, main_text, personal};
use crate::job::StepContext;

/// A station with what it needs looked up.
enum Station {
    MainText(ExtractOptions),
    Addresses(Box<UrlFilter>),
    Language(LanguageStation),
    Filters(Box<Filters>),
    Toxicity(Box<WordList>, ToxicityParams),
    Personal(Finder),
}

impl Station {
    fn judge(&self, document: &Document) -> Outcome {
        match self {
            Self::MainText(options) => main_text::judge(options, document),
            Self::Addresses(filter) => addresses::judge(filter, document),
            Self::Language(language) => language.judge(document),
            Self::Filters(filters) => filters.judge(document),
            Self::Toxicity(words, params) => toxicity(words, params, document),
            Self::Personal(finder) => personal::judge(finder, document),
        }
    }
}

/// Drops a document of which too many words are on the lists.
fn toxicity(words: &WordList, params: &ToxicityParams, document: &Document) -> Outcome {
    let hits = words.find(&document.text);
    let of = document.text.split_whitespace().count().max(1);
    let share = hits.count as f64 / of as f64;
    let signals = vec![("toxic_words".to_owned(), hits.count as f64)];
    if hits.count <= params.min_matches || share <= params.max_share {
        return Outcome { signals, ..Outcome::default() };
    }
    let reason = format!("{} words of the lists, share {share:.4} > {}", hits.count, params.max_share);
    Outcome { signals, ..Outcome::drop(0, reason) }
}

/// The stations of a job.
pub(super) struct Stations<'p> {
    params: &'p DataParams,
    in_order: Vec<(usize, Station)>,
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
    pub(super) fn new(ctx: &StepContext, params: &'p DataParams) -> Result<Self, DataError> {
        let mut stations = Self { params, in_order: Vec::new(), rules: Vec::new() };
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
            stations.push(vec!["toxicity".to_owned()], Station::Toxicity(Box::new(words), toxicity.clone()));
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

/// The words of the lists against toxic text.
fn word_list(ctx: &StepContext) -> Result<WordList, DataError> {
    let mut all = Vec::new();
    for file in ctx.sources("safety.toxicity")? {
        all.extend(ctx.read_source(&file)?);
        all.push(b'\n');
    }
    Ok(WordList::new(&all)?)
}
