//! Training and prediction of the classifier beside fastText's (C++) and the `fasttext` crate's, the same hyperparameters, one thread.
//!
//! ```text
//! CUPOLA_SHARED=FOLDER cargo bench -p cupola-curation --bench classifier -- compare --python PYTHON [--pairs 5] [--only language,10]
//! CUPOLA_SHARED=FOLDER cargo bench -p cupola-curation --bench classifier -- folds --python PYTHON [--only language,10]
//! CUPOLA_SHARED=FOLDER cargo bench -p cupola-curation --bench classifier -- threads
//! CUPOLA_SHARED=FOLDER cargo bench -p cupola-curation --bench classifier -- quality
//! ```
//!
//! `PYTHON` has `fasttext-wheel`; the peer's side is `runtime/benches/peers/classifier.py`. Each round runs one after the other: us, fastText, the crate. A training is from the file of
//! examples to the model; a prediction is of all lines of the test file. `folds` tests each eighth of the documents once, each time with another seed: accuracy alone, over all lines. `quality` measures against the 281 documents that people judged.
#![allow(missing_docs, reason = "a program, not a library")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement stops at what it did not expect")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cupola_curation::classifier::{
    Example, Loss, Model, Scratch, Settings, average_precision, roc_auc, train,
};
use serde_json::{Value, json};

#[path = "classifier/data.rs"]
mod data;
#[path = "classifier/quality.rs"]
mod quality;

/// What one side needed, seconds, and the share of the test lines that it got right.
#[derive(Debug, Clone, Copy)]
struct Run {
    train: f64,
    predict: f64,
    accuracy: f64,
}

/// A task: its files and what it is trained with.
struct Task {
    name: &'static str,
    settings: Settings,
}

