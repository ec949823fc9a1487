//! The tokenizer step: a corpus in, a Hugging Face tokenizer folder and a report out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::artifact::{CorpusDocument, CorpusStatistics};
use cupola_specs::job::TokenizerParams;
use cupola_tokenizer::{AddedToken, Splitter, TokenizerJson, check_portable};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::file::{Roles, TokenizerFiles, write};
use super::train::{PieceCounts, train};
use super::{Tokenizer, TokenizerError};
use crate::data::shard::{JsonlZstReader, corpus_shards};
use crate::job::{StepContext, Summary};

/// Documents that are split into pieces at a time.
const BATCH_DOCUMENTS: usize = 512;
/// Train text by domain that the report measures, bytes.
const REPORT_BYTES: u64 = 2_000_000;

/// `report.json`.
#[derive(Debug, Serialize)]
struct Report {
    vocab_size: u64,
    num_merges: u64,
    trained_on_bytes: u64,
    distinct_pieces: u64,
    /// By side and domain.
    bytes_per_token: BTreeMap<String, BTreeMap<String, f64>>,
    longest_tokens: Vec<String>,
}

/// Trains a tokenizer on the train side of the input `corpus`.
pub fn run(ctx: &StepContext, params: &TokenizerParams) -> Result<Summary, TokenizerError> {
    let roles = check(params)?;
    let splitter = Splitter::named(&params.pattern, params.digits)
        .and_then(|splitter| check_portable(splitter.patterns()).map(|()| splitter))
        .map_err(|error| TokenizerError::engine(ctx.staging(), error))?;
    let corpus = ctx.input("corpus")?.path.clone();
    let (counts, trained_on_bytes) = count_pieces(ctx, params, &splitter, &corpus)?;
    if counts.is_empty() {
        return Err(TokenizerError::EmptyCorpus);
    }
    let distinct_pieces = counts.len() as u64;
    let vocab_size = params.vocab_size as usize;
    let vocabulary = train(counts, &params.special_tokens, vocab_size, &mut |size| {
        ctx.events().progress(size as f64, vocab_size as f64, "tokens", "merge");
    });
    let size = vocabulary.tokens.len();
    if size < vocab_size {
        let message =
            format!("the text gave {size} tokens of the {vocab_size} asked for: no other pair stands twice");
        ctx.events().warning("vocabulary_short", message);
    }
    let mut longest: Vec<&Vec<u8>> = vocabulary.tokens[params.special_tokens.len()..].iter().collect();
    longest.sort_by_key(|bytes| (std::cmp::Reverse(bytes.len()), *bytes));
    let longest_tokens =
        longest.iter().take(20).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    let num_merges = vocabulary.merges.len() as u64;
    let json = TokenizerJson {
        patterns: splitter.patterns().to_vec(),
        vocabulary,
        ignore_merges: false,
        added: AddedToken::specials(&params.special_tokens),
    };
    let files = TokenizerFiles { json, roles, chat_template: params.chat_template.clone() };
    write(ctx.staging(), &files)?;
    let tokenizer = Tokenizer::load(ctx.staging())?;
    let bytes_per_token = measure(ctx, &tokenizer, &corpus)?;
    let report = Report {
        vocab_size: size as u64,
        num_merges,
        trained_on_bytes,
        distinct_pieces,
        bytes_per_token,
        longest_tokens,
    };
    let path = ctx.staging().join("report.json");
    let text = format!("{:#}\n", json!(report));
    std::fs::write(&path, text).map_err(|e| TokenizerError::io(path, e))?;
    Ok(summary(&report))
}

fn summary(report: &Report) -> Summary {
    let mut summary = Summary::new();
    summary.insert("vocab_size".into(), json!(report.vocab_size));
    summary.insert("trained_on_bytes".into(), json!(report.trained_on_bytes));
    for (domain, value) in report.bytes_per_token.get("validation").into_iter().flatten() {
        summary.insert(format!("bytes_per_token.{domain}"), json!(value));
    }
    summary
}

fn check(params: &TokenizerParams) -> Result<Roles, TokenizerError> {
    let wrong = |field: &str, expected: &str, got: String| TokenizerError::Parameter {
        field: field.into(),
        expected: expected.into(),
        got,
    };
    let specials = &params.special_tokens;
    let least = specials.len() as u64 + 256;
    if params.vocab_size < least || params.vocab_size > u64::from(u32::MAX) {
        let expected = format!("at least {least}: {} special tokens and the 256 bytes", specials.len());
        return Err(wrong("vocab_size", &expected, params.vocab_size.to_string()));
    }
    let distinct: std::collections::BTreeSet<&String> = specials.iter().collect();
    if distinct.len() != specials.len() || distinct.contains(&String::new()) {
        return Err(wrong("special_tokens", "distinct words", format!("{specials:?}")));
    }
    Roles::of(specials)
        .ok_or_else(|| wrong("special_tokens", "at least one: the first separates documents", "none".into()))
}

