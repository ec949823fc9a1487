//! The second pass: copies go, and so do lines and paragraphs of other documents. What is left is in segments again, one for one of the first
//! pass, and the keys of near-duplicates are gathered on the way.

use std::cell::RefCell;

use cupola_curation::decontaminate::LeakReport;
use cupola_curation::dedup::{BandFiles, Cut, MinHashParams, MinHasher, Scratch, Signature, Verification};
use cupola_specs::artifact::DroppedDocument;
use cupola_specs::job::{DataParams, MinhashParams};

use super::DataError;
use super::decontamination::Decontamination;
use super::dedup::{PartKeys, budget, copies, empty, gather_exact, group, without_parts};
use super::document::Document;
use super::funnel::{Funnel, Outcome};
use super::main_text::Sites;
use super::rules::Rules;
use super::segment::Segments;
use super::walk::walk;
use crate::job::StepContext;

thread_local! {
    /// Tables that are used again for each document.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What was decided about a document by its copies.
struct Decided {
    /// The document that it is a copy of.
    copy_of: Option<u64>,
    lines: Option<Cut>,
    paragraphs: Option<Cut>,
}

/// A document after the pass, with what near-duplicates share: keys by band, and the sketch.
struct Trimmed {
    document: Result<Document, Box<DroppedDocument>>,
    funnel: Funnel,
    leaks: Option<LeakReport>,
    signature: Option<(Vec<u64>, Vec<u8>, u64)>,
}

/// What the pass asks of each document.
struct Trim<'t> {
    params: &'t DataParams,
    rules: &'t Rules,
    sites: Option<Sites>,
    tests: Option<Decontamination>,
    near: Option<NearDuplicates>,
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
    let tests = params.decontaminate.as_ref().map(|wanted| Decontamination::open(ctx, wanted)).transpose()?;
    let sites = Sites::find(&params.extract, sieved)?;
    let pass = Trim { params, rules, sites, tests, near };
    let mut copies = copies(exact.as_ref())?;
    let [mut lines, mut paragraphs] = parts.cuts()?;
    let mut trimmed = Segments::open(&folder.join("trimmed"))?;
    for number in trimmed.len()..sieved.len() {
        ctx.check_stop()?;
        ctx.events().progress(number as f64, sieved.len() as f64, "segments", "deduplicate");
        let decide = |document: &Document| {
            let copy = copies.of(document.number)?.filter(|member| !member.is_first());
            Ok(Decided {
                copy_of: copy.map(|member| member.cluster),
                lines: lines.of(document.number)?,
                paragraphs: paragraphs.of(document.number)?,
            })
        };
        pass.segment(sieved, number, decide, &mut trimmed)?;
    }
    Ok((trimmed, pass.near))
}

impl Trim<'_> {
    /// Makes one segment of one of the pass before.
    fn segment(
        &self,
        sieved: &Segments,
        number: usize,
        decide: impl FnMut(&Document) -> Result<Decided, DataError>,
        trimmed: &mut Segments,
    ) -> Result<(), DataError> {
        let mut open = trimmed.begin(self.rules.funnel())?;
        open.record.leaks = self.tests.as_ref().map(Decontamination::report);
        let bands = self.near.as_ref().map(|near| near.bands.input(&number.to_string()));
        let mut bands = bands.transpose()?.flatten();
        let take = |trimmed: Trimmed| {
            open.record.funnel.merge(&trimmed.funnel);
            if let (Some(all), Some(leaks)) = (&mut open.record.leaks, trimmed.leaks) {
                all.merge(leaks);
            }
            let document = match &trimmed.document {
                Ok(document) => document,
                Err(dropped) => return open.drop(dropped),
            };
            if let (Some(bands), Some((keys, sketch, num_words))) = (&mut bands, &trimmed.signature) {
                let signature = Signature { keys, sketch, num_words: *num_words };
                bands.add(document.number, group(&self.params.dedup, document), &signature)?;
            }
            open.keep(document)
        };
        walk(sieved, number, decide, |document, decided| self.document(document, &decided), take)?;
        if let Some(bands) = bands {
            bands.finish()?;
        }
        trimmed.end(open, sieved.records()[number].next.clone())
    }

    fn document(&self, document: Document, decided: &Decided) -> Trimmed {
        let mut funnel = self.rules.funnel();
        let mut leaks = self.tests.as_ref().map(Decontamination::report);
        let document = self.stations(&mut funnel, document, decided, leaks.as_mut());
        let signature = match (&self.near, &document) {
            (Some(near), Ok(document)) => SCRATCH.with_borrow_mut(|scratch| {
                let signature = near.hasher.signature(&document.text, scratch);
                signature.map(|signature| {
                    (signature.keys.to_vec(), signature.sketch.to_vec(), signature.num_words)
                })
            }),
            _ => None,
        };
        Trimmed { document, funnel, leaks, signature }
    }

    fn stations(
        &self,
        funnel: &mut Funnel,
        document: Document,
        decided: &Decided,
        leaks: Option<&mut LeakReport>,
    ) -> Result<Document, Box<DroppedDocument>> {
        let source = &self.params.sources[document.source].name;
        let rules = self.rules;
        if let Some(first) = decided.copy_of {
            let outcome = Outcome::drop(0, format!("same text as document {first}"));
            return funnel.record(rules.place("exact_document"), source, document, outcome);
        }
        let [of_lines, of_paragraphs] =
            without_parts(&document, decided.lines.as_ref(), decided.paragraphs.as_ref());
        let document = funnel.record(rules.place("lines"), source, document, of_lines)?;
        let document = funnel.record(rules.place("paragraphs"), source, document, of_paragraphs)?;
        let document = match &self.sites {
            Some(sites) => {
                let outcome = sites.judge(&document);
                funnel.record(rules.place("site"), source, document, outcome)?
            }
            None => document,
        };
        let document = match (&self.tests, leaks) {
            (Some(tests), Some(leaks)) => {
                let outcome = tests.judge(&document, leaks);
                funnel.record(rules.place("decontaminate"), source, document, outcome)?
            }
            _ => document,
        };
        let outcome = empty(&document.text);
        funnel.record(rules.place("empty"), source, document, outcome)
    }
}