fn tasks() -> Vec<Task> {
    let base = Settings { lr: 0.5, ..Settings::default() };
    let topic = |dim| Settings { dim, word_ngrams: 2, ..base.clone() };
    let language = |dim| Settings { dim, min_chars: 2, max_chars: 4, ..base.clone() };
    vec![
        Task { name: "topic", settings: topic(10) },
        Task { name: "topic", settings: topic(100) },
        Task { name: "language", settings: language(10) },
        Task { name: "language", settings: language(100) },
        Task { name: "quality", settings: topic(100) },
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let Some(shared) = std::env::var_os("CUPOLA_SHARED") else {
        println!("skipped: CUPOLA_SHARED is not set");
        return;
    };
    let data = PathBuf::from(shared).join("data");
    let python = option("--python").unwrap_or_else(|| "python3".into());
    match arguments.first().map(String::as_str) {
        Some("quality") => quality::measure(&data),
        Some("threads") => threads(&data),
        Some("folds") => folds(&data, &python, &option("--only").unwrap_or_default()),
        _ => {
            let pairs = option("--pairs").map_or(5, |pairs| pairs.parse().expect("a number of pairs"));
            compare(&data, &python, pairs, &option("--only").unwrap_or_default());
        }
    }
}

fn compare(data: &Path, python: &str, pairs: usize, only: &str) {
    let folder = tempfile::tempdir().unwrap();
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/classifier.py");
    println!(
        "| task | dim | side | train s | ratio | predict s | ratio | accuracy % |\n|---|---|---|---|---|---|---|---|"
    );
    for Task { name, settings } in tasks() {
        if !only.is_empty() && !format!("{name},{}", settings.dim).starts_with(only) {
            continue;
        }
        let (train_file, test_file) = data::files(data, name, 0, folder.path());
        let mut runs: [Vec<Run>; 3] = Default::default();
        for _ in 0..pairs {
            runs[0].push(ours(&train_file, &test_file, &settings, 1));
            runs[1].push(fasttext(python, &peer, [&train_file, &test_file], &settings));
            runs[2].push(crate_run(&train_file, &test_file, &settings));
        }
        let median = |side: usize, of: &dyn Fn(&Run) -> f64| middle(runs[side].iter().map(of).collect());
        for (side, who) in ["cupola", "fastText 0.9.2", "fasttext crate 0.8"].into_iter().enumerate() {
            let ratio = |of: &dyn Fn(&Run) -> f64| {
                middle(runs[side].iter().zip(&runs[0]).map(|(peer, ours)| of(peer) / of(ours)).collect())
            };
            println!(
                "| {name} | {} | {who} | {:.3} | {:.2} | {:.4} | {:.2} | {:.2} |",
                settings.dim,
                median(side, &|run| run.train),
                ratio(&|run| run.train),
                median(side, &|run| run.predict),
                ratio(&|run| run.predict),
                100.0 * median(side, &|run| run.accuracy),
            );
        }
    }
}

/// How many lines each side gets right, every eighth of the documents tested once.
fn folds(data: &Path, python: &str, only: &str) {
    let folder = tempfile::tempdir().unwrap();
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/classifier.py");
    println!("| task | dim | side | accuracy % by fold | all |\n|---|---|---|---|---|");
    for Task { name, settings } in tasks() {
        if !only.is_empty() && !format!("{name},{}", settings.dim).starts_with(only) {
            continue;
        }
        let mut sides: [(&str, Vec<f64>); 3] =
            ["cupola", "fastText 0.9.2", "fasttext crate 0.8"].map(|who| (who, Vec::new()));
        let mut lines = Vec::new();
        for fold in 0..data::FOLDS {
            let (train_file, test_file) = data::files(data, name, fold, folder.path());
            lines.push(std::fs::read_to_string(&test_file).unwrap().lines().count() as f64);
            let settings = Settings { seed: fold + 1, ..settings.clone() };
            sides[0].1.push(ours(&train_file, &test_file, &settings, 1).accuracy);
            sides[1].1.push(fasttext(python, &peer, [&train_file, &test_file], &settings).accuracy);
            sides[2].1.push(crate_run(&train_file, &test_file, &settings).accuracy);
        }
        for (who, accuracy) in sides {
            let right: f64 = accuracy.iter().zip(&lines).map(|(accuracy, lines)| accuracy * lines).sum();
            let each: Vec<String> =
                accuracy.iter().map(|accuracy| format!("{:.2}", 100.0 * accuracy)).collect();
            let all = 100.0 * right / lines.iter().sum::<f64>();
            println!("| {name} | {} | {who} | {} | {all:.2} |", settings.dim, each.join(" "));
        }
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Labels in their order, and the label and text of each line.
fn read_lines(text: &str) -> (Vec<String>, Vec<Example<'_>>) {
    let pairs = || text.lines().filter_map(|line| line.strip_prefix("__label__")?.split_once(' '));
    let mut numbers: BTreeMap<&str, u32> = pairs().map(|(label, _)| (label, 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    let examples = pairs().map(|(label, text)| Example { text, label: numbers[label] }).collect();
    (numbers.into_keys().map(str::to_owned).collect(), examples)
}

fn ours(train_file: &Path, test_file: &Path, settings: &Settings, threads: usize) -> Run {
    let start = Instant::now();
    let text = std::fs::read_to_string(train_file).unwrap();
    let (labels, examples) = read_lines(&text);
    let model = train(&examples, &labels, settings, threads).unwrap();
    let train = start.elapsed().as_secs_f64();
    let test = std::fs::read_to_string(test_file).unwrap();
    let (_, examples) = read_lines(&test);
    let start = Instant::now();
    let right = right(&model, &examples);
    Run { train, predict: start.elapsed().as_secs_f64(), accuracy: right as f64 / examples.len() as f64 }
}

fn right(model: &Model, examples: &[Example<'_>]) -> usize {
    let mut scratch = Scratch::default();
    let best = |found: &[f32]| (0..found.len()).max_by(|a, b| found[*a].total_cmp(&found[*b]));
    let mut is_right = |example: &&Example<'_>| {
        best(model.predict(example.text, &mut scratch)) == Some(example.label as usize)
    };
    examples.iter().filter(|example| is_right(example)).count()
}

fn fasttext(python: &str, peer: &Path, files: [&Path; 2], settings: &Settings) -> Run {
    let options = json!({
        "dim": settings.dim, "lr": settings.lr, "epoch": settings.epochs, "wordNgrams": settings.word_ngrams,
        "minn": settings.min_chars, "maxn": settings.max_chars, "bucket": settings.buckets, "minCount": settings.min_count, "seed": settings.seed,
    });
    let output = Command::new(python)
        .arg(peer)
        .args(files)
        .arg(options.to_string())
        .output()
        .expect("the peer's Python");
    let line = String::from_utf8_lossy(&output.stdout);
    let found: Value = serde_json::from_str(line.trim())
        .unwrap_or_else(|_| panic!("{line}{}", String::from_utf8_lossy(&output.stderr)));
    let of = |name: &str| found[name].as_f64().unwrap();
    Run { train: of("train_secs"), predict: of("predict_secs"), accuracy: of("accuracy") }
}

fn crate_run(train_file: &Path, test_file: &Path, settings: &Settings) -> Run {
    let mut args = fasttext::args::Args::new();
    args.apply_supervised_defaults();
    train_file.clone_into(&mut args.input);
    args.dim = settings.dim as i32;
    args.lr = f64::from(settings.lr);
    args.epoch = settings.epochs as i32;
    args.word_ngrams = settings.word_ngrams as i32;
    args.minn = settings.min_chars as i32;
    args.maxn = settings.max_chars as i32;
    args.bucket = settings.buckets as i32;
    args.seed = settings.seed as i32;
    args.thread = 1;
    args.verbose = 0;
    let start = Instant::now();
    let model = fasttext::FastText::train(args).unwrap();
    let train = start.elapsed().as_secs_f64();
    let test = std::fs::read_to_string(test_file).unwrap();
    let (labels, examples) = read_lines(&test);
    let start = Instant::now();
    let is_right = |example: &&Example<'_>| {
        let found = model.predict(example.text, 1, 0.0);
        found.first().and_then(|one| one.label.strip_prefix("__label__"))
            == Some(&labels[example.label as usize])
    };
    let right = examples.iter().filter(is_right).count();
    Run { train, predict: start.elapsed().as_secs_f64(), accuracy: right as f64 / examples.len() as f64 }
}

/// The same training with one thread and with two.
fn threads(data: &Path) {
    let folder = tempfile::tempdir().unwrap();
    println!("| task | dim | 1 thread s | 2 threads s | ratio |\n|---|---|---|---|---|");
    for Task { name, settings } in tasks() {
        let (train_file, test_file) = data::files(data, name, 0, folder.path());
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            one.push(ours(&train_file, &test_file, &settings, 1).train);
            two.push(ours(&train_file, &test_file, &settings, 2).train);
        }
        let (one, two) = (middle(one), middle(two));
        println!("| {name} | {} | {one:.3} | {two:.3} | {:.2} |", settings.dim, one / two);
    }
}
