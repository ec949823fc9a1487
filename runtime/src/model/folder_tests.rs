//! Model folders: saved as Hugging Face's classes load them, read in every form that they write, and named errors for broken ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::parity_tests::{CASES, fixture};
use super::{ModelError, Network, SaveFacts, SaveForm, WeightKind};
use crate::job::StepError;

const FACTS: SaveFacts = SaveFacts { bos_token_id: 0, stop_token_ids: Vec::new(), pad_token_id: 3 };

fn config_of(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

fn load(folder: &Path) -> Network {
    Network::load(folder, Device::Cpu).unwrap()
}

/// Whether two networks have the same weights; `kind` is what they went through.
fn equal(a: &Network, b: &Network, kind: Kind) -> bool {
    let pairs = a.parameters().iter().zip(b.parameters());
    a.parameters().len() == b.parameters().len()
        && pairs
            .into_iter()
            .all(|(a, b)| a.name == b.name && a.tensor.equal(&b.tensor.to_kind(kind).to_kind(Kind::Float)))
}

#[test]
fn a_saved_folder_says_what_hugging_faces_says_and_loads_again() {
    for name in CASES {
        let network = load(&fixture(name));
        let folder = tempfile::tempdir().unwrap();
        network.save(folder.path(), &FACTS).unwrap();
        let (ours, theirs) = (config_of(folder.path()), config_of(&fixture(name)));
        let own = ["eos_token_id", "pad_token_id", "initializer_range", "dtype"];
        for (key, value) in ours.as_object().unwrap() {
            let known = theirs.get(key).filter(|_| !own.contains(&key.as_str()));
            assert!(known.is_none_or(|known| same(known, value)), "{name} {key}: {value} is not {known:?}");
        }
        let again = load(folder.path());
        assert_eq!(again.shape(), network.shape(), "{name}");
        assert!(equal(&again, &network, Kind::Float), "{name}");
    }
}

/// Equal where Hugging Face says something; YaRN's factor is written out here.
fn same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            theirs.iter().all(|(key, value)| ours.get(key).is_some_and(|ours| same(value, ours)))
        }
        (Value::Number(theirs), Value::Number(ours)) => theirs.as_f64() == ours.as_f64(),
        _ => theirs == ours,
    }
}

#[test]
fn shards_and_bf16_load_as_they_were_saved() {
    let network = load(&fixture("qwen3"));
    for (kind, torch) in [(WeightKind::Fp32, Kind::Float), (WeightKind::Bf16, Kind::BFloat16)] {
        let folder = tempfile::tempdir().unwrap();
        network.save_as(folder.path(), &FACTS, &SaveForm { kind, shard_bytes: 1_000 }).unwrap();
        let index = std::fs::read(folder.path().join("model.safetensors.index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        let files: std::collections::BTreeSet<_> =
            index["weight_map"].as_object().unwrap().values().map(Value::to_string).collect();
        assert!(files.len() > 2, "{files:?}");
        let count: usize = network.parameters().iter().map(|p| p.tensor.numel()).sum();
        let bytes = if kind == WeightKind::Fp32 { 4 } else { 2 };
        assert_eq!(index["metadata"]["total_size"], (count * bytes) as u64);
        assert!(!folder.path().join("model.safetensors").exists());
        assert!(equal(&load(folder.path()), &network, torch));
    }
}

/// The tensors of a fixture's only file.
fn tensors(name: &str) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(fixture(name).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let parts = file.tensors().into_iter();
    parts.map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec())).collect()
}

/// A fixture's folder with other tensors.
fn folder_with(name: &str, tensors: &[(String, Vec<usize>, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(name).join("config.json"), folder.path().join("config.json")).unwrap();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let bytes = serialize(views, None::<HashMap<String, String>>).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

#[test]
fn the_names_and_buffers_of_older_files_are_read() {
    let mut older = tensors("gpt2");
    for (name, ..) in &mut older {
        *name = name.strip_prefix("transformer.").unwrap().to_owned();
    }
    older.push(("h.0.attn.bias".into(), vec![1, 1, 2, 2], vec![0; 16]));
    older.push(("h.1.attn.masked_bias".into(), vec![1], vec![0; 4]));
    let folder = folder_with("gpt2", &older);
    assert!(equal(&load(folder.path()), &load(&fixture("gpt2")), Kind::Float));

    // Tied: both matrices, or the output's alone; not two different ones.
    let embedding = "model.embed_tokens.weight";
    let mut both = tensors("llama");
    let (_, shape, bytes) = both.iter().find(|(name, ..)| name == embedding).unwrap().clone();
    both.push(("lm_head.weight".into(), shape.clone(), bytes.clone()));
    both.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![4], vec![0; 16]));
    assert!(equal(&load(folder_with("llama", &both).path()), &load(&fixture("llama")), Kind::Float));
    let head_alone: Vec<_> = both.iter().filter(|(name, ..)| name != embedding).cloned().collect();
    assert!(equal(&load(folder_with("llama", &head_alone).path()), &load(&fixture("llama")), Kind::Float));
    for (name, _, bytes) in &mut both {
        if name == "lm_head.weight" {
            bytes.fill(1);
        }
    }
    let error = Network::load(folder_with("llama", &both).path(), Device::Cpu).unwrap_err();
    assert!(matches!(error, ModelError::Untied { .. }), "{error}");
}

