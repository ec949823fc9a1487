//! fastText's file, version 12: arguments, dictionary, the rows and the outputs, each dense or as product quantisation.
//!
//! Everything that a size says is checked against what is left of the file before room is made for it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::ClassifierError;
use super::fasttext::{FastText, Output, tree};
use super::fasttext_dictionary::{Dictionary, LABEL, Pruned};
use super::known::Known;
use super::scores::Scores;

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
/// Centroids of each part of a quantised row.
const CENTROIDS: u64 = 256;
/// The most values that one byte of a quantised row stands for: fastText's default is 2.
const MAX_PART: i64 = 64;
/// The most values of a row.
const MAX_DIM: u64 = 1 << 16;
/// The most buckets: fastText's default is two million.
const MAX_BUCKETS: i32 = 1 << 28;
/// Rows read at once.
const BATCH: u64 = 1024;

/// Reads a classifier.
pub(super) fn read(path: &Path) -> Result<FastText, ClassifierError> {
    let file = File::open(path).map_err(ClassifierError::io(path))?;
    let size = file.metadata().map_err(ClassifierError::io(path))?.len();
    let mut source = Source { reader: BufReader::with_capacity(1 << 18, file), path, left: size, size };
    let arguments = arguments(&mut source)?;
    let (dictionary, labels, counts) = dictionary(&mut source, &arguments)?;
    let ngrams = match &dictionary.pruned {
        Pruned::No => u64::from(dictionary.buckets),
        Pruned::To { numbers, .. } => numbers.len() as u64,
    };
    let num_rows = dictionary.len() as u64 + ngrams;
    let scores = if source.byte()? == 0 {
        if matches!(dictionary.pruned, Pruned::To { .. }) {
            return source.bad("a model with a pruned dictionary and dense rows");
        }
        dense(&mut source, num_rows, labels.len() as u64)?
    } else {
        quantised(&mut source, num_rows, labels.len() as u64)?
    };
    let output = match arguments.loss {
        1 => Output::Tree(tree(&counts)),
        3 => Output::Softmax,
        2 | 4 => Output::Sigmoids,
        other => return source.bad(format!("a loss of number {other}, known are 1 to 4")),
    };
    Ok(FastText { dictionary, labels, scores, output })
}

/// What of the arguments a prediction needs.
struct Arguments {
    word_ngrams: i32,
    loss: i32,
    buckets: i32,
    chars: (i32, i32),
}

fn arguments(source: &mut Source<'_>) -> Result<Arguments, ClassifierError> {
    if source.left < 8 || source.int()? != MAGIC {
        return source.bad("not a model of fastText's");
    }
    let version = source.int()?;
    if version != VERSION {
        return source.bad(format!("a fastText model of version {version}; read is version {VERSION}, which fastText 0.1.0 and later write"));
    }
    let mut values = [0; 12];
    for value in &mut values {
        *value = source.int()?;
    }
    source.bytes(8)?; // the sampling threshold
    let [_dim, _ws, _epoch, _min_count, _neg, word_ngrams, loss, kind, buckets, min, max, _rate] = values;
    match kind {
        3 => {}
        1 | 2 => return source.bad("a fastText model of word vectors (cbow or skipgram); a classifier is trained with `fasttext supervised`"),
        _ => return source.bad(format!("a fastText model of an unknown kind, {kind}")),
    }
    let fits =
        (1..=64).contains(&word_ngrams) && (0..=MAX_BUCKETS).contains(&buckets) && (0..=64).contains(&max);
    if !fits {
        let what =
            format!("wordNgrams {word_ngrams}, bucket {buckets} and maxn {max}, to 64, 2^28 and 64 are read");
        return source.bad(what);
    }
    Ok(Arguments { word_ngrams, loss, buckets, chars: (min, max) })
}

type Entries = (Dictionary, Vec<String>, Vec<i64>);

