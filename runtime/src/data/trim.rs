//! The second pass: copies go, and so do lines and paragraphs of other documents. What is left is in segments again, one for one of the first
//! pass, and the keys of near-duplicates are gathered on the way.

use cupola_curation::dedup::{BandFiles, Cut, MinHashParams, MinHasher, Scratch, Verification};
use cupola_specs::artifact::DroppedDocument;
use cupola_specs::job::{DataParams, MinhashParams};

use super::DataError;
use super::dedup::{PartKeys, budget, copies, empty, gather_exact, group, without_parts};
use super::document::Document;
use super::funnel::{Funnel, Outcome};
use super::rules::Rules;
use super::segment::Segments;
use super::walk::walk;
use crate::job::StepContext;

/// What was decided about a document by its copies.
struct Decided {
    /// The document that it is a copy of.
    copy_of: Option<u64>,
    lines: Option<Cut>,
    paragraphs: Option<Cut>,
}

/// A document after the pass, with what near-duplicates share: keys by band, and the sketch.
struct Trimmed {
    document: Result<Document, DroppedDocument>,
    funnel: Funnel,
    signature: Option<(Vec<u64>, Vec<u8>, u64)>,
}

/// Near-duplicates of a job.
pub(super) struct NearDuplicates {
    hasher: MinHasher,
    pub(super) bands: BandFiles,
}

impl NearDuplicates {
    fn open(params: &MinhashParams, seed: u64, folder: &std::path::Path) -> Result<Self, DataError> {
        let params = MinHashParams {
            ngram: params.ngram as usize,
            bands: params.bands as usize,
            rows: params.rows as usize,
            seed,
        };
        let bands = BandFiles::open(&folder.join("bands"), budget(1), &params, Verification::Off)?;
        Ok(Self { hasher: MinHasher::new(params)?, bands })
    }
}

/// Runs the pass over the sieve's segments.
pub(super) fn run(
    ctx: &StepContext,
    params: &DataParams,
    rules: &Rules,
    sieved: &Segments,
) -> Result<(Segments, Option<NearDuplicates>), DataError> {
    let folder = &ctx.job().checkpoints;
    let exact = gather_exact(&params.dedup, folder, sieved)?;
    ctx.check_stop()?;
    let parts = PartKeys::gather(&params.dedup, folder, sieved, exact.as_ref())?;
    ctx.check_stop()?;
    let open = |minhash| NearDuplicates::open(minhash, ctx.seed("minhash"), folder);
    let near = params.dedup.minhash.as_ref().map(open).transpose()?;
    let mut copies = copies(exact.as_ref())?;
    let [mut lines, mut paragraphs] = parts.cuts()?;
    let mut trimmed = Segments::open(&folder.join("trimmed"))?;
    for number in trimmed.len()..sieved.len() {
        ctx.check_stop()?;
        ctx.events().progress(number as f64, sieved.len() as f64, "segments", "deduplicate");
        let mut open = trimmed.begin(rules.funnel())?;
        let mut bands = near.as_ref().map(|near| near.bands.input(&number.to_string())).transpose()?.flatten();
        walk(
            sieved,
            number,
            |document| {
                let copy = copies.of(document.number)?.filter(|member| !member.is_first());
                Ok(Decided {
                    copy_of: copy.map(|member| member.cluster),
                    lines: lines.of(document.number)?,
                    paragraphs: paragraphs.of(document.number)?,
                })
            },
            |document, decided| trim(params, rules, near.as_ref(), document, &decided),
            |trimmed| {
                open.record.funnel.merge(&trimmed.funnel);
                let document = match &trimmed.document {
                    Ok(document) => document,
                    Err(dropped) => return open.drop(dropped),
                };
                if let (Some(bands), Some((keys, sketch, num_words))) = (&mut bands, &trimmed.signature) {
                    let signature = cupola_curation::dedup::Signature { keys, sketch, num_words: *num_words };
                    bands.add(document.number, group(&params.dedup, document), &signature)?;
                }
                open.keep(document)
            },
        )?;
        if let Some(bands) = bands {
            bands.finish()?;
        }
        trimmed.end(open, sieved.records()[number].next.clone())?;
    }
    Ok((trimmed, near))
}

fn trim(
    params: &DataParams,
    rules: &Rules,
    near: Option<&NearDuplicates>,
    document: Document,
    decided: &Decided,
) -> Trimmed {
    let mut funnel = rules.funnel();
    let document = stations(params, rules, &mut funnel, document, decided);
    let signature = match (near, &document) {
        (Some(near), Ok(document)) => {
            let mut scratch = Scratch::default();
            let signature = near.hasher.signature(&document.text, &mut scratch);
            signature.map(|signature| (signature.keys.to_vec(), signature.sketch.to_vec(), signature.num_words))
        }
        _ => None,
    };
    Trimmed { document, funnel, signature }
}

fn stations(
    params: &DataParams,
    rules: &Rules,
    funnel: &mut Funnel,
    document: Document,
    decided: &Decided,
) -> Result<Document, DroppedDocument> {
    let source = &params.sources[document.source].name;
    if let Some(first) = decided.copy_of {
        let outcome = Outcome::drop(0, format!("same text as document {first}"));
        return funnel.record(rules.place("exact_document"), source, document, outcome);
    }
    let [of_lines, of_paragraphs] =
        without_parts(&document, decided.lines.as_ref(), decided.paragraphs.as_ref());
    let document = funnel.record(rules.place("lines"), source, document, of_lines)?;
    let document = funnel.record(rules.place("paragraphs"), source, document, of_paragraphs)?;
    let outcome = empty(&document.text);
    funnel.record(rules.place("empty"), source, document, outcome)
}