/// A copy of a fixture that a change breaks, the code of its error and a word of its message.
struct Broken {
    name: &'static str,
    change: fn(&Path),
    code: &'static str,
    word: &'static str,
}

fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

fn cut(path: PathBuf) {
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 100]).unwrap();
}

const BROKEN: [Broken; 15] = [
    Broken {
        name: "mistral",
        change: |folder| {
            edit(folder, "model.safetensors.index.json", |index| {
                for file in index["weight_map"].as_object_mut().unwrap().values_mut() {
                    *file = json!("model-00001-of-00002.safetensors");
                }
            });
        },
        code: "tensor_missing",
        word: "no tensor model.layers.1",
    },
    Broken {
        name: "qwen3",
        change: |folder| edit(folder, "config.json", |config| config["num_hidden_layers"] = json!(1)),
        code: "tensor_extra",
        word: "tensor model.layers.1",
    },
    Broken {
        name: "qwen3",
        change: |folder| edit(folder, "config.json", |config| config["intermediate_size"] = json!(32)),
        code: "tensor_shape",
        word: "expected shape [32, 12], got [24, 12]",
    },
    Broken {
        name: "qwen3",
        change: |folder| {
            std::fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
        },
        code: "weights_pickle",
        word: "pytorch_model.bin: weights in pickle",
    },
    Broken {
        name: "qwen3",
        change: |folder| std::fs::remove_file(folder.join("model.safetensors")).unwrap(),
        code: "weights_missing",
        word: "no model.safetensors",
    },
    Broken {
        name: "qwen3",
        change: |folder| cut(folder.join("model.safetensors")),
        code: "shard_broken",
        word: "model.safetensors: no whole safetensors file",
    },
    Broken {
        name: "mistral",
        change: |folder| cut(folder.join("model-00002-of-00002.safetensors")),
        code: "shard_broken",
        word: "model-00002-of-00002.safetensors: no whole safetensors file",
    },
    Broken {
        name: "mistral",
        change: |folder| std::fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap(),
        code: "shard_missing",
        word: "names model-00002-of-00002.safetensors, which is not there",
    },
    Broken {
        name: "llama",
        change: |folder| {
            edit(folder, "config.json", |config| {
                config.as_object_mut().unwrap().shift_remove("rms_norm_eps").unwrap();
            });
        },
        code: "model_config_field",
        word: "rms_norm_eps: expected a number, got null",
    },
    Broken {
        name: "mistral",
        change: |folder| {
            edit(folder, "config.json", |config| {
                config.as_object_mut().unwrap().shift_remove("sliding_window").unwrap();
            });
        },
        code: "model_config_field",
        word: "sliding_window: expected a whole number",
    },
    Broken {
        name: "llama",
        change: |folder| edit(folder, "config.json", |config| config["model_type"] = json!("gemma3")),
        code: "model_type_unknown",
        word: "\"gemma3\": expected llama, qwen2, qwen3, mistral, gpt2, arcee, nanochat",
    },
    Broken {
        name: "llama_yarn",
        change: |folder| {
            edit(folder, "config.json", |config| config["rope_parameters"]["rope_type"] = json!("longrope"));
        },
        code: "model_format",
        word: "rope_parameters.rope_type \"longrope\"",
    },
    Broken {
        name: "llama_llama3",
        change: |folder| {
            edit(folder, "config.json", |config| {
                config["rope_parameters"]["partial_rotary_factor"] = json!(0.5);
            });
        },
        code: "model_format",
        word: "rope_parameters.partial_rotary_factor: 0.5 is set",
    },
    Broken {
        name: "gpt2",
        change: |folder| edit(folder, "config.json", |config| config["scale_attn_weights"] = json!(false)),
        code: "model_format",
        word: "scale_attn_weights",
    },
    Broken {
        name: "nanochat",
        change: |folder| edit(folder, "config.json", |config| config["value_embeddings"] = json!(true)),
        code: "model_format",
        word: "value_embeddings",
    },
];

#[test]
fn a_broken_folder_gives_a_named_error() {
    for broken in BROKEN {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture(broken.name)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
        (broken.change)(folder.path());
        let error = Network::load(folder.path(), Device::Cpu).unwrap_err();
        let facts = error.facts();
        assert_eq!(facts.code, broken.code, "{}: {error}", broken.word);
        assert_eq!(facts.class, cupola_specs::contract::ErrorClass::User, "{error}");
        assert!(error.to_string().contains(broken.word), "{}: {error}", broken.word);
    }
}
