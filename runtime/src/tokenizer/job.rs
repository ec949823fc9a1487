//! The tokenizer step: a corpus in, a Hugging Face tokenizer folder and a report out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;

use cupola_specs::artifact::{CorpusDocument, CorpusStatistics};
use cupola_specs::job::{TokenizerAlgorithm, TokenizerParams};
use cupola_tokenizer::report::{
    Axis, Reference, ReferenceFile, Sample, Subject, TokenizerReport, page, report as measure_texts,
};
use cupola_tokenizer::train::{CensusLimits, Learned, Tally, Trainer, TrainerSettings};
use cupola_tokenizer::unigram::UnigramSettings;
use cupola_tokenizer::{EngineError, Splitter, TokenizerFile, check_portable};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use super::file::{Roles, TokenizerFiles, write};
use super::{Tokenizer, TokenizerError, tiktoken};
use crate::data::shard::{JsonlZstReader, corpus_shards};
use crate::job::{StepContext, Summary};

/// Documents that are split into pieces at a time.
const BATCH_DOCUMENTS: usize = 512;
/// Train text by domain that the report measures, bytes.
const REPORT_BYTES: u64 = 2_000_000;

/// `report.json`.
#[derive(Debug, Serialize)]
struct Report {
    algorithm: TokenizerAlgorithm,
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
    let splitter = splitter(params).map_err(|error| TokenizerError::engine(ctx.staging(), error))?;
    let references = references(ctx)?;
    let corpus = ctx.input("corpus")?.path.clone();
    let learned = train(ctx, params, &splitter, &corpus)?;
    let (tally, num_merges) = (learned.tally(), learned.num_merges() as u64);
    let tokens = learned.tokens().to_vec();
    let json = learned.into_file(splitter.patterns().to_vec(), &params.special_tokens);
    write_ranks(ctx, params, &json)?;
    let files = TokenizerFiles { json, roles, chat_template: params.chat_template.clone() };
    write(ctx.staging(), &files)?;
    let tokenizer = Tokenizer::load(ctx.staging())?;
    let bytes_per_token = measure(ctx, &tokenizer, &corpus)?;
    let held_out = held_out(ctx, params, (&tokenizer, &tokens), &references, &corpus)?;
    let report = Report {
        algorithm: params.algorithm,
        vocab_size: tokens.len() as u64,
        num_merges,
        trained_on_bytes: tally.num_bytes,
        distinct_pieces: tally.num_distinct,
        tally,
        bytes_per_token,
        held_out,
    };
    write_report(ctx, &report)?;
    Ok(summary(&report))
}

/// How text is split. Where the bytes are the tokens, nothing is: no token could cross a piece's end.
fn splitter(params: &TokenizerParams) -> Result<Splitter, EngineError> {
    if params.algorithm == TokenizerAlgorithm::Bytes {
        return Splitter::of_patterns(&[]);
    }
    let splitter = Splitter::named(&params.pattern, params.digits)?;
    check_portable(splitter.patterns())?;
    Ok(splitter)
}

/// The tokenizers to compare with.
fn references(ctx: &StepContext) -> Result<Vec<ReferenceFile>, TokenizerError> {
    let mut found: Vec<ReferenceFile> = Vec::new();
    for file in ctx.sources("compare")? {
        let reference = ReferenceFile::parse(&file.name, &ctx.read_source(&file)?)?;
        if found.iter().any(|other| other.name() == reference.name()) {
            return Err(TokenizerError::Parameter {
                field: "compare".into(),
                expected: "files of different names, by which the report tells them apart".into(),
                got: format!("{} twice", reference.name()),
            });
        }
        found.push(reference);
    }
    Ok(found)
}

/// Writes merges as a `.tiktoken` file too, where tiktoken gives the same ids with it.
fn write_ranks(
    ctx: &StepContext,
    params: &TokenizerParams,
    json: &TokenizerFile,
) -> Result<(), TokenizerError> {
    if let (TokenizerAlgorithm::Bpe, TokenizerFile::Bpe(json)) = (params.algorithm, json)
        && let Some(why) = tiktoken::write(ctx.staging(), json)?
    {
        ctx.events().log(format!("there is no .tiktoken file: {why}"));
    }
    Ok(())
}

