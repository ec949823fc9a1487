//! The ids that tiktoken 0.14 gives with the published vocabularies: `fixtures/published.jsonl` was made by `fixtures/published.py`. The vocabularies are not
//! in this repository; `CUPOLA_SHARED` says where they are.
#![allow(clippy::unwrap_used, reason = "a test: what fails has to stop it")]

use std::io::Read;
use std::path::PathBuf;

use cupola_specs::job::Digits;
use cupola_tokenizer::{Bpe, Encoding, Ranks, Splitter, TokenizerJson};
use serde_json::Value;

fn shared(name: &str) -> Option<Vec<u8>> {
    let Ok(folder) = std::env::var("CUPOLA_SHARED") else {
        println!("skipped: CUPOLA_SHARED is not set, and the published vocabularies lie there");
        return None;
    };
    let file = std::fs::File::open(PathBuf::from(folder).join("data/tokenizer").join(name)).unwrap();
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

fn by_ranks(name: &str, pattern: &str) -> Option<Encoding> {
    let ranks = Ranks::parse(&shared(name)?).unwrap();
    let vocabulary = ranks.vocabulary().unwrap();
    assert_eq!(Ranks::of(&vocabulary, &[]).unwrap(), ranks);
    let bpe = Bpe::new(vocabulary, &[], true).unwrap();
    Some(Encoding::new(Splitter::named(pattern, Digits::UpTo3).unwrap(), bpe))
}

fn check(vocabulary: &str, encoding: &Encoding) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/published.jsonl");
    let mut checked = 0;
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(row[vocabulary].clone()).unwrap();
        assert_eq!(encoding.encode(text), expected, "{vocabulary} {text:?}");
        assert_eq!(encoding.decode(&expected), text);
        checked += 1;
    }
    assert!(checked > 50);
}

#[test]
fn gpt2_is_read_from_its_json() {
    let Some(file) = shared("gpt2-tokenizer.json.gz") else { return };
    let json = TokenizerJson::parse(&file).unwrap();
    let again = TokenizerJson::parse(json.to_value().to_string().as_bytes()).unwrap();
    assert_eq!(again, json);
    let bpe = Bpe::new(json.vocabulary, &[50_256], json.ignore_merges).unwrap();
    check("gpt2", &Encoding::new(Splitter::of_patterns(&json.patterns).unwrap(), bpe));
}

#[test]
fn cl100k_and_o200k_are_read_from_their_ranks() {
    for (name, vocabulary) in [("cl100k_base.tiktoken.gz", "cl100k"), ("o200k_base.tiktoken.gz", "o200k")] {
        let Some(encoding) = by_ranks(name, vocabulary) else { return };
        check(vocabulary, &encoding);
    }
}
