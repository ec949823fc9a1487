//! Segments: what has gone through the sieve so far, on the disk, so that a step that was killed goes on inside a file.
//!
//! A segment is a run of documents in the order in which they were read: those that stayed, those that went, the pairs, and a record
//! with the funnel and the place where reading goes on. The record is written last and under its final name only when all
//! before it is on the disk; it holds the length and the hash of each file. What a killed step left without a record, or with files
//! that are not what the record says, is written again.
//!
//! Where one segment ends is a matter of memory and speed alone: the corpus does not depend on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cupola_curation::decontaminate::LeakReport;
use cupola_specs::artifact::{CorpusPair, DroppedDocument, SourceStatistics};
use serde::{Deserialize, Serialize};

use super::DataError;
use super::document::Document;
use super::feed::Place;
use super::funnel::Funnel;
use super::shard::{JsonlZstReader, JsonlZstWriter};

/// Bytes of text after which a segment ends.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Documents after which a segment ends.
const SEGMENT_DOCUMENTS: u64 = 1 << 16;
/// The files of a segment.
const PARTS: [&str; 3] = ["documents", "dropped", "pairs"];

/// What a segment holds, beside its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SegmentRecord {
    /// Where reading goes on after it.
    pub(super) next: Place,
    /// Documents that were read for it.
    pub(super) documents: u64,
    /// Bytes of their texts, before any rule.
    pub(super) bytes: u64,
    /// What the rules of the sieve removed.
    pub(super) funnel: Funnel,
    /// What its sources gave, by name.
    pub(super) sources: BTreeMap<String, SourceStatistics>,
    /// Rust files that did not parse.
    pub(super) unparsed: u64,
    /// Test questions that were found, where they were looked for.
    pub(super) leaks: Option<LeakReport>,
    /// Bytes and hash of each file, in the order of [`PARTS`].
    files: Vec<(u64, String)>,
}

/// The segments of a step.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    records: Vec<SegmentRecord>,
}

impl Segments {
    /// Opens the folder; segments are taken up to the first that is not whole, and what follows is removed.
    pub(super) fn open(folder: &Path) -> Result<Self, DataError> {
        std::fs::create_dir_all(folder).map_err(|e| DataError::io(folder, e))?;
        let mut segments = Self { folder: folder.to_owned(), records: Vec::new() };
        while let Some(record) = segments.whole(segments.records.len())? {
            segments.records.push(record);
        }
        segments.remove_from(segments.records.len())?;
        Ok(segments)
    }

    /// The segments in order.
    pub(super) fn records(&self) -> &[SegmentRecord] {
        &self.records
    }

    /// Where reading goes on.
    pub(super) fn next(&self) -> Place {
        self.records.last().map_or_else(Place::default, |record| record.next.clone())
    }

    /// Begins the next segment.
    pub(super) fn begin(&self, funnel: Funnel) -> Result<OpenSegment, DataError> {
        let number = self.records.len();
        let open = |part: &str| JsonlZstWriter::create_scratch(&self.path(number, part));
        Ok(OpenSegment {
            documents: open(PARTS[0])?,
            dropped: open(PARTS[1])?,
            pairs: open(PARTS[2])?,
            record: SegmentRecord {
                next: Place::default(),
                documents: 0,
                bytes: 0,
                funnel,
                sources: BTreeMap::new(),
                unparsed: 0,
                leaks: None,
                files: Vec::new(),
            },
        })
    }

    /// Ends a segment: from here on a new attempt begins at `next`.
    pub(super) fn end(&mut self, open: OpenSegment, next: Place) -> Result<(), DataError> {
        let number = self.records.len();
        let OpenSegment { documents, dropped, pairs, mut record } = open;
        for writer in [documents, dropped, pairs] {
            writer.finish()?;
        }
        record.next = next;
        record.files = PARTS.iter().map(|part| sealed(&self.path(number, part))).collect::<Result<_, _>>()?;
        let path = self.record_path(number);
        let written = path.with_extension("json.new");
        let io = |error| DataError::io(&path, error);
        let json = serde_json::to_vec(&record).map_err(std::io::Error::from).map_err(io)?;
        std::fs::write(&written, json).map_err(io)?;
        std::fs::File::open(&written).and_then(|file| file.sync_all()).map_err(io)?;
        std::fs::rename(&written, &path).map_err(io)?;
        std::fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        self.records.push(record);
        Ok(())
    }

