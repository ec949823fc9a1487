//! The readers on real and on hostile files: counts, names, and the promise of cursors.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cupola_curation::read::{
    Content, Cursor, Fields, FileReader, Format, Item, Limits, SkipReason, Statuses,
};
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
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
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
    let mut texts = Vec::new();
    for item in items {
        if let Item::Document(document) = item {
            texts.push(document.content.as_str());
        }
    }
    texts
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

/// A file, and what of it is read.
type Archive = (&'static str, usize, u64, &'static [(&'static str, usize)]);

/// Documents, records without content by their type, and skips by reason of every shared archive. Records of each kind are as many as warcio 1.8.1
/// and FastWARC 2.0.1 find, where these read the file (`runtime/benches/peers/warc.py --counts` prints theirs): of `clipped` they give the cut record
/// as a whole one, of `example-trunc` FastWARC gives up, and ARC files only warcio reads.
const ARCHIVES: [Archive; 25] = [
    ("clipped.warc.gz", 0, 0, &[("truncated_archive", 1)]),
    ("clueweb-quirk.warc.gz", 29, 1, &[]),
    ("example.warc.gz", 129, 523, &[("content_type", 122), ("empty", 1), ("http_status", 47)]),
    ("sample-0000.warc.gz", 24, 24, &[]),
    ("sample-0001.warc.gz", 17, 17, &[]),
    ("warcfile.warc.gz", 16, 34, &[]),
    ("warcio/bad.arc", 0, 0, &[("arc_format", 1)]),
    ("warcio/example-bad-non-chunked.warc.gz", 1, 5, &[]),
    ("warcio/example-bad.warc.gz.bad", 1, 4, &[("http_status", 1)]),
    ("warcio/example-digest.warc", 0, 4, &[]),
    ("warcio/example-iana.org-chunked.warc", 1, 2, &[]),
    ("warcio/example-resource.warc.gz", 1, 2, &[]),
    ("warcio/example-space-in-target-uri.warc.gz", 0, 1, &[("content_type", 1)]),
    ("warcio/example-space-in-url.arc", 0, 0, &[("arc_format", 1)]),
    ("warcio/example-trunc.warc", 1, 3, &[("not_a_warc_record", 1)]),
    ("warcio/example-wget-bad-target-uri.warc.gz", 3, 3, &[]),
    ("warcio/example-wrong-chunks.warc.gz", 1, 1, &[]),
    ("warcio/example.arc", 0, 0, &[("arc_format", 1)]),
    ("warcio/example.arc.gz", 0, 0, &[("arc_format", 1)]),
    ("warcio/example.warc", 1, 5, &[]),
    ("warcio/example.warc.gz", 1, 5, &[]),
    ("warcio/post-test.warc.gz", 0, 3, &[("content_type", 3)]),
    ("whirlwind.warc.gz", 1, 3, &[]),
    ("whirlwind.warc.wat.gz", 0, 2, &[]),
    ("whirlwind.warc.wet.gz", 1, 1, &[]),
];

#[test]
fn every_shared_archive_is_read_the_same_from_every_cursor() {
    let Some(folder) = shared("warc") else { return };
    for (name, documents, not_content, reasons) in ARCHIVES {
        let (items, end) = read_at_every_cursor(&folder.join(name), &WARC, Limits::default());
        let mut by_reason = BTreeMap::new();
        for reason in skipped(&items) {
            *by_reason.entry(reason.name()).or_insert(0) += 1;
        }
        assert_eq!(texts(&items).len(), documents, "{name}");
        assert_eq!(end.not_content, not_content, "{name}");
        assert_eq!(by_reason.into_iter().collect::<Vec<_>>(), reasons, "{name}");
    }
}

/// Records of every kind, with every coding.
fn records() -> Vec<Vec<u8>> {
    let html = "<!doctype html><title>Ü</title><p>Größe und Maß, schöne Grüße".as_bytes();
    let latin = encoding_rs::WINDOWS_1252.encode("<p>déjà vu, garçon, où, forêt").0.into_owned();
    let chunked = [format!("{:x}\r\n", html.len()).as_bytes(), html, b"\r\n0\r\n\r\n"].concat();
    vec![
        record("warcinfo", "", "application/warc-fields", b"software: test\r\n"),
        page("http://a/1", "Content-Type: text/html; charset=utf-8", html),
        page("http://a/2", "Content-Type: text/html; charset=iso-8859-1", &latin),
        page("http://a/3", "Content-Type: text/html\r\nTransfer-Encoding: chunked", &chunked),
        page("http://a/4", "Content-Type: text/html\r\nContent-Encoding: gzip", &gzip(html)),
        page(
            "http://a/5",
            "Content-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked",
            html,
        ),
        page("http://a/6", "Content-Type: image/png", b"\x89PNG"),
        page("http://a/7", "Content-Type: text/html", b"%PDF-1.4"),
        record("response", "http://a/8", "application/http", b"HTTP/1.1 404 Not Found\r\n\r\nno"),
        record("conversion", "http://a/9", "text/plain", b"plain text \r\nof two lines"),
        record("response", "http://a/10", "application/http", b"hello"),
        record("nonsense", "http://a/11", "text/plain", b"hello"),
    ]
}

#[test]
fn archives_are_read_the_same_however_they_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    let records = records();
    let plain: Vec<u8> = records.concat();
    let by_member: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    let by_frame: Vec<u8> =
        records.iter().flat_map(|record| zstd::encode_all(record.as_slice(), 3).unwrap()).collect();
    let dictionary = plain[..600].to_vec();
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();
    let mut with_dictionary = [0x5d_u8, 0x2a, 0x4d, 0x18].to_vec();
    let stored = zstd::encode_all(dictionary.as_slice(), 3).unwrap();
    with_dictionary.extend((stored.len() as u32).to_le_bytes());
    with_dictionary.extend(&stored);
    with_dictionary.extend(records.iter().flat_map(|record| compressor.compress(record).unwrap()));
    let expected: Vec<Item> = read(&written(&folder, "plain", &plain), &WARC, Limits::default())
        .0
        .into_iter()
        .map(|(item, _)| item)
        .collect();
    assert_eq!(texts(&expected).len(), 6, "{expected:?}");
    assert!(texts(&expected)[1].contains("déjà vu, garçon"));
    assert_eq!(texts(&expected)[5], "plain text\nof two lines\n");
    assert_eq!(
        skipped(&expected),
        [
            SkipReason::ContentType,
            SkipReason::Binary,
            SkipReason::HttpStatus,
            SkipReason::BadHttpHeader,
            SkipReason::UnknownRecordType
        ]
    );
    let packings = [
        ("members", by_member),
        ("one", gzip(&plain)),
        ("frames", by_frame),
        ("dictionary", with_dictionary),
        ("plain", plain),
    ];
    for (name, bytes) in packings {
        let (items, end) = read_at_every_cursor(&written(&folder, name, &bytes), &WARC, Limits::default());
        assert_eq!(texts(&items), texts(&expected), "{name}");
        assert_eq!(skipped(&items), skipped(&expected), "{name}");
        assert_eq!(end.not_content, 1);
    }
}

/// A record that is as it should be.
fn good(n: u32) -> Vec<u8> {
    record("conversion", &format!("http://a/{n}"), "text/plain", format!("text {n} ").repeat(400).as_bytes())
}

/// Archives with one thing wrong in the middle: what is before and behind it is read.
#[test]
fn damage_takes_one_record_and_the_reader_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], documents: usize, reasons: &[SkipReason]| {
        let (items, _) = read_at_every_cursor(&written(&folder, name, bytes), &WARC, Limits::default());
        assert_eq!(skipped(&items), reasons, "{name}: {items:?}");
        assert_eq!(texts(&items).len(), documents, "{name}");
    };
    let long = |n: u32, length: &str| {
        let text = String::from_utf8(good(n)).unwrap();
        let at = text.find("Content-Length: ").unwrap() + 16;
        let end = at + text[at..].find('\r').unwrap();
        format!("{}{length}{}", &text[..at], &text[end..]).into_bytes()
    };
    check(
        "garbage",
        &[good(1), b"garbage\r\nmore\r\n".to_vec(), good(2)].concat(),
        2,
        &[SkipReason::NotAWarcRecord],
    );
    check("too-long", &[good(1), long(2, "3600"), good(3)].concat(), 2, &[SkipReason::WrongLength]);
    check("no-length", &[good(1), long(2, "many"), good(3)].concat(), 2, &[SkipReason::BadContentLength]);
    check("huge", &[good(1), long(2, "99999999999999"), good(3)].concat(), 2, &[SkipReason::WrongLength]);
    check("cut", &[good(1), good(2)[..900].to_vec()].concat(), 1, &[SkipReason::TruncatedRecord]);
    check(
        "members-huge",
        &[gzip(&good(1)), gzip(&long(2, "99999999999999")), gzip(&good(3))].concat(),
        2,
        &[SkipReason::WrongLength],
    );
    check(
        "members-long",
        &[gzip(&good(1)), gzip(&long(2, "5000")), gzip(&good(3))].concat(),
        2,
        &[SkipReason::WrongLength],
    );
    let mut wrong_sum = gzip(&good(2));
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    check("checksum", &[gzip(&good(1)), wrong_sum, gzip(&good(3))].concat(), 2, &[SkipReason::BadChecksum]);
    check(
        "junk-between",
        &[gzip(&good(1)), b"junk".to_vec(), gzip(&good(3))].concat(),
        2,
        &[SkipReason::BrokenArchive],
    );
    check("zeros", &[gzip(&good(1)), vec![0; 1000], gzip(&good(3)), vec![0; 600]].concat(), 2, &[]);
}