fn dictionary(source: &mut Source<'_>, arguments: &Arguments) -> Result<Entries, ClassifierError> {
    let (size, words, num_labels) = (source.int()?, source.int()?, source.int()?);
    source.long()?; // tokens seen in training
    let pruned = source.long()?;
    // An entry has ten bytes at least.
    let fits = words >= 0 && num_labels >= 1 && words.checked_add(num_labels) == Some(size);
    if !fits || size as u64 * 10 > source.left {
        return source.bad(format!("a dictionary of {size} entries, {words} words and {num_labels} labels"));
    }
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    let (mut labels, mut counts) = (Vec::new(), Vec::new());
    for entry in 0..size {
        let start = text.len();
        source.word(&mut text)?;
        let (count, kind) = (source.long()?, source.byte()?);
        match (kind, entry < words) {
            (0, true) => ends.push(text.len()),
            (1, false) => {
                let name = String::from_utf8_lossy(&text[start..]);
                labels.push(name.strip_prefix(LABEL).unwrap_or(&name).to_owned());
                counts.push(count);
                text.truncate(start);
            }
            _ => return source.bad(format!("entry {entry} of the dictionary is of kind {kind}")),
        }
    }
    let mut dictionary = Dictionary::new(text, ends);
    dictionary.word_ngrams = arguments.word_ngrams as usize;
    dictionary.chars = (arguments.chars.0.max(0) as usize, arguments.chars.1 as usize);
    dictionary.buckets = arguments.buckets as u32;
    if pruned >= 0 {
        dictionary.pruned = self::pruned(source, pruned as u64, dictionary.buckets)?;
    }
    Ok((dictionary, labels, counts))
}

fn pruned(source: &mut Source<'_>, count: u64, buckets: u32) -> Result<Pruned, ClassifierError> {
    if count * 8 > source.left || count > u64::from(buckets) {
        return source.bad(format!("{count} buckets are kept of {buckets}"));
    }
    let mut pairs = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (bucket, number) = (source.int()?, source.int()?);
        if bucket < 0 || bucket as u32 >= buckets || number < 0 || number as u64 >= count {
            return source.bad(format!("bucket {bucket} is kept as number {number} of {count}"));
        }
        pairs.push((bucket as u32, number as u32));
    }
    pairs.sort_unstable();
    pairs.dedup_by_key(|(bucket, _)| *bucket);
    if pairs.len() as u64 != count {
        return source.bad("a bucket is kept twice");
    }
    let is_kept = |bucket: u32| pairs.binary_search_by_key(&bucket, |(bucket, _)| *bucket).is_ok();
    let known = Known::new(buckets, is_kept);
    Ok(Pruned::To { known, numbers: pairs.into_iter().map(|(_, number)| number).collect() })
}

/// Dense rows. The outputs stand behind them and are read first, so that rows needn't be held where their scores are fewer.
fn dense(source: &mut Source<'_>, num_rows: u64, num_labels: u64) -> Result<Scores, ClassifierError> {
    let dim = source.shape(num_rows, None)?;
    let start = source.size - source.left;
    source.seek(start + num_rows * dim * 4)?;
    source.byte()?; // whether the outputs are quantised, were this model so
    source.shape(num_labels, Some(dim))?;
    let outputs = source.floats(num_labels * dim)?;
    source.seek(start)?;
    let width = dim as usize;
    let is_folded = num_labels <= dim;
    let mut scores = Vec::with_capacity((num_rows * num_labels.min(dim)) as usize);
    let mut from = 0;
    while from < num_rows {
        let batch = BATCH.min(num_rows - from);
        let rows = source.floats(batch * dim)?;
        if is_folded {
            if let Scores::Folded { values, .. } = Scores::of(rows, outputs.clone(), width) {
                scores.extend(values);
            }
        } else {
            scores.extend(rows);
        }
        from += batch;
    }
    Ok(if is_folded {
        Scores::Folded { labels: num_labels as usize, values: scores }
    } else {
        Scores::Factored { dim: width, rows: scores, outputs }
    })
}

/// Quantised rows, decoded.
fn quantised(source: &mut Source<'_>, num_rows: u64, num_labels: u64) -> Result<Scores, ClassifierError> {
    let (rows, dim) = quantised_matrix(source, num_rows)?;
    let outputs = if source.byte()? == 0 {
        source.shape(num_labels, Some(dim))?;
        source.floats(num_labels * dim)?
    } else {
        let (outputs, width) = quantised_matrix(source, num_labels)?;
        if width != dim {
            return source.bad(format!("rows of {dim} values and outputs of {width}"));
        }
        outputs
    };
    Ok(Scores::of(rows, outputs, dim as usize))
}

fn quantised_matrix(source: &mut Source<'_>, num_rows: u64) -> Result<(Vec<f32>, u64), ClassifierError> {
    let has_norms = source.byte()? != 0;
    let dim = source.shape_header(num_rows, None)?;
    let num_codes = source.int()?;
    if num_codes < 0 || num_codes as u64 > source.left {
        return source.bad(format!("{num_codes} codes, {} bytes are left", source.left));
    }
    let codes = source.bytes(num_codes as u64)?;
    let parts = Centroids::read(source, dim)?;
    if codes.len() as u64 != num_rows * parts.num_parts as u64 {
        return source.bad(format!("{} codes for {num_rows} rows of {} parts", codes.len(), parts.num_parts));
    }
    let norms = if has_norms {
        let codes = source.bytes(num_rows)?;
        Some((codes, Centroids::read(source, 1)?))
    } else {
        None
    };
    let mut out = Vec::with_capacity((num_rows * dim) as usize);
    for (at, row) in codes.chunks_exact(parts.num_parts).enumerate() {
        let norm = norms.as_ref().map_or(1.0, |(codes, norms)| norms.of(0, codes[at])[0]);
        for (part, code) in row.iter().enumerate() {
            out.extend(parts.of(part, *code).iter().map(|value| norm * value));
        }
    }
    Ok((out, dim))
}

