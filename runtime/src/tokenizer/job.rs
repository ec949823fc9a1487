//! The tokenizer step: a corpus in, a Hugging Face tokenizer folder and a report out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::artifact::{CorpusDocument, CorpusStatistics};
use cupola_specs::job::TokenizerParams;
use cupola_tokenizer::report::{Axis, Sample, Subject, TokenizerReport, report as measure_texts};
use cupola_tokenizer::train::{CensusLimits, Tally, Trained, Trainer, TrainerSettings};
use cupola_tokenizer::{AddedToken, Splitter, TokenizerJson, check_portable};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::file::{Roles, TokenizerFiles, write};
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
    /// What was counted.
    tally: Tally,
    /// By side and domain.
    bytes_per_token: BTreeMap<String, BTreeMap<String, f64>>,
    /// What held-out text became, by domain and by language.
    held_out: TokenizerReport,
}

/// Trains a tokenizer on the train side of the input `corpus`.
pub fn run(ctx: &StepContext, params: &TokenizerParams) -> Result<Summary, TokenizerError> {
    let roles = check(params)?;
    let splitter = Splitter::named(&params.pattern, params.digits)
        .and_then(|splitter| check_portable(splitter.patterns()).map(|()| splitter))
        .map_err(|error| TokenizerError::engine(ctx.staging(), error))?;
    let corpus = ctx.input("corpus")?.path.clone();
    let trained = train(ctx, params, &splitter, &corpus)?;
    let (tally, vocabulary) = (trained.tally, trained.vocabulary);
    let size = vocabulary.tokens.len();
    let num_merges = vocabulary.merges.len() as u64;
    let tokens = vocabulary.tokens.clone();
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
    let held_out = held_out(ctx, params, (&tokenizer, &tokens), &corpus)?;
    let report = Report {
        vocab_size: size as u64,
        num_merges,
        trained_on_bytes: tally.num_bytes,
        distinct_pieces: tally.num_distinct,
        tally,
        bytes_per_token,
        held_out,
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

/// Trains on the train side; with `train_bytes` on a share of the documents, chosen by their id.
fn train(
    ctx: &StepContext,
    params: &TokenizerParams,
    splitter: &Splitter,
    corpus: &std::path::Path,
) -> Result<Trained, TokenizerError> {
    let statistics = statistics(corpus)?;
    let total: u64 = statistics.train.values().map(|domain| domain.bytes).sum();
    let share = match params.train_bytes {
        0 => 1.0,
        bytes => bytes as f64 / total.max(1) as f64,
    };
    let vocab_size = params.vocab_size as usize;
    let settings = TrainerSettings::new(vocab_size, &params.special_tokens);
    let spill_folder = Some(ctx.job().checkpoints.clone());
    std::fs::create_dir_all(&ctx.job().checkpoints)
        .map_err(|error| TokenizerError::io(&ctx.job().checkpoints, error))?;
    let mut trainer =
        Trainer::new(settings, splitter, CensusLimits { spill_folder, ..CensusLimits::default() })?;
    let mut read = 0;
    for_each_batch(ctx, corpus_shards(corpus, "train")?, &mut |documents| {
        let chosen = documents.iter().filter(|document| share >= 1.0 || position(&document.id) < share);
        let texts: Vec<&str> = chosen.map(|document| document.text.as_str()).collect();
        read += texts.iter().map(|text| text.len() as u64).sum::<u64>();
        trainer.add_texts(&texts)?;
        ctx.events().progress(read as f64, total as f64 * share.min(1.0), "bytes", "count");
        Ok(())
    })?;
    let trained = trainer.train(&mut |size| {
        ctx.events().progress(size as f64, vocab_size as f64, "tokens", "merge");
    })?;
    warn(ctx, &trained);
    Ok(trained)
}

/// A vocabulary that is smaller than was asked for, and pieces that training did not see.
fn warn(ctx: &StepContext, trained: &Trained) {
    let (size, asked) = (trained.vocabulary.tokens.len(), trained.asked);
    if size < asked {
        let message =
            format!("the text gave {size} tokens of the {asked} asked for: no other pair stands twice");
        ctx.events().warning("vocabulary_short", message);
    }
    if trained.tally.left_out_pieces > 0 {
        let message = format!(
            "{} of {} different pieces, the rarest, were left out: with them training would need more memory than it may take",
            trained.tally.left_out_pieces, trained.tally.num_distinct
        );
        ctx.events().warning("pieces_left_out", message);
    }
}

/// What the validation side becomes, of each domain some documents.
fn held_out(
    ctx: &StepContext,
    params: &TokenizerParams,
    (tokenizer, tokens): (&Tokenizer, &[Vec<u8>]),
    corpus: &std::path::Path,
) -> Result<TokenizerReport, TokenizerError> {
    let mut chosen: Vec<CorpusDocument> = Vec::new();
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for_each_batch(ctx, corpus_shards(corpus, "validation")?, &mut |documents| {
        for document in documents {
            let sum = sums.entry(document.domain.clone()).or_default();
            if *sum < REPORT_BYTES {
                *sum += document.text.len() as u64;
                chosen.push(document.clone());
            }
        }
        Ok(())
    })?;
    let by_domain = chosen.iter().map(|document| (Axis::Domain, document.domain.as_str(), document));
    let by_language =
        chosen.iter().filter_map(|document| Some((Axis::Language, document.language.as_deref()?, document)));
    let samples: Vec<Sample<'_>> = by_domain
        .chain(by_language)
        .map(|(axis, group, document)| Sample { axis, group, text: &document.text })
        .collect();
    let specials: Vec<u32> = (0..params.special_tokens.len() as u32).collect();
    let encode = |text: &str, ids: &mut Vec<u32>| ids.extend(tokenizer.encode(text));
    let subject = Subject { tokens, specials: &specials, encode: &encode };
    Ok(measure_texts(&subject, &samples, &[]))
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
