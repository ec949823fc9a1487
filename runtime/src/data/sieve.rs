//! The first pass: every source is read, and what a document alone can be judged by is judged. What stays is in segments.

use cupola_specs::job::DataParams;
use rayon::prelude::*;

use super::DataError;
use super::feed::{Batch, Feed, Raw};
use super::funnel::Funnel;
use super::segment::{OpenSegment, Segments};
use super::stations::{Passed, Stations};
use crate::job::StepContext;

/// Documents that one thread judges at a time.
const CHUNK: usize = 16;

/// What the threads made of a chunk, in its order.
struct Sifted {
    passed: Vec<(u64, Passed)>,
    funnel: Funnel,
    bytes: u64,
}

/// Reads on from where the segments end, up to the end of the last source. `rules` are the names of the rules of the whole job, those of
/// the stations first.
pub(super) fn run(
    ctx: &StepContext,
    params: &DataParams,
    stations: &Stations<'_>,
    segments: &mut Segments,
) -> Result<(), DataError> {
    let mut feed = Feed::new(ctx, params, segments.next())?;
    let empty = Funnel::new(stations.rules());
    let mut open = segments.begin(empty.clone())?;
    let mut batch = feed.next()?;
    while let Some(Batch { raws, skipped, sources, next }) = batch {
        ctx.check_stop()?;
        let (following, sifted) = rayon::join(|| feed.next(), || sift(params, stations, &empty, raws));
        for (name, source) in sources {
            open.record.sources.entry(name).or_default().add(&source);
        }
        for dropped in &skipped {
            open.drop(dropped)?;
        }
        take(&mut open, sifted)?;
        if open.is_full() {
            segments.end(open, next)?;
            open = segments.begin(empty.clone())?;
        }
        batch = following?;
    }
    segments.end(open, feed.end())
}

/// Judges the documents of a batch on all threads.
fn sift(params: &DataParams, stations: &Stations<'_>, empty: &Funnel, raws: Vec<Raw>) -> Vec<Sifted> {
    let mut chunks: Vec<Vec<Raw>> = Vec::new();
    for raw in raws {
        match chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(raw),
            None => chunks.push(vec![raw]),
        }
    }
    chunks.into_par_iter().map(|chunk| sift_chunk(params, stations, empty.clone(), chunk)).collect()
}

fn sift_chunk(params: &DataParams, stations: &Stations<'_>, funnel: Funnel, raws: Vec<Raw>) -> Sifted {
    let mut sifted = Sifted { passed: Vec::with_capacity(raws.len()), funnel, bytes: 0 };
    for raw in raws {
        let document = raw.into_document();
        sifted.bytes += document.text.len() as u64;
        let (number, source) = (document.number, &params.sources[document.source].name);
        let passed = stations.pass(&mut sifted.funnel, source, document);
        sifted.passed.push((number, passed));
    }
    sifted
}

/// Writes what became of a batch.
fn take(open: &mut OpenSegment, sifted: Vec<Sifted>) -> Result<(), DataError> {
    for chunk in sifted {
        open.record.funnel.merge(&chunk.funnel);
        open.record.bytes += chunk.bytes;
        for (number, passed) in chunk.passed {
            open.record.documents += 1;
            open.record.unparsed += u64::from(passed.is_unparsed);
            match &passed.document {
                Ok(document) => open.keep(document)?,
                Err(dropped) => open.drop(dropped)?,
            }
            for pair in &passed.pairs {
                open.pair(number, pair)?;
            }
        }
    }
    Ok(())
}
