//! The shared texts as documents, and as many bytes of them as a benchmark asks for.

use std::io::Read;
use std::path::{Path, PathBuf};

/// The folder of shared data, from `CUPOLA_SHARED`; none is said and ends the benchmark.
pub(crate) fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("CUPOLA_SHARED").map(|folder| PathBuf::from(folder).join("data"));
    if folder.is_none() {
        println!("skipped: CUPOLA_SHARED does not name the folder of shared data");
    }
    folder
}

/// All documents of the texts, in the order of the files' names.
pub(crate) fn documents(shared: &Path) -> Vec<String> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(shared.join("text")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    if !path.to_string_lossy().contains(".jsonl") {
        return vec![text];
    }
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    text.lines().map(line).collect()
}

/// Documents of so many bytes: the given ones, and where these are too few the same again with every twentieth word written backwards.
pub(crate) fn of_size(documents: &[String], num_bytes: usize) -> Vec<String> {
    let (mut texts, mut sum) = (Vec::new(), 0);
    for (index, text) in documents.iter().cycle().enumerate() {
        if sum >= num_bytes {
            break;
        }
        let changed = |(at, word): (usize, &str)| if at % 20 == 0 { word.chars().rev().collect() } else { word.to_owned() };
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

/// The value behind an argument's name.
pub(crate) fn argument(name: &str, default: &str) -> String {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)).map_or(default, String::as_str).to_owned()
}

/// The median of some times or ratios.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
