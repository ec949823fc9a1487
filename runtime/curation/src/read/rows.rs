//! Parquet: one document a row, a page of each wanted column in memory at a time.
//!
//! The decoder is the `parquet` crate, without arrow. It was written for files that writers made, and can panic on others: what it is asked is
//! asked inside `catch_unwind`, and a panic is damage like any other. Rows are read in batches that begin at the same rows wherever the reader was
//! opened, so that damage takes the same rows with it.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::format::Fields;
use super::item::{Refusal, normalized};
use super::{Content, Cursor, Item, Limits, RawDocument, ReadError, SkipReason, Skipped};

/// Rows that are decoded at a time.
const BATCH_ROWS: u64 = 64;
/// The columns that are read, in the order of [`Row`]'s values.
const NUM_COLUMNS: usize = 5;

/// The values of one row: text, address, id, language, date.
type Row = [Option<ByteArray>; NUM_COLUMNS];

/// One column of a row group that is being read.
struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    /// The definition level of a value that is there.
    present: i16,
}

/// A row group that is being read.
struct Group {
    columns: [Option<Column>; NUM_COLUMNS],
    num_rows: u64,
    /// Decoded rows that were not given yet.
    rows: VecDeque<Row>,
}

/// A reader of rows.
pub(super) struct Rows {
    path: PathBuf,
    name: String,
    /// `None`: the file is no Parquet file, or all of it is read.
    file: Option<SerializedFileReader<File>>,
    fields: Fields,
    limits: Limits,
    /// The leaves of the schema that are read.
    leaves: [Option<usize>; NUM_COLUMNS],
    group: Option<Group>,
    group_index: u64,
    row: u64,
    index: u64,
    /// The footer's damage, until it is told.
    broken: Option<String>,
    ended: bool,
}

impl Rows {
    pub(super) fn open(
        path: &Path,
        name: &str,
        fields: Fields,
        limits: Limits,
        from: Cursor,
    ) -> Result<Self, ReadError> {
        let opened = File::open(path).map_err(|error| ReadError::io(path, error))?;
        let (file, broken) = match guarded(|| SerializedFileReader::new(opened)) {
            Ok(file) => (Some(file), None),
            Err(message) => (None, Some(message)),
        };
        let mut rows = Self {
            path: path.to_path_buf(),
            name: name.to_owned(),
            file,
            fields,
            limits,
            leaves: [None; NUM_COLUMNS],
            group: None,
            group_index: from.offset,
            row: from.within,
            index: from.index,
            broken,
            ended: from.ended,
        };
        rows.find_columns()?;
        Ok(rows)
    }