#[test]
fn a_broken_member_is_one_skip() {
    let folder = tempfile::tempdir().unwrap();
    let mut flipped = gzip(&good(2));
    flipped[40] ^= 0xff;
    flipped[41] ^= 0xff;
    let (items, _) = read_at_every_cursor(
        &written(&folder, "flipped", &[gzip(&good(1)), flipped, gzip(&good(3)), gzip(&good(4))].concat()),
        &WARC,
        Limits::default(),
    );
    assert_eq!((texts(&items).len(), skipped(&items).len()), (3, 1), "{items:?}");
    let cut = gzip(&good(2));
    let bytes = [gzip(&good(1)), cut[..cut.len() / 2].to_vec(), gzip(&good(3)), gzip(&good(4))].concat();
    let (items, _) = read_at_every_cursor(&written(&folder, "cut-member", &bytes), &WARC, Limits::default());
    assert_eq!((texts(&items).len(), skipped(&items).len()), (3, 1), "{items:?}");
}

#[test]
fn any_bytes_are_read_to_their_end() {
    let Some(folder) = shared("warc") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let original = fs::read(folder.join("warcio/example.warc.gz")).unwrap();
    let plain = fs::read(folder.join("warcio/example.warc")).unwrap();
    let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..300 {
        let mut bytes = [&original, &plain, &packed][round % 3].clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] ^= 1 << random(8),
                1 => drop(bytes.drain(at..(at + random(64)).min(bytes.len()))),
                _ => bytes.truncate(at.max(20)),
            }
        }
        read_at_every_cursor(&written(&temporary, "x", &bytes), &WARC, Limits::default());
    }
}

