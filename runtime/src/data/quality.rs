//! The model-based quality filter: a linear classifier learns what good documents have that those of a source lack, and of these the
//! best stay.
//!
//! Good examples are files of documents, and documents of the corpus whose address a reference work cites. Bad ones are drawn from the source
//! itself: most of it is not as good, and what is will score high all the same (FastText on reference pages as in DCLM, 2024, arXiv:2406.11794).
//! A tenth of the examples is held out, by the hash of their text; the area under their ROC curve goes into the statistics.

use cupola_curation::classifier::{LinkSet, Model, Scratch, Threshold};
use cupola_specs::artifact::QualityStatistics;
use cupola_specs::job::{DataParams, QualityParams};

use super::DataError;
use super::clusters::Members;
use super::document::Document;
use super::examples::{MIN_EXAMPLES, Sample, learn, links, texts};
use super::segment::Segments;
use super::walk::Decisions;
use crate::job::StepContext;

/// The labels.
const LABELS: [&str; 2] = ["low", "high"];

/// A trained filter.
pub(super) struct Quality {
    model: Model,
    threshold: f32,
    /// What is said of it.
    pub(super) statistics: QualityStatistics,
    source: usize,
}

impl Quality {
    /// Trains on the documents that are left, and finds the score that keeps the wanted share. `near` are the near-duplicates, which do not
    /// count.
    pub(super) fn fit(
        ctx: &StepContext,
        params: &DataParams,
        documents: &Segments,
        near: &dyn Fn() -> Result<Decisions<Members>, DataError>,
    ) -> Result<Option<Self>, DataError> {
        let Some(quality) = &params.quality else { return Ok(None) };
        let source =
            params.sources.iter().position(|source| source.name == quality.negative).unwrap_or_default();
        let seed = ctx.seed("quality");
        let examples = gather(ctx, quality, source, documents, near()?, seed)?;
        let (positives, negatives) = (&examples[1], &examples[0]);
        if positives.len() < MIN_EXAMPLES || negatives.len() < MIN_EXAMPLES {
            return Err(DataError::Parameter {
                field: "quality".into(),
                expected: format!("at least {MIN_EXAMPLES} good documents and as many of the source"),
                got: format!("{} and {}", positives.len(), negatives.len()),
            });
        }
        let (model, roc_auc) = learn(&examples, LABELS, seed)?;
        let (threshold, scored) = choose(ctx, quality, source, documents, &model, near)?;
        let statistics = QualityStatistics {
            positive_examples: positives.len() as u64,
            negative_examples: negatives.len() as u64,
            roc_auc: roc_auc.value,
            roc_auc_low: roc_auc.low,
            roc_auc_high: roc_auc.high,
            held_out_examples: roc_auc.positives + roc_auc.negatives,
            threshold: f64::from(threshold.score),
            scored_documents: scored,
            kept_documents: threshold.kept,
        };
        Ok(Some(Self { model, threshold: threshold.score, statistics, source }))
    }

    /// The probability that a document is a good one, and whether it stays; none where the filter does not look at it.
    pub(super) fn judge(&self, document: &Document, scratch: &mut Scratch) -> Option<(f32, bool)> {
        (document.source == self.source).then(|| {
            let score = self.model.predict(&document.text, scratch)[1];
            (score, score >= self.threshold)
        })
    }

    /// Why a document with this score goes.
    pub(super) fn reason(&self, score: f32) -> String {
        format!("score {score:.4} < {:.4}", self.threshold)
    }
}

/// The texts of both labels, as many as a [`Sample`] holds.
fn gather(
    ctx: &StepContext,
    quality: &QualityParams,
    source: usize,
    documents: &Segments,
    mut near: Decisions<Members>,
    seed: u64,
) -> Result<[Sample; 2], DataError> {
    let mut samples = [Sample::new(seed), Sample::new(seed)];
    if quality.has_documents {
        texts(ctx, "quality.positive", &mut |text| samples[1].add(text))?;
    }
    let cited = if quality.has_links { links(ctx, "quality.positive_links")? } else { LinkSet::default() };
    for document in documents.documents() {
        let document = document?;
        let stays = near.of(document.number)?.is_none_or(|member| member.is_first());
        if !stays {
            continue;
        }
        let is_cited = document.url.as_ref().is_some_and(|url| cited.contains(url));
        if is_cited {
            samples[1].add(document.text);
        } else if document.source == source {
            samples[0].add(document.text);
        }
    }
    Ok(samples)
}

/// The score that keeps the wanted share of the source's documents, and how many these are.
fn choose(
    ctx: &StepContext,
    quality: &QualityParams,
    source: usize,
    documents: &Segments,
    model: &Model,
    near: &dyn Fn() -> Result<Decisions<Members>, DataError>,
) -> Result<(Threshold, u64), DataError> {
    let mut scores = Vec::new();
    let mut near = near()?;
    for number in 0..documents.len() {
        ctx.check_stop()?;
        ctx.events().progress(number as f64, documents.len() as f64, "segments", "score");
        let mut texts = Vec::new();
        for document in documents.documents_of(number)? {
            let document = document?;
            let stays = near.of(document.number)?.is_none_or(|member| member.is_first());
            if document.source == source && stays {
                texts.push(document.text);
            }
        }
        scores.extend(
            model.score_all(&texts, 1, rayon::current_num_threads())?.into_iter().map(|score| (score, 1)),
        );
    }
    let count = scores.len() as u64;
    Ok((Threshold::keep_fraction(&scores, quality.keep_fraction)?, count))
}
