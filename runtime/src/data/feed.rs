//! Documents as they lie in the sources' files, in the corpus' order: source by source, file by file in a seeded order.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_curation::pii::Finder;
use cupola_curation::read::{
    Content, Cursor, Fields, FileReader, Format, Item, Limits, RawDocument, Skipped, Statuses,
};
use cupola_specs::artifact::{DroppedDocument, SourceStatistics};
use cupola_specs::contract::SourceFile;
use cupola_specs::job::{DataParams, SourceFormat, SourceParams, SplitUnit};
use serde::{Deserialize, Serialize};

use super::document::{Class, Document, document_id};
use super::files::{below_crate, choose, crate_of};
use super::listing::{list, undistinguished};
use super::{DataError, personal};
use crate::job::StepContext;

/// Documents of a batch at most, with what gave none.
const BATCH_ITEMS: usize = 512;
/// Bytes of a batch at which it ends, those that were passed over among them.
const BATCH_BYTES: u64 = 16 << 20;

/// Where reading goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The source.
    pub(super) source: usize,
    /// The file, in the order in which the source's files are read.
    pub(super) file: usize,
    /// The place in it.
    pub(super) cursor: Cursor,
    /// Documents before it.
    pub(super) documents: u64,
}

/// A document as it was read.
pub(super) struct Raw {
    number: u64,
    source: usize,
    file: String,
    unit: String,
    id: String,
    class: Class,
    domain: String,
    document: RawDocument,
}

impl Raw {
    /// The document, to be judged. A page is still its source.
    pub(super) fn into_document(self) -> Document {
        let (text, is_page) = match self.document.content {
            Content::Text(text) => (text, false),
            Content::Html(page) => (page, true),
        };
        Document {
            number: self.number,
            id: self.id,
            source: self.source,
            file: self.file,
            unit: self.unit,
            domain: self.domain,
            url: self.document.url,
            class: self.class,
            text,
            is_page,
            ..Document::default()
        }
    }
}

/// What is judged at a time.
#[derive(Default)]
pub(super) struct Batch {
    /// In order.
    pub(super) raws: Vec<Raw>,
    /// What gave no document.
    pub(super) skipped: Vec<DroppedDocument>,
    /// What was read, by source.
    pub(super) sources: BTreeMap<String, SourceStatistics>,
    /// Where reading goes on after it.
    pub(super) next: Place,
}

impl Batch {
    /// Whether it has as many items as one may have.
    fn is_full(&self) -> bool {
        self.raws.len() + self.skipped.len() >= BATCH_ITEMS
    }
}

/// Reads batch by batch.
pub(super) struct Feed<'c> {
    ctx: &'c StepContext,
    params: &'c DataParams,
    finder: Finder,
    place: Place,
    files: Vec<SourceFile>,
    reader: Option<FileReader>,
}

impl<'c> Feed<'c> {
    /// Goes on from a place.
    pub(super) fn new(ctx: &'c StepContext, params: &'c DataParams, place: Place) -> Result<Self, DataError> {
        let finder = personal::finder(&params.pii);
        let mut feed = Self { ctx, params, finder, place, files: Vec::new(), reader: None };
        feed.list()?;
        Ok(feed)
    }