    /// The documents that stayed, in order.
    pub(super) fn documents(&self) -> impl Iterator<Item = Result<Document, DataError>> + '_ {
        self.read(PARTS[0])
    }

    /// Those of one segment.
    pub(super) fn documents_of(&self, number: usize) -> Result<JsonlZstReader<Document>, DataError> {
        JsonlZstReader::open(&self.path(number, PARTS[0]))
    }

    /// How many segments there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The documents that went, in order.
    pub(super) fn dropped(&self) -> impl Iterator<Item = Result<DroppedDocument, DataError>> + '_ {
        self.read(PARTS[1])
    }

    /// The pairs with the numbers of their documents, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Result<(u64, CorpusPair), DataError>> + '_ {
        self.read(PARTS[2])
    }

    fn read<T: serde::de::DeserializeOwned + 'static>(
        &self,
        part: &'static str,
    ) -> impl Iterator<Item = Result<T, DataError>> + '_ {
        let readers =
            (0..self.records.len()).map(move |number| JsonlZstReader::open(&self.path(number, part)));
        readers.flat_map(|reader| {
            let (reader, error) = match reader {
                Ok(reader) => (Some(reader), None),
                Err(error) => (None, Some(Err(error))),
            };
            reader.into_iter().flatten().chain(error)
        })
    }

    fn path(&self, number: usize, part: &str) -> PathBuf {
        self.folder.join(format!("{number:06}.{part}.jsonl.zst"))
    }

    fn record_path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number:06}.json"))
    }

    /// The record of a segment whose files are what it says; none where there is none.
    fn whole(&self, number: usize) -> Result<Option<SegmentRecord>, DataError> {
        let path = self.record_path(number);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::io(path, error)),
        };
        let Ok(record) = serde_json::from_slice::<SegmentRecord>(&json) else { return Ok(None) };
        let is_whole = record.files.len() == PARTS.len()
            && PARTS
                .iter()
                .zip(&record.files)
                .all(|(part, told)| sealed(&self.path(number, part)).is_ok_and(|found| found == *told));
        Ok(is_whole.then_some(record))
    }

    /// Removes what an attempt left behind from this segment on.
    fn remove_from(&self, number: usize) -> Result<(), DataError> {
        for entry in std::fs::read_dir(&self.folder).map_err(|e| DataError::io(&self.folder, e))? {
            let path = entry.map_err(|e| DataError::io(&self.folder, e))?.path();
            let of =
                path.file_name().and_then(|name| name.to_str()?.split('.').next()?.parse::<usize>().ok());
            if of.is_some_and(|of| of >= number) {
                std::fs::remove_file(&path).map_err(|e| DataError::io(&path, e))?;
            }
        }
        Ok(())
    }
}

/// A segment that is being written.
pub(super) struct OpenSegment {
    documents: JsonlZstWriter,
    dropped: JsonlZstWriter,
    pairs: JsonlZstWriter,
    /// Filled in by the sieve as documents come.
    pub(super) record: SegmentRecord,
}

impl OpenSegment {
    /// A document that stayed.
    pub(super) fn keep(&mut self, document: &Document) -> Result<(), DataError> {
        self.documents.write(document)
    }

    /// A document that went.
    pub(super) fn drop(&mut self, document: &DroppedDocument) -> Result<(), DataError> {
        self.dropped.write(document)
    }

    /// A pair of the document with this number.
    pub(super) fn pair(&mut self, number: u64, pair: &CorpusPair) -> Result<(), DataError> {
        self.pairs.write(&(number, pair))
    }

    /// Whether it is time for the next one.
    pub(super) fn is_full(&self) -> bool {
        self.record.bytes >= SEGMENT_BYTES || self.record.documents >= SEGMENT_DOCUMENTS
    }
}

/// Length and hash of a file.
fn sealed(path: &Path) -> Result<(u64, String), DataError> {
    let mut hasher = blake3::Hasher::new();
    let length = std::fs::File::open(path)
        .and_then(|file| std::io::copy(&mut std::io::BufReader::new(file), &mut hasher))
        .map_err(|e| DataError::io(path, e))?;
    Ok((length, hasher.finalize().to_hex().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(folder: &Path, numbers: std::ops::Range<u64>) -> Segments {
        let mut segments = Segments::open(folder).unwrap();
        for number in numbers {
            let mut open = segments.begin(Funnel::default()).unwrap();
            let document = Document { number, text: format!("text {number}"), ..Document::default() };
            open.keep(&document).unwrap();
            let place = Place { documents: number + 1, ..Place::default() };
            segments.end(open, place).unwrap();
        }
        segments
    }

    fn numbers(segments: &Segments) -> Vec<u64> {
        segments.documents().map(|document| document.unwrap().number).collect()
    }

    #[test]
    fn what_was_written_is_there_again_and_what_has_no_record_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let segments = filled(dir.path(), 0..3);
        assert_eq!(numbers(&segments), [0, 1, 2]);
        drop(segments.begin(Funnel::default()).unwrap());
        let again = Segments::open(dir.path()).unwrap();
        assert_eq!((numbers(&again), again.next().documents), (vec![0, 1, 2], 3));
        assert!(!again.path(3, "documents").exists());
    }

    #[test]
    fn a_segment_with_any_damaged_file_and_those_after_it_are_written_again() {
        for part in PARTS {
            let dir = tempfile::tempdir().unwrap();
            let segments = filled(dir.path(), 0..3);
            let path = segments.path(1, part);
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let again = Segments::open(dir.path()).unwrap();
            assert_eq!((numbers(&again), again.next().documents), (vec![0], 1), "{part}");
            assert_eq!(numbers(&filled(dir.path(), 1..3)), [0, 1, 2]);
        }
    }
}