#[test]
fn bombs_and_endless_lines_are_named_and_cost_little() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec![b' '; 300 << 20];
    let bomb = [
        gzip(&record("conversion", "http://bomb/", "text/plain", &zeros)),
        gzip(&record("conversion", "u", "text/plain", b"good")),
    ]
    .concat();
    let limits = Limits { record_bytes: 1 << 30, ..Limits::default() };
    let (items, _) = read_at_every_cursor(&written(&folder, "bomb.warc.gz", &bomb), &WARC, limits);
    assert_eq!((skipped(&items), texts(&items).len()), (vec![SkipReason::ExpandsTooMuch], 1));
    let line = [&zeros[..100 << 20], b"\n{\"text\": \"good\"}\nbroken\n{\"text\": \"\xff\"}\n"].concat();
    let jsonl = Format::Jsonl(Fields::default());
    let (items, _) = read_at_every_cursor(&written(&folder, "line.jsonl", &line), &jsonl, Limits::default());
    assert_eq!(skipped(&items), [SkipReason::RecordTooLarge, SkipReason::BadJson, SkipReason::InvalidUtf8]);
    let Item::Skipped(broken) = &items[2] else { panic!("{items:?}") };
    assert_eq!(broken.name, "line 3");
    let html = written(&folder, "page.html", &zeros[..100 << 20]);
    assert_eq!(
        skipped(&read_at_every_cursor(&html, &Format::Html, Limits::default()).0),
        [SkipReason::RecordTooLarge]
    );
    let packed = written(&folder, "page.html.gz", &gzip(&zeros));
    assert_eq!(
        skipped(&read_at_every_cursor(&packed, &Format::Html, Limits::default()).0),
        [SkipReason::ExpandsTooMuch]
    );
}

