//! Counts of pieces that no longer fit in memory: sorted runs on disk, and all of them read as one.
//!
//! A run is a nameless temporary file, gone with the process. An entry is the piece's length, its count, both as variable-length integers of seven
//! bits a byte, and its bytes. Of a piece that stands in several runs the counts are added, so nothing is lost or approximated.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

use super::TrainError;
use super::count::PieceCounter;

/// More runs than this are merged into one, so that the process does not run out of open files.
const MOST_RUNS: usize = 48;

/// The runs that were written so far.
#[derive(Debug)]
pub(crate) struct Runs {
    folder: PathBuf,
    files: Vec<File>,
    num_written: usize,
}

impl Runs {
    /// Runs will lie in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, files: Vec::new(), num_written: 0 }
    }

    /// Runs written, those that were merged since included.
    pub(crate) fn num_written(&self) -> usize {
        self.num_written
    }

    /// Writes a counter's pieces as one more run.
    pub(crate) fn write(&mut self, counter: &PieceCounter) -> Result<(), TrainError> {
        let mut run = Writer::new(self)?;
        counter
            .for_each_sorted(|piece, count| run.entry(piece, count))
            .map_err(self.failed("writing a run"))?;
        self.files.push(run.finish().map_err(self.failed("writing a run"))?);
        self.num_written += 1;
        if self.files.len() > MOST_RUNS {
            let mut merged = Writer::new(self)?;
            let mut result = Ok(());
            self.for_each(&mut |piece, count| {
                if result.is_ok() {
                    result = merged.entry(piece, count);
                }
            })?;
            result.map_err(self.failed("merging runs"))?;
            self.files = vec![merged.finish().map_err(self.failed("merging runs"))?];
        }
        Ok(())
    }

    /// Calls `each` with every piece and its whole count, in the order of their bytes. Can be called again.
    pub(crate) fn for_each(&mut self, each: &mut dyn FnMut(&[u8], u64)) -> Result<(), TrainError> {
        self.merge(each).map_err(self.failed("reading a run"))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> TrainError {
        let folder = self.folder.clone();
        move |source| TrainError::Spill { folder: folder.clone(), doing, source }
    }

    fn merge(&mut self, each: &mut dyn FnMut(&[u8], u64)) -> io::Result<()> {
        let mut readers = Vec::with_capacity(self.files.len());
        let mut heads = BinaryHeap::new();
        for file in &mut self.files {
            file.rewind()?;
            let mut reader = BufReader::with_capacity(1 << 16, &*file);
            if let Some((piece, count)) = read_entry(&mut reader)? {
                heads.push(Reverse((piece, readers.len(), count)));
            }
            readers.push(reader);
        }
        let mut current: Option<(Vec<u8>, u64)> = None;
        while let Some(Reverse((piece, run, count))) = heads.pop() {
            if let Some((piece, count)) = read_entry(&mut readers[run])? {
                heads.push(Reverse((piece, run, count)));
            }
            match &mut current {
                Some((same, sum)) if *same == piece => *sum += count,
                _ => {
                    if let Some((done, sum)) = current.replace((piece, count)) {
                        each(&done, sum);
                    }
                }
            }
        }
        if let Some((done, sum)) = current {
            each(&done, sum);
        }
        Ok(())
    }
}

/// A run that is being written.
struct Writer(BufWriter<File>);

impl Writer {
    fn new(runs: &Runs) -> Result<Self, TrainError> {
        let file = tempfile::tempfile_in(&runs.folder).map_err(runs.failed("making a temporary file"))?;
        Ok(Self(BufWriter::with_capacity(1 << 18, file)))
    }

    fn entry(&mut self, piece: &[u8], count: u64) -> io::Result<()> {
        write_number(&mut self.0, piece.len() as u64)?;
        write_number(&mut self.0, count)?;
        self.0.write_all(piece)
    }

    fn finish(self) -> io::Result<File> {
        self.0.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

fn write_number(into: &mut impl Write, mut number: u64) -> io::Result<()> {
    while number >= 0x80 {
        into.write_all(&[number as u8 | 0x80])?;
        number >>= 7;
    }
    into.write_all(&[number as u8])
}

fn read_number(from: &mut impl Read, first: u8) -> io::Result<u64> {
    let mut number = u64::from(first & 0x7f);
    let mut byte = [first];
    let mut shift = 7;
    while byte[0] & 0x80 != 0 && shift < 64 {
        from.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        shift += 7;
    }
    Ok(number)
}

/// The next entry, or none at the end of the run.
fn read_entry(from: &mut impl Read) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut byte = [0];
    if from.read(&mut byte)? == 0 {
        return Ok(None);
    }
    let len = read_number(from, byte[0])?;
    from.read_exact(&mut byte)?;
    let count = read_number(from, byte[0])?;
    let mut piece = Vec::new();
    from.take(len).read_to_end(&mut piece)?;
    if piece.len() as u64 == len {
        Ok(Some((piece, count)))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn runs_are_read_as_one_and_more_than_may_be_open_are_merged() {
        let mut runs = Runs::new(std::env::temp_dir());
        let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for run in 0..MOST_RUNS as u64 + 7 {
            let mut counter = PieceCounter::new();
            for step in 0..20 {
                let piece = format!("piece {}", (run * 7 + step * 13) % 97)
                    .repeat(1 + step as usize % 3)
                    .into_bytes();
                let count = 1 + (run << (step * 2));
                counter.add(&piece, count);
                *expected.entry(piece).or_default() += count;
            }
            runs.write(&counter).unwrap();
        }
        assert!(runs.files.len() <= MOST_RUNS);
        for _ in 0..2 {
            let mut found = Vec::new();
            runs.for_each(&mut |piece, count| found.push((piece.to_vec(), count))).unwrap();
            assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Runs::new("/nonexistent/folder".into()).write(&PieceCounter::new()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/folder"), "{error}");
    }
}
