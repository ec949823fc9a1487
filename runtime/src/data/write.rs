//! The corpus' files: shards by side with their index, pairs, what was dropped, statistics.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::{
    CorpusDocument, CorpusPair, CorpusStatistics, DomainStatistics, DroppedDocument, ShardIndex, ShardRecord,
};
use serde_json::json;

use super::DataError;
use super::document::Document;
use super::page::page;
use super::shard::{JsonlZstWriter, write_jsonl_zst};
use super::split::HeldOut;

/// Documents of a shard where the spec leaves it to the worker.
const SHARD_DOCUMENTS: u64 = 1 << 16;
/// Bytes of text after which a shard ends where the spec leaves it to the worker.
const SHARD_BYTES: u64 = 256 << 20;

/// Writes documents, in order, to the shards of their side.
pub(super) struct Sides<'w> {
    held_out: &'w HeldOut,
    sources: Vec<String>,
    shards: [Side; 2],
}

impl<'w> Sides<'w> {
    /// Begins the folders of both sides. `sources` are the names of the sources; `shard_documents` is what a shard holds at most, 0
    /// leaves it to the worker.
    pub(super) fn new(
        staging: &Path,
        sources: Vec<String>,
        held_out: &'w HeldOut,
        shard_documents: u64,
    ) -> Result<Self, DataError> {
        let side = |name: &str| Side::new(staging, name, shard_documents);
        Ok(Self { held_out, sources, shards: [side("train")?, side("validation")?] })
    }

    /// Writes a document.
    pub(super) fn write(&mut self, document: Document) -> Result<(), DataError> {
        let side = &mut self.shards[usize::from(self.held_out.contains(&document.unit))];
        side.write(&CorpusDocument {
            id: document.id,
            text: document.text,
            source: self.sources[document.source].clone(),
            file: document.file,
            url: document.url,
            domain: document.domain,
            language: document.language,
            signals: document.signals,
        })
    }

    /// Ends the shards; returns documents and bytes by domain for train and validation.
    pub(super) fn finish(self) -> Result<[BTreeMap<String, DomainStatistics>; 2], DataError> {
        let [train, validation] = self.shards;
        Ok([train.finish()?, validation.finish()?])
    }
}

/// Writes the pairs of both sides; returns how many each has.
pub(super) fn write_pairs(
    staging: &Path,
    pairs: &[CorpusPair],
    held_out: &HeldOut,
) -> Result<[u64; 2], DataError> {
    let is_held_out = |pair: &&CorpusPair| held_out.contains(&pair.unit);
    let folder = staging.join("pairs");
    let train = pairs.iter().filter(|pair| !is_held_out(pair));
    Ok([
        write_jsonl_zst(&folder.join("train.jsonl.zst"), train)?,
        write_jsonl_zst(&folder.join("validation.jsonl.zst"), pairs.iter().filter(is_held_out))?,
    ])
}

/// Writes what was dropped, in the order of the passes.
pub(super) fn write_dropped(
    staging: &Path,
    dropped: impl Iterator<Item = Result<DroppedDocument, DataError>>,
) -> Result<(), DataError> {
    let mut writer = JsonlZstWriter::create(&staging.join("dropped.jsonl.zst"))?;
    for document in dropped {
        writer.write(&document?)?;
    }
    writer.finish()?;
    Ok(())
}

/// Writes the statistics and their page.
pub(super) fn write_statistics(staging: &Path, statistics: &CorpusStatistics) -> Result<(), DataError> {
    let json = format!("{:#}\n", json!(statistics));
    for (name, text) in [("statistics.json", json), ("statistics.html", page(statistics)?)] {
        let path = staging.join(name);
        std::fs::write(&path, text).map_err(|e| DataError::io(path, e))?;
    }
    Ok(())
}

/// The shards of one side.
struct Side {
    folder: PathBuf,
    shard_documents: u64,
    shard_bytes: u64,
    open: Option<(JsonlZstWriter, ShardRecord)>,
    index: ShardIndex,
    domains: BTreeMap<String, DomainStatistics>,
}

impl Side {
    fn new(staging: &Path, name: &str, shard_documents: u64) -> Result<Self, DataError> {
        let folder = staging.join(name);
        std::fs::create_dir_all(&folder).map_err(|e| DataError::io(&folder, e))?;
        let (shard_documents, shard_bytes) =
            if shard_documents == 0 { (SHARD_DOCUMENTS, SHARD_BYTES) } else { (shard_documents, u64::MAX) };
        let index = ShardIndex::default();
        Ok(Self { folder, shard_documents, shard_bytes, open: None, index, domains: BTreeMap::new() })
    }

    fn write(&mut self, document: &CorpusDocument) -> Result<(), DataError> {
        let bytes = document.text.len() as u64;
        let is_full = |record: &ShardRecord| {
            record.documents == self.shard_documents || record.bytes >= self.shard_bytes
        };
        if self.open.as_ref().is_some_and(|(_, record)| is_full(record)) {
            self.close()?;
        }
        let domain = self.domains.entry(document.domain.clone()).or_default();
        domain.documents += 1;
        domain.bytes += bytes;
        let (mut shard, mut record) = if let Some(open) = self.open.take() {
            open
        } else {
            let file = format!("{:05}.jsonl.zst", self.index.shards.len());
            let shard = JsonlZstWriter::create(&self.folder.join(&file))?;
            (shard, ShardRecord { file, ..ShardRecord::default() })
        };
        shard.write(document)?;
        record.documents += 1;
        record.bytes += bytes;
        self.open = Some((shard, record));
        Ok(())
    }

    fn close(&mut self) -> Result<(), DataError> {
        if let Some((shard, mut record)) = self.open.take() {
            (_, record.frames) = shard.finish_with_frames()?;
            self.index.shards.push(record);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BTreeMap<String, DomainStatistics>, DataError> {
        self.close()?;
        let path = self.folder.join("index.json");
        std::fs::write(&path, format!("{:#}\n", json!(self.index))).map_err(|e| DataError::io(path, e))?;
        Ok(self.domains)
    }
}
