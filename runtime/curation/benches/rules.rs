//! Documents a second of the rule engine, and its decisions beside datatrove's.
//!
//! ```text
//! python runtime/benches/peers/rules.py prepare DOCS.jsonl            # 2 KB documents out of $CUPOLA_SHARED
//! cargo bench -p cupola-curation --bench rules -- speed DOCS.jsonl [PYTHON]
//! cargo bench -p cupola-curation --bench rules -- decisions DOCS.jsonl PYTHON
//! ```
//! `PYTHON` is an interpreter with datatrove 0.10.1 and spaCy. With it, `speed` runs both sides by turns, and prints the medians
//! and their ratio; both run on one thread. `decisions` compares every filter's verdict on every document.

#![allow(clippy::expect_used, reason = "a bench stops at what is wrong")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use cupola_curation::rules::{Preset, Ruleset, Scratch, Words};
use cupola_specs::job::FilterParams;

/// The peer's script.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peers/rules.py");
/// Turns of each side.
const TURNS: usize = 5;
/// Documents that the peer is timed on.
const PEER_DOCUMENTS: usize = 300;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["speed", file] => speed(file, None),
        ["speed", file, python] => speed(file, Some(python)),
        ["decisions", file, python] => decisions(file, python),
        _ => println!("usage: speed DOCS.jsonl [PYTHON] | decisions DOCS.jsonl PYTHON"),
    }
}

/// The texts of a JSONL file.
fn texts(file: &str) -> Vec<String> {
    let content = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let text = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).ok()?["text"].as_str().map(str::to_owned)
    };
    content.lines().filter_map(text).collect()
}

/// FineWeb's pipeline: Gopher quality, Gopher repetition, C4, FineWeb.
fn documents_per_second(texts: &[String], words: Words) -> f64 {
    let set = Ruleset::new(&Preset::FinewebPipeline.filters(), words).expect("a preset");
    let mut scratch = Scratch::default();
    let start = Instant::now();
    let mut kept = 0;
    for text in texts {
        kept += usize::from(set.judge(text, &mut scratch).dropped.is_none());
    }
    assert!(kept <= texts.len());
    texts.len() as f64 / start.elapsed().as_secs_f64()
}

fn peer(python: &str, mode: &str, file: &str, count: usize) -> String {
    let output = Command::new(python).args([PEER, mode, file, &count.to_string()]).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn speed(file: &str, python: Option<&str>) {
    let texts = texts(file);
    let bytes: usize = texts.iter().map(String::len).sum();
    println!("{} documents of {} bytes on average", texts.len(), bytes / texts.len().max(1));
    let (mut unicode, mut spacy, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        unicode.push(documents_per_second(&texts, Words::Unicode));
        spacy.push(documents_per_second(&texts, Words::SpacyLike));
        if let Some(python) = python {
            theirs.push(peer(python, "speed", file, PEER_DOCUMENTS).trim().parse().expect("a number"));
        }
    }
    let ratio = |ours: &[f64]| median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
    let ratios = (!theirs.is_empty()).then(|| (ratio(&unicode), ratio(&spacy)));
    println!("words: unicode     {:>8.0} documents/s", median(unicode));
    println!("words: spacy_like  {:>8.0} documents/s", median(spacy));
    if let Some((unicode, spacy)) = ratios {
        println!("datatrove          {:>8.1} documents/s", median(theirs.clone()));
        println!("ratio of the turns {unicode:>8.0} (unicode), {spacy:.0} (spacy_like)");
    }
}

/// Each filter alone over the text as it is, with datatrove's thresholds.
fn filters() -> Vec<(&'static str, FilterParams)> {
    let mut filters = Preset::FinewebPipeline.filters();
    if let FilterParams::C4 { require_terminal_punctuation, .. } = &mut filters[2] {
        *require_terminal_punctuation = true;
    }
    ["repetition", "quality", "c4", "fineweb"].into_iter().zip(filters).collect()
}

fn decisions(file: &str, python: &str) {
    let texts = texts(file);
    let theirs = peer(python, "decisions", file, texts.len());
    let theirs: Vec<serde_json::Value> =
        theirs.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for words in [Words::SpacyLike, Words::Unicode] {
        let mut scratch = Scratch::default();
        println!("words: {}", words.name());
        for (name, filter) in filters() {
            let set = Ruleset::new(&[filter], words).expect("a filter");
            let (mut same, mut same_text, mut kept) = (0, 0, 0);
            let mut differences: BTreeMap<String, (usize, usize)> = BTreeMap::new();
            for (index, (text, their)) in texts.iter().zip(&theirs).enumerate() {
                let judged = set.judge(text, &mut scratch);
                let ours = judged.dropped.as_ref().map(|dropped| set.rules()[dropped.rule].as_str());
                let their_rule = their[name].as_str();
                if ours.is_none() == their_rule.is_none() {
                    same += 1;
                    if ours.is_none() && name == "c4" {
                        kept += 1;
                        same_text += usize::from(
                            judged.text.as_ref().unwrap_or(text) == their["text"].as_str().unwrap_or(""),
                        );
                    }
                } else {
                    let what = format!("ours {} theirs {}", ours.unwrap_or("-"), their_rule.unwrap_or("-"));
                    differences.entry(what).or_insert((0, index)).0 += 1;
                }
            }
            println!("  {name:<12} {same} of {} the same", texts.len());
            if name == "c4" {
                println!("  {:<12} {same_text} of {kept} texts that both keep are the same", "");
            }
            for (what, (count, first)) in differences {
                println!("    {count:>5} {what} (first: document {first})");
            }
        }
    }
}