    /// The next batch; none at the end of the last source.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, DataError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while !batch.is_full() && bytes < BATCH_BYTES {
            let Some(source) = self.params.sources.get(self.place.source) else { break };
            if self.place.file == self.files.len() {
                self.place = Place {
                    source: self.place.source + 1,
                    documents: self.place.documents,
                    ..Place::default()
                };
                self.list()?;
                continue;
            }
            bytes += self.read_some(source, &mut batch, BATCH_BYTES - bytes)?;
        }
        batch.next = self.place.clone();
        let is_empty = batch.raws.is_empty() && batch.skipped.is_empty() && batch.sources.is_empty();
        Ok((!is_empty).then_some(batch))
    }

    /// The end of the last source.
    pub(super) fn end(&self) -> Place {
        self.place.clone()
    }

    /// Lists the files of the source at which reading is.
    fn list(&mut self) -> Result<(), DataError> {
        let Some(source) = self.params.sources.get(self.place.source) else { return Ok(()) };
        let (listed, unread) = list(self.ctx, source)?;
        if listed.is_empty() && unread.is_empty() {
            return Err(DataError::NoFiles { source_name: source.name.clone() });
        }
        if listed.is_empty() {
            return Err(DataError::NothingToRead { source_name: source.name.clone(), unread });
        }
        if !unread.is_empty() {
            self.ctx.events().warning("dataset", format!("source {}: {unread}", source.name));
        }
        self.files = choose(listed, self.ctx.seed("order"), source.max_bytes);
        let at = (self.place.file as f64, self.files.len() as f64);
        self.ctx.events().progress(at.0, at.1, "files", &format!("read {}", source.name));
        Ok(())
    }

    /// Reads from the file at which reading is, up to its end or about so many bytes; returns how many.
    fn read_some(&mut self, source: &SourceParams, batch: &mut Batch, most: u64) -> Result<u64, DataError> {
        let file = &self.files[self.place.file];
        let reader = match &mut self.reader {
            Some(reader) => reader,
            closed => {
                let path = self.ctx.verified_source(file)?;
                closed.insert(open(&path, file, source, self.place.cursor)?)
            }
        };
        let mut statistics = SourceStatistics::default();
        let mut bytes = 0;
        let mut is_at_end = false;
        while bytes < most && !batch.is_full() {
            match reader.next() {
                None => {
                    is_at_end = true;
                    break;
                }
                Some(item) => match item.map_err(|error| DataError::Read(Box::new(error)))? {
                    Item::Document(mut document) => {
                        document.url = document.url.map(|url| without_persons(&self.finder, &url));
                        bytes += document.content.as_str().len() as u64;
                        statistics.documents += 1;
                        let at = (self.place.source, self.place.documents);
                        batch.raws.push(raw(at, source, file, document, self.params.split.by));
                        self.place.documents += 1;
                    }
                    Item::Skipped(skipped) => {
                        *statistics.rejected.entry(skipped.reason.name().to_owned()).or_insert(0) += 1;
                        bytes += skipped.bytes;
                        batch.skipped.push(dropped(source, file, &skipped, &self.finder));
                    }
                },
            }
        }
        self.place.cursor = reader.cursor();
        if is_at_end {
            statistics.read_files += 1;
            statistics.read_bytes += file.size_bytes;
            statistics.not_content += reader.not_content();
            self.reader = None;
            self.place.file += 1;
            self.place.cursor = Cursor::default();
        }
        batch.sources.entry(source.name.clone()).or_default().add(&statistics);
        Ok(bytes)
    }
}

/// An address without what the job takes out of texts. The host stays: it says where a page was, not whom it is about.
fn without_persons(finder: &Finder, url: &str) -> String {
    let Some(start) = url.find("://").map(|at| at + 3) else { return finder.redact(url) };
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let (front, path) = url.split_at(end);
    let host = front.rfind('@').map_or(start, |at| at + 1);
    let front = if host > start && !finder.find(front).is_empty() {
        format!("{}{}", &front[..start], &front[host..])
    } else {
        front.to_owned()
    };
    front + &finder.redact(path)
}

fn open(
    path: &Path,
    file: &SourceFile,
    source: &SourceParams,
    from: Cursor,
) -> Result<FileReader, DataError> {
    let fields = || Fields { text: source.text_field.clone(), ..Fields::default() };
    let format = match source.format {
        SourceFormat::Text => Format::Text,
        SourceFormat::Markdown => Format::Markdown,
        SourceFormat::Rust => Format::Rust,
        SourceFormat::Html => Format::Html,
        SourceFormat::Jsonl => Format::Jsonl(fields()),
        SourceFormat::Parquet => Format::Parquet(fields()),
        SourceFormat::Warc | SourceFormat::Crawl => Format::Warc(Statuses::Success),
        SourceFormat::Huggingface => by_name(&file.name, fields()),
    };
    FileReader::open(path, &file.name, format, Limits::default(), from)
        .map_err(|error| DataError::Read(Box::new(error)))
}

