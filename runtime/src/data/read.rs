//! Files to documents: the seeded order, formats and compression.

use std::collections::BTreeMap;
use std::io::Read;

use cupola_specs::artifact::SourceStatistics;
use cupola_specs::contract::SourceFile;
use cupola_specs::job::{SourceFormat, SourceParams, SplitUnit};
use rayon::prelude::*;
use serde::Deserialize;

use super::DataError;
use super::document::{Class, Document, document_id, seeded_position};
use crate::job::StepContext;

/// A compressed file may unpack to this many times its size and this many bytes.
const MAX_EXPANSION: (u64, u64) = (200, 1 << 20);

/// A line of a JSONL source; other fields are the source's own business.
#[derive(Debug, Deserialize)]
struct JsonDocument {
    text: String,
    #[serde(default)]
    url: Option<String>,
}

/// Documents of one file, and how many parts of it could not be read, by reason.
#[derive(Debug, Default)]
struct FileDocuments {
    texts: Vec<(String, Option<String>)>,
    rejected: BTreeMap<String, u64>,
}

impl FileDocuments {
    fn reject(mut self, reason: &str) -> Self {
        *self.rejected.entry(reason.to_owned()).or_insert(0) += 1;
        self
    }
}

/// Reads the source with this index.
pub(super) fn read_source(
    ctx: &StepContext,
    index: usize,
    source: &SourceParams,
    by: SplitUnit,
) -> Result<(Vec<Document>, SourceStatistics), DataError> {
    let readable = [SourceFormat::Rust, SourceFormat::Markdown, SourceFormat::Text, SourceFormat::Jsonl];
    if !readable.contains(&source.format) {
        let format = format!("{:?}", source.format).to_lowercase();
        return Err(DataError::UnsupportedFormat { source_name: source.name.clone(), format });
    }
    let listed = ctx.sources(&format!("sources.{}", source.name))?;
    if listed.is_empty() {
        return Err(DataError::NoFiles { source_name: source.name.clone() });
    }
    let mut statistics =
        SourceStatistics { listed_files: listed.len() as u64, ..SourceStatistics::default() };
    let files = choose(listed, ctx.seed("order"), source.max_bytes);
    let mut documents = Vec::new();
    for (done, batch) in files.chunks(256).enumerate() {
        ctx.check_stop()?;
        ctx.events().progress((done * 256) as f64, files.len() as f64, "files", "read");
        let read: Vec<FileDocuments> = batch
            .par_iter()
            .map(|file| Ok(file_documents(&file.name, ctx.read_source(file)?, source.format)))
            .collect::<Result<_, DataError>>()?;
        for (file, found) in batch.iter().zip(read) {
            statistics.read_files += 1;
            statistics.read_bytes += file.size_bytes;
            statistics.documents += found.texts.len() as u64;
            for (reason, count) in found.rejected {
                *statistics.rejected.entry(reason).or_insert(0) += count;
            }
            let texts = found.texts.into_iter().enumerate();
            documents
                .extend(texts.map(|(at, (text, url))| document(index, source, file, (at, text, url), by)));
        }
    }
    Ok((documents, statistics))
}

fn document(
    source_index: usize,
    source: &SourceParams,
    file: &SourceFile,
    (index, text, url): (usize, String, Option<String>),
    by: SplitUnit,
) -> Document {
    let name = below_crate(&file.name);
    let id = document_id(&source.name, &file.name, index);
    let unit = match by {
        SplitUnit::Document => id.clone(),
        SplitUnit::SourceFile => format!("{}/{}", source.name, file.name),
        SplitUnit::Crate => crate_of(name).to_owned(),
    };
    let class = Class::of(source.format);
    Document {
        id,
        source: source_index,
        file: name.to_owned(),
        unit,
        url,
        class,
        text,
        signals: BTreeMap::new(),
    }
}