/// Counts the pieces of the train side; with `train_bytes` of a share of the documents, chosen by their id.
fn count_pieces(
    ctx: &StepContext,
    params: &TokenizerParams,
    splitter: &Splitter,
    corpus: &std::path::Path,
) -> Result<(PieceCounts, u64), TokenizerError> {
    let statistics = statistics(corpus)?;
    let total: u64 = statistics.train.values().map(|domain| domain.bytes).sum();
    let share = match params.train_bytes {
        0 => 1.0,
        bytes => bytes as f64 / total.max(1) as f64,
    };
    let mut counts = PieceCounts::default();
    let mut read = 0;
    for_each_batch(ctx, corpus_shards(corpus, "train")?, &mut |documents| {
        let chosen: Vec<&CorpusDocument> =
            documents.iter().filter(|document| share >= 1.0 || position(&document.id) < share).collect();
        read += chosen.iter().map(|document| document.text.len() as u64).sum::<u64>();
        // Counts add up to the same whatever thread counted them.
        let batch = chosen
            .par_chunks(64)
            .map(|part| {
                let mut counts = PieceCounts::default();
                for document in part {
                    splitter.pieces(&document.text, &mut |piece| add(&mut counts, piece.as_bytes(), 1));
                }
                counts
            })
            .collect::<Vec<_>>();
        for part in batch {
            #[allow(clippy::iter_over_hash_type, reason = "a sum does not depend on the order")]
            for (piece, count) in part {
                add(&mut counts, &piece, count);
            }
        }
        ctx.events().progress(read as f64, total as f64 * share.min(1.0), "bytes", "count");
        Ok(())
    })?;
    Ok((counts, read))
}

fn add(counts: &mut PieceCounts, piece: &[u8], count: u64) {
    match counts.get_mut(piece) {
        Some(sum) => *sum += count,
        None => {
            counts.insert(piece.into(), count);
        }
    }
}

/// A document's place between 0 and 1, by its id, which is a hash.
fn position(id: &str) -> f64 {
    let digits = id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    f64::from(digits.unwrap_or(0)) / 4_294_967_296.0
}

/// Bytes per token by side and domain: all of validation, and some of each domain's train side.
fn measure(
    ctx: &StepContext,
    tokenizer: &Tokenizer,
    corpus: &std::path::Path,
) -> Result<BTreeMap<String, BTreeMap<String, f64>>, TokenizerError> {
    let mut sides = BTreeMap::new();
    for side in ["train", "validation"] {
        let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let limit = if side == "train" { REPORT_BYTES } else { u64::MAX };
        for_each_batch(ctx, corpus_shards(corpus, side)?, &mut |documents| {
            let mut chosen = Vec::new();
            for document in documents {
                let sum = sums.entry(document.domain.clone()).or_default();
                if sum.0 < limit {
                    sum.0 += document.text.len() as u64;
                    chosen.push(document);
                }
            }
            let counts: Vec<u64> = chosen
                .par_iter()
                .map_init(
                    || (tokenizer.encoder(), Vec::new()),
                    |(encoder, ids), document| {
                        ids.clear();
                        encoder.encode_into(&document.text, ids);
                        ids.len() as u64
                    },
                )
                .collect();
            for (document, count) in chosen.iter().zip(counts) {
                sums.entry(document.domain.clone()).or_default().1 += count;
            }
            Ok(())
        })?;
        let ratios =
            sums.into_iter().map(|(domain, (bytes, tokens))| (domain, bytes as f64 / tokens.max(1) as f64));
        sides.insert(side.to_owned(), ratios.collect());
    }
    Ok(sides)
}

/// Reads a corpus' `statistics.json`.
pub(crate) fn statistics(corpus: &std::path::Path) -> Result<CorpusStatistics, TokenizerError> {
    let path = corpus.join("statistics.json");
    let text = std::fs::read(&path).map_err(|e| TokenizerError::io(&path, e))?;
    serde_json::from_slice(&text).map_err(|error| TokenizerError::File {
        path,
        field: "the file".into(),
        expected: "a corpus' statistics".into(),
        got: error.to_string(),
    })
}

/// Reads shards in order, some documents at a time.
pub(super) fn for_each_batch(
    ctx: &StepContext,
    shards: Vec<PathBuf>,
    each: &mut dyn FnMut(&[CorpusDocument]) -> Result<(), TokenizerError>,
) -> Result<(), TokenizerError> {
    let mut batch = Vec::with_capacity(BATCH_DOCUMENTS);
    for shard in shards {
        for document in JsonlZstReader::<CorpusDocument>::open(&shard)? {
            batch.push(document?);
            if batch.len() == BATCH_DOCUMENTS {
                ctx.check_stop()?;
                each(&batch)?;
                batch.clear();
            }
        }
    }
    each(&batch)
}
