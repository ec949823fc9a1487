//! Main-content extraction on the Scrapinghub and the WCXB pages: F1 of both, by page type and by half of the hosts, and pages per second, ours and peers'.
//!
//! ```text
//! CUPOLA_SHARED=… cargo bench -p cupola-curation --bench extraction -- [--peer NAME=COMMAND]… [--rounds 3]
//! CUPOLA_SHARED=… cargo bench -p cupola-curation --bench extraction -- --dump FOLDER
//! ```
//!
//! A peer is a command that gets two more arguments, the folder of pages and a file to write `{"seconds": s, "pages": {name: text}}` to; its seconds are
//! those of extraction alone, from decompressed text in memory, one thread. `runtime/benches/peers/extraction.py` and `extraction-rust/` are such commands.
//! `--dump` writes blocks and features for `training/extraction.py`.
//!
//! Scrapinghub's measure is that of scrapinghub/article-extraction-benchmark: multisets of four words, the means of precision and recall over pages, and the
//! F1 of these. WCXB's is the mean over pages of the F1 of bags of words in small letters. Words are runs of letters, digits and underscores.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run has nothing to say")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cupola_curation::html::{ExtractOptions, Format, Limits, explain, extract};
use serde_json::Value;

/// A page of a set.
struct Sample {
    name: String,
    url: String,
    kind: String,
    html: String,
    words: Vec<String>,
}

fn gunzip(path: &Path) -> String {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn load(root: &Path) -> Vec<Sample> {
    let mut out = Vec::new();
    let truth: Value =
        serde_json::from_slice(&std::fs::read(root.join("scrapinghub/ground-truth.json")).unwrap()).unwrap();
    for (name, entry) in truth.as_object().unwrap() {
        out.push(Sample {
            name: format!("s/{name}"),
            url: entry["url"].as_str().unwrap_or_default().to_owned(),
            kind: "scrapinghub".into(),
            html: gunzip(&root.join(format!("scrapinghub/{name}.html.gz"))),
            words: words(entry["articleBody"].as_str().unwrap_or_default()),
        });
    }
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root.join("wcxb")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.to_string_lossy().ends_with(".json.gz")) {
        let truth: Value = serde_json::from_str(&gunzip(path)).unwrap();
        let name = truth["file_id"].as_str().unwrap();
        out.push(Sample {
            name: format!("w/{name}"),
            url: truth["url"].as_str().unwrap_or_default().to_owned(),
            kind: truth["_internal"]["page_type"]["primary"].as_str().unwrap_or_default().to_owned(),
            html: gunzip(&root.join(format!("wcxb/{name}.html.gz"))),
            words: words(truth["ground_truth"]["main_content"].as_str().unwrap_or_default()),
        });
    }
    out
}

fn counts<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut out = HashMap::new();
    for item in items {
        *out.entry(item).or_default() += 1;
    }
    out
}

/// What two multisets have in common, and the sizes of both.
fn overlap<T: std::hash::Hash + Eq>(
    truth: &HashMap<T, usize>,
    answer: &HashMap<T, usize>,
) -> (f64, f64, f64) {
    let common: usize =
        truth.iter().map(|(key, count)| (*count).min(answer.get(key).copied().unwrap_or(0))).sum();
    (common as f64, truth.values().sum::<usize>() as f64, answer.values().sum::<usize>() as f64)
}

fn shingles(words: &[String]) -> HashMap<&[String], usize> {
    counts(words.windows(words.len().clamp(1, 4)))
}

/// Precision and recall of a page by runs of four words; none where they have no meaning.
fn by_shingles(truth: &[String], answer: &[String]) -> (Option<f64>, Option<f64>) {
    let (common, truth, answer) = overlap(&shingles(truth), &shingles(answer));
    ((answer > 0.0).then(|| common / answer), (truth > 0.0).then(|| common / truth))
}

fn by_words(truth: &[String], answer: &[String]) -> f64 {
    let small = |words: &[String]| {
        counts(words.iter().map(|word| word.to_lowercase()).collect::<Vec<_>>().into_iter())
    };
    let (common, truth, answer) = overlap(&small(truth), &small(answer));
    if common == 0.0 { 0.0 } else { 2.0 * common / (truth + answer) }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count == 0.0 { f64::NAN } else { sum / count }
}

/// Which half of the hosts a page belongs to.
fn half(url: &str) -> usize {
    let host = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
    usize::from(
        host.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }) >> 63
            == 1,
    )
}

