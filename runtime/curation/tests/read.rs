//! The readers on real and on hostile files: counts, names, and the promise of cursors.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cupola_curation::read::{Content, Cursor, Fields, FileReader, Format, Item, Limits, SkipReason, Statuses};
use flate2::Compression;
use flate2::write::GzEncoder;

const WARC: Format = Format::Warc(Statuses::Success);

fn shared(folder: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CUPOLA_SHARED") else {
        eprintln!("skipped: CUPOLA_SHARED is not set; it names the folder with the shared data");
        return None;
    };
    Some(Path::new(&root).join("data").join(folder))
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All items of a file with the cursor behind each, and the cursor at the end.
fn read(path: &Path, format: &Format, limits: Limits) -> (Vec<(Item, Cursor)>, Cursor) {
    let mut reader = FileReader::open(path, "file", format.clone(), limits, Cursor::default()).unwrap();
    let mut items = Vec::new();
    while let Some(item) = reader.next() {
        items.push((item.unwrap(), reader.cursor()));
    }
    (items, reader.cursor())
}

/// Reads a file whole, and again from every cursor; both must give the same.
fn read_at_every_cursor(path: &Path, format: &Format, limits: Limits) -> (Vec<Item>, Cursor) {
    let (items, end) = read(path, format, limits);
    for (at, (_, cursor)) in items.iter().enumerate() {
        let text = serde_json::to_string(cursor).unwrap();
        let cursor: Cursor = serde_json::from_str(&text).unwrap();
        let mut reader = FileReader::open(path, "file", format.clone(), limits, cursor).unwrap();
        for (item, after) in &items[at + 1..] {
            assert_eq!(&reader.next().unwrap().unwrap(), item, "{} from {cursor:?}", path.display());
            assert_eq!(&reader.cursor(), after, "{} from {cursor:?}", path.display());
        }
        assert!(reader.next().is_none());
        assert_eq!(reader.not_content(), end.not_content);
    }
    (items.into_iter().map(|(item, _)| item).collect(), end)
}

fn skipped(items: &[Item]) -> Vec<SkipReason> {
    let reason = |item: &Item| match item {
        Item::Skipped(skipped) => Some(skipped.reason),
        Item::Document(_) => None,
    };
    items.iter().filter_map(reason).collect()
}

fn texts(items: &[Item]) -> Vec<&str> {
    let text = |item| match item {
        &Item::Document(ref document) => Some(document.content.as_str()),
        Item::Skipped(_) => None,
    };
    items.iter().filter_map(text).collect()
}

fn record(kind: &str, uri: &str, content_type: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn page(uri: &str, http: &str, body: &[u8]) -> Vec<u8> {
    let block = [format!("HTTP/1.1 200 OK\r\n{http}\r\n\r\n").as_bytes(), body].concat();
    record("response", uri, "application/http; msgtype=response", &block)
}

#[test]
fn every_shared_archive_is_read_the_same_from_every_cursor() {
    let Some(folder) = shared("warc") else { return };
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [folder.clone(), folder.join("warcio")] {
        files.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    files.sort();
    for path in files {
        let (items, end) = read_at_every_cursor(&path, &WARC, Limits::default());
        let reasons = skipped(&items);
        let mut by_reason = std::collections::BTreeMap::new();
        for reason in &reasons {
            *by_reason.entry(reason.name()).or_insert(0) += 1;
        }
        let name = path.file_name().unwrap().to_string_lossy();
        println!("{name}: {} documents, {} not content, {by_reason:?}", items.len() - reasons.len(), end.not_content);
        for item in &items {
            if let Item::Skipped(skipped) = item {
                if !["http_status", "content_type"].contains(&skipped.reason.name()) { println!("    {skipped:?}"); }
            }
        }
    }
}
