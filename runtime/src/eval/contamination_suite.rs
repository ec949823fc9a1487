//! The contamination suite: test texts against the training documents and pairs of the corpus that trained the models.

use std::path::Path;

use cupola_specs::artifact::{CorpusDocument, EvalSample};

use super::contamination::{OverlapIndex, TestOverlap};
use super::{EvalError, ReportBuilder, RowFacts, Suite, ratio, wilson};
use crate::data::pairs::read_pairs;
use crate::data::shard::{JsonlZstReader, corpus_shards};
use crate::sft::read_chats;

const SUITE: &str = "contamination";

/// Runs the suite.
pub(super) fn run(
    suite: &Suite<'_>,
    part: &str,
    ngram: u64,
    report: &mut ReportBuilder,
) -> Result<(), EvalError> {
    let chats = read_chats(suite.ctx, &suite.role(), part)?;
    let texts: Vec<String> = chats
        .iter()
        .map(|chat| chat.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n"))
        .collect();
    if texts.is_empty() {
        return Err(suite.nothing(SUITE, "there is no test text".into()));
    }
    let mut index = OverlapIndex::new(texts.iter().map(String::as_str), ngram as usize);
    let mut documents = 0u64;
    for train in trained_on(suite)? {
        for shard in corpus_shards(train, "train")? {
            for document in JsonlZstReader::<CorpusDocument>::open(&shard)? {
                let document = document?;
                index.look_in(&document.file, &document.text);
                documents += 1;
            }
            suite.ctx.check_stop()?;
        }
        if train.join("pairs").exists() {
            for pair in read_pairs(train, "pairs")? {
                index.look_in(&pair.unit, &format!("{}\n{}", pair.prompt, pair.answer));
            }
        }
    }
    add_rows(&index.finish(), ngram as usize, documents, &texts, report);
    Ok(())
}

/// The corpora that trained the models; else the one that the suite reads.
fn trained_on<'s>(suite: &'s Suite<'_>) -> Result<Vec<&'s Path>, EvalError> {
    let Some(first) = suite.ctx.optional_input("train") else {
        return Ok(vec![&suite.ctx.input(&suite.role())?.path]);
    };
    let others = (1..).map_while(|place| suite.ctx.optional_input(&format!("train.{place}")));
    Ok(std::iter::once(first).chain(others).map(|input| input.path.as_path()).collect())
}

fn add_rows(
    tests: &[TestOverlap],
    ngram: usize,
    documents: u64,
    texts: &[String],
    report: &mut ReportBuilder,
) {
    let long: Vec<&TestOverlap> = tests.iter().filter(|test| test.ngrams > 0).collect();
    let hit = long.iter().filter(|test| !test.hits.is_empty()).count();
    let method = format!(
        "share of test texts with at least one {ngram}-gram of words in {documents} training documents or the training pairs; n counts texts of at least {ngram} words ({} shorter), Wilson interval",
        tests.len() - long.len()
    );
    let facts = |metric: &str, method: String| RowFacts {
        suite: SUITE,
        metric: metric.to_owned(),
        method,
        chance: None,
        higher_is_better: false,
    };
    report.row("", &facts("overlap", method), wilson(hit as u64, long.len() as u64));
    if !long.is_empty() {
        let parts: Vec<(f64, f64)> = long.iter().map(|t| (t.hits.len() as f64, t.ngrams as f64)).collect();
        let mut shared = ratio(&parts);
        shared.low = shared.low.max(0.0);
        let method = format!(
            "share of the test texts' {ngram}-grams of words that the training side holds; n counts texts, linearised standard error"
        );
        report.row("", &facts("ngram_overlap", method), shared);
    }
    for (test, text) in tests.iter().zip(texts) {
        if let Some((shared, document)) = test.example(ngram) {
            report.example(EvalSample {
                suite: SUITE.into(),
                prompt: text.clone(),
                reference: String::new(),
                answers: vec![(document.to_owned(), shared)],
            });
        }
    }
}
