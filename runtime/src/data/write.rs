//! The corpus' files: shards by side, pairs, what was dropped, statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cupola_specs::artifact::{
    CorpusDocument, CorpusPair, CorpusStatistics, DomainStatistics, DroppedDocument,
};
use cupola_specs::job::SourceParams;
use serde_json::json;

use super::DataError;
use super::document::Document;
use super::page::page;
use super::shard::{JsonlZstWriter, write_jsonl_zst};

/// Documents of a shard where the spec leaves it to the worker.
const SHARD_DOCUMENTS: u64 = 4096;

/// Writes documents to the shards of their side; returns documents and bytes by domain for train and validation.
pub(super) fn write_documents(
    staging: &Path,
    sources: &[SourceParams],
    documents: Vec<Document>,
    validation: &BTreeSet<String>,
    shard_documents: u64,
) -> Result<[BTreeMap<String, DomainStatistics>; 2], DataError> {
    let shard_documents = if shard_documents == 0 { SHARD_DOCUMENTS } else { shard_documents };
    let mut sides =
        [Side::new(staging, "train", shard_documents)?, Side::new(staging, "validation", shard_documents)?];
    for document in documents {
        let side = &mut sides[usize::from(validation.contains(&document.unit))];
        let source = &sources[document.source];
        side.write(&CorpusDocument {
            id: document.id,
            text: document.text,
            source: source.name.clone(),
            file: document.file,
            url: document.url,
            domain: source.domain.clone(),
            signals: document.signals,
        })?;
    }
    let [train, validation] = sides;
    Ok([train.finish()?, validation.finish()?])
}

/// Writes the pairs of both sides; returns how many each has.
pub(super) fn write_pairs(
    staging: &Path,
    pairs: &[CorpusPair],
    validation: &BTreeSet<String>,
) -> Result<[u64; 2], DataError> {
    let is_held_out = |pair: &&CorpusPair| validation.contains(&pair.unit);
    let folder = staging.join("pairs");
    let train = pairs.iter().filter(|pair| !is_held_out(pair));
    Ok([
        write_jsonl_zst(&folder.join("train.jsonl.zst"), train)?,
        write_jsonl_zst(&folder.join("validation.jsonl.zst"), pairs.iter().filter(is_held_out))?,
    ])
}

/// Writes what was dropped, the statistics, and their page.
pub(super) fn write_statistics(
    staging: &Path,
    dropped: &[DroppedDocument],
    statistics: &CorpusStatistics,
) -> Result<(), DataError> {
    write_jsonl_zst(&staging.join("dropped.jsonl.zst"), dropped)?;
    let json = format!("{:#}\n", json!(statistics));
    for (name, text) in [("statistics.json", json), ("statistics.html", page(statistics)?)] {
        let path = staging.join(name);
        std::fs::write(&path, text).map_err(|e| DataError::io(path, e))?;
    }
    Ok(())
}

/// The shards of one side.
struct Side {
    folder: std::path::PathBuf,
    shard_documents: u64,
    shards: u64,
    in_shard: u64,
    open: Option<JsonlZstWriter>,
    domains: BTreeMap<String, DomainStatistics>,
}

impl Side {
    fn new(staging: &Path, name: &str, shard_documents: u64) -> Result<Self, DataError> {
        let folder = staging.join(name);
        std::fs::create_dir_all(&folder).map_err(|e| DataError::io(&folder, e))?;
        Ok(Self { folder, shard_documents, shards: 0, in_shard: 0, open: None, domains: BTreeMap::new() })
    }

    fn write(&mut self, document: &CorpusDocument) -> Result<(), DataError> {
        if self.in_shard == self.shard_documents {
            self.close()?;
        }
        let domain = self.domains.entry(document.domain.clone()).or_default();
        domain.documents += 1;
        domain.bytes += document.text.len() as u64;
        let mut shard = match self.open.take() {
            Some(shard) => shard,
            None => JsonlZstWriter::create(&self.folder.join(format!("{:05}.jsonl.zst", self.shards)))?,
        };
        shard.write(document)?;
        self.in_shard += 1;
        self.open = Some(shard);
        Ok(())
    }

    fn close(&mut self) -> Result<(), DataError> {
        if let Some(shard) = self.open.take() {
            shard.finish()?;
            self.shards += 1;
            self.in_shard = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BTreeMap<String, DomainStatistics>, DataError> {
        self.close()?;
        Ok(self.domains)
    }
}