#[test]
fn lines_arrays_and_packed_lines_are_read_from_every_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let jsonl = Format::Jsonl(Fields::default());
    let lines: String = (0..50)
        .map(|n| format!("{{\"id\": {n}, \"text\": \"text {n}\\n\", \"url\": \"u{n}\"}}\r\n\n"))
        .collect::<Vec<_>>()
        .concat();
    let array = format!("\u{feff} [{}, 7, {{}}]\n", lines.trim_end().replace("\r\n\n", ","));
    for (name, bytes) in [
        ("a.jsonl", lines.clone().into_bytes()),
        ("a.jsonl.gz", gzip(lines.as_bytes())),
        ("a.jsonl.zst", zstd::encode_all(lines.as_bytes(), 3).unwrap()),
        ("cut.jsonl.gz", gzip(lines.as_bytes())[..200].to_vec()),
        ("a.json", array.into_bytes()),
    ] {
        let (items, _) = read_at_every_cursor(&written(&folder, name, &bytes), &jsonl, Limits::default());
        let expected = match name {
            "cut.jsonl.gz" => vec![SkipReason::TruncatedArchive],
            "a.json" => vec![SkipReason::BadJson, SkipReason::MissingText],
            _ => vec![],
        };
        assert_eq!(skipped(&items), expected, "{name}");
        assert!(texts(&items).len() == 50 || name.starts_with("cut"), "{name}");
    }
}

#[test]
fn single_documents_are_normalised_and_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let one = |name: &str, bytes: &[u8], format: Format| {
        read_at_every_cursor(&written(&folder, name, bytes), &format, Limits::default()).0.remove(0)
    };
    let Item::Document(text) = one("a.txt", b"\xef\xbb\xbfone  \r\ntwo", Format::Text) else { panic!() };
    assert_eq!(text.content, Content::Text("one\ntwo\n".into()));
    let Item::Document(rust) = one("a.rs.gz", &gzip(b"fn main() {}\n"), Format::Rust) else { panic!() };
    assert_eq!(rust.content.as_str(), "fn main() {}\n");
    let Item::Document(html) = one("a.html", b"<meta charset=koi8-r>\xd0\xd2\xc9\xd7\xc5\xd4", Format::Html)
    else {
        panic!()
    };
    assert_eq!(html.content, Content::Html("<meta charset=koi8-r>привет".into()));
    let reason = |item: Item| skipped(&[item])[0];
    assert_eq!(reason(one("b.txt", b"\xff\xfe", Format::Text)), SkipReason::InvalidUtf8);
    assert_eq!(reason(one("c.txt", b"a\0b", Format::Text)), SkipReason::Binary);
    assert_eq!(reason(one("d.md", b"---\nx: y\n---\n<!-- -->\n", Format::Markdown)), SkipReason::Empty);
    assert_eq!(reason(one("e.txt", b"", Format::Text)), SkipReason::Empty);
    let page = b"a `<!--` <!-- b -->\r\n\r\n```html\r\n<!-- c -->\r\n```\r\n<!-- d\r\n";
    let Item::Document(page) = one("f.md", page, Format::Markdown) else { panic!() };
    assert_eq!(page.content.as_str(), "a `<!--` \n\n```html\n<!-- c -->\n```\n<!-- d\n");
}