/// The format of a file whose name alone says it.
pub(super) fn by_name(name: &str, fields: Fields) -> Format {
    let lower = undistinguished(name).to_ascii_lowercase();
    let bare = lower.trim_end_matches(".gz").trim_end_matches(".zst");
    match bare.rsplit('.').next() {
        Some("parquet") => Format::Parquet(fields),
        Some("txt") => Format::Text,
        Some("md") => Format::Markdown,
        _ => Format::Jsonl(fields),
    }
}

fn raw(
    (source_index, number): (usize, u64),
    source: &SourceParams,
    file: &SourceFile,
    document: RawDocument,
    by: SplitUnit,
) -> Raw {
    let name = below_crate(&file.name);
    let id = document_id(&source.name, &file.name, document.index);
    let unit = match by {
        SplitUnit::Document => id.clone(),
        SplitUnit::SourceFile => format!("{}/{}", source.name, file.name),
        SplitUnit::Crate => crate_of(name).to_owned(),
    };
    Raw {
        number,
        source: source_index,
        file: name.to_owned(),
        unit,
        id,
        class: Class::of(source.format),
        domain: source.domain.clone(),
        document,
    }
}

/// A part of a file that gave no document, as what was dropped.
fn dropped(source: &SourceParams, file: &SourceFile, skipped: &Skipped, finder: &Finder) -> DroppedDocument {
    let name = if skipped.name == file.name {
        String::new()
    } else {
        format!(" ({})", without_persons(finder, &skipped.name))
    };
    let detail = if skipped.detail.is_empty() { String::new() } else { format!(" {}.", skipped.detail) };
    let reason =
        format!("{}{name}, byte {}: {}{detail}", file.name, skipped.offset, skipped.reason.sentence());
    DroppedDocument {
        id: document_id(&source.name, &file.name, skipped.index),
        source: source.name.clone(),
        file: file.name.clone(),
        url: None,
        rule: format!("read.{}", skipped.reason.name()),
        reason,
        signals: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sample::{job_of, source, write_sources};
    use crate::job::sample::job_in;
    use cupola_specs::job::{PiiAction, PiiParams};

    #[test]
    fn a_file_of_rejects_comes_in_batches() {
        let dir = tempfile::tempdir().unwrap();
        let lines = format!("{}{}", "no document\n".repeat(1200), "{\"text\": \"one\"}\n");
        write_sources(dir.path(), &[("sources.web", "a.jsonl", lines.into_bytes())]);
        let ctx = StepContext::new(job_in(dir.path()), std::sync::Arc::default()).unwrap();
        let params = job_of(vec![source("web", SourceFormat::Jsonl, "prose")]);
        let mut feed = Feed::new(&ctx, &params, Place::default()).unwrap();
        let mut sizes = Vec::new();
        while let Some(batch) = feed.next().unwrap() {
            sizes.push((batch.skipped.len(), batch.raws.len()));
        }
        assert_eq!(sizes, [(512, 0), (512, 0), (176, 1)]);
    }

    #[test]
    fn addresses_lose_what_texts_lose_and_keep_their_host() {
        let keep = PiiAction::Keep;
        let params = PiiParams {
            email: PiiAction::Redact,
            ip: PiiAction::Redact,
            phone: keep,
            card: keep,
            secret: keep,
        };
        let finder = personal::finder(&params);
        for (url, expected) in [
            ("https://site.org/a?u=jane.doe@corp.de", "https://site.org/a?u=<EMAIL>"),
            ("https://jane.doe@corp.de/a", "https://corp.de/a"),
            ("http://93.184.216.34/a", "http://93.184.216.34/a"),
            ("mailto:jane.doe@corp.de", "mailto:<EMAIL>"),
            ("https://site.org/@jane/1", "https://site.org/@jane/1"),
        ] {
            assert_eq!(without_persons(&finder, url), expected);
        }
        let all = personal::finder(&PiiParams { email: keep, ip: keep, ..params });
        assert_eq!(without_persons(&all, "https://jane.doe@corp.de/a"), "https://jane.doe@corp.de/a");
    }
}
