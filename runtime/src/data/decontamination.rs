//! Removal of what evaluations test: the questions of the eval jobs that are named, wherever they stand in the corpus.

use cupola_curation::decontaminate::{
    EvalIndex, EvalItem, Leak, LeakReport, Scratch, Settings, items_of, remove_spans,
};
use cupola_specs::contract::SourceFile;
use cupola_specs::job::{DecontaminateParams, PiiAction};
use std::cell::RefCell;

use super::DataError;
use super::document::Document;
use super::funnel::Outcome;
use super::verbatim::Verbatim;
use crate::job::StepContext;

/// Leaks that the reason of a drop names.
const NAMED: usize = 3;
/// Bytes that a test file may unpack to, for each that it has, and beside that.
const MAX_EXPANSION: (u64, u64) = (200, 1 << 20);

thread_local! {
    /// Tables that are used again for each document.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The questions, indexed.
pub(super) struct Decontamination {
    index: EvalIndex,
    verbatim: Verbatim,
    action: PiiAction,
}

impl Decontamination {
    /// Reads the test files of the eval jobs. What has no known shape is an error: a test that is not looked for leaks unseen.
    pub(super) fn open(ctx: &StepContext, params: &DecontaminateParams) -> Result<Self, DataError> {
        let mut files: Vec<SourceFile> = Vec::new();
        for job in &params.against {
            for file in ctx.sources(&format!("decontaminate.{job}"))? {
                // Two jobs may test with one file.
                if !files.iter().any(|known| known.path == file.path) {
                    files.push(file);
                }
            }
        }
        let mut items = Vec::new();
        for (file, benchmark) in files.iter().zip(benchmarks(&files)) {
            read_items(file, &benchmark, &ctx.read_source(file)?, &mut items)?;
        }
        let verbatim = Verbatim::new(&items, params.ngram as usize);
        let index = EvalIndex::build(items.into_iter(), &Settings::default());
        let summary = index.summary();
        if summary.left_out > 0 {
            let message = format!(
                "{} of {} questions are not looked for: the index is full",
                summary.left_out, summary.given
            );
            ctx.events().warning("decontaminate", message);
        }
        Ok(Self { index, verbatim, action: params.action })
    }

    /// An empty report.
    pub(super) fn report(&self) -> LeakReport {
        LeakReport::new(&self.index)
    }

    /// Whether a text that was made of a document holds a question, where documents that hold one do not stay as they are.
    pub(super) fn forbids(&self, text: &str) -> bool {
        self.action != PiiAction::Keep
            && SCRATCH.with_borrow_mut(|scratch| !self.find(text, scratch).is_empty())
    }

    /// The questions that a text holds.
    fn find(&self, text: &str, scratch: &mut Scratch) -> Vec<Leak> {
        let mut leaks = self.index.check(text, scratch);
        let is_known = |leak: &Leak, known: &[Leak]| {
            known.iter().any(|other| other.range.start < leak.range.end && leak.range.start < other.range.end)
        };
        for leak in self.verbatim.find(text) {
            if !is_known(&leak, &leaks) {
                leaks.push(leak);
            }
        }
        leaks
    }

    /// Looks for questions in a document, and says in the report what was found.
    pub(super) fn judge(&self, document: &Document, report: &mut LeakReport) -> Outcome {
        let text = &document.text;
        let leaks = SCRATCH.with_borrow_mut(|scratch| {
            let leaks = self.find(text, scratch);
            report.add(&document.id, text, &leaks, scratch.exhausted());
            leaks
        });
        if leaks.is_empty() {
            return Outcome::default();
        }
        match self.action {
            PiiAction::Keep => {
                Outcome { signals: vec![("leaks".to_owned(), leaks.len() as f64)], ..Outcome::default() }
            }
            PiiAction::Drop => Outcome::drop(0, reason(&leaks)),
            PiiAction::Redact => {
                let left = remove_spans(text, &leaks);
                let removed = text.len().saturating_sub(left.len()) as u64;
                let gone = text.get(leaks[0].range.clone()).unwrap_or_default().to_owned();
                Outcome { text: Some(left), changes: vec![(0, removed, gone)], ..Outcome::default() }
            }
        }
    }
}

/// The names of tests: those of their files without endings, with as many folders before them as tell them apart.
fn benchmarks(files: &[SourceFile]) -> Vec<String> {
    let parts = |file: &SourceFile| -> Vec<String> {
        let mut parts: Vec<String> = file.name.split('/').map(str::to_owned).collect();
        if let Some(last) = parts.last_mut() {
            let stem = last.split('.').next().filter(|stem| !stem.is_empty());
            *last = stem.unwrap_or(last).to_owned();
        }
        parts
    };
    let all: Vec<Vec<String>> = files.iter().map(parts).collect();
    let ends = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let name = |(at, parts): (usize, &Vec<String>)| {
        let is_alone = |count: &usize| {
            let own = ends(parts, *count);
            all.iter().enumerate().all(|(other, its)| other == at || ends(its, *count) != own)
        };
        // Two that differ by their endings alone keep them.
        (1..=parts.len()).find(is_alone).map_or_else(|| files[at].name.clone(), |count| ends(parts, count))
    };
    all.iter().enumerate().map(name).collect()
}

fn reason(leaks: &[Leak]) -> String {
    let named = leaks.iter().take(NAMED);
    let named: Vec<String> =
        named.map(|leak| format!("{} of {} ({:.2})", leak.item, leak.benchmark, leak.score)).collect();
    let more = leaks.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("holds {}{more}", named.join(", "))
}

/// The questions of a file: a JSON object a line, or an array of them; `.gz` and `.zst` are unpacked.
fn read_items(
    file: &SourceFile,
    benchmark: &str,
    content: &[u8],
    items: &mut Vec<EvalItem>,
) -> Result<(), DataError> {
    let wrong = |line: usize, message: String| DataError::TestFile { file: file.name.clone(), line, message };
    let unpacked = unpack(content).map_err(|error| wrong(1, error.to_string()))?;
    let text = std::str::from_utf8(&unpacked).map_err(|_| wrong(1, "the file is not UTF-8".into()))?;
    let before = items.len();
    let mut add = |line: usize, value: &serde_json::Value| -> Result<(), DataError> {
        let found = items_of(benchmark, &format!("{benchmark}:{line}"), value);
        items.extend(found.map_err(|error| wrong(line, error.to_string()))?);
        Ok(())
    };
    if text.trim_start().starts_with('[') {
        let values: Vec<serde_json::Value> =
            serde_json::from_str(text).map_err(|error| wrong(error.line(), error.to_string()))?;
        values.iter().enumerate().try_for_each(|(index, value)| add(index + 1, value))?;
    } else {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value = serde_json::from_str(line).map_err(|error| wrong(index + 1, error.to_string()))?;
            add(index + 1, &value)?;
        }
    }
    if items.len() == before {
        return Err(wrong(1, "the file holds no question".into()));
    }
    Ok(())
}

