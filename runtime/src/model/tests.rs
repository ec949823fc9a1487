//! Networks against Hugging Face's classes, against themselves with a cache, and against separate rows when packed.

use std::path::{Path, PathBuf};

use cupola_specs::job::{Activation, Family, ModelShape, Precision};
use tch::{Device, Kind, Tensor};

use super::{ModelError, Network, RowLayout, RowSlot, SaveFacts, depth_shape};

const FACTS: SaveFacts = SaveFacts { bos_token_id: 0, stop_token_ids: Vec::new(), pad_token_id: 3 };

#[derive(serde::Deserialize)]
struct Expected {
    tokens: Vec<Vec<i64>>,
    logits: Vec<Vec<Vec<f32>>>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model").join(name)
}

fn shape(family: Family) -> ModelShape {
    ModelShape {
        hidden_size: 32,
        intermediate_size: 48,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        ..depth_shape(family, 2, 24)
    }
}

/// A network whose every weight matters: fresh ones have outputs of zero.
fn network(family: Family) -> Network {
    let network = Network::init(&shape(family), 29, 5, Device::Cpu).unwrap();
    tch::no_grad(|| {
        for (place, parameter) in network.parameters().iter().enumerate() {
            let count = parameter.tensor.numel() as i64;
            let noise =
                (Tensor::arange(count, (Kind::Float, Device::Cpu)) * (1.7 + place as f64)).sin() * 0.2;
            let _ = parameter.tensor.shallow_clone().g_add_(&noise.view_as(&parameter.tensor));
        }
    });
    network
}

fn ids(count: i64) -> Tensor {
    Tensor::from_slice(&(0..count).map(|i| (i * 7 + i * i) % 29).collect::<Vec<_>>()).view([1, count])
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn logits_equal_those_of_hugging_faces_classes() {
    for name in ["qwen3", "llama", "arcee"] {
        let network = Network::load(&fixture(name), Device::Cpu).unwrap();
        let text = std::fs::read(fixture(name).join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_slice(&text).unwrap();
        let (rows, time) = (expected.tokens.len() as i64, expected.tokens[0].len() as i64);
        let tokens = Tensor::from_slice(&expected.tokens.concat()).view([rows, time]);
        let wanted = Tensor::from_slice(&expected.logits.concat().concat()).view([rows, time, -1]);
        let got = network.logits(&network.hidden(&tokens, &RowLayout::Causal, Precision::Fp32));
        assert!(apart(&got, &wanted) < 1e-4, "{name}: {:e}", apart(&got, &wanted));
    }
}

#[test]
fn a_saved_folder_says_what_hugging_faces_says_and_loads_again() {
    for name in ["qwen3", "llama", "arcee"] {
        let network = Network::load(&fixture(name), Device::Cpu).unwrap();
        let folder = tempfile::tempdir().unwrap();
        network.save(folder.path(), &FACTS).unwrap();
        let read = |path: PathBuf| {
            serde_json::from_slice::<serde_json::Value>(&std::fs::read(path.join("config.json")).unwrap())
                .unwrap()
        };
        let (ours, theirs) = (read(folder.path().to_path_buf()), read(fixture(name)));
        for (key, value) in ours.as_object().unwrap() {
            let known = theirs.get(key).filter(|_| key != "eos_token_id" && key != "initializer_range");
            assert!(known.is_none_or(|known| known == value), "{name} {key}: {value} is not {known:?}");
        }
        let again = Network::load(folder.path(), Device::Cpu).unwrap();
        assert_eq!(again.shape(), network.shape());
        let pairs = again.parameters().iter().zip(network.parameters());
        assert!(pairs.into_iter().all(|(a, b)| a.name == b.name && a.tensor.equal(&b.tensor)));
    }
}

#[test]
fn a_cache_changes_nothing() {
    for family in [Family::Transformer, Family::Lstm] {
        let _guard = tch::no_grad_guard();
        let network = network(family);
        let (a, b) = (ids(12), ids(20).narrow(1, 8, 9).contiguous());
        let full =
            |tokens: &Tensor| network.logits(&network.hidden(tokens, &RowLayout::Causal, Precision::Fp32));
        let (full_a, full_b) = (full(&a), full(&b));
        // Two sequences of different lengths in slots out of order: prefilled one by one, then decoded together.
        let mut cache = network.new_cache(3, 16, Precision::Fp32);
        let slots = [RowSlot { slot: 2, start: 0 }, RowSlot { slot: 0, start: 0 }];
        for (tokens, slot, count) in [(&a, slots[0], 9), (&b, slots[1], 6)] {
            let _ = network.hidden_cached(&tokens.narrow(1, 0, count), &mut cache, &[slot], Precision::Fp32);
        }
        for step in 0..3 {
            let tokens = Tensor::cat(&[a.narrow(1, 9 + step, 1), b.narrow(1, 6 + step, 1)], 0);
            let rows = [RowSlot { slot: 2, start: 9 + step }, RowSlot { slot: 0, start: 6 + step }];
            let hidden = network.hidden_cached(&tokens, &mut cache, &rows, Precision::Fp32);
            let logits = network.logits(&hidden); // [2, 1, V]
            let far = apart(&logits.get(0), &full_a.get(0).narrow(0, 9 + step, 1))
                .max(apart(&logits.get(1), &full_b.get(0).narrow(0, 6 + step, 1)));
            assert!(far < 1e-5, "{family:?} step {step}: {far:e}");
        }
    }
}

#[test]
fn packed_documents_equal_separate_rows() {
    let network = network(Family::Transformer);
    let tokens = ids(10);
    let segment = Tensor::from_slice(&[0i64, 0, 0, 0, 1, 1, 1, 2, 2, 2]).view([1, 10]);
    let position = Tensor::from_slice(&[0i64, 1, 2, 3, 0, 1, 2, 0, 1, 2]).view([1, 10]);
    let packed = network.hidden(&tokens, &RowLayout::Documents { segment, position }, Precision::Fp32);
    for (from, count) in [(0, 4), (4, 3), (7, 3)] {
        let alone = network.hidden(&tokens.narrow(1, from, count), &RowLayout::Causal, Precision::Fp32);
        let far = apart(&packed.narrow(1, from, count), &alone);
        assert!(far < 1e-5, "document at {from}: {far:e}");
    }
}

#[test]
fn shapes_and_settings_without_a_network_are_refused() {
    let relu2 = ModelShape { activation: Activation::Relu2, ..shape(Family::Transformer) };
    let error = Network::init(&relu2, 29, 5, Device::Cpu).unwrap_err();
    assert!(matches!(&error, ModelError::Shape(text) if text.contains("qk_norm: false")), "{error}");
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 1e-05"), ("\"default\"", "\"linear\"")]
    {
        let config = std::fs::read_to_string(fixture("llama").join("config.json")).unwrap();
        assert!(config.contains(from), "{from}");
        std::fs::write(folder.path().join("config.json"), config.replace(from, to)).unwrap();
        std::fs::copy(fixture("llama").join("model.safetensors"), folder.path().join("model.safetensors"))
            .unwrap();
        let error = Network::load(folder.path(), Device::Cpu).unwrap_err();
        assert!(matches!(error, ModelError::Format { .. }), "{to}: {error}");
    }
}
