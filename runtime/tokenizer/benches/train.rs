//! Training byte-pair encoding beside other trainers, by turns, on one thread each: from texts in memory to merges.
//!
//! ```text
//! CUPOLA_SHARED=… RAYON_NUM_THREADS=1 cargo bench -p cupola-tokenizer --bench train -- \
//!     --python VENV/bin/python --peers gigatoken,rustbpe,huggingface --rounds 3
//! ```
//!
//! `pip install tokenizers rustbpe gigatoken` makes the environment. Other arguments: `--megabytes 100`, `--vocab 32768`, `--pattern gpt2` or `gpt4`;
//! gigatoken splits as GPT-2 whatever is asked for. Peers run under `taskset -c 0`. The time is that of training alone, as each program measures its own; texts
//! are read before. Beside the times it says how many merges are equal: at the same place, and anywhere.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where its surroundings are not as it needs them")]

mod corpus;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cupola_specs::job::{GPT2_PATTERN, GPT4_PATTERN};
use cupola_tokenizer::Splitter;
use cupola_tokenizer::train::{CensusLimits, Trained, Trainer, TrainerSettings};

/// What a program made of the texts.
struct Run {
    secs: f64,
    /// Left and right bytes; of a program that tells its tokens only, those and nothing.
    merges: Vec<(Vec<u8>, Vec<u8>)>,
}

fn main() {
    let Some(shared) = corpus::shared() else { return };
    let megabytes: usize = corpus::argument("--megabytes", "100").parse().unwrap();
    let vocab_size: usize = corpus::argument("--vocab", "32768").parse().unwrap();
    let rounds: usize = corpus::argument("--rounds", "3").parse().unwrap();
    let pattern = if corpus::argument("--pattern", "gpt2") == "gpt4" { GPT4_PATTERN } else { GPT2_PATTERN };
    let texts = of_size(&corpus::documents(&shared), megabytes * 1_000_000);
    println!(
        "{} texts, {} bytes, {vocab_size} tokens",
        texts.len(),
        texts.iter().map(String::len).sum::<usize>()
    );
    let peers = corpus::argument("--peers", "");
    if peers.is_empty() {
        (0..rounds).for_each(|_| drop(ours(&texts, pattern, vocab_size)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("corpus.txt"), texts.join("<|endoftext|>")).unwrap();
    std::fs::write(folder.path().join("pattern.txt"), pattern).unwrap();
    for peer in peers.split(',') {
        let (mut our_secs, mut peer_secs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let mine = ours(&texts, pattern, vocab_size);
            let other = theirs(peer, folder.path(), vocab_size);
            println!("{peer} {:.2} s", other.secs);
            if round == 0 {
                compare(peer, &mine, &other);
            }
            our_secs.push(mine.secs);
            peer_secs.push(other.secs);
            ratios.push(other.secs / mine.secs);
        }
        let [mine, other, ratio] = [our_secs, peer_secs, ratios].map(median);
        println!("median: ours {mine:.2} s, {peer} {other:.2} s, {ratio:.2} times as fast");
    }
}

fn ours(texts: &[String], pattern: &str, vocab_size: usize) -> Run {
    let splitter = Splitter::of_patterns(&[pattern.to_owned()]).unwrap();
    let start = Instant::now();
    let settings = TrainerSettings::new(vocab_size, &[]);
    let mut trainer = Trainer::new(settings, &splitter, CensusLimits::default()).unwrap();
    if rayon::current_num_threads() == 1 {
        for text in texts {
            trainer.add_text(text).unwrap();
        }
    } else {
        trainer.add_texts(texts).unwrap();
    }
    let counted = start.elapsed().as_secs_f64();
    let trained = trainer.train(&mut |_| {}).unwrap();
    let secs = start.elapsed().as_secs_f64();
    println!("ours {secs:.2} s, {counted:.2} of it for {} different pieces", trained.tally.num_distinct);
    Run { secs, merges: merges_of(&trained) }
}

fn merges_of(trained: &Trained) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = |id: u32| trained.vocabulary.tokens[id as usize].clone();
    trained.vocabulary.merges.iter().map(|(left, right, _)| (bytes(*left), bytes(*right))).collect()
}

fn theirs(peer: &str, folder: &Path, vocab_size: usize) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/bpe_training.py");
    let python = corpus::argument("--python", "python3");
    let mut command = Command::new("taskset");
    command.args(["-c", "0", &python]).arg(script).arg(peer).arg(folder).arg(vocab_size.to_string());
    let output =
        command.env("RAYON_NUM_THREADS", "1").env("TOKENIZERS_PARALLELISM", "false").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = std::fs::read(folder.join("merges.json")).unwrap();
    let (secs, merges): (f64, Vec<[Vec<u8>; 2]>) = serde_json::from_slice(&file).unwrap();
    Run { secs, merges: merges.into_iter().map(|[left, right]| (left, right)).collect() }
}

fn compare(peer: &str, mine: &Run, other: &Run) {
    let has_pairs = other.merges.iter().any(|(_, right)| !right.is_empty());
    let key = |(left, right): &(Vec<u8>, Vec<u8>)| {
        if has_pairs { (left.clone(), right.clone()) } else { ([&left[..], right].concat(), Vec::new()) }
    };
    let ours: Vec<_> = mine.merges.iter().map(key).collect();
    let theirs: Vec<_> = other.merges.iter().map(key).collect();
    let placed = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    let first = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    let known: HashSet<_> = theirs.iter().collect();
    let anywhere = ours.iter().filter(|merge| known.contains(merge)).count();
    let what = if has_pairs { "merges" } else { "tokens" };
    println!(
        "{what}: ours {}, {peer} {}; equal at the same place {placed}, anywhere {anywhere}",
        ours.len(),
        theirs.len()
    );
    if let Some(first) = first {
        let text = |(left, right): &(Vec<u8>, Vec<u8>)| {
            format!("{:?} {:?}", String::from_utf8_lossy(left), String::from_utf8_lossy(right))
        };
        println!("first difference at {first}: ours {}, {peer} {}", text(&ours[first]), text(&theirs[first]));
    }
}

/// Documents of so many bytes: the given ones, and where these are too few the same again with every twentieth word written backwards.
fn of_size(documents: &[String], num_bytes: usize) -> Vec<String> {
    let (mut texts, mut sum) = (Vec::new(), 0);
    for (index, text) in documents.iter().cycle().enumerate() {
        if sum >= num_bytes {
            break;
        }
        let changed = |(at, word): (usize, &str)| {
            if at % 20 == 0 { word.chars().rev().collect() } else { word.to_owned() }
        };
        let text = if index < documents.len() {
            text.clone()
        } else {
            text.split(' ').enumerate().map(changed).collect::<Vec<_>>().join(" ")
        };
        sum += text.len();
        texts.push(text);
    }
    texts
}

/// The median of some times or ratios.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
