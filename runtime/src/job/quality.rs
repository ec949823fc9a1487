//! Bits per byte of a model before and after an export, by the kernels that a server runs.
//!
//! What a format of weights costs is measured on a text that the model was not trained on: a file of the user's, or the held-out side of a corpus.
//! The text is cut into windows of the model's context that share one token, so that every token is predicted once, as in the perplexity suite.

use std::collections::BTreeMap;
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
use crate::tokenizer::Tokenizer;

/// Bytes of text that are read at most: some ten thousand tokens, so that a difference of a hundredth of a bit shows.
const MAX_BYTES: usize = 48 << 10;
/// Tokens of a window at most.
const MAX_WINDOW: usize = 512;
/// Tokens of a step of the engine.
const STEP_TOKENS: usize = 512;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Quality {
    /// Bytes of text.
    bytes: usize,
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
    let documents = documents(text)?;
    let trained = Network::load(before, Device::Cpu)?;
    let longest = (trained.shape().max_position_embeddings as usize).min(MAX_WINDOW);
    let windows: Vec<Vec<u32>> =
        documents.iter().flat_map(|document| windows(&tokenizer, document, longest)).collect();
    let bytes = documents.iter().map(String::len).sum();
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
    Ok(Quality { bytes, tokens, before: plain, after })
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

/// The documents of a text file, which is one, or of a corpus' held-out side, as many as there is room for.
fn documents(text: &Path) -> Result<Vec<String>, InspectError> {
    let mut documents = Vec::new();
    if text.is_dir() {
        let mut room = MAX_BYTES;
        for shard in corpus_shards(text, "validation")? {
            for document in JsonlZstReader::<CorpusDocument>::open(&shard)? {
                if room == 0 {
                    break;
                }
                let text = document?.text;
                let part = &text[..text.floor_char_boundary(room)];
                room = if part.len() < text.len() { 0 } else { room - part.len() };
                documents.push(part.to_owned());
            }
        }
    } else {
        let whole = std::fs::read_to_string(text).map_err(|error| JobError::io(text, error))?;
        documents.push(whole[..whole.floor_char_boundary(MAX_BYTES)].to_owned());
    }
    documents.retain(|document| !document.is_empty());
    if documents.is_empty() {
        return Err(InspectError::NoText { path: text.to_path_buf() });
    }
    Ok(documents)
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

    use cupola_specs::job::{ModelShape, ModelType};

    use super::*;
    use crate::generate::stirred;
    use crate::model::{SaveFacts, depth_shape};

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer")
    }

    /// A folder with a network whose every matrix says something.
    fn saved(folder: &Path, family: Family) {
        std::fs::create_dir_all(folder).unwrap();
        let tokenizer = Tokenizer::load(&fixtures()).unwrap();
        let mut shape = depth_shape(family, 2, 64);
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
        assert_eq!((same.bytes, same.after.len()), (80 * "Forty-four metres — 建物. ".len(), 4));
        assert_eq!(same.after["fp32"].to_bits(), same.before.to_bits());
        let off = |of: &Quality, name: &str| (of.after[name] - of.before).abs();
        assert!(off(&same, "bf16") > 0.0 && off(&same, "bf16") < off(&same, "int4"), "{same:?}");
        crate::job::llama_cpp::write(&model, &out, "q4_0").unwrap();
        let rounded = measure(&model, &out.join("model.gguf"), &text).unwrap();
        assert_eq!(rounded.before.to_bits(), same.before.to_bits());
        assert!(off(&rounded, "fp32") > 0.0 && off(&rounded, "fp32").is_finite(), "{rounded:?}");
    }

    /// The number is the one that the training forward gives.
    #[test]
    fn a_family_without_kernels_is_measured_by_the_tensor_library() {
        let folder = tempfile::tempdir().unwrap();
        let (model, text) = (folder.path().join("model"), folder.path().join("text"));
        saved(&model, Family::Lstm);
        let source = "fn area(radius: f64) -> f64 {}";
        std::fs::write(&text, source).unwrap();
        let measured = measure(&model, &model, &text).unwrap();
        assert_eq!(measured.after.keys().copied().collect::<Vec<_>>(), ["fp32"]);
        let (network, tokenizer) =
            (Network::load(&model, Device::Cpu).unwrap(), Tokenizer::load(&model).unwrap());
        let ids = &windows(&tokenizer, source, 64)[0];
        let plain: f64 =
            crate::seal::training_log_probs(&network, ids).unwrap().into_iter().map(f64::from).sum();
        assert!((measured.before + plain / LN_2 / source.len() as f64).abs() < 1e-4, "{measured:?}");
    }

    #[test]
    fn a_text_that_says_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("empty");
        std::fs::write(&text, "").unwrap();
        assert!(matches!(documents(&text), Err(InspectError::NoText { .. })));
        assert!(matches!(documents(&folder.path().join("nowhere")), Err(InspectError::Job(_))));
        std::fs::write(&text, "é".repeat(MAX_BYTES)).unwrap();
        assert_eq!(documents(&text).unwrap()[0].len(), MAX_BYTES);
    }
}
