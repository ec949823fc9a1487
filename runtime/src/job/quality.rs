//! Bits per byte of a model before and after an export, by the kernels that a server runs.
//!
//! What a format of weights costs is measured on a text that the model was not trained on: a file of the user's, or the held-out side of a corpus, each
//! of its domains alike. The text is cut into windows of the model's context that share one token, so that every token is predicted once, as in the
//! perplexity suite; a window is a pass or two of the decoder. How much is read is bounded, for a large network further down, so that an export need not
//! wait long for it; the result says how much it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cupola_specs::artifact::CorpusDocument;
use cupola_specs::job::{Family, Precision};
use serde::Serialize;
use tch::Device;

use super::JobError;
use super::inspect::InspectError;
use crate::data::shard::{JsonlZstReader, corpus_shards};
use crate::generate::{
    BLOCK_TOKENS, CpuDecoder, CpuDecoderConfig, Decoder, Engine, EngineConfig, TorchConfig, WeightFormat,
};
use crate::model::Network;
use crate::seal::engine_log_probs;
use crate::tokenizer::{Tokenizer, corpus_statistics};

/// Bytes of text that are read at most: some ten thousand tokens, so that a difference of a hundredth of a bit shows.
const MAX_BYTES: usize = 48 << 10;
/// Bytes that are read of a large network too: some hundred tokens, which all formats are given alike.
const MIN_BYTES: usize = 2 << 10;
/// Parameters times bytes at most, a byte being a token or less: a network of 131 M parameters is given 33,000 bytes.
const MAX_WORK: u64 = 1 << 42;
/// Bytes of a corpus' document at most, so that several are read.
const DOCUMENT_BYTES: usize = 4 << 10;
/// The longest character.
const CHAR_BYTES: usize = 4;
/// Tokens of a window at most.
const MAX_WINDOW: usize = 512;
/// Tokens of a step of the engine: its logits are as many rows of the vocabulary.
const STEP_TOKENS: usize = 256;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Quality {
    /// Bytes of text that were measured.
    bytes: u64,
    /// Bytes of text that there are.
    of_bytes: u64,
    /// Tokens that were predicted.
    tokens: usize,
    /// Bits per byte of the model as it was trained, in fp32.
    before: f64,
    /// Bits per byte of the weights that were written, by the format that they are served in.
    after: BTreeMap<&'static str, f64>,
}

/// Measures a model's folder and what was written of it, a folder or a GGUF file.
///
/// # Errors
/// A text that is not there or says nothing; a model that can't be loaded.
pub(super) fn measure(before: &Path, after: &Path, text: &Path) -> Result<Quality, InspectError> {
    let tokenizer = Tokenizer::load(before)?;
    let trained = Network::load(before, Device::Cpu)?;
    let Sample { documents, of_bytes } = sample(text, room(trained.total_params()))?;
    let longest = (trained.shape().max_position_embeddings as usize).clamp(2, MAX_WINDOW);
    let windows: Vec<Vec<u32>> =
        documents.iter().flat_map(|document| windows(&tokenizer, document, longest)).collect();
    let bytes: u64 = documents.iter().map(|document| document.len() as u64).sum();
    let tokens = windows.iter().map(|window| window.len() - 1).sum();
    let bits = |network: &Network, format| {
        Ok::<_, InspectError>(nats(network, format, &windows)? / LN_2 / bytes as f64)
    };
    let plain = bits(&trained, WeightFormat::Fp32)?;
    drop(trained);
    let written = Network::load(after, Device::Cpu)?;
    let mut after = BTreeMap::new();
    for (name, format) in formats(written.shape().family) {
        after.insert(*name, bits(&written, *format)?);
    }
    Ok(Quality { bytes, of_bytes, tokens, before: plain, after })
}

const LN_2: f64 = std::f64::consts::LN_2;

