//! Instruction pairs.

use std::path::Path;

use cupola_specs::artifact::CorpusPair;

use super::DataError;
use super::shard::read_jsonl_zst;

/// Reads the pairs of a corpus: part `pairs` (train side) or `validation_pairs`.
pub fn read_pairs(corpus: &Path, part: &str) -> Result<Vec<CorpusPair>, DataError> {
    let name = match part {
        "pairs" => "train",
        "validation_pairs" => "validation",
        _ => return Err(DataError::UnknownPart { part: part.to_owned() }),
    };
    let path = corpus.join("pairs").join(format!("{name}.jsonl.zst"));
    if !path.exists() {
        return Err(DataError::NoPairs { corpus: corpus.to_path_buf() });
    }
    read_jsonl_zst(&path)
}
