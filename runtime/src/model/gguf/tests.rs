//! Models through a file and back.

use cupola_specs::job::{ModelShape, ModelType, RopeScaling};
use tch::{Device, Kind, Tensor};

use super::export::GgufReport;
use super::*;
use crate::model::{Network, RowLayout};

fn shape(model_type: ModelType) -> ModelShape {
    let is_gpt2 = model_type == ModelType::Gpt2;
    ModelShape {
        num_hidden_layers: 2,
        hidden_size: 64,
        intermediate_size: 96,
        num_attention_heads: 4,
        num_key_value_heads: if is_gpt2 { 4 } else { 2 },
        head_dim: 16,
        max_position_embeddings: 64,
        ..ModelShape::plain(model_type)
    }
}

/// A network whose every weight counts: those that begin with zeros are shaken.
fn network(shape: &ModelShape) -> Network {
    let network = Network::init(shape, 77, 3, Device::Cpu).unwrap();
    tch::no_grad(|| {
        tch::manual_seed(5);
        for parameter in network.parameters() {
            let mut tensor = parameter.tensor.shallow_clone();
            let noise = tensor.randn_like() * 0.1;
            let _ = tensor.g_add_(&noise);
        }
    });
    network
}

fn logits(network: &Network) -> Tensor {
    let tokens = Tensor::arange(40, (Kind::Int64, Device::Cpu)).view([2, 20]);
    tch::no_grad(|| {
        let hidden = network.hidden(&tokens, &RowLayout::Causal, cupola_specs::job::Precision::Fp32);
        network.logits(&hidden)
    })
}

fn through(network: &Network, kind: BlockType) -> (Network, GgufReport) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let report = export_gguf(network, ("tiny", Vec::new()), kind, &path).unwrap();
    (Network::load(&path, Device::Cpu).unwrap(), report)
}

#[test]
fn every_class_comes_back_with_the_same_logits() {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_max_position_embeddings: 16,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: RopeScaling::yarn_attention_factor(4.0),
        truncate: true,
    };
    let of = shape;
    let llama = || ModelShape { attention_bias: true, mlp_bias: true, ..of(ModelType::Llama) };
    let shapes = [
        of(ModelType::Llama),
        ModelShape { tie_word_embeddings: true, ..llama() },
        ModelShape { rope_scaling: llama3, rope_theta: 500_000.0, ..of(ModelType::Llama) },
        ModelShape { rope_scaling: RopeScaling::Linear { factor: 2.0 }, ..of(ModelType::Llama) },
        ModelShape { rope_scaling: yarn, ..of(ModelType::Qwen2) },
        of(ModelType::Qwen3),
        of(ModelType::Arcee),
        of(ModelType::Gpt2),
    ];
    for shape in shapes {
        let before = network(&shape);
        let (after, report) = through(&before, BlockType::F32);
        assert!(report.rounding < 1e-12, "{report:?}");
        let farthest = (logits(&before) - logits(&after)).abs().max().double_value(&[]);
        assert!(farthest == 0.0, "{shape:?}: {farthest}");
    }
}

/// Mistral's class without a window is Llama's.
#[test]
fn mistral_comes_back_as_llama() {
    let before = network(&shape(ModelType::Mistral));
    let (after, _) = through(&before, BlockType::F32);
    assert_eq!(after.shape().model_type, ModelType::Llama);
    assert!(logits(&before).equal(&logits(&after)));
}

#[test]
fn fewer_bits_are_further_off_and_the_report_says_by_how_much() {
    let before = network(&shape(ModelType::Llama));
    let wanted = logits(&before);
    let mut last = (0.0, 0.0);
    for (kind, most) in [(BlockType::Bf16, 0.004), (BlockType::Q8_0, 0.01), (BlockType::Q4_0, 0.12)] {
        let (after, report) = through(&before, kind);
        let off = (logits(&after) - &wanted).norm().double_value(&[]) / wanted.norm().double_value(&[]);
        assert!(report.rounding > last.0 && report.rounding < most, "{kind:?}: {report:?}");
        assert!(off > last.1, "{kind:?}: {off}");
        last = (report.rounding, off);
    }
}

#[test]
fn what_llama_cpp_would_compute_otherwise_is_refused_by_name() {
    let refused = |shape: ModelShape, words: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let error = export_gguf(&network(&shape), ("x", Vec::new()), BlockType::F32, &path).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!path.exists());
    };
    refused(shape(ModelType::Nanochat), "nanochat's class");
    refused(ModelShape { sliding_window: 8, ..shape(ModelType::Mistral) }, "a sliding window of 8 tokens");
    refused(
        ModelShape { rope_scaling: RopeScaling::Dynamic { factor: 2.0 }, ..shape(ModelType::Llama) },
        "`dynamic`",
    );
    let lstm = ModelShape { hidden_size: 32, ..ModelShape::plain(ModelType::Lstm) };
    refused(lstm, "LSTMs");
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let error_of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Network::load(&path, Device::Cpu).unwrap_err().to_string()
    };
    assert!(error_of(b"").contains("it is empty"));
    assert!(error_of(b"PK\x03\x04aaaaaaaaaaaaaa").contains("does not begin with GGUF"));
    export_gguf(&network(&shape(ModelType::Llama)), ("x", Vec::new()), BlockType::F32, &path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert!(error_of(&whole[..whole.len() / 2]).contains("ends before tensor"));
    let text = String::from_utf8_lossy(&whole[..4096]).into_owned();
    let at = text.find("blk.1.ffn_up").unwrap();
    let mut renamed = whole.clone();
    let place = whole.windows(12).position(|bytes| bytes == b"blk.1.ffn_up").unwrap();
    assert!(at >= 1 && place >= 1);
    renamed[place] = b'c';
    assert!(
        error_of(&renamed).contains("no tensor model.layers.1.mlp.up_proj.weight"),
        "{}",
        error_of(&renamed)
    );
}