/// The formats that a server has for a family.
fn formats(family: Family) -> &'static [(&'static str, WeightFormat)] {
    let all = &[
        ("fp32", WeightFormat::Fp32),
        ("bf16", WeightFormat::Bf16),
        ("int8", WeightFormat::Int8),
        ("int4", WeightFormat::Int4),
    ];
    if family == Family::Transformer { all } else { &all[..1] }
}

/// Bytes that are read with a network of so many parameters.
fn room(num_params: u64) -> usize {
    usize::try_from(MAX_WORK / num_params.max(1)).unwrap_or(MAX_BYTES).clamp(MIN_BYTES, MAX_BYTES)
}

/// What a model is measured on.
#[derive(Debug)]
struct Sample {
    documents: Vec<String>,
    /// Bytes of the text that these are of.
    of_bytes: u64,
}

/// As much as there is room for of a text file, which is one document, or of a corpus' held-out side.
fn sample(text: &Path, room: usize) -> Result<Sample, InspectError> {
    let mut sample = if text.is_dir() {
        of_corpus(text, room)?
    } else {
        of_file(text, room).map_err(|error| JobError::io(text, error))?
    };
    sample.documents.retain(|document| !document.is_empty());
    if sample.documents.is_empty() {
        return Err(InspectError::NoText { path: text.to_path_buf() });
    }
    Ok(sample)
}

/// The beginning of a file.
fn of_file(path: &Path, room: usize) -> io::Result<Sample> {
    let file = File::open(path)?;
    let of_bytes = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(room as u64).read_to_end(&mut bytes)?;
    // The room may end within a character.
    if (bytes.len() as u64) < of_bytes
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    let document =
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Sample { documents: vec![document], of_bytes })
}

/// The beginnings of a corpus' first documents, as many bytes of each domain: documents lie in the order of their sources.
fn of_corpus(corpus: &Path, room: usize) -> Result<Sample, InspectError> {
    let held_out = corpus_statistics(corpus)?.validation;
    let of_bytes = held_out.values().map(|domain| domain.bytes).sum();
    let share = room / held_out.len().max(1);
    let mut rooms: BTreeMap<String, usize> = held_out.into_keys().map(|domain| (domain, share)).collect();
    let mut documents = Vec::new();
    for shard in corpus_shards(corpus, "validation")? {
        for document in JsonlZstReader::<CorpusDocument>::open(&shard)? {
            if rooms.is_empty() {
                return Ok(Sample { documents, of_bytes });
            }
            let CorpusDocument { text, domain, .. } = document?;
            let Some(room) = rooms.get_mut(&domain) else { continue };
            let part = &text[..text.floor_char_boundary(DOCUMENT_BYTES.min(*room))];
            *room -= part.len();
            if *room < CHAR_BYTES {
                rooms.remove(&domain);
            }
            documents.push(part.to_owned());
        }
    }
    Ok(Sample { documents, of_bytes })
}

/// A document's windows: behind the token that begins documents, each but the first from the last token of the one before on.
fn windows(tokenizer: &Tokenizer, document: &str, longest: usize) -> Vec<Vec<u32>> {
    let mut ids = vec![tokenizer.bos_id()];
    ids.extend(tokenizer.encode(document));
    let starts = (0..ids.len().saturating_sub(1)).step_by(longest - 1);
    starts.map(|start| ids[start..(start + longest).min(ids.len())].to_vec()).collect()
}

