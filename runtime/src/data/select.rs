//! The third pass, where a job asks for what can be said only of the whole corpus: near-duplicates go, and substrings that stood before.

use cupola_curation::dedup::{Member, Members, SubstringCut, SubstringDedup};
use cupola_specs::artifact::DroppedDocument;
use cupola_specs::job::DataParams;

use super::DataError;
use super::dedup::{budget, empty, group};
use super::document::Document;
use super::funnel::{Funnel, Outcome};
use super::rules::Rules;
use super::segment::Segments;
use super::trim::NearDuplicates;
use super::walk::{Decisions, walk};
use crate::job::StepContext;

/// Runs the pass; none where no station of it is on.
pub(super) fn run(
    ctx: &StepContext,
    params: &DataParams,
    rules: &Rules,
    trimmed: &Segments,
    near: Option<&NearDuplicates>,
) -> Result<Option<Segments>, DataError> {
    if near.is_none() && params.dedup.substring_min_bytes == 0 {
        return Ok(None);
    }
    let substrings = gather_substrings(ctx, params, trimmed, near)?;
    let cuts = substrings.as_ref().map(SubstringDedup::finish).transpose()?;
    let mut cuts = Decisions::new(cuts);
    let mut clusters = clusters(near)?;
    let mut selected = Segments::open(&ctx.job().checkpoints.join("selected"))?;
    for number in selected.len()..trimmed.len() {
        ctx.check_stop()?;
        ctx.events().progress(number as f64, trimmed.len() as f64, "segments", "select");
        let mut open = selected.begin(rules.funnel())?;
        walk(
            trimmed,
            number,
            |document| Ok((clusters.of(document.number)?, cuts.of(document.number)?)),
            |document, (member, cut)| {
                let mut funnel = rules.funnel();
                let document = select(params, rules, &mut funnel, document, member.as_ref(), cut.as_ref());
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
    Ok(Some(selected))
}

fn clusters(near: Option<&NearDuplicates>) -> Result<Decisions<Members>, DataError> {
    let clusters = near.map(|near| near.bands.finish()).transpose()?;
    Ok(Decisions::new(clusters.map(|clusters| clusters.members)))
}

/// The texts of documents that are no near-duplicates, where substrings are looked for.
fn gather_substrings(
    ctx: &StepContext,
    params: &DataParams,
    trimmed: &Segments,
    near: Option<&NearDuplicates>,
) -> Result<Option<SubstringDedup>, DataError> {
    if params.dedup.substring_min_bytes == 0 {
        return Ok(None);
    }
    let folder = ctx.job().checkpoints.join("substrings");
    let substrings = SubstringDedup::open(&folder, budget(1), params.dedup.substring_min_bytes as usize)?;
    let mut clusters = clusters(near)?;
    for number in 0..trimmed.len() {
        ctx.check_stop()?;
        let Some(mut input) = substrings.input(&number.to_string())? else { continue };
        for document in trimmed.documents_of(number)? {
            let document = document?;
            let stays = clusters.of(document.number)?.is_none_or(|member| member.is_first());
            if stays {
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
    funnel: &mut Funnel,
    mut document: Document,
    member: Option<&Member>,
    cut: Option<&SubstringCut>,
) -> Result<Document, DroppedDocument> {
    let source = &params.sources[document.source].name;
    if let Some(member) = member {
        document.signals.insert("near_duplicates".to_owned(), (member.size - 1) as f64);
        if !member.is_first() {
            let reason = format!("like document {}, of {} that are alike", member.cluster, member.size);
            return funnel.record(rules.place("near_duplicate"), source, document, Outcome::drop(0, reason));
        }
    }
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
