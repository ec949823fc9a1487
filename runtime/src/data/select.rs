//! The third pass, where a job asks for what can be said only of the whole corpus: near-duplicates go, documents of low quality, and substrings
//! that stood before; documents are sorted into domains.

use std::cell::RefCell;

use cupola_curation::classifier::Scratch;
use cupola_curation::dedup::{Member, SubstringCut, SubstringDedup};
use cupola_specs::artifact::{DroppedDocument, QualityStatistics};
use cupola_specs::job::DataParams;

use super::DataError;
use super::clusters::Clusters;
use super::dedup::{budget, empty, group};
use super::document::Document;
use super::domains::Domains;
use super::funnel::{Funnel, Outcome};
use super::quality::Quality;
use super::rules::Rules;
use super::segment::Segments;
use super::trim::NearDuplicates;
use super::walk::{Decisions, walk};
use crate::job::StepContext;

thread_local! {
    /// Tables that are used again for each document.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What was learned of the corpus as a whole.
pub(super) struct Learned {
    quality: Option<Quality>,
    domains: Option<Domains>,
}

/// What came out of the pass.
pub(super) struct Selected {
    /// The documents that are left.
    pub(super) segments: Segments,
    /// What the quality filter says of itself.
    pub(super) quality: Option<QualityStatistics>,
    /// The clusters of near-duplicates.
    pub(super) clusters: Clusters,
}

/// Runs the pass; none where no station of it is on.
pub(super) fn run(
    ctx: &StepContext,
    params: &DataParams,
    rules: &Rules,
    trimmed: &Segments,
    near: Option<&NearDuplicates>,
) -> Result<Option<Selected>, DataError> {
    let is_off = near.is_none()
        && params.dedup.substring_min_bytes == 0
        && params.quality.is_none()
        && params.classify.is_empty();
    if is_off {
        return Ok(None);
    }
    let clusters = Clusters::find(near, &ctx.job().checkpoints)?;
    let learned = Learned {
        quality: Quality::fit(ctx, params, trimmed, &|| clusters.decisions())?,
        domains: Domains::fit(ctx, params)?,
    };
    let substrings = gather_substrings(ctx, params, trimmed, &clusters, &learned)?;
    let cuts = substrings.as_ref().map(SubstringDedup::finish).transpose()?;
    let mut cuts = Decisions::new(cuts);
    let mut members = clusters.decisions()?;
    let mut selected = Segments::open(&ctx.job().checkpoints.join("selected"))?;
    for number in selected.len()..trimmed.len() {
        ctx.check_stop()?;
        ctx.events().progress(number as f64, trimmed.len() as f64, "segments", "select");
        let mut open = selected.begin(rules.funnel())?;
        walk(
            trimmed,
            number,
            |document| Ok((members.of(document.number)?, cuts.of(document.number)?)),
            |document, (member, cut)| {
                let mut funnel = rules.funnel();
                let document =
                    select(params, rules, &learned, &mut funnel, (document, member.as_ref(), cut.as_ref()));
                (funnel, document)
            },
            |(funnel, document)| {
                open.record.funnel.merge(&funnel);
                match &document {
                    Ok(document) => open.keep(document),
                    Err(dropped) => open.drop(dropped),
                }
            },
        )?;
        selected.end(open, trimmed.records()[number].next.clone())?;
    }
    let quality = learned.quality.map(|quality| quality.statistics);
    Ok(Some(Selected { segments: selected, quality, clusters }))
}

/// The texts of the documents that stay until then, where substrings are looked for.
fn gather_substrings(
    ctx: &StepContext,
    params: &DataParams,
    trimmed: &Segments,
    clusters: &Clusters,
    learned: &Learned,
) -> Result<Option<SubstringDedup>, DataError> {
    if params.dedup.substring_min_bytes == 0 {
        return Ok(None);
    }
    let folder = ctx.job().checkpoints.join("substrings");
    let substrings = SubstringDedup::open(&folder, budget(1), params.dedup.substring_min_bytes as usize)?;
    let mut members = clusters.decisions()?;
    let mut scratch = Scratch::default();
    for number in 0..trimmed.len() {
        ctx.check_stop()?;
        let Some(mut input) = substrings.input(&number.to_string())? else { continue };
        for document in trimmed.documents_of(number)? {
            let document = document?;
            let is_first = members.of(document.number)?.is_none_or(|member| member.is_first());
            let mut is_good = || {
                let judged =
                    learned.quality.as_ref().and_then(|quality| quality.judge(&document, &mut scratch));
                judged.is_none_or(|(_, stays)| stays)
            };
            if is_first && is_good() {
                input.add(document.number, group(&params.dedup, &document), &document.text)?;
            }
        }
        input.finish()?;
    }
    Ok(Some(substrings))
}

fn select(
    params: &DataParams,
    rules: &Rules,
    learned: &Learned,
    funnel: &mut Funnel,
    (mut document, member, cut): (Document, Option<&Member>, Option<&SubstringCut>),
) -> Result<Document, Box<DroppedDocument>> {
    let source = &params.sources[document.source].name;
    if let Some(member) = member {
        document.signals.insert("near_duplicates".to_owned(), (member.size - 1) as f64);
        if !member.is_first() {
            let reason = format!("like document {}, of {} that are alike", member.cluster, member.size);
            return funnel.record(rules.place("near_duplicate"), source, document, Outcome::drop(0, reason));
        }
    }
    let document = SCRATCH.with_borrow_mut(|scratch| {
        let judged =
            learned.quality.as_ref().and_then(|quality| Some((quality, quality.judge(&document, scratch)?)));
        let mut document = match judged {
            Some((quality, (score, stays))) => {
                let signals = vec![("quality".to_owned(), f64::from(score))];
                let dropped = (!stays).then(|| (0, quality.reason(score)));
                let outcome = Outcome { dropped, signals, ..Outcome::default() };
                funnel.record(rules.place("quality"), source, document, outcome)?
            }
            None => document,
        };
        if let Some(domains) = &learned.domains {
            domains.sort(&mut document, scratch);
        }
        Ok::<_, Box<DroppedDocument>>(document)
    })?;
    let Some(cut) = cut else { return Ok(document) };
    let gone: String = cut.in_text(&document.text).into_iter().map(|range| &document.text[range]).collect();
    let outcome = Outcome {
        text: Some(cut.without(&document.text)),
        changes: vec![(0, gone.len() as u64, gone)],
        ..Outcome::default()
    };
    let document = funnel.record(rules.place("substrings"), source, document, outcome)?;
    let outcome = empty(&document.text);
    funnel.record(rules.place("empty"), source, document, outcome)
}