/// Files in an order by their seeded hash; those that do not fit in what is left of `max_bytes` are passed over.
fn choose(mut files: Vec<SourceFile>, seed: u64, max_bytes: u64) -> Vec<SourceFile> {
    let limit = if max_bytes == 0 { u64::MAX } else { max_bytes };
    files.sort_by(|a, b| {
        let key = |file: &SourceFile| seeded_position(seed, &file.name);
        key(a).total_cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    let mut taken = 0_u64;
    files.retain(|file| {
        let fits = taken.saturating_add(file.size_bytes) <= limit;
        if fits {
            taken += file.size_bytes;
        }
        fits
    });
    files
}

fn file_documents(name: &str, content: Vec<u8>, format: SourceFormat) -> FileDocuments {
    let found = FileDocuments::default();
    let content = match unpack(name, content) {
        Ok(content) => content,
        Err(reason) => return found.reject(reason),
    };
    let Ok(text) = String::from_utf8(content) else { return found.reject("invalid_utf8") };
    if text.contains('\0') {
        return found.reject("binary");
    }
    match format {
        SourceFormat::Jsonl => json_lines(&text),
        SourceFormat::Markdown => single(markdown(&normalized(&text))),
        _ => single(normalized(&text)),
    }
}

fn single(text: String) -> FileDocuments {
    let found = FileDocuments::default();
    if text.trim().is_empty() {
        return found.reject("empty");
    }
    FileDocuments { texts: vec![(text, None)], ..found }
}

fn json_lines(text: &str) -> FileDocuments {
    let mut found = FileDocuments::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        found = match serde_json::from_str::<JsonDocument>(line) {
            Ok(document) if document.text.trim().is_empty() => found.reject("empty"),
            Ok(document) => {
                found.texts.push((normalized(&document.text), document.url));
                found
            }
            Err(_) => found.reject("not_a_document"),
        };
    }
    found
}

/// Unpacks `.gz` and `.zst` by name.
fn unpack(name: &str, content: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let limit = MAX_EXPANSION.0 * content.len() as u64 + MAX_EXPANSION.1;
    let mut unpacked = Vec::new();
    let extension = std::path::Path::new(name).extension().unwrap_or_default();
    let read = if extension.eq_ignore_ascii_case("gz") {
        flate2::read::MultiGzDecoder::new(content.as_slice()).take(limit).read_to_end(&mut unpacked)
    } else if extension.eq_ignore_ascii_case("zst") {
        zstd::Decoder::new(content.as_slice())
            .and_then(|decoder| decoder.take(limit).read_to_end(&mut unpacked))
    } else {
        return Ok(content);
    };
    match read {
        Ok(length) if length as u64 == limit => Err("unpacks_too_large"),
        Ok(_) => Ok(unpacked),
        Err(_) => Err("broken_archive"),
    }
}

/// Without a byte order mark, with `\n` line ends and no blanks at line ends.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut clean = String::with_capacity(text.len());
    for line in text.lines() {
        clean.push_str(line.trim_end());
        clean.push('\n');
    }
    clean
}

/// Markdown without front matter and HTML comments.
fn markdown(text: &str) -> String {
    let body = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n").map(|(_, body)| body))
        .unwrap_or(text);
    let mut clean = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((before, comment)) = rest.split_once("<!--") {
        clean.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    clean.push_str(rest);
    clean
}

/// A file name from the first folder on that is a crate with its version; the whole name where there is none.
fn below_crate(name: &str) -> &str {
    let mut at = 0;
    for folder in name.split('/') {
        if split_version(folder).is_some() {
            return &name[at..];
        }
        at += folder.len() + 1;
    }
    name
}

/// The crate of a file, whatever its version: the first folder's name.
fn crate_of(file: &str) -> &str {
    let folder = file.split('/').next().unwrap_or(file);
    split_version(folder).unwrap_or(folder)
}

/// The name in front of `-1.2.3` with all that may follow.
fn split_version(folder: &str) -> Option<&str> {
    folder.match_indices('-').map(|(at, _)| at).find_map(|at| {
        let mut numbers = folder[at + 1..].splitn(3, '.');
        let whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor, patch) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let is_version = whole(major) && whole(minor) && patch.starts_with(|c: char| c.is_ascii_digit());
        (is_version && at > 0).then(|| &folder[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size_bytes: u64) -> SourceFile {
        SourceFile {
            label: String::new(),
            path: name.into(),
            name: name.into(),
            size_bytes,
            blake3: String::new(),
        }
    }

    #[test]
    fn a_crate_is_known_without_its_version_and_below_any_folder() {
        let name = "index.crates.io-1949cf8c6b5b557f/crypto-bigint-0.7.0-rc.1/src/lib.rs";
        assert_eq!(below_crate(name), "crypto-bigint-0.7.0-rc.1/src/lib.rs");
        assert_eq!(crate_of(below_crate(name)), "crypto-bigint");
        assert_eq!(crate_of("windows_x86_64-0.52.6+wasi/src/lib.rs"), "windows_x86_64");
        assert_eq!(crate_of("notes/a.md"), "notes");
    }

    #[test]
    fn the_order_depends_on_the_seed_and_the_limit_holds() {
        let files: Vec<SourceFile> = (0..50).map(|n| file(&format!("{n}.rs"), 10)).collect();
        let names = |seed, limit| -> Vec<String> {
            choose(files.clone(), seed, limit).into_iter().map(|file| file.name).collect()
        };
        assert_eq!(names(1, 95).len(), 9);
        assert_eq!(names(1, 0).len(), 50);
        assert_ne!(names(1, 95), names(2, 95));
    }

    #[test]
    fn broken_parts_are_counted_and_the_rest_is_read() {
        let lines = b"{\"text\": \"one\", \"more\": 1}\nnonsense\n{\"text\": \" \"}\n".to_vec();
        let found = file_documents("a.jsonl", lines.clone(), SourceFormat::Jsonl);
        assert_eq!(found.texts, [("one\n".to_owned(), None)]);
        assert_eq!(found.rejected, BTreeMap::from([("empty".into(), 1), ("not_a_document".into(), 1)]));
        let packed = zstd::encode_all(lines.as_slice(), 1).unwrap();
        assert_eq!(file_documents("a.jsonl.zst", packed, SourceFormat::Jsonl).texts.len(), 1);
        assert!(file_documents("a.gz", lines, SourceFormat::Text).rejected.contains_key("broken_archive"));
        assert!(file_documents("a", vec![0xff], SourceFormat::Text).rejected.contains_key("invalid_utf8"));
    }

    #[test]
    fn markdown_loses_front_matter_and_comments() {
        assert_eq!(markdown("---\ntitle: x\n---\n# A\n<!-- b\nc -->\nd\n"), "# A\n\nd\n");
    }
}
