//! From web archives to packed tokens in one spec, beside text corpora that are read several times over: how long each step takes, its peak memory,
//! and what became of every record of the archives.
//!
//! `CUPOLA_SHARED=… cargo bench -p cupola-tests --bench curation [-- REPETITIONS]`, after `make build`; 10 repetitions where nothing is said. Each text file is
//! copied that often under another name. Exact duplicates are kept, so that all of it goes through every pass; in `copies` nothing is deduplicated, so that the tokenizer and
//! the packing see all of it too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot run has nothing to say")]

use std::fs;
use std::path::Path;

use cupola_tests::House;
use serde_json::Value;

const SPEC: &str = r#"cupola: v1
name: curation
jobs:
  corpus:
    kind: data
    sources:
      - { name: web, format: warc, paths: ["SHARED/warc/*.warc.gz", "SHARED/warc/*.wet.gz", "SHARED/warc/warcio/*"] }
      - { name: books, format: jsonl, paths: ["./texts/*.jsonl.gz"] }
      - { name: texts, format: text, paths: ["./texts/*.txt.gz"] }
    language: { keep: [en] }
    filters: [gopher_repetition]
    dedup: { exact: null, lines: { min_repeats: 1000 }, minhash: {}, substrings: { min_bytes: 200 } }
    decontaminate: { against: [report] }
    split: { validation: 5%, by: document }
  copies:
    kind: data
    sources: [{ name: books, format: jsonl, paths: ["./texts/*.jsonl.gz"] }, { name: texts, format: text, paths: ["./texts/*.txt.gz"] }]
    dedup: { exact: null }
    split: { validation: 1%, by: document }
  vocab: { kind: tokenizer, corpus: copies, vocab_size: 32768 }
  base: { kind: pretrain, corpus: corpus, tokenizer: vocab, model: { arch: transformer, depth: 1 }, tokens: 20K, context: { length: 128 } }
  wide: { kind: pretrain, corpus: copies, tokenizer: vocab, model: { arch: transformer, depth: 1 }, tokens: 20K, context: { length: 128 } }
  report: { kind: eval, models: [base], suites: [{ multiple_choice: { paths: [./questions.jsonl], limit: 4 } }] }
"#;

fn main() {
    let Some(shared) = std::env::var_os("CUPOLA_SHARED") else {
        println!("CUPOLA_SHARED is not set: there are no archives and texts to curate");
        return;
    };
    let data = Path::new(&shared).join("data");
    let repetitions =
        std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok()).unwrap_or(10);
    let house = House::new().unwrap();
    let texts = house.path().join("texts");
    fs::create_dir_all(&texts).unwrap();
    for file in fs::read_dir(data.join("text")).unwrap().map(Result::unwrap) {
        for repetition in 0..repetitions {
            let name = format!("{repetition:03}-{}", file.file_name().to_str().unwrap());
            fs::copy(file.path(), texts.join(name)).unwrap();
        }
    }
    let question = r#"{"question": "Which of these is used to keep mold spores from entering the lungs?", "choices": ["a mask", "gloves"], "answer": 0}"#;
    fs::write(house.path().join("questions.jsonl"), format!("{question}\n").repeat(8)).unwrap();
    fs::write(house.spec(), SPEC.replace("SHARED", data.to_str().unwrap())).unwrap();
    house.ok(["apply", "spec.yaml"]).unwrap();
    tell_steps(&house);
    tell_records(&house);
}

/// Time and peak memory by step.
fn tell_steps(house: &House) {
    let steps = house.json(["get", "steps"]).unwrap();
    for step in steps.as_array().unwrap() {
        let attempt = step["attempts"].as_array().and_then(|attempts| attempts.last());
        let Some(attempt) = attempt else { continue };
        let millis = |field: &str| attempt[field].as_f64().unwrap();
        println!(
            "{:22} {:7.1} s, {:6.1} s of CPU, peak {:5.0} MiB, {}",
            step["name"].as_str().unwrap(),
            (millis("ended_millis") - millis("submitted_millis")) / 1e3,
            millis("cpu_millis") / 1e3,
            millis("peak_rss_bytes") / f64::from(1 << 20),
            step["summary"]
        );
    }
}

/// Every record of the sources: documents, what holds no content, and what could not be read, by its name.
fn tell_records(house: &House) {
    let text = fs::read(house.artifact("corpus").unwrap().join("statistics.json")).unwrap();
    let statistics: Value = serde_json::from_slice(&text).unwrap();
    for (name, source) in statistics["sources"].as_object().unwrap() {
        println!(
            "{name}: {} of {} files, {} packed bytes, {} documents, {} records without content, passed over: {}",
            source["read_files"],
            source["listed_files"],
            source["read_bytes"],
            source["documents"],
            source["not_content"],
            source["rejected"]
        );
    }
}