/// A table as other writers make them: optional columns, several row groups, every compression.
fn table(rows: usize, compression: parquet::basic::Compression) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message m { optional binary text (UTF8); required binary url (UTF8); optional int64 n; }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let properties =
        WriterProperties::builder().set_compression(compression).set_data_page_row_count_limit(50);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties.build().into()).unwrap();
    for group in 0..3 {
        let mut group_writer = writer.next_row_group().unwrap();
        let bytes = |kind: &str, n: usize| ByteArray::from(format!("{kind} {group} {n}").into_bytes());
        let texts: Vec<ByteArray> = (0..rows).filter(|n| n % 7 != 3).map(|n| bytes("text", n)).collect();
        let levels: Vec<i16> = (0..rows).map(|n| i16::from(n % 7 != 3)).collect();
        let mut column = group_writer.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group_writer.next_column().unwrap().unwrap();
        let urls: Vec<ByteArray> = (0..rows).map(|n| bytes("url", n)).collect();
        column.typed::<ByteArrayType>().write_batch(&urls, None, None).unwrap();
        column.close().unwrap();
        let mut column = group_writer.next_column().unwrap().unwrap();
        let nulls = vec![0_i16; rows];
        column.typed::<parquet::data_type::Int64Type>().write_batch(&[], Some(&nulls), None).unwrap();
        column.close().unwrap();
        group_writer.close().unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn tables_are_read_from_every_row_also_damaged_ones() {
    use parquet::basic::{Compression, GzipLevel, ZstdLevel};
    let folder = tempfile::tempdir().unwrap();
    let format = Format::Parquet(Fields::default());
    let packings = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for packing in packings {
        let path = written(&folder, "a.parquet", &table(150, packing));
        let (items, _) = read_at_every_cursor(&path, &format, Limits::default());
        assert_eq!((items.len(), skipped(&items).len()), (450, 3 * 21));
        let Item::Document(last) = &items[449] else { panic!("{:?}", items[449]) };
        assert_eq!(
            (last.content.as_str(), last.url.as_deref(), last.index),
            ("text 2 149\n", Some("url 2 149"), 449)
        );
    }
    let whole = table(150, Compression::SNAPPY);
    for at in (4..whole.len() - 8).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        if FileReader::open(
            &written(&folder, "b", &bytes),
            "b",
            format.clone(),
            Limits::default(),
            Cursor::default(),
        )
        .is_ok()
        {
            read_at_every_cursor(&folder.path().join("b"), &format, Limits::default());
        }
    }
    let cut = written(&folder, "c", &whole[..whole.len() / 2]);
    assert_eq!(
        skipped(&read_at_every_cursor(&cut, &format, Limits::default()).0),
        [SkipReason::BrokenParquet]
    );
    let other = Format::Parquet(Fields { text: "body".into(), ..Fields::default() });
    let error =
        FileReader::open(&written(&folder, "d", &whole), "d", other, Limits::default(), Cursor::default());
    assert!(error.err().unwrap().to_string().contains("`text`, `url`"));
}