/// Prints the scores of answers.
fn score(who: &str, samples: &[Sample], answers: &HashMap<String, String>) {
    let mut shingled = Vec::new();
    let mut worded = Vec::new();
    for sample in samples {
        let answer = words(answers.get(&sample.name).map_or("", String::as_str));
        if sample.kind == "scrapinghub" {
            shingled.push((half(&sample.url), by_shingles(&sample.words, &answer)));
        } else {
            worded.push((half(&sample.url), sample.kind.as_str(), by_words(&sample.words, &answer)));
        }
    }
    let f1 = |wanted: Option<usize>| {
        let chosen = || {
            shingled
                .iter()
                .filter(|(half, _)| wanted.is_none_or(|wanted| wanted == *half))
                .map(|(_, scores)| scores)
        };
        let (precision, recall) =
            (mean(chosen().filter_map(|scores| scores.0)), mean(chosen().filter_map(|scores| scores.1)));
        (2.0 * precision * recall / (precision + recall), precision, recall)
    };
    let word_f1 = |wanted: Option<usize>| {
        mean(
            worded
                .iter()
                .filter(|(half, ..)| wanted.is_none_or(|wanted| wanted == *half))
                .map(|(.., f1)| *f1),
        )
    };
    let (all, precision, recall) = f1(None);
    println!(
        "{who}: Scrapinghub F1 {all:.4} (precision {precision:.3}, recall {recall:.3}; halves {:.4}, {:.4})",
        f1(Some(0)).0,
        f1(Some(1)).0
    );
    println!(
        "{who}: WCXB word F1 {:.4} (halves {:.4}, {:.4})",
        word_f1(None),
        word_f1(Some(0)),
        word_f1(Some(1))
    );
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (_, kind, f1) in &worded {
        kinds.entry(kind).or_default().push(*f1);
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, f1)| format!("{kind} {:.3} ({})", mean(f1.iter().copied()), f1.len()))
        .collect();
    println!("{who}: by type {}", kinds.join(", "));
}

/// Extracts all pages and returns the answers and the seconds.
fn ours(samples: &[Sample]) -> (HashMap<String, String>, f64) {
    let options = ExtractOptions { format: Format::Text, ..ExtractOptions::default() };
    let start = Instant::now();
    let answers: Vec<_> =
        samples.iter().map(|sample| extract(&sample.html, Some(&sample.url), &options)).collect();
    let seconds = start.elapsed().as_secs_f64();
    let mut out = HashMap::new();
    for (sample, answer) in samples.iter().zip(answers) {
        match answer {
            Ok(answer) => drop(out.insert(sample.name.clone(), answer.text)),
            Err(error) => println!("{}: {error}", sample.url),
        }
    }
    (out, seconds)
}

/// Runs a peer.
fn peer(command: &str, root: &Path) -> (HashMap<String, String>, f64) {
    let out = std::env::temp_dir().join(format!("extraction-{}.json", std::process::id()));
    let mut parts = command.split_whitespace();
    let status = Command::new(parts.next().unwrap())
        .args(parts)
        .arg(root)
        .arg(&out)
        .status()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(status.success(), "{command}: {status}");
    let answer: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    std::fs::remove_file(&out).unwrap();
    let pages = answer["pages"].as_object().unwrap();
    let pages = pages
        .iter()
        .map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().to_owned()))
        .collect();
    (pages, answer["seconds"].as_f64().unwrap())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn dump(samples: &[Sample], folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let mut text = BufWriter::new(std::fs::File::create(folder.join("blocks.jsonl")).unwrap());
    let mut numbers = BufWriter::new(std::fs::File::create(folder.join("features.f32")).unwrap());
    for sample in samples {
        let explanation = match explain(&sample.html, Some(&sample.url), Limits::default()) {
            Ok(explanation) => explanation,
            Err(error) => {
                println!("{}: {error}", sample.url);
                continue;
            }
        };
        if !explanation.names.is_empty() {
            std::fs::write(folder.join("names.txt"), explanation.names.join("\n")).unwrap();
        }
        for block in explanation.blocks {
            writeln!(text, "{}", serde_json::json!([sample.name, block.text, block.regions, block.likely]))
                .unwrap();
            for value in block.features {
                numbers.write_all(&value.to_le_bytes()).unwrap();
            }
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Ok(shared) = std::env::var("CUPOLA_SHARED") else {
        println!("skipped: CUPOLA_SHARED does not say where the pages are");
        return;
    };
    let root = PathBuf::from(shared).join("data/html");
    let samples = load(&root);
    let after = |name: &str| {
        args.iter()
            .enumerate()
            .filter(|(_, arg)| *arg == name)
            .filter_map(|(at, _)| args.get(at + 1))
            .cloned()
            .collect::<Vec<_>>()
    };
    if let Some(folder) = after("--dump").first() {
        return dump(&samples, Path::new(folder));
    }
    let rounds: usize = after("--rounds").first().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let bytes: usize = samples.iter().map(|sample| sample.html.len()).sum();
    let (answers, _) = ours(&samples);
    score("ours", &samples, &answers);
    let mut own: Vec<f64> = (0..rounds).map(|_| ours(&samples).1).collect();
    let seconds = median(&mut own);
    let pages = samples.len() as f64;
    println!(
        "ours: {:.0} pages/s, {:.0} MB/s over {} pages",
        pages / seconds,
        bytes as f64 / 1e6 / seconds,
        samples.len()
    );
    for spec in after("--peer") {
        let (name, command) =
            spec.split_once('=').unwrap_or_else(|| panic!("--peer {spec}: expected NAME=COMMAND"));
        let (mut theirs, mut ratios, mut last) = (Vec::new(), Vec::new(), HashMap::new());
        for _ in 0..rounds {
            let own = ours(&samples).1;
            let (answers, seconds) = peer(command, &root);
            theirs.push(seconds);
            ratios.push(seconds / own);
            last = answers;
        }
        score(name, &samples, &last);
        println!(
            "{name}: {:.0} pages/s; we are {:.2} times as fast (median of {rounds} pairs)",
            pages / median(&mut theirs),
            median(&mut ratios)
        );
    }
}