/// Unpacks by the first bytes.
fn unpack(content: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let limit = MAX_EXPANSION.0 * content.len() as u64 + MAX_EXPANSION.1;
    let mut unpacked = Vec::new();
    match content {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(content).take(limit).read_to_end(&mut unpacked)?
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(content)?.take(limit).read_to_end(&mut unpacked)?
        }
        _ => return Ok(content.to_vec()),
    };
    if unpacked.len() as u64 == limit {
        return Err(std::io::Error::other(format!("it unpacks to more than {limit} bytes")));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(name: &str, content: &[u8]) -> Result<Vec<EvalItem>, DataError> {
        let mut items = Vec::new();
        let file = file(name);
        read_items(&file, &benchmarks(std::slice::from_ref(&file))[0], content, &mut items).map(|()| items)
    }

    fn file(name: &str) -> SourceFile {
        SourceFile {
            label: String::new(),
            path: name.into(),
            name: name.into(),
            size_bytes: 0,
            blake3: String::new(),
        }
    }

    #[test]
    fn tests_of_one_name_are_told_apart_by_their_folders() {
        let names = |names: &[&str]| benchmarks(&names.iter().map(|name| file(name)).collect::<Vec<_>>());
        assert_eq!(
            names(&["a/arc/test.jsonl.gz", "a/mmlu/test.jsonl", "boolq.json"]),
            ["arc/test", "mmlu/test", "boolq"]
        );
        assert_eq!(names(&["test.json", "test.jsonl"]), ["test.json", "test.jsonl"]);
        let error = read("empty.jsonl", b"\n\n").unwrap_err();
        assert!(error.to_string().contains("no question"), "{error}");
    }

    const LINE: &str = r#"{"question": "What is it?", "choices": ["a b c", "d"], "answer": 1}"#;

    #[test]
    fn lines_arrays_and_packed_files_are_read_and_a_wrong_line_is_named() {
        let plain = read("tests/mine.jsonl", format!("{LINE}\n\n{LINE}\n").as_bytes()).unwrap();
        assert_eq!((plain.len(), plain[0].benchmark.as_str()), (2, "mine"));
        assert_eq!(read("mine.json", format!("[{LINE},\n{LINE}]").as_bytes()).unwrap().len(), 2);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(LINE.as_bytes()).unwrap();
        assert_eq!(read("mine.jsonl.gz", &packed.finish().unwrap()).unwrap().len(), 1);
        let error = read("mine.jsonl", format!("{LINE}\n{{\"colour\": \"red\"}}\n").as_bytes()).unwrap_err();
        assert!(matches!(&error, DataError::TestFile { line: 2, .. }), "{error}");
        assert!(error.to_string().contains("colour"), "{error}");
    }
}
