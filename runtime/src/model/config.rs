//! `config.json`: between a [`ModelShape`] and the words of Hugging Face's classes; and the `depth` dial.

use std::path::Path;

use cupola_specs::job::{Activation, Family, ModelShape};
use serde_json::{Map, Value, json};

use super::ModelError;
use super::layers::RMS_EPS;

/// What a saved folder says beside the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveFacts {
    /// The token before each document; generation starts from it.
    pub bos_token_id: u32,
    /// Tokens that end an answer.
    pub stop_token_ids: Vec<u32>,
    /// The padding token.
    pub pad_token_id: u32,
}

/// The shape that one dial gives: width 64 a layer, heads of 64, SwiGLU of 8/3 the width, query-key norm, untied embeddings.
pub fn depth_shape(family: Family, depth: u64, context_length: u64) -> ModelShape {
    let hidden_size = 64 * depth;
    let num_heads = depth.max(1);
    ModelShape {
        family,
        num_hidden_layers: depth,
        hidden_size,
        intermediate_size: (hidden_size * 8).div_ceil(3).next_multiple_of(64),
        num_attention_heads: num_heads,
        num_key_value_heads: num_heads,
        activation: Activation::Swiglu,
        qk_norm: true,
        tie_word_embeddings: false,
        rope_theta: 10_000.0,
        max_position_embeddings: context_length,
    }
}

/// Width of a head.
pub(super) fn head_dim(shape: &ModelShape) -> u64 {
    shape.hidden_size / shape.num_attention_heads.max(1)
}

/// Refuses a shape that no network has.
pub(super) fn check(shape: &ModelShape) -> Result<(), ModelError> {
    let refuse = |message: String| Err(ModelError::Shape(message));
    let (hidden, heads, kv) = (shape.hidden_size, shape.num_attention_heads, shape.num_key_value_heads);
    if shape.num_hidden_layers == 0 || hidden == 0 || shape.max_position_embeddings == 0 {
        return refuse(
            "num_hidden_layers, hidden_size and max_position_embeddings must be at least 1".into(),
        );
    }
    if shape.family == Family::Lstm {
        return Ok(());
    }
    if heads == 0 || hidden % heads != 0 || !head_dim(shape).is_multiple_of(2) {
        return refuse(format!(
            "hidden_size {hidden} must be num_attention_heads {heads} times an even head width"
        ));
    }
    if kv == 0 || heads % kv != 0 {
        return refuse(format!("num_attention_heads {heads} must be a multiple of num_key_value_heads {kv}"));
    }
    if shape.activation == Activation::Relu2 && shape.qk_norm {
        return refuse("relu2 with qk_norm: no Hugging Face class has both; set `qk_norm: false` or `activation: swiglu`".into());
    }
    Ok(())
}

fn class_of(shape: &ModelShape) -> (&'static str, &'static str) {
    match (shape.family, shape.activation, shape.qk_norm) {
        (Family::Lstm, ..) => ("CupolaLstm", "cupola_lstm"),
        (_, Activation::Relu2, _) => ("ArceeForCausalLM", "arcee"),
        (_, Activation::Swiglu, true) => ("Qwen3ForCausalLM", "qwen3"),
        (_, Activation::Swiglu, false) => ("LlamaForCausalLM", "llama"),
    }
}

/// `config.json` of a shape.
pub(super) fn to_json(shape: &ModelShape, vocab_size: i64, facts: &SaveFacts) -> Value {
    let (class, model_type) = class_of(shape);
    json!({
        "architectures": [class],
        "model_type": model_type,
        "vocab_size": vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": head_dim(shape),
        "hidden_act": if shape.activation == Activation::Swiglu { "silu" } else { "relu2" },
        "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": RMS_EPS,
        "rope_theta": shape.rope_theta,
        "rope_parameters": { "rope_type": "default", "rope_theta": shape.rope_theta },
        "tie_word_embeddings": shape.tie_word_embeddings,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "mlp_bias": false,
        "use_sliding_window": false,
        "use_cache": true,
        "initializer_range": 0.02,
        "dtype": "float32",
        "bos_token_id": facts.bos_token_id,
        "eos_token_id": facts.stop_token_ids,
        "pad_token_id": facts.pad_token_id,
    })
}

/// The shape and vocabulary of a `config.json`. A class or a setting that our network does not have is an error, never passed over.
pub(super) fn from_json(path: &Path, config: &Value) -> Result<(ModelShape, i64), ModelError> {
    let model_type = config["model_type"].as_str().unwrap_or_default();
    let (family, qk_norm) = match model_type {
        "qwen3" => (Family::Transformer, true),
        "llama" | "arcee" => (Family::Transformer, false),
        "cupola_lstm" => (Family::Lstm, false),
        other => {
            return Err(ModelError::format(
                path,
                format!("model_type {other:?}: expected qwen3, llama, arcee or cupola_lstm"),
            ));
        }
    };
    let count = |name: &str| {
        config[name].as_u64().ok_or_else(|| {
            ModelError::format(path, format!("{name}: expected a whole number, got {}", config[name]))
        })
    };
    let activation = match config["hidden_act"].as_str() {
        Some("silu") => Activation::Swiglu,
        Some("relu2") => Activation::Relu2,
        other => {
            return Err(ModelError::format(path, format!("hidden_act {other:?}: expected silu or relu2")));
        }
    };
    refuse_settings(path, config)?;
    let rope = config["rope_theta"].as_f64().or_else(|| config["rope_parameters"]["rope_theta"].as_f64());
    let heads = count("num_attention_heads")?;
    let shape = ModelShape {
        family,
        num_hidden_layers: count("num_hidden_layers")?,
        hidden_size: count("hidden_size")?,
        intermediate_size: count("intermediate_size")?,
        num_attention_heads: heads,
        num_key_value_heads: config["num_key_value_heads"].as_u64().unwrap_or(heads),
        activation,
        qk_norm,
        tie_word_embeddings: config["tie_word_embeddings"].as_bool().unwrap_or(false),
        rope_theta: rope.unwrap_or(10_000.0),
        max_position_embeddings: count("max_position_embeddings")?,
    };
    check(&shape)?;
    if let Some(width) = config["head_dim"]
        .as_u64()
        .filter(|&width| family == Family::Transformer && width != head_dim(&shape))
    {
        return Err(ModelError::format(
            path,
            format!("head_dim {width}: expected hidden_size / num_attention_heads = {}", head_dim(&shape)),
        ));
    }
    Ok((shape, count("vocab_size")? as i64))
}

fn refuse_settings(path: &Path, config: &Value) -> Result<(), ModelError> {
    let on = |name: &str| config[name].as_bool() == Some(true);
    let scaled = |object: &Value| {
        let empty = Map::new();
        let object = object.as_object().unwrap_or(&empty);
        let kind = object
            .get("rope_type")
            .or_else(|| object.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default")
            .to_owned();
        kind != "default"
    };
    let refused = [
        ("attention_bias", on("attention_bias")),
        ("mlp_bias", on("mlp_bias")),
        ("use_sliding_window", on("use_sliding_window")),
        ("rope_scaling", scaled(&config["rope_scaling"]) || scaled(&config["rope_parameters"])),
        ("rms_norm_eps other than 1e-6", config["rms_norm_eps"].as_f64().is_some_and(|eps| eps != RMS_EPS)),
    ];
    match refused.iter().find(|(_, is_on)| *is_on) {
        Some((name, _)) => {
            Err(ModelError::format(path, format!("{name} is set, and this version does not carry it out")))
        }
        None => Ok(()),
    }
}
