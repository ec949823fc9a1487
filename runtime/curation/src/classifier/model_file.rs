//! A classifier as a file: a header that says what is in it, numbers, and a hash over both.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `cupolacl` |
//! | 4 | version, 1 |
//! | 4 | bytes of the header |
//! | … | the header: JSON, blanks to a multiple of 64 |
//! | … | `known`: u64, a bit for each bucket; then `scores` (f32, `[features, labels]`), or `rows` (f32, `[features, dim]`) and `outputs` (f32, `[labels, dim]`) |
//! | 32 | BLAKE3 of all before |
//!
//! All numbers are little-endian. The same model is the same bytes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::known::Known;
use super::scores::Scores;
use super::{Calibration, ClassifierError, Model, Settings};

const MAGIC: &[u8; 8] = b"cupolacl";
const VERSION: u32 = 1;
const PREFIX: usize = 16;
const HASH: usize = 32;

/// What a file says of its model.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    settings: Settings,
    labels: Vec<String>,
    /// Rows.
    features: u64,
    /// Whether the two matrices are multiplied.
    is_folded: bool,
    calibrations: Vec<Option<Calibration>>,
}

impl Model {
    /// Writes the model.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> Result<(), ClassifierError> {
        let io = || ClassifierError::io(path);
        let header = Header {
            settings: self.settings.clone(),
            labels: self.labels.clone(),
            features: self.scores.len() as u64,
            is_folded: matches!(self.scores, Scores::Folded { .. }),
            calibrations: self.calibrations.clone(),
        };
        let mut header = serde_json::to_vec(&header).map_err(|error| io()(error.into()))?;
        header.resize((PREFIX + header.len()).next_multiple_of(64) - PREFIX, b' ');
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend(self.known.bits().iter().flat_map(|word| word.to_le_bytes()));
        let parts: [&[f32]; 2] = match &self.scores {
            Scores::Folded { values, .. } => [values, &[]],
            Scores::Factored { rows, outputs, .. } => [rows, outputs],
        };
        bytes.extend(parts.into_iter().flatten().flat_map(|value| value.to_le_bytes()));
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        std::fs::write(path, bytes).map_err(io())
    }

    /// Reads a model.
    ///
    /// # Errors
    /// A file that can't be read, is not a classifier, is of a later version or is damaged.
    pub fn load(path: &Path) -> Result<Self, ClassifierError> {
        let bytes = std::fs::read(path).map_err(ClassifierError::io(path))?;
        parse(&bytes).map_err(|what| ClassifierError::format(path, what))
    }
}

fn parse(bytes: &[u8]) -> Result<Model, String> {
    if !bytes.starts_with(MAGIC) || bytes.len() < PREFIX + HASH {
        return Err("not a classifier of cupola's; a fastText model ends in `.bin` or `.ftz`".into());
    }
    let number = |at: usize| bytes[at..].first_chunk::<4>().map_or(0, |four| u32::from_le_bytes(*four));
    let version = number(8);
    if version != VERSION {
        return Err(format!("a classifier of version {version}, this is written for {VERSION}"));
    }
    let (body, hash) = bytes.split_at(bytes.len() - HASH);
    if blake3::hash(body).as_bytes() != hash {
        return Err("the classifier is damaged: its hash is another; train or copy it again".into());
    }
    let damaged = |what: &str| format!("the classifier's {what} can't be: train it again");
    let end = PREFIX + number(12) as usize;
    let header = body.get(PREFIX..end).ok_or_else(|| damaged("header"))?;
    let header: Header = serde_json::from_slice(header).map_err(|error| format!("the header: {error}"))?;
    header.settings.check().map_err(|error| error.to_string())?;
    let labels = header.labels.len();
    let words = header.settings.buckets.div_ceil(64) as usize;
    let (bits, values) = body[end..].split_at_checked(words * 8).ok_or_else(|| damaged("size"))?;
    let words = bits.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let known = Known::from_bits(words.collect());
    let values: Vec<f32> = values.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let features = known.len();
    let dim = header.settings.dim;
    let expected = if header.is_folded { features * labels } else { (features + labels) * dim };
    if labels < 2 || values.len() != expected || features as u64 != header.features {
        return Err(damaged("size"));
    }
    if header.calibrations.len() != labels {
        return Err(damaged("calibration"));
    }
    let scores = if header.is_folded {
        Scores::Folded { labels, values }
    } else {
        let outputs = values[features * dim..].to_vec();
        let mut rows = values;
        rows.truncate(features * dim);
        Scores::Factored { dim, rows, outputs }
    };
    let Header { settings, labels, calibrations, .. } = header;
    Ok(Model { settings, labels, known, scores, calibrations })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{Example, train};

    fn model(dim: usize) -> Model {
        let labels: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let example = |at: usize| Example { text: ["x y", "y z", "z x é"][at % 3], label: at as u32 % 3 };
        let examples: Vec<Example<'_>> = (0..30).map(example).collect();
        let settings = Settings { dim, buckets: 1000, ..Settings::default() };
        let mut model = train(&examples, &labels, &settings, 1).unwrap();
        model.set_calibration(1, Calibration::Platt { slope: 2.0, offset: -0.1 });
        model
    }

    #[test]
    fn what_is_written_is_read_and_is_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for dim in [2, 20] {
            let (path, again) = (folder.path().join("model"), folder.path().join("again"));
            let written = model(dim);
            written.save(&path).unwrap();
            let read = Model::load(&path).unwrap();
            assert!(read == written);
            read.save(&again).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
        }
    }

    #[test]
    fn a_damaged_file_is_refused_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        model(2).save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(parse(&damaged).is_err(), "{at}");
            assert!(parse(&bytes[..at]).is_err(), "{at}");
        }
        let mut later = bytes;
        later[8] = 9;
        assert!(parse(&later).unwrap_err().contains("version 9"));
    }
}