    fn find_columns(&mut self) -> Result<(), ReadError> {
        let Some(file) = &self.file else { return Ok(()) };
        let schema = file.metadata().file_metadata().schema_descr();
        let can_hold_text = |at: usize| {
            let column = schema.column(at);
            column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
        };
        let find =
            |name: &str| (0..schema.num_columns()).find(|at| schema.column(*at).path().string() == name);
        let names =
            [&self.fields.text, &self.fields.url, &self.fields.id, &self.fields.language, &self.fields.date];
        self.leaves = names.map(|name| find(name).filter(|at| can_hold_text(*at)));
        if self.leaves[0].is_some() {
            return Ok(());
        }
        let texts = (0..schema.num_columns()).filter(|at| can_hold_text(*at));
        let texts: Vec<String> = texts.map(|at| format!("`{}`", schema.column(at).path().string())).collect();
        let is_there = find(&self.fields.text).is_some();
        Err(ReadError::Column {
            path: self.path.clone(),
            column: self.fields.text.clone(),
            problem: if is_there { "holds no text, or a list of it" } else { "is not in the file" },
            available: if texts.is_empty() { "no column of text".to_owned() } else { texts.join(", ") },
        })
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            index: self.index,
            offset: self.group_index,
            within: self.row,
            ended: self.ended,
            ..Cursor::default()
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the readers of all formats have one shape")]
    pub(super) fn next(&mut self) -> Result<Option<Item>, ReadError> {
        while !self.ended {
            let Some(file) = &self.file else {
                let detail = self.broken.take().unwrap_or_default();
                self.ended = true;
                let name = self.name.clone();
                return Ok(Some(self.skipped(name, (SkipReason::BrokenParquet, detail), 0)));
            };
            if self.group_index >= file.num_row_groups() as u64 {
                self.ended = true;
                break;
            }
            if self.group.is_none() {
                match open_group(file, self.group_index, self.row, &self.leaves, &self.limits) {
                    Ok(group) => self.group = Some(group),
                    Err(refusal) => return Ok(Some(self.skip_group(refusal))),
                }
            }
            let Some(group) = &mut self.group else { break };
            if let Some(row) = group.rows.pop_front() {
                let item = self.item(&row);
                self.row += 1;
                return Ok(Some(item));
            }
            if self.row >= group.num_rows {
                (self.group, self.row) = (None, 0);
                self.group_index += 1;
                continue;
            }
            if let Err(message) = guarded(|| group.read_batch()) {
                return Ok(Some(self.skip_group((SkipReason::BrokenRowGroup, message))));
            }
        }
        Ok(None)
    }

    fn item(&mut self, row: &Row) -> Item {
        let item = match self.document(row) {
            Ok(document) => Item::Document(document),
            Err(refusal) => {
                let name = format!("row {} of group {}", self.row, self.group_index);
                let bytes = row[0].as_ref().map_or(0, |text| text.len() as u64);
                return self.skipped(name, refusal, bytes);
            }
        };
        self.index += 1;
        item
    }

    fn document(&self, row: &Row) -> Result<RawDocument, Refusal> {
        let [text, rest @ ..] = row;
        let Some(text) = text else {
            return Err((SkipReason::MissingText, format!("column `{}`", self.fields.text)));
        };
        if text.len() as u64 > self.limits.record_bytes {
            return Err((
                SkipReason::RecordTooLarge,
                format!("more than {} bytes", self.limits.record_bytes),
            ));
        }
        let bytes = text.len() as u64;
        let text =
            std::str::from_utf8(text.data()).map_err(|error| (SkipReason::InvalidUtf8, error.to_string()))?;
        let text = normalized(text);
        if text.trim().is_empty() {
            return Err((SkipReason::Empty, String::new()));
        }
        let [url, id, language, date] = rest
            .each_ref()
            .map(|value| value.as_ref().map(|value| String::from_utf8_lossy(value.data()).into_owned()));
        Ok(RawDocument {
            index: self.index,
            id,
            url,
            content: Content::Text(text),
            language,
            date,
            charset: "UTF-8",
            num_replaced: 0,
            truncated: false,
            bytes,
        })
    }

    /// Names what is lost of the row group, and goes on with the next.
    fn skip_group(&mut self, refusal: Refusal) -> Item {
        let name = format!("rows from {} on of group {}", self.row, self.group_index);
        let item = self.skipped(name, refusal, 0);
        (self.group, self.row) = (None, 0);
        self.group_index += 1;
        item
    }

    fn skipped(&mut self, name: String, (reason, detail): Refusal, bytes: u64) -> Item {
        let index = self.index;
        self.index += 1;
        Item::Skipped(Skipped { index, offset: self.group_index, name, reason, detail, bytes })
    }
}

/// Opens a row group at a row.
fn open_group(
    file: &SerializedFileReader<File>,
    index: u64,
    row: u64,
    leaves: &[Option<usize>; NUM_COLUMNS],
    limits: &Limits,
) -> Result<Group, Refusal> {
    let metadata = file.metadata().row_group(index as usize);
    let sizes = leaves.iter().flatten().filter_map(|leaf| metadata.columns().get(*leaf));
    let bytes: u64 =
        sizes.map(|column| u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX)).max().unwrap_or(0);
    if bytes > limits.row_group_bytes {
        return Err((SkipReason::RecordTooLarge, format!("a column of {bytes} bytes")));
    }
    let num_rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
    let opened = guarded(|| {
        let reader = file.get_row_group(index as usize)?;
        let mut columns = [const { None }; NUM_COLUMNS];
        for (column, leaf) in columns.iter_mut().zip(leaves) {
            let Some(leaf) = *leaf else { continue };
            let present = metadata.column(leaf).column_descr().max_def_level();
            if let ColumnReader::ByteArrayColumnReader(reader) = reader.get_column_reader(leaf)? {
                *column = Some(Column { reader, present });
            }
        }
        let mut group = Group { columns, num_rows, rows: VecDeque::new() };
        group.skip_to(row)?;
        Ok(group)
    });
    opened.map_err(|message| (SkipReason::BrokenRowGroup, message))
}

impl Group {
    fn skip_to(&mut self, row: u64) -> Result<(), parquet::errors::ParquetError> {
        if row == 0 || row >= self.num_rows {
            return Ok(());
        }
        let batch = row - row % BATCH_ROWS;
        for column in self.columns.iter_mut().flatten() {
            column.reader.skip_records(batch as usize)?;
        }
        self.read_batch()?;
        self.rows.drain(..((row - batch) as usize).min(self.rows.len()));
        Ok(())
    }

    /// Decodes the next rows.
    fn read_batch(&mut self) -> Result<(), parquet::errors::ParquetError> {
        let mut rows: VecDeque<Row> = VecDeque::new();
        for (at, column) in self.columns.iter_mut().enumerate() {
            let Some(column) = column else { continue };
            let values = column.read(BATCH_ROWS as usize)?;
            if at == 0 {
                rows.resize_with(values.len(), Row::default);
            }
            for (row, value) in rows.iter_mut().zip(values) {
                row[at] = value;
            }
        }
        if rows.is_empty() {
            return Err(parquet::errors::ParquetError::EOF("fewer rows than the footer says".to_owned()));
        }
        self.rows = rows;
        Ok(())
    }
}

impl Column {
    fn read(&mut self, num_rows: usize) -> Result<Vec<Option<ByteArray>>, parquet::errors::ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut rows = Vec::new();
        while rows.len() < num_rows {
            levels.clear();
            values.clear();
            let (read, _, _) =
                self.reader.read_records(num_rows - rows.len(), Some(&mut levels), None, &mut values)?;
            if read == 0 {
                break;
            }
            let mut values = values.drain(..);
            if self.present == 0 {
                rows.extend(values.map(Some));
            } else {
                rows.extend(
                    levels.iter().map(|level| (*level == self.present).then(|| values.next()).flatten()),
                );
            }
        }
        Ok(rows)
    }
}

/// Runs a call into the decoder; an error or a panic is its message.
fn guarded<T>(call: impl FnOnce() -> Result<T, parquet::errors::ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the decoder met what it takes to be impossible".to_owned()),
    }
}
