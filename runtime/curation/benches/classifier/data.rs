//! Labelled lines out of the shared data, in fastText's format: a split by document, so that no test line is of a document that was trained on.

use std::fmt::Write;

use super::{Path, PathBuf, Read, Value};

/// Parts of the documents, one of which is tested.
pub(super) const FOLDS: u64 = 8;

/// Writes (once) and names the train and the test file of a task, where the documents of a part are tested.
pub(super) fn files(data: &Path, name: &str, fold: u64, folder: &Path) -> (PathBuf, PathBuf) {
    let of = |side: &str| folder.join(format!("{name}.{fold}.{side}"));
    let (train, test) = (of("train"), of("test"));
    if !train.exists() {
        let lines = match name {
            "language" => language(data),
            "topic" => topic(data, &["peps", "rust-rfcs", "rust-book", "classic-books", "wikitext", "html"]),
            _ => topic(data, &["classic-books", "html"]),
        };
        let mut out = [String::new(), String::new()];
        // fastText takes examples as they come: sorted by label it learns little.
        let mut lines: Vec<_> = lines.into_iter().zip(1_u64..).collect();
        lines.sort_by_key(|(_, at)| {
            at.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(29).wrapping_mul(0xd134_2543_de82_ef95)
        });
        let lines = lines.into_iter().map(|(line, _)| line);
        for (label, document, text) in lines {
            // The number is mixed so that neighbours part.
            let is_test = document.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == fold;
            let words: Vec<&str> = text.split_whitespace().collect();
            writeln!(out[usize::from(is_test)], "__label__{label} {}", words.join(" ")).unwrap();
        }
        std::fs::write(&train, &out[0]).unwrap();
        std::fs::write(&test, &out[1]).unwrap();
    }
    (train, test)
}

/// A packed file's text.
pub(super) fn unpack(path: &Path) -> String {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The files of a folder by name.
pub(super) fn folder(path: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort();
    found
}

fn language(data: &Path) -> Vec<(String, u64, String)> {
    let mut out = Vec::new();
    for path in folder(&data.join("labels/language"), ".txt.gz") {
        let label = path.file_name().unwrap().to_string_lossy().replace(".txt.gz", "");
        for line in unpack(&path).lines().filter(|line| !line.trim().is_empty()) {
            out.push((label.clone(), out.len() as u64, line.to_owned()));
        }
    }
    out
}

/// Passages of 200 words, at most 4 MB of a kind.
fn topic(data: &Path, kinds: &[&str]) -> Vec<(String, u64, String)> {
    let mut out = Vec::new();
    let mut number = 0;
    for kind in kinds {
        let mut left = 4 << 20;
        for document in documents(data, kind) {
            number += 1;
            let words: Vec<&str> = document.split_whitespace().collect();
            for passage in words.chunks(200).take(400) {
                let text = passage.join(" ");
                if left < text.len() {
                    break;
                }
                left -= text.len();
                out.push(((*kind).to_owned(), number, text));
            }
        }
    }
    out
}

fn documents(data: &Path, kind: &str) -> Vec<String> {
    match kind {
        "wikitext" => {
            let both = ["text/wikitext2-valid.txt.gz", "text/wikitext2-test.txt.gz"];
            let text: String = both.map(|path| unpack(&data.join(path))).concat();
            text.split("\n = ").map(str::to_owned).collect()
        }
        "html" => folder(&data.join("html/wcxb"), ".html.gz").iter().map(|path| unpack(path)).collect(),
        _ => {
            let lines = unpack(&data.join(format!("text/{kind}.jsonl.gz")));
            let text = |line: &str| {
                serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
            };
            lines.lines().map(text).collect()
        }
    }
}
