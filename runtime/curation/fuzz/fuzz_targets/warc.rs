//! Any bytes are an archive: they are read to their end, and from a cursor in the middle the rest is the same.
#![no_main]

use cupola_curation::read::{Cursor, FileReader, Format, Item, Limits, Statuses};
use libfuzzer_sys::fuzz_target;

fn read(path: &std::path::Path, from: Cursor) -> Vec<(Item, Cursor)> {
    let limits = Limits { record_bytes: 1 << 20, body_bytes: 1 << 20, ..Limits::default() };
    let mut reader = FileReader::open(path, "fuzzed", Format::Warc(Statuses::All), limits, from).expect("opens");
    let mut items = Vec::new();
    while let Some(item) = reader.next() {
        items.push((item.expect("reads"), reader.cursor()));
    }
    items
}

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("cupola-fuzz-warc-{}", std::process::id()));
    std::fs::write(&path, data).expect("writes");
    let items = read(&path, Cursor::default());
    let at = data.len() % (items.len() + 1);
    if let Some((_, cursor)) = items.get(at) {
        assert_eq!(read(&path, *cursor), items[at + 1..], "from {cursor:?}");
    }
});