/// Nats of all windows, by the kernels of a format; of what has none by the tensor library.
fn nats(network: &Network, format: WeightFormat, windows: &[Vec<u32>]) -> Result<f64, InspectError> {
    let max_len = windows.iter().map(Vec::len).max().unwrap_or(2);
    if network.shape().family != Family::Transformer {
        let engine = Engine::on_torch(network, TorchConfig::batch(1, max_len, Precision::Fp32))?;
        return sum(engine, windows);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let config = CpuDecoderConfig { format, num_blocks: max_len.div_ceil(BLOCK_TOKENS), max_len, threads };
    let limits = EngineConfig { max_running: 1, step_tokens: STEP_TOKENS };
    sum(Engine::new(CpuDecoder::new(network, config)?, limits)?, windows)
}

fn sum<D: Decoder>(mut engine: Engine<D>, windows: &[Vec<u32>]) -> Result<f64, InspectError> {
    let mut nats = 0.0;
    for window in windows {
        nats -= engine_log_probs(&mut engine, None, window)?.into_iter().map(f64::from).sum::<f64>();
    }
    Ok(nats)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use cupola_specs::artifact::{CorpusStatistics, DomainStatistics};
    use cupola_specs::job::{ModelShape, ModelType};

    use super::*;
    use crate::data::shard::write_jsonl_zst;
    use crate::generate::stirred;
    use crate::model::{SaveFacts, depth_shape};
    use crate::seal::training_log_probs;

    /// Positions of the networks.
    const CONTEXT: usize = 64;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer")
    }

    /// A folder with a network whose every matrix says something.
    fn saved(folder: &Path, family: Family) {
        std::fs::create_dir_all(folder).unwrap();
        let tokenizer = Tokenizer::load(&fixtures()).unwrap();
        let mut shape = depth_shape(family, 2, CONTEXT as u64);
        if family == Family::Transformer {
            shape = ModelShape { model_type: ModelType::Llama, qk_norm: false, ..shape };
        }
        let fresh = Network::init(&shape, tokenizer.vocab_size() as i64, 1, Device::Cpu).unwrap();
        let network = stirred(&fresh).unwrap().unwrap_or(fresh);
        let facts =
            SaveFacts { bos_token_id: tokenizer.bos_id(), stop_token_ids: Vec::new(), pad_token_id: 0 };
        network.save(folder, &facts).unwrap();
        tokenizer.copy_files(folder).unwrap();
    }

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        let tokenizer = Tokenizer::load(&fixtures()).unwrap();
        let text = "A dome stands by its own weight.".repeat(9);
        let whole = tokenizer.encode(&text);
        for longest in [2, 3, 7, whole.len(), whole.len() + 1, whole.len() + 2] {
            let windows = windows(&tokenizer, &text, longest);
            assert!(windows.iter().all(|window| (2..=longest).contains(&window.len())));
            let predicted: Vec<u32> = windows.iter().flat_map(|window| window[1..].to_vec()).collect();
            assert_eq!(predicted, whole, "{longest}");
        }
    }

    /// In fp32 nothing changes; fewer bits change more; and what a file rounded away shows in fp32 too.
    #[test]
    fn what_a_format_costs_is_told_by_bits_per_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (model, text, out) =
            (folder.path().join("model"), folder.path().join("text"), folder.path().join("out"));
        saved(&model, Family::Transformer);
        std::fs::write(&text, "Forty-four metres — 建物. ".repeat(80)).unwrap();
        let same = measure(&model, &model, &text).unwrap();
        let whole = 80 * "Forty-four metres — 建物. ".len() as u64;
        assert_eq!((same.bytes, same.of_bytes, same.after.len()), (whole, whole, 4));
        assert_eq!(same.after["fp32"].to_bits(), same.before.to_bits());
        let off = |of: &Quality, name: &str| (of.after[name] - of.before).abs();
        assert!(off(&same, "bf16") > 0.0 && off(&same, "bf16") < off(&same, "int4"), "{same:?}");
        crate::job::llama_cpp::write(&model, &out, "q4_0").unwrap();
        let rounded = measure(&model, &out.join("model.gguf"), &text).unwrap();
        assert_eq!(rounded.before.to_bits(), same.before.to_bits());
        assert!(off(&rounded, "fp32") > 0.0 && off(&rounded, "fp32").is_finite(), "{rounded:?}");
    }

    /// By the kernels, and of a family without kernels by the tensor library. Of several windows each is a row of its own.
    #[test]
    fn the_number_is_the_one_that_the_training_forward_gives() {
        for (family, formats) in [(Family::Transformer, 4), (Family::Lstm, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let (model, text) = (folder.path().join("model"), folder.path().join("text"));
            saved(&model, family);
            let source = "fn area(radius: f64) -> f64 { std::f64::consts::PI * radius * radius }\n".repeat(9);
            std::fs::write(&text, &source).unwrap();
            let measured = measure(&model, &model, &text).unwrap();
            assert_eq!(measured.after.len(), formats);
            let network = Network::load(&model, Device::Cpu).unwrap();
            let windows = windows(&Tokenizer::load(&model).unwrap(), &source, CONTEXT);
            assert!(windows.len() > 1);
            let nats: f64 = windows
                .iter()
                .flat_map(|ids| training_log_probs(&network, ids).unwrap())
                .map(|log_prob| -f64::from(log_prob))
                .sum();
            let expected = nats / LN_2 / source.len() as f64;
            assert!((measured.before - expected).abs() < 1e-4, "{measured:?}, {expected}");
        }
    }

    #[test]
    fn a_text_that_says_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "").unwrap();
        assert!(matches!(sample(&text, 100), Err(InspectError::NoText { .. })));
        assert!(matches!(sample(&folder.path().join("nowhere"), 100), Err(InspectError::Job(_))));
        for broken in [&b"a\xff"[..], b"a\xc3"] {
            std::fs::write(&text, broken).unwrap();
            assert!(matches!(sample(&text, 100), Err(InspectError::Job(_))), "{broken:?}");
        }
    }

    #[test]
    fn a_long_file_is_cut_between_two_characters() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "aé建".repeat(50)).unwrap();
        for room in 1..=300 {
            let Sample { documents, of_bytes } = sample(&text, room).unwrap();
            assert!(documents[0].len() <= room && documents[0].len() + CHAR_BYTES > room, "{room}");
            assert_eq!(of_bytes, 300);
        }
    }

    #[test]
    fn a_large_network_reads_less_and_never_nothing() {
        assert_eq!(room(5_300_000), MAX_BYTES);
        assert_eq!(room(131_700_000), 33_394);
        assert_eq!(room(70_000_000_000), MIN_BYTES);
    }

    /// One domain comes first and fills the room many times over.
    #[test]
    fn every_domain_of_a_corpus_has_as_much_room() {
        let folder = tempfile::tempdir().unwrap();
        let document = |domain: &str, text: String| CorpusDocument {
            id: String::new(),
            text,
            source: domain.into(),
            file: String::new(),
            url: None,
            domain: domain.into(),
            language: None,
            signals: BTreeMap::new(),
        };
        let books = (0..30).map(|_| document("books", "建".repeat(5000)));
        let notes = (0..9).map(|_| document("notes", "b".repeat(1000)));
        let documents: Vec<CorpusDocument> = books.chain(notes).collect();
        let shard = folder.path().join("validation/00000.jsonl.zst");
        write_jsonl_zst(&shard, &documents).unwrap();
        let domains = [("books", 30, 450_000), ("notes", 9, 9000)];
        let validation = domains
            .map(|(name, documents, bytes)| (name.to_owned(), DomainStatistics { documents, bytes }))
            .into();
        let statistics = CorpusStatistics { validation, ..CorpusStatistics::default() };
        let json = serde_json::to_string(&statistics).unwrap();
        std::fs::write(folder.path().join("statistics.json"), json).unwrap();
        let sample = sample(folder.path(), 40_000).unwrap();
        let of = |letter: char| -> (usize, usize) {
            let parts = sample.documents.iter().filter(|part| part.starts_with(letter));
            parts.fold((0, 0), |(count, bytes), part| (count + 1, bytes + part.len()))
        };
        assert_eq!(of('b'), (9, 9000));
        // Four parts of 4,095 bytes, and what then is left of 20,000.
        assert_eq!(of('建'), (5, 19_998));
        assert_eq!(sample.of_bytes, 459_000);
    }
}
