//! Perplexity and bits per byte on held-out documents, with a byte n-gram model of the training text beside them.
//!
//! Bits per byte do not depend on the tokenizer: all nats of a document's tokens over the bytes of its text. A document longer than a
//! model's context is read in windows that share one token, so that every token is predicted exactly once.

use std::path::Path;

use cupola_specs::artifact::{CorpusDocument, EvalSample};

use super::{ByteNgram, Estimate, EvalError, EvalModel, ReportBuilder, RowFacts, Suite, ratio};
use crate::data::shard::{JsonlZstReader, corpus_shards};
use crate::sft::{SequenceScore, permutation};
use crate::tokenizer::EncodedChat;

/// Context bytes of the n-gram model.
const NGRAM_ORDER: usize = 3;
/// Most bytes that the n-gram model is fitted on.
const NGRAM_BYTES: usize = 256 << 20;
/// Documents in the examples.
const EXAMPLES: usize = 20;
const SUITE: &str = "perplexity";

/// Runs the suite.
pub(super) fn run(
    suite: &Suite<'_>,
    models: &[EvalModel],
    part: &str,
    max_bytes: u64,
    report: &mut ReportBuilder,
) -> Result<(), EvalError> {
    let corpus = &suite.ctx.input(&suite.role())?.path;
    let documents = read_documents(corpus, part, max_bytes, suite.ctx.seed("perplexity documents"))?;
    if documents.is_empty() {
        return Err(suite.nothing(SUITE, format!("part {part} has no document")));
    }
    let mut bpb_by_model = Vec::new();
    for model in models {
        let parts = document_losses(suite, model, &documents)?;
        bpb_by_model
            .push((model.name.clone(), parts.iter().map(|p| p.nats / LN_2 / p.bytes).collect::<Vec<_>>()));
        rows_of_model(model, part, &parts, report);
    }
    let train = suite.ctx.optional_input("train").map_or(corpus, |input| &input.path);
    let bits = ngram_bits(suite, train, &documents)?;
    let parts: Vec<(f64, f64)> =
        bits.iter().zip(&documents).map(|(b, d)| (*b, d.text.len() as f64)).collect();
    let method = format!(
        "byte n-gram model with {NGRAM_ORDER} bytes of context, interpolated Witten-Bell, fitted on the whole training side; n counts documents, linearised standard error by document"
    );
    report.row("ngram3", &facts("bpb", method), ratio(&parts));
    bpb_by_model.push(("ngram3".into(), parts.iter().map(|(bits, bytes)| bits / bytes).collect()));
    for (index, document) in documents.iter().enumerate().take(EXAMPLES) {
        let answer =
            |(name, bpb): &(String, Vec<f64>)| (name.clone(), format!("{:.3} bits per byte", bpb[index]));
        report.example(EvalSample {
            suite: SUITE.into(),
            prompt: format!("{}\n{}", document.file, document.text.chars().take(300).collect::<String>()),
            reference: String::new(),
            answers: bpb_by_model.iter().map(answer).collect(),
        });
    }
    Ok(())
}

const LN_2: f64 = std::f64::consts::LN_2;

/// What a model made of one document.
struct DocumentLoss {
    nats: f64,
    tokens: f64,
    bytes: f64,
}

fn rows_of_model(model: &EvalModel, part: &str, parts: &[DocumentLoss], report: &mut ReportBuilder) {
    let bytes: f64 = parts.iter().map(|p| p.bytes).sum();
    let method = format!(
        "{bytes:.0} bytes of {part}, windows of {} tokens after the document token; n counts documents, linearised standard error by document",
        model.context
    );
    let bpb: Vec<(f64, f64)> = parts.iter().map(|p| (p.nats / LN_2, p.bytes)).collect();
    report.row(&model.name, &facts("bpb", method.clone()), ratio(&bpb));
    let per_token: Vec<(f64, f64)> = parts.iter().map(|p| (p.nats, p.tokens)).collect();
    let loss: Estimate = ratio(&per_token);
    report.row(&model.name, &facts("perplexity", method), loss.map(f64::exp, loss.value.exp()));
}

