//! Exact resume of curation: a worker that is killed in any pass over the corpus, while it learns its tokenizer or while it packs its tokens leaves
//! nothing behind that another attempt could trip over, and the bytes are those of a run that nobody disturbed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cupola_tests::House;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use walkdir::WalkDir;

use super::kills::{attempt_folder, events, send, start};

/// Every pass: of a corpus, a tokenizer, and packed tokens.
const SPEC: &str = "cupola: v1
name: web
defaults: { seed: 7, device: cpu, precision: fp32, retries: 3, timeout: 10m }
jobs:
  corpus:
    kind: data
    sources: [{ name: web, format: jsonl, paths: [./web/*.jsonl] }, { name: books, format: text, paths: [./good/*.txt] }]
    filters: [gopher_repetition]
    dedup: { lines: { min_repeats: 50 }, paragraphs: true, minhash: {}, substrings: { min_bytes: 200 } }
    quality: { positive: [./good/*.txt], negative: web, keep_fraction: 0.9 }
    split: { validation: 10%, by: document }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 2048 }
  base: { kind: pretrain, corpus: corpus, tokenizer: vocab, model: { arch: transformer, depth: 1 }, tokens: 2K, batch: { global_tokens: 1024, micro_batch: 4 }, context: { length: 128 } }
";

/// What is killed: the job to apply, its step, and what the worker says that it does at the moment.
const STAGES: [(&str, &str, &[&str]); 3] = [
    ("corpus", "corpus", &["read web", "deduplicate", "score", "select", "write"]),
    ("vocab", "vocab", &["count", "choose"]),
    ("base", "tokens[corpus,vocab]", &["encode"]),
];

/// Kills that have to land in each pass, and attempts at them.
const KILLS: u32 = 2;
const ATTEMPTS: u32 = 8;

/// A sentence of invented words, some of them far more frequent than others.
fn sentence(random: &mut ChaCha8Rng) -> String {
    let syllables = ["ka", "lo", "mi", "ren", "sta", "to", "vil", "zu", "bra", "den"];
    let words = (0..random.random_range(6..16)).map(|_| {
        let count = random.random_range(1..4);
        (0..count).filter_map(|_| syllables.choose(random)).copied().collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ") + "."
}

/// Pages with a line and a paragraph in common; one in seven nearly repeats an earlier one.
fn write_corpus(folder: &Path) {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let shared: String = (0..4).map(|_| sentence(&mut random) + " ").collect();
    let mut texts: Vec<String> = Vec::new();
    for folder in [folder.join("web"), folder.join("good")] {
        fs::create_dir_all(folder).unwrap();
    }
    for file in 0..12 {
        let mut lines = String::new();
        for number in 0..500 {
            let text = match texts.choose(&mut random) {
                Some(earlier) if number % 7 == 6 => format!("{earlier} {}", sentence(&mut random)),
                _ => (0..random.random_range(8..20)).map(|_| sentence(&mut random) + "\n").collect(),
            };
            let page =
                format!("The site of them all\n{text}\n\n{shared}\n\nWrite to someone{number}@example.org");
            writeln!(lines, "{}", serde_json::json!({ "text": page })).unwrap();
            texts.push(text);
        }
        fs::write(folder.join(format!("web/{file:02}.jsonl")), lines).unwrap();
    }
    for file in 0..40 {
        let text: String = (0..30).map(|_| sentence(&mut random) + "\n").collect();
        fs::write(folder.join(format!("good/{file:02}.txt")), text).unwrap();
    }
}

/// Hashes of the files of an artifact, but for its manifest, which names the run and its time.
fn contents(folder: &Path) -> BTreeMap<String, blake3::Hash> {
    let files =
        WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let names = files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
    let content = |name: String| (name.clone(), blake3::hash(&fs::read(folder.join(name)).unwrap()));
    names.filter(|name| name != "manifest.json").map(content).collect()
}

/// Kills the worker of a step a moment after it says that it is at a stage; false where it was faster.
fn kill_at(house: &House, (job, step, stage): (&str, &str, &str), moment: Duration) -> bool {
    let (mut apply, worker) = start(house, job, step);
    let attempt = attempt_folder(house, step);
    let (Some(worker), Some(attempt)) = (worker, attempt) else {
        apply.wait().unwrap();
        return false;
    };
    let has = |wanted: &dyn Fn(&serde_json::Value) -> bool| events(&attempt).iter().any(wanted);
    while !has(&|event| event["stage"] == stage) {
        if apply.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_micros(500));
    }
    sleep(moment);
    send(worker, Signal::KILL);
    let has_landed = !has(&|event| event["event"] == "finished");
    apply.wait().unwrap();
    has_landed
}

#[test]
fn killed_curation_ends_with_the_same_bytes() {
    let house = House::new().unwrap();
    write_corpus(house.path());
    fs::write(house.spec(), SPEC).unwrap();
    house.ok(["apply", "spec.yaml"]).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(12);
    for (job, step, stages) in STAGES {
        let folder = house.artifact(step).unwrap();
        let expected = contents(&folder);
        assert!(expected.len() > 1, "{step} holds nothing to compare");
        for stage in stages {
            let (mut landed, mut attempts) = (0, 0);
            while landed < KILLS && attempts < ATTEMPTS {
                attempts += 1;
                fs::remove_dir_all(&folder).unwrap();
                let moment = Duration::from_millis(random.random_range(0..20));
                landed += u32::from(kill_at(&house, (job, step, stage), moment));
                house.ok(["apply", "spec.yaml", "--only", job]).unwrap();
                let got = contents(&house.artifact(step).unwrap());
                assert_eq!(got, expected, "{step}, killed at `{stage}`, attempt {attempts}");
            }
            println!("{step}, at `{stage}`: {landed} of {attempts} kills landed");
            assert!(landed > 0, "{step}: no kill landed at `{stage}`");
        }
    }
}
