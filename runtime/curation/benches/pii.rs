//! Personal data: megabytes a second on clean text with one thread, and precision and recall on labelled text; with `--python` also the
//! speed of datatrove's PIIFormatter (e-mail and IP addresses only), in alternating runs.
//!
//! `CUPOLA_SHARED=… cargo bench -p cupola-curation --bench pii -- [SEED] [--python PYTHON_WITH_DATATROVE]`

#![allow(clippy::unwrap_used, reason = "a measurement stops where its peer is missing")]

#[path = "../tests/labelling/mod.rs"]
mod labelling;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use cupola_curation::pii::{Actions, Class, Evaluation, Finder};
use cupola_specs::job::PiiAction;

const RUNS: usize = 7;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seed = args.iter().find_map(|arg| arg.parse::<u64>().ok()).unwrap_or(1);
    let finder = Finder::new(Actions::all(PiiAction::Redact));
    print("made-up passages", &labelling::measure_made_up(&finder, 4000, seed));
    let Some(shared) = labelling::shared() else {
        println!("CUPOLA_SHARED is not set: no speed on shared text");
        return;
    };
    print("labels/pii.jsonl.gz", &labelling::measure_shared(&finder, &shared));
    for name in ["classic-books", "rust-book", "peps"] {
        speed(&finder, name, &labelling::shared_texts(&shared, name));
    }
    if let Some(at) = args.iter().position(|arg| arg == "--python") {
        let python = args.get(at + 1).map_or("python3", String::as_str);
        compare(&finder, python, &shared, "peps");
    }
}

fn speed(finder: &Finder, name: &str, texts: &[String]) {
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut rates = Vec::new();
    let mut finds = 0;
    for _ in 0..RUNS {
        let started = Instant::now();
        finds = texts.iter().map(|text| finder.find(text).len()).sum();
        rates.push(bytes as f64 / 1e6 / started.elapsed().as_secs_f64());
    }
    println!(
        "{name}: {:.1} MB, {:.0} MB/s (median of {RUNS}), {finds} finds",
        bytes as f64 / 1e6,
        median(&mut rates)
    );
}

/// Redacts all texts with ours and with the peer in turn.
fn compare(finder: &Finder, python: &str, shared: &Path, name: &str) {
    let texts = labelling::shared_texts(shared, name);
    let bytes: usize = texts.iter().map(String::len).sum();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/pii.py");
    let file = shared.join(format!("data/text/{name}.jsonl.gz"));
    let mut peer = Command::new(python)
        .arg(script)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = peer.stdin.take().unwrap();
    let mut answers = BufReader::new(peer.stdout.take().unwrap()).lines();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut emails = (0, String::new());
    for _ in 0..3 {
        let started = Instant::now();
        let of_text = |text: &String| finder.redact(text).matches(Class::Email.tag()).count();
        emails.0 = texts.iter().map(of_text).sum();
        ours.push(bytes as f64 / 1e6 / started.elapsed().as_secs_f64());
        writeln!(ask).unwrap();
        let answer = answers.next().unwrap().unwrap();
        let (seconds, finds) = answer.split_once(' ').unwrap();
        theirs.push(bytes as f64 / 1e6 / seconds.parse::<f64>().unwrap());
        finds.clone_into(&mut emails.1);
    }
    drop(ask);
    peer.wait().unwrap();
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!(
        "redacting {name}: ours {ours:.0} MB/s ({} addresses), datatrove {theirs:.1} MB/s ({} addresses), ratio {:.0}",
        emails.0,
        emails.1,
        ours / theirs
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(name: &str, evaluation: &Evaluation) {
    println!(
        "{name}: {} texts, {} of them labelled for what has no class here",
        evaluation.texts, evaluation.out_of_scope
    );
    println!(
        "| class | labelled | found | right | exact | precision | recall | F1 |\n|---|---|---|---|---|---|---|---|"
    );
    for (class, counts) in &evaluation.classes {
        let rates = format!("{:.4} | {:.4} | {:.4}", counts.precision, counts.recall, counts.f1);
        println!(
            "| {} | {} | {} | {} | {} | {rates} |",
            class.name(),
            counts.labelled,
            counts.found,
            counts.right,
            counts.exact
        );
    }
}
