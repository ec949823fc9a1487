//! A seal holds for the model that it was made of, in every format, and for no other.

use std::path::{Path, PathBuf};

use cupola_specs::artifact::SEAL_FILE;
use cupola_specs::job::{Family, ModelShape, ModelType, Precision};
use tch::Device;

use super::{SealError, SealReport, Tolerance, check_engine, check_network, read, seal_of, write};
use crate::generate::{
    CpuDecoder, CpuDecoderConfig, Engine, EngineConfig, TorchConfig, WeightFormat, stirred,
};
use crate::job::StepError;
use crate::model::{Network, ParamGroup, depth_shape};
use crate::tokenizer::Tokenizer;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer")
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&fixtures()).unwrap()
}

/// A network whose every matrix says something.
fn network(shape: &ModelShape, seed: u64) -> Network {
    let vocab_size = tokenizer().vocab_size() as i64;
    let fresh = Network::init(shape, vocab_size, seed, Device::Cpu).unwrap();
    stirred(&fresh).unwrap().unwrap_or(fresh)
}

/// A network that is as sure of its guesses as a trained one: a fresh one's are all about as likely.
fn sharp(seed: u64) -> Network {
    let network = network(&llama(), seed);
    let head = network.parameters().iter().find(|p| p.group == ParamGroup::Head).unwrap();
    let mut weight = head.tensor.shallow_clone();
    let _ = tch::no_grad(|| weight.g_mul_scalar_(4.0));
    network
}

fn llama() -> ModelShape {
    ModelShape { model_type: ModelType::Llama, qk_norm: false, ..depth_shape(Family::Transformer, 2, 128) }
}

fn by_kernels(network: &Network, format: WeightFormat) -> Engine<CpuDecoder> {
    let config = CpuDecoderConfig { format, num_blocks: 8, max_len: 128, threads: 1 };
    let decoder = CpuDecoder::new(network, config).unwrap();
    Engine::new(decoder, EngineConfig { max_running: 2, step_tokens: 64 }).unwrap()
}

fn checked(network: &Network, sealed: &Network, format: WeightFormat) -> Result<SealReport, SealError> {
    let tokenizer = tokenizer();
    let seal = seal_of(sealed, &tokenizer).unwrap();
    check_engine(&seal, &tokenizer, (&mut by_kernels(network, format), None), Tolerance::of(format))
}

#[test]
fn every_format_keeps_the_seal_with_room() {
    for shape in [llama(), depth_shape(Family::Transformer, 2, 128)] {
        for seed in 0..2 {
            let network = network(&shape, seed);
            for format in [WeightFormat::Fp32, WeightFormat::Bf16, WeightFormat::Int8, WeightFormat::Int4] {
                let report = checked(&network, &network, format).unwrap();
                println!("{:?} seed {seed} {format:?}: {report:?}", shape.model_type);
                let tolerance = Tolerance::of(format);
                assert!(report.tokens > 200, "{report:?}");
                assert!(report.mean < tolerance.mean / 2.0 && report.largest < tolerance.largest / 2.0);
            }
        }
    }
}

#[test]
fn the_tensor_librarys_engine_keeps_the_seal() {
    let tokenizer = tokenizer();
    for family in [Family::Transformer, Family::Lstm] {
        let network = network(&depth_shape(family, 1, 128), 1);
        let seal = seal_of(&network, &tokenizer).unwrap();
        let torch = TorchConfig::batch(2, 128, Precision::Fp32);
        let mut engine = Engine::on_torch(&network, torch).unwrap();
        let tolerance = Tolerance::of(WeightFormat::Fp32);
        let report = check_engine(&seal, &tokenizer, (&mut engine, None), tolerance).unwrap();
        assert!(report.tokens > 200 && report.largest < 1e-3, "{report:?}");
    }
}

#[test]
fn another_weight_breaks_the_seal_and_the_place_is_named() {
    let (sealed, changed) = (sharp(1), sharp(1));
    let value = changed.parameters().iter().find(|p| p.name.contains("layers.1.mlp.up_proj")).unwrap();
    let mut weight = value.tensor.shallow_clone();
    let _ = tch::no_grad(|| weight.g_mul_scalar_(1.05));
    let error = checked(&changed, &sealed, WeightFormat::Fp32).unwrap_err();
    assert!(matches!(error, SealError::Differs { tokens, .. } if tokens > 200), "{error}");
    assert!(error.to_string().contains("was sealed") && error.facts().hint.contains("export"), "{error}");
    // In few bits small changes pass; another model does not.
    let other = sharp(2);
    for format in [WeightFormat::Fp32, WeightFormat::Bf16, WeightFormat::Int8, WeightFormat::Int4] {
        let error = checked(&other, &sealed, format).unwrap_err();
        assert!(matches!(error, SealError::Differs { .. }), "{format:?}: {error}");
    }
}

#[test]
fn another_tokenizer_or_template_breaks_the_seal() {
    let (folder, network) =
        (tempfile::tempdir().unwrap(), network(&depth_shape(Family::Transformer, 1, 32), 1));
    let seal = seal_of(&network, &tokenizer()).unwrap();
    let changed = |file: &str, from: &str, to: &str| {
        tokenizer().copy_files(folder.path()).unwrap();
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        check_network(&seal, &Tokenizer::load(folder.path()).unwrap(), &network)
    };
    assert!(check_network(&seal, &tokenizer(), &network).unwrap().largest < 1e-6);
    let template = changed("tokenizer_config.json", "assistant", "Assistant").unwrap_err();
    assert!(matches!(template, SealError::Template { prompt: 4, .. }), "{template}");
    let json = std::fs::read_to_string(fixtures().join("tokenizer.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (one, two) = ("\u{120}the", "the");
    let ids = |word: &str| value["model"]["vocab"][word].as_u64();
    let (Some(first), Some(second)) = (ids(one), ids(two)) else {
        panic!("the vocabulary has no {one}, {two}")
    };
    let mut swapped = value.clone();
    swapped["model"]["vocab"][one] = second.into();
    swapped["model"]["vocab"][two] = first.into();
    tokenizer().copy_files(folder.path()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), swapped.to_string()).unwrap();
    let ids = check_network(&seal, &Tokenizer::load(folder.path()).unwrap(), &network).unwrap_err();
    assert!(matches!(ids, SealError::Ids { .. }), "{ids}");
}

#[test]
fn a_seal_comes_back_from_its_file_and_a_broken_one_is_named() {
    let (folder, network) =
        (tempfile::tempdir().unwrap(), network(&depth_shape(Family::Transformer, 1, 32), 1));
    assert!(read(folder.path()).unwrap().is_none(), "an imported model has none");
    write(folder.path(), &network, &tokenizer()).unwrap();
    assert_eq!(read(folder.path()).unwrap().unwrap(), seal_of(&network, &tokenizer()).unwrap());
    let path = folder.path().join(SEAL_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    for broken in [text.replacen("\"version\":1", "\"version\":9", 1), "{".to_owned()] {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(read(folder.path()).unwrap_err(), SealError::Format { .. }));
    }
}