fn facts(metric: &str, method: String) -> RowFacts {
    RowFacts { suite: SUITE, metric: metric.to_owned(), method, chance: None, higher_is_better: false }
}

/// Whole documents in a seeded order until `max_bytes` are full; 0 takes all.
fn read_documents(
    corpus: &Path,
    part: &str,
    max_bytes: u64,
    seed: u64,
) -> Result<Vec<CorpusDocument>, EvalError> {
    let mut all: Vec<Option<CorpusDocument>> = Vec::new();
    for shard in corpus_shards(corpus, part)? {
        for document in JsonlZstReader::<CorpusDocument>::open(&shard)? {
            let document = document?;
            if !document.text.is_empty() {
                all.push(Some(document));
            }
        }
    }
    if max_bytes == 0 {
        return Ok(all.into_iter().flatten().collect());
    }
    let mut chosen = Vec::new();
    let mut bytes = 0;
    for index in permutation(seed, 0, all.len()) {
        if bytes >= max_bytes {
            break;
        }
        if let Some(document) = all[index].take() {
            bytes += document.text.len() as u64;
            chosen.push(document);
        }
    }
    Ok(chosen)
}

fn document_losses(
    suite: &Suite<'_>,
    model: &EvalModel,
    documents: &[CorpusDocument],
) -> Result<Vec<DocumentLoss>, EvalError> {
    let mut windows = Vec::new();
    let mut owners = Vec::new();
    let mut encoder = model.tokenizer.encoder();
    for (index, document) in documents.iter().enumerate() {
        let mut ids = vec![model.tokenizer.bos_id()];
        encoder.encode_into(&document.text, &mut ids);
        for window in split_windows(&ids, model.context) {
            windows.push(window);
            owners.push(index);
        }
    }
    let scores: Vec<SequenceScore> = model.score(suite.ctx, SUITE, &windows)?;
    let of = |document: &CorpusDocument| DocumentLoss {
        nats: 0.0,
        tokens: 0.0,
        bytes: document.text.len() as f64,
    };
    let mut losses: Vec<DocumentLoss> = documents.iter().map(of).collect();
    for (owner, score) in owners.into_iter().zip(scores) {
        losses[owner].nats -= score.log_prob;
        losses[owner].tokens += score.tokens as f64;
    }
    Ok(losses)
}

/// Windows of at most `context` tokens that share one token with the next: each token but the first is predicted once.
fn split_windows(ids: &[u32], context: usize) -> Vec<EncodedChat> {
    let mut windows = Vec::new();
    let mut start = 0;
    while start + 1 < ids.len() {
        let end = (start + context).min(ids.len());
        windows.push(EncodedChat { ids: ids[start..end].to_vec(), trained: vec![true; end - start] });
        start = end - 1;
    }
    windows
}

fn ngram_bits(suite: &Suite<'_>, train: &Path, documents: &[CorpusDocument]) -> Result<Vec<f64>, EvalError> {
    let mut texts: Vec<String> = Vec::new();
    let mut bytes = 0;
    for shard in corpus_shards(train, "train")? {
        for document in JsonlZstReader::<CorpusDocument>::open(&shard)? {
            let text = document?.text;
            if bytes + text.len() <= NGRAM_BYTES {
                bytes += text.len();
                texts.push(text);
            }
        }
        suite.ctx.check_stop()?;
    }
    let model = ByteNgram::fit(&texts, NGRAM_ORDER);
    Ok(documents.iter().map(|document| model.bits(document.text.as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        for length in 2..12u32 {
            let ids: Vec<u32> = (0..length).collect();
            let windows = split_windows(&ids, 4);
            let predicted: Vec<u32> = windows.iter().flat_map(|window| window.ids[1..].to_vec()).collect();
            assert_eq!(predicted, (1..length).collect::<Vec<_>>());
            assert!(windows.iter().all(|window| window.ids.len() <= 4));
        }
    }
}