/// The centroids of a product quantiser.
struct Centroids {
    num_parts: usize,
    /// Values of a part, and of the last one.
    widths: (usize, usize),
    values: Vec<f32>,
}

impl Centroids {
    fn read(source: &mut Source<'_>, dim: u64) -> Result<Self, ClassifierError> {
        let mut values = [0; 4];
        for value in &mut values {
            *value = source.int()?;
        }
        let [size, parts, width, last] = values.map(i64::from);
        let fits = size == dim as i64
            && parts >= 1
            && (1..=MAX_PART).contains(&width)
            && (1..=width).contains(&last);
        if !fits || (parts - 1).checked_mul(width) != Some(size - last) {
            return source.bad(format!(
                "rows of {dim} values quantised in {parts} parts of {width}, the last of {last}"
            ));
        }
        let values = source.floats(dim * CENTROIDS)?;
        Ok(Self { num_parts: parts as usize, widths: (width as usize, last as usize), values })
    }

    fn of(&self, part: usize, code: u8) -> &[f32] {
        let (width, last) = self.widths;
        let of_part = if part + 1 == self.num_parts { last } else { width };
        let start = part * CENTROIDS as usize * width + usize::from(code) * of_part;
        &self.values[start..start + of_part]
    }
}

/// A file and how much of it is left.
struct Source<'a> {
    reader: BufReader<File>,
    path: &'a Path,
    left: u64,
    size: u64,
}

impl Source<'_> {
    fn bad<T>(&self, what: impl Into<String>) -> Result<T, ClassifierError> {
        let what = format!("{} (at byte {})", what.into(), self.size - self.left);
        Err(ClassifierError::format(self.path, what))
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, ClassifierError> {
        if count > self.left {
            return self
                .bad(format!("the file ends too early: {count} bytes are wanted, {} left", self.left));
        }
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes).map_err(ClassifierError::io(self.path))?;
        self.left -= count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ClassifierError> {
        if N as u64 > self.left {
            return self.bad("the file ends too early");
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(ClassifierError::io(self.path))?;
        self.left -= N as u64;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, ClassifierError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn int(&mut self) -> Result<i32, ClassifierError> {
        self.array().map(i32::from_le_bytes)
    }

    fn long(&mut self) -> Result<i64, ClassifierError> {
        self.array().map(i64::from_le_bytes)
    }

    fn word(&mut self, out: &mut Vec<u8>) -> Result<(), ClassifierError> {
        loop {
            match self.byte()? {
                0 => return Ok(()),
                byte => out.push(byte),
            }
        }
    }

    fn floats(&mut self, count: u64) -> Result<Vec<f32>, ClassifierError> {
        let Some(size) = count.checked_mul(4) else { return self.bad(format!("{count} values")) };
        let bytes = self.bytes(size)?;
        let values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        self.bad("a weight is not a finite number")
    }

    /// The columns of a dense matrix of which the rows are known, and which the file has room for.
    fn shape(&mut self, num_rows: u64, dim: Option<u64>) -> Result<u64, ClassifierError> {
        let dim = self.shape_header(num_rows, dim)?;
        if num_rows * dim * 4 > self.left {
            return self.bad(format!("{num_rows} rows of {dim} values, {} bytes are left", self.left));
        }
        Ok(dim)
    }

    /// As [`Self::shape`], for a matrix that is not dense.
    fn shape_header(&mut self, num_rows: u64, dim: Option<u64>) -> Result<u64, ClassifierError> {
        let (rows, columns) = (self.long()? as u64, self.long()? as u64);
        if rows != num_rows || !(1..=MAX_DIM).contains(&columns) || dim.is_some_and(|dim| dim != columns) {
            return self.bad(format!("a matrix of {rows} × {columns}, expected {num_rows} rows"));
        }
        Ok(columns)
    }

    fn seek(&mut self, to: u64) -> Result<(), ClassifierError> {
        self.reader.seek(SeekFrom::Start(to)).map_err(ClassifierError::io(self.path))?;
        self.left = self.size - to;
        Ok(())
    }
}
