//! The shared texts as documents, and what a benchmark is asked for.

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
    let line = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    text.lines().map(line).collect()
}

/// The value behind an argument's name.
pub(crate) fn argument(name: &str, default: &str) -> String {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)).map_or(default, String::as_str).to_owned()
}
