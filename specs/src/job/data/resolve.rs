//! A data job, resolved.

use std::collections::BTreeMap;

use super::inputs::{classify, crawl, decontaminate, quality, toxicity, toxicity_classifier, url_lists};
use super::mixture::{check_domains, domain_of, runs};
use super::written::{DataJob, DedupWritten, ExtractWritten, FilterWritten, SourceWritten};
use super::{
    CrawlParams, DataParams, DedupParams, ExtractParams, LanguageParams, MinhashParams, PairsParams,
    PiiParams, SourceFormat, SourceParams, SplitParams,
};
use crate::spec::jobs::Resolver;
use crate::spec::{Code, DataBody, SourceGlob};

/// Resolves a data job.
pub(crate) fn data(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> Option<DataBody> {
    let files = sources(w, resolver);
    check_domains(w, resolver);
    let runs = runs(w, resolver);
    let crawls = w.sources.iter().map(|source| crawl(source, resolver)).collect::<Vec<_>>();
    let urls = url_lists(w, resolver);
    let toxicity = toxicity(w, resolver);
    let classifier = toxicity_classifier(w, resolver);
    let quality = quality(w, resolver);
    let classify = classify(w, resolver);
    let decontaminate = decontaminate(w, resolver);
    let pairs = pairs(w, resolver);
    let language = language(w, resolver);
    let (urls, toxicity, classifier, quality) = (urls?, toxicity?, classifier?, quality?);
    let (classify, decontaminate) = (classify?, decontaminate?);
    let crawls = crawls.into_iter().collect::<Option<Vec<_>>>()?;
    let with_crawl = w.sources.iter().zip(crawls);
    let params = DataParams {
        sources: with_crawl.map(|(source, crawl)| source_params(&source.value, crawl)).collect(),
        extract: extract(w.extract.as_ref()),
        urls: urls.0,
        language: language?,
        filters: w.filters.iter().flat_map(|FilterWritten(rules)| rules.clone()).collect(),
        words: w.words,
        toxicity: toxicity.0,
        toxicity_classifier: classifier.0,
        pii: PiiParams {
            email: w.pii.email,
            ip: w.pii.ip,
            phone: w.pii.phone,
            card: w.pii.card,
            secret: w.pii.secret,
        },
        dedup: dedup(&w.dedup),
        quality: quality.0,
        classify: classify.0,
        decontaminate: decontaminate.0,
        domain_weights: w.mixture().weights,
        split: SplitParams { validation: w.split.validation.0, by: w.split.by },
        pairs: pairs?,
        shard_documents: w.shards.given().unwrap_or(0),
    };
    let mut files = files?;
    files.extend(runs?);
    for more in [urls.1, toxicity.1, classifier.1, quality.1, classify.1, decontaminate.1] {
        files.extend(more);
    }
    let numbered = w.filters.iter().enumerate();
    let filter_items =
        numbered.flat_map(|(item, FilterWritten(rules))| std::iter::repeat_n(item, rules.len())).collect();
    Some(DataBody { files, params, filter_items })
}

/// How the text of pages is found; without a word about it as the defaults say.
fn extract(written: Option<&ExtractWritten>) -> ExtractParams {
    written.map_or(
        ExtractParams { main_content: true, keep_math: true, keep_code: true, site_repeats: 0 },
        |w| ExtractParams {
            main_content: w.main_content,
            keep_math: w.keep_math,
            keep_code: w.keep_code,
            site_repeats: w.site_repeats,
        },
    )
}

fn dedup(w: &DedupWritten) -> DedupParams {
    DedupParams {
        exact_document: w.exact.is_some(),
        lines_min_repeats: w.lines.as_ref().map_or(0, |lines| lines.min_repeats),
        paragraphs: w.paragraphs,
        minhash: w.minhash.as_ref().map(|minhash| MinhashParams {
            ngram: minhash.ngram,
            bands: minhash.bands,
            rows: minhash.rows,
        }),
        substring_min_bytes: w.substrings.as_ref().map_or(0, |substrings| substrings.min_bytes),
        scope: w.scope,
    }
}

/// The files of each source; names are unique and every source has files.
fn sources(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> Option<Vec<SourceGlob>> {
    let mut names = BTreeMap::new();
    let mut files = Vec::new();
    for source in w.sources.iter() {
        let name = &source.value.name;
        let key = crate::spec::tree::Key { name: name.value.clone(), spot: name.spot };
        crate::spec::jobs::check_name(&key, resolver.session);
        if let Some(first) = names.insert(name.value.clone(), name.spot) {
            let origin = resolver.session.origin(first);
            resolver
                .session
                .error(Code::DuplicateName, name.spot, format!("two sources are named `{}`", name.value))
                .noting(origin, "the first one is here");
        }
        let has_fields = matches!(
            source.value.format,
            SourceFormat::Jsonl | SourceFormat::Parquet | SourceFormat::Huggingface
        );
        if let Some(field) = source.value.text_field.as_ref().filter(|_| !has_fields) {
            resolver
                .session
                .error(Code::Conflict, field.spot, "`text_field` is for records, and this source has none")
                .expecting("`format: jsonl`, `parquet` or `huggingface`, or no such field");
        }
        let needs_files = source.value.format != SourceFormat::Crawl;
        match &source.value.paths {
            Some(paths) if !needs_files => {
                let spot = paths.first().map_or(source.spot, |path| path.spot);
                resolver
                    .session
                    .error(Code::Conflict, spot, "a crawl makes its own files")
                    .expecting("either `format: crawl` with `seeds`, or another format with `paths`");
            }
            Some(paths) => {
                files.push(resolver.glob(&format!("sources.{}", name.value), paths));
            }
            _ if needs_files => {
                resolver
                    .session
                    .error(Code::MissingField, source.spot, "the field `paths` is missing")
                    .expecting("paths: [file or glob, …]");
                files.push(None);
            }
            _ => {}
        }
    }
    files.into_iter().collect()
}

/// The ISO 639-1 codes of the languages that curation tells apart.
const LANGUAGES: &str = "af ak am ar az be bg bn ca cs da de el en eo es et fa fi fr gu he hi hr hu hy id it ja jv ka km kn ko la lt lv \
    mk ml mr my nb ne nl or pa pl pt ro ru si sk sl sn sr sv ta te th tk tl tr uk ur uz vi yi zh zu";

/// Whether a word is one of [`LANGUAGES`].
fn is_language(code: &str) -> bool {
    LANGUAGES.split(' ').any(|known| known == code)
}

/// The language filter.
#[allow(clippy::option_option, reason = "the outer one is an error, the inner one a filter that is off")]
fn language(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> Option<Option<LanguageParams>> {
    let Some(language) = &w.language else { return Some(None) };
    let mut is_right = true;
    for code in language.keep.iter() {
        if !is_language(&code.value) {
            is_right = false;
            let meant = code.value.split(['-', '_']).next().unwrap_or_default().to_lowercase();
            resolver
                .session
                .error(
                    Code::UnknownWord,
                    code.spot,
                    format!("`{}` is not a language that can be told apart", code.value),
                )
                .expecting(format!("ISO 639-1 codes: {LANGUAGES}"))
                .suggestion = is_language(&meant).then_some(meant);
        }
    }
    is_right.then(|| {
        Some(LanguageParams {
            keep: language.keep.iter().map(|code| code.value.clone()).collect(),
            min_confidence: language.min_confidence,
        })
    })
}

/// Pairs; their instruction holds the code.
#[allow(clippy::option_option, reason = "the outer one is an error, the inner one pairs that are not wanted")]
fn pairs(w: &DataJob, resolver: &mut Resolver<'_, '_>) -> Option<Option<PairsParams>> {
    let Some(pairs) = &w.pairs else { return Some(None) };
    if !pairs.instruction.value.contains("{code}") {
        resolver
            .session
            .error(Code::MissingField, pairs.instruction.spot, "the instruction does not hold the code")
            .expecting("{code} somewhere in the text");
        return None;
    }
    Some(Some(PairsParams {
        instruction: pairs.instruction.value.clone(),
        max_code_chars: pairs.max_code_chars,
        min_answer_chars: pairs.min_answer_chars,
        max_answer_chars: pairs.max_answer_chars,
        max_per_crate: pairs.max_per_crate,
    }))
}

/// One source without its files.
fn source_params(source: &SourceWritten, crawl: Option<CrawlParams>) -> SourceParams {
    SourceParams {
        name: source.name.value.clone(),
        format: source.format,
        domain: domain_of(source),
        max_bytes: source.max_bytes.map_or(0, |bytes| bytes.0),
        text_field: source.text_field.as_ref().map_or_else(|| "text".to_owned(), |field| field.value.clone()),
        crawl,
    }
}
