//! Shards: one JSON value a line, compressed with zstd. Every `*.jsonl.zst` of every artifact is written and read here.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DataError;

/// zstd's level: the size of level 3 at its speed is what shards of text want.
const LEVEL: i32 = 3;

/// Writes a shard.
pub struct JsonlZstWriter {
    path: PathBuf,
    encoder: zstd::Encoder<'static, File>,
    line: Vec<u8>,
    written: u64,
}

impl JsonlZstWriter {
    /// Creates a shard, and its folder where there is none.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| DataError::io(folder, e))?;
        }
        let encoder = File::create(path)
            .and_then(|file| zstd::Encoder::new(file, LEVEL))
            .map_err(|e| DataError::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), encoder, line: Vec::new(), written: 0 })
    }

    /// Appends one value.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<(), DataError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)
            .map_err(std::io::Error::from)
            .map_err(|e| DataError::io(&self.path, e))?;
        self.line.push(b'\n');
        self.encoder.write_all(&self.line).map_err(|e| DataError::io(&self.path, e))?;
        self.written += 1;
        Ok(())
    }

    /// Ends the shard; returns how many values it holds.
    pub fn finish(self) -> Result<u64, DataError> {
        self.encoder.finish().and_then(|file| file.sync_all()).map_err(|e| DataError::io(&self.path, e))?;
        Ok(self.written)
    }
}

/// Reads a shard value by value.
pub struct JsonlZstReader<T> {
    path: PathBuf,
    lines: Lines<BufReader<zstd::Decoder<'static, BufReader<File>>>>,
    line: usize,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> JsonlZstReader<T> {
    /// Opens a shard.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let decoder = File::open(path).and_then(zstd::Decoder::new).map_err(|e| DataError::io(path, e))?;
        let lines = BufReader::with_capacity(1 << 17, decoder).lines();
        Ok(Self { path: path.to_path_buf(), lines, line: 0, value: PhantomData })
    }
}

impl<T: DeserializeOwned> Iterator for JsonlZstReader<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(DataError::io(&self.path, error))),
        };
        self.line += 1;
        Some(serde_json::from_str(&line).map_err(|error| DataError::Line {
            path: self.path.clone(),
            line: self.line,
            message: error.to_string(),
        }))
    }
}

/// Reads a whole shard.
pub fn read_jsonl_zst<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    JsonlZstReader::open(path)?.collect()
}

/// Writes a whole shard; returns how many values it holds.
pub fn write_jsonl_zst<'a, T: Serialize + 'a>(
    path: &Path,
    values: impl IntoIterator<Item = &'a T>,
) -> Result<u64, DataError> {
    let mut writer = JsonlZstWriter::create(path)?;
    for value in values {
        writer.write(value)?;
    }
    writer.finish()
}

/// The shards of one side of a corpus (`train` or `validation`), in order.
pub fn corpus_shards(corpus: &Path, part: &str) -> Result<Vec<PathBuf>, DataError> {
    if !["train", "validation"].contains(&part) {
        return Err(DataError::UnknownPart { part: part.to_owned() });
    }
    let folder = corpus.join(part);
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|e| DataError::io(&folder, e))? {
        let path = entry.map_err(|e| DataError::io(&folder, e))?.path();
        if path.to_string_lossy().ends_with(".jsonl.zst") {
            shards.push(path);
        }
    }
    shards.sort();
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_broken_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/a.jsonl.zst");
        let values = vec!["one\ntwo".to_owned(), "§".to_owned()];
        assert_eq!(write_jsonl_zst(&path, &values).unwrap(), 2);
        assert_eq!(read_jsonl_zst::<String>(&path).unwrap(), values);
        let error = read_jsonl_zst::<u64>(&path).unwrap_err();
        assert!(matches!(error, DataError::Line { line: 1, .. }), "{error}");
    }
}
