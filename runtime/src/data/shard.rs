//! Shards: one JSON value a line, compressed with zstd. Every `*.jsonl.zst` of every artifact is written and read here.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Seek, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::ShardFrame;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DataError;

/// zstd's level: the size of level 3 at its speed is what shards of text want.
const LEVEL: i32 = 3;
/// That of files which a step reads again and then removes.
const SCRATCH_LEVEL: i32 = 1;
/// Bytes of lines after which a frame ends: who looks for one document unpacks one frame.
const FRAME_BYTES: u64 = 4 << 20;

/// Writes a shard.
pub struct JsonlZstWriter {
    path: PathBuf,
    encoder: zstd::Encoder<'static, File>,
    level: i32,
    line: Vec<u8>,
    written: u64,
    frame_bytes: u64,
    frames: Vec<ShardFrame>,
}

impl JsonlZstWriter {
    /// Creates a shard, and its folder where there is none.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        Self::with_level(path, LEVEL)
    }

    /// Creates a shard that will be read soon and not kept.
    pub(super) fn create_scratch(path: &Path) -> Result<Self, DataError> {
        Self::with_level(path, SCRATCH_LEVEL)
    }

    fn with_level(path: &Path, level: i32) -> Result<Self, DataError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| DataError::io(folder, e))?;
        }
        let encoder = File::create(path)
            .and_then(|file| zstd::Encoder::new(file, level))
            .map_err(|e| DataError::io(path, e))?;
        let frames = vec![ShardFrame { offset: 0, first: 0 }];
        Ok(Self {
            path: path.to_path_buf(),
            encoder,
            level,
            line: Vec::new(),
            written: 0,
            frame_bytes: 0,
            frames,
        })
    }

    /// Appends one value.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<(), DataError> {
        if self.frame_bytes >= FRAME_BYTES {
            self.next_frame()?;
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)
            .map_err(std::io::Error::from)
            .map_err(|e| DataError::io(&self.path, e))?;
        self.line.push(b'\n');
        self.encoder.write_all(&self.line).map_err(|e| DataError::io(&self.path, e))?;
        self.written += 1;
        self.frame_bytes += self.line.len() as u64;
        Ok(())
    }

    fn next_frame(&mut self) -> Result<(), DataError> {
        let io = |error| DataError::io(&self.path, error);
        self.encoder.do_finish().map_err(io)?;
        let mut file = self.encoder.get_ref().try_clone().map_err(io)?;
        let offset = file.stream_position().map_err(io)?;
        self.encoder = zstd::Encoder::new(file, self.level).map_err(io)?;
        self.frames.push(ShardFrame { offset, first: self.written });
        self.frame_bytes = 0;
        Ok(())
    }

    /// Ends the shard; returns how many values it holds.
    pub fn finish(self) -> Result<u64, DataError> {
        Ok(self.finish_with_frames()?.0)
    }

    /// Ends the shard; returns how many values it holds, and its frames.
    pub(super) fn finish_with_frames(self) -> Result<(u64, Vec<ShardFrame>), DataError> {
        self.encoder.finish().and_then(|file| file.sync_all()).map_err(|e| DataError::io(&self.path, e))?;
        Ok((self.written, self.frames))
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
    fn each_frame_can_be_read_from_its_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.zst");
        let values: Vec<String> = (0..30).map(|n| format!("{n} ").repeat(200_000)).collect();
        let mut writer = JsonlZstWriter::create(&path).unwrap();
        for value in &values {
            writer.write(value).unwrap();
        }
        let (written, frames) = writer.finish_with_frames().unwrap();
        assert!(written == 30 && frames.len() > 2);
        assert_eq!(read_jsonl_zst::<String>(&path).unwrap(), values);
        for frame in frames {
            let mut file = File::open(&path).unwrap();
            file.seek(std::io::SeekFrom::Start(frame.offset)).unwrap();
            let line = BufReader::new(zstd::Decoder::new(file).unwrap()).lines().next().unwrap().unwrap();
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), values[frame.first as usize]);
        }
    }

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