/// Writes `report.json` and `report.html`.
fn write_report(ctx: &StepContext, report: &Report) -> Result<(), TokenizerError> {
    let algorithm = match report.algorithm {
        TokenizerAlgorithm::Bpe => "byte-pair encoding",
        TokenizerAlgorithm::Unigram => "Unigram",
        TokenizerAlgorithm::Bytes => "bytes",
    };
    let facts = [
        ("algorithm", algorithm.to_owned()),
        ("tokens", report.vocab_size.to_string()),
        ("merges", report.num_merges.to_string()),
        ("bytes of text to train on", report.trained_on_bytes.to_string()),
        ("different pieces in it", report.distinct_pieces.to_string()),
    ];
    for (name, text) in
        [("report.json", format!("{:#}\n", json!(report))), ("report.html", page(&facts, &report.held_out))]
    {
        let path = ctx.staging().join(name);
        std::fs::write(&path, text).map_err(|e| TokenizerError::io(path, e))?;
    }
    Ok(())
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

/// Trains on the train side; with `train_bytes` on so many bytes of the documents that a hash of their ids draws. The bytes need no training.
fn train(
    ctx: &StepContext,
    params: &TokenizerParams,
    splitter: &Splitter,
    corpus: &std::path::Path,
) -> Result<Learned, TokenizerError> {
    let statistics = statistics(corpus)?;
    let total: u64 = statistics.train.values().map(|domain| domain.bytes).sum();
    let vocab_size = params.vocab_size as usize;
    let settings = TrainerSettings::new(vocab_size, &params.special_tokens);
    let spill_folder = Some(ctx.job().checkpoints.clone());
    std::fs::create_dir_all(&ctx.job().checkpoints)
        .map_err(|error| TokenizerError::io(&ctx.job().checkpoints, error))?;
    let mut trainer =
        Trainer::new(settings, splitter, CensusLimits { spill_folder, ..CensusLimits::default() })?;
    let mut read = 0;
    let shards = match params.algorithm {
        TokenizerAlgorithm::Bytes => Vec::new(),
        _ => corpus_shards(corpus, "train")?,
    };
    let mut draw = Draw::new(params.train_bytes);
    let goal = if (1..total).contains(&params.train_bytes) {
        for_each_batch(ctx, shards.clone(), &mut |documents| {
            for document in documents {
                draw.add(&document.id, document.text.len() as u64);
            }
            Ok(())
        })?;
        params.train_bytes
    } else {
        draw = Draw::new(0);
        total
    };
    for_each_batch(ctx, shards, &mut |documents| {
        let drawn = documents.iter().map(|document| draw.of(&document.id, &document.text));
        let texts: Vec<&str> = drawn.filter(|text| !text.is_empty()).collect();
        read += texts.iter().map(|text| text.len() as u64).sum::<u64>();
        trainer.add_texts(&texts)?;
        ctx.events().progress(read as f64, goal as f64, "bytes", "count");
        Ok(())
    })?;
    let learned = trainer.train_with(params.algorithm, &UnigramSettings::default(), &mut |size| {
        // Unigram begins with too many tokens: it is done when as few are left as were asked for.
        let (size, asked) = (size as f64, vocab_size as f64);
        let done = if size > asked { asked * asked / size } else { size };
        ctx.events().progress(done, asked, "tokens", "choose");
    })?;
    warn(ctx, &learned);
    Ok(learned)
}

/// Draws documents by a hash of their ids until they have so many bytes; the last one is cut.
struct Draw {
    bytes: u64,
    /// Hash and bytes of those drawn so far, the greatest hash first.
    drawn: BinaryHeap<(u64, u64)>,
    sum: u64,
}

impl Draw {
    /// A draw of so many bytes; 0 draws everything.
    fn new(bytes: u64) -> Self {
        Self { bytes, drawn: BinaryHeap::new(), sum: 0 }
    }

    /// Looks at a document. What is drawn is known when all were looked at.
    fn add(&mut self, id: &str, bytes: u64) {
        self.drawn.push((xxh3_64(id.as_bytes()), bytes));
        self.sum += bytes;
        while let Some((_, last)) = self.drawn.peek().filter(|(_, last)| self.sum - last >= self.bytes) {
            self.sum -= last;
            self.drawn.pop();
        }
    }

    /// What is drawn of a document.
    fn of<'t>(&self, id: &str, text: &'t str) -> &'t str {
        let (Some((border, last)), true) = (self.drawn.peek(), self.bytes > 0) else { return text };
        match xxh3_64(id.as_bytes()).cmp(border) {
            Ordering::Less => text,
            Ordering::Equal => {
                let left = last - self.sum.saturating_sub(self.bytes).min(*last);
                &text[..text.floor_char_boundary(left as usize)]
            }
            Ordering::Greater => "",
        }
    }
}

/// A vocabulary that is smaller than was asked for, and pieces that training did not see.
fn warn(ctx: &StepContext, learned: &Learned) {
    let (size, asked) = (learned.tokens().len(), learned.ended().0);
    if size < asked {
        let message =
            format!("the text gave {size} tokens of the {asked} asked for: nothing else stands in it twice");
        ctx.events().warning("vocabulary_short", message);
    }
    let tally = learned.tally();
    if tally.left_out_pieces > 0 {
        let message = format!(
            "{} of {} different pieces, the rarest, were left out: with them training would need more memory than it may take",
            tally.left_out_pieces, tally.num_distinct
        );
        ctx.events().warning("pieces_left_out", message);
    }
}

/// What the validation side becomes, of each domain some documents, here and by other tokenizers.
fn held_out(
    ctx: &StepContext,
    params: &TokenizerParams,
    (tokenizer, tokens): (&Tokenizer, &[Vec<u8>]),
    others: &[ReferenceFile],
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
    let counts: Vec<_> = others.iter().map(|other| move |text: &str| other.count(text)).collect();
    let references: Vec<Reference<'_>> =
        others.iter().zip(&counts).map(|(other, count)| Reference { name: other.name(), count }).collect();
    Ok(measure_texts(&subject, &samples, &references))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_has_just_the_bytes_that_were_asked_for() {
        let documents: Vec<(String, String)> =
            (0..200).map(|number| (format!("{number:032x}"), "é".repeat(number % 37))).collect();
        let total: usize = documents.iter().map(|(_, text)| text.len()).sum();
        for bytes in [1, 2, 100, 3001, total - 1] {
            let mut draw = Draw::new(bytes as u64);
            for (id, text) in &documents {
                draw.add(id, text.len() as u64);
            }
            let drawn: usize = documents.iter().map(|(id, text)| draw.of(id, text).len()).sum();
            // Half a character is none.
            assert!(drawn == bytes || drawn + 1 == bytes, "{drawn} of {bytes}");
        }
        assert_eq!(Draw::new(0).of("a", "all of it"), "all of it");
    }
}
