//! `config.json`: between a [`ModelShape`] and the words of Hugging Face's classes, of transformers 4 and 5.
//!
//! What a class fixes is checked against it, a setting that our network does not carry out is an error that names it, and so is a field
//! without which the network would be a guess. Dropouts are read past: they are no part of a forward pass.

use std::path::Path;

use cupola_specs::job::{Activation, Family, LayerType, ModelShape, ModelType, Part, RopeScaling};
use serde_json::{Map, Value, json};

use super::{ModelError, SaveFacts, WeightKind};

/// The words that `model_type` may be.
const MODEL_TYPES: &str =
    "llama, qwen2, qwen3, mistral, gpt2, arcee, nanochat, cupola_nanochat or cupola_lstm";

/// `config.json` of a shape.
pub(super) fn to_json(shape: &ModelShape, vocab_size: i64, facts: &SaveFacts, kind: WeightKind) -> Value {
    let (class, word) = class_of(shape);
    let mut config = json!({ "architectures": [class], "model_type": word, "vocab_size": vocab_size });
    let more = if shape.model_type == ModelType::Gpt2 { gpt2_json(shape) } else { rope_json(shape) };
    let ends = json!({
        "use_cache": true,
        "initializer_range": 0.02,
        "dtype": kind.word(),
        "bos_token_id": facts.bos_token_id,
        "eos_token_id": facts.stop_token_ids,
        "pad_token_id": facts.pad_token_id,
    });
    if let Some(config) = config.as_object_mut() {
        for part in [more, ends] {
            config.extend(part.as_object().cloned().unwrap_or_default());
        }
    }
    config
}

fn class_of(shape: &ModelShape) -> (&'static str, &'static str) {
    match shape.model_type {
        ModelType::Llama => ("LlamaForCausalLM", "llama"),
        ModelType::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        ModelType::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        ModelType::Mistral => ("MistralForCausalLM", "mistral"),
        ModelType::Gpt2 => ("GPT2LMHeadModel", "gpt2"),
        ModelType::Arcee => ("ArceeForCausalLM", "arcee"),
        // What Hugging Face's class would leave out, it shall not load.
        ModelType::Nanochat
            if shape.value_embeddings || shape.residual_scalars || shape.sliding_window > 0 =>
        {
            ("CupolaNanochat", "cupola_nanochat")
        }
        ModelType::Nanochat => ("NanoChatForCausalLM", "nanochat"),
        ModelType::Lstm => ("CupolaLstm", "cupola_lstm"),
    }
}

fn gpt2_json(shape: &ModelShape) -> Value {
    json!({
        "n_embd": shape.hidden_size,
        "n_inner": shape.intermediate_size,
        "n_layer": shape.num_hidden_layers,
        "n_head": shape.num_attention_heads,
        "n_positions": shape.max_position_embeddings,
        "n_ctx": shape.max_position_embeddings,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": shape.norm_eps,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false,
        "reorder_and_upcast_attn": false,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    })
}

fn rope_json(shape: &ModelShape) -> Value {
    let mut scaling = serde_json::to_value(shape.rope_scaling).unwrap_or_default();
    if let Some(scaling) = scaling.as_object_mut() {
        scaling.insert("rope_theta".to_owned(), shape.rope_theta.into());
    }
    let mut config = json!({
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "hidden_act": if shape.activation == Activation::Swiglu { "silu" } else { "relu2" },
        "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_parameters": scaling,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "attention_bias": shape.attention_bias,
        "attention_dropout": 0.0,
        "mlp_bias": shape.mlp_bias,
        "use_sliding_window": shape.sliding_window > 0,
    });
    let mut set = |name: &str, value: Value| {
        if let Some(config) = config.as_object_mut() {
            config.insert(name.to_owned(), value);
        }
    };
    if shape.rope_scaling != RopeScaling::Default {
        // The words of transformers 4.
        set("rope_scaling", scaling);
    }
    let facts = shape.model_type.facts();
    if facts.sliding_window == Part::Free
        && (shape.sliding_window > 0 || shape.model_type == ModelType::Mistral)
    {
        set(
            "sliding_window",
            if shape.sliding_window > 0 { shape.sliding_window.into() } else { Value::Null },
        );
    }
    if facts.layer_types == Part::Free && shape.sliding_window > 0 {
        let word = |layer| match shape.window_of(layer) {
            0 => "full_attention",
            _ => "sliding_attention",
        };
        set("layer_types", (0..shape.num_hidden_layers).map(word).collect());
    }
    if facts.nanochat_parts == Part::Free {
        let cap = shape.logit_softcap;
        set("final_logit_softcapping", if cap > 0.0 { cap.into() } else { Value::Null });
        if class_of(shape).1 == "cupola_nanochat" {
            set("value_embeddings", shape.value_embeddings.into());
            set("residual_scalars", shape.residual_scalars.into());
        }
    }
    config
}

/// The shape and vocabulary of a `config.json`.
pub(super) fn from_json(path: &Path, config: &Value) -> Result<(ModelShape, i64), ModelError> {
    let read = Reader { path, config };
    let word = config["model_type"].as_str().unwrap_or_default();
    let model_type = match word {
        "llama" => ModelType::Llama,
        "qwen2" => ModelType::Qwen2,
        "qwen3" => ModelType::Qwen3,
        "mistral" => ModelType::Mistral,
        "gpt2" => ModelType::Gpt2,
        "arcee" => ModelType::Arcee,
        "nanochat" | "cupola_nanochat" => ModelType::Nanochat,
        "cupola_lstm" => ModelType::Lstm,
        other => {
            let (path, got) = (path.to_path_buf(), other.to_owned());
            return Err(ModelError::UnknownType { path, got, expected: MODEL_TYPES });
        }
    };
    read.refuse_settings(model_type)?;
    let shape = if model_type == ModelType::Gpt2 { read.gpt2()? } else { read.rope_class(model_type)? };
    super::config::check(&shape).map_err(|error| ModelError::format(path, error.to_string()))?;
    Ok((shape, read.count("vocab_size")? as i64))
}

/// Reads the fields of a config.
struct Reader<'a> {
    path: &'a Path,
    config: &'a Value,
}

impl Reader<'_> {
    fn wrong(&self, message: String) -> ModelError {
        ModelError::format(self.path, message)
    }

    fn missing(&self, field: &str, expected: &'static str) -> ModelError {
        let got = self.config[field].to_string();
        ModelError::ConfigField { path: self.path.to_path_buf(), field: field.to_owned(), expected, got }
    }

    fn count(&self, field: &str) -> Result<u64, ModelError> {
        self.config[field].as_u64().ok_or_else(|| self.missing(field, "a whole number"))
    }

    fn number(&self, field: &str) -> Result<f64, ModelError> {
        self.config[field].as_f64().ok_or_else(|| self.missing(field, "a number"))
    }

    fn is_on(&self, field: &str) -> bool {
        self.config[field].as_bool() == Some(true)
    }

    fn gpt2(&self) -> Result<ModelShape, ModelError> {
        let plain = ModelShape::plain(ModelType::Gpt2);
        let (hidden_size, heads) = (self.count("n_embd")?, self.count("n_head")?);
        match self.config["activation_function"].as_str() {
            Some("gelu_new" | "gelu_pytorch_tanh") => {}
            other => return Err(self.wrong(format!("activation_function {other:?}: expected gelu_new"))),
        }
        Ok(ModelShape {
            num_hidden_layers: self.count("n_layer")?,
            hidden_size,
            intermediate_size: match &self.config["n_inner"] {
                Value::Null => 4 * hidden_size,
                _ => self.count("n_inner")?,
            },
            num_attention_heads: heads,
            num_key_value_heads: heads,
            head_dim: hidden_size / heads.max(1),
            norm_eps: self.number("layer_norm_epsilon")?,
            tie_word_embeddings: self.config["tie_word_embeddings"].as_bool().unwrap_or(true),
            max_position_embeddings: self.count("n_positions")?,
            ..plain
        })
    }

    /// Every class but GPT-2.
    fn rope_class(&self, model_type: ModelType) -> Result<ModelShape, ModelError> {
        let facts = model_type.facts();
        let plain = ModelShape::plain(model_type);
        let activation = match self.config["hidden_act"].as_str() {
            Some("silu") => Activation::Swiglu,
            Some("relu2") => Activation::Relu2,
            other => return Err(self.wrong(format!("hidden_act {other:?}: expected silu or relu2"))),
        };
        let (hidden_size, heads) = (self.count("hidden_size")?, self.count("num_attention_heads")?);
        let bias = |field: &str, part: Part| match part {
            Part::Free => self.is_on(field),
            part => part == Part::Always,
        };
        let max_position_embeddings = self.count("max_position_embeddings")?;
        let num_hidden_layers = self.count("num_hidden_layers")?;
        let (sliding_window, layer_types) = self.window(model_type, num_hidden_layers)?;
        let (rope_theta, rope_scaling) = self.rope(max_position_embeddings)?;
        Ok(ModelShape {
            num_hidden_layers,
            hidden_size,
            intermediate_size: self.count("intermediate_size")?,
            num_attention_heads: heads,
            num_key_value_heads: self.config["num_key_value_heads"].as_u64().unwrap_or(heads),
            head_dim: match self.config["head_dim"].as_u64() {
                Some(width) if plain.family == Family::Transformer => width,
                // Qwen3's class, unlike the others, has heads of 128 where its config says nothing.
                None if model_type == ModelType::Qwen3 => {
                    return Err(self.missing("head_dim", "a whole number"));
                }
                _ => hidden_size / heads.max(1),
            },
            activation,
            attention_bias: bias("attention_bias", facts.attention_bias),
            mlp_bias: bias("mlp_bias", facts.mlp_bias),
            norm_eps: self.number("rms_norm_eps")?,
            tie_word_embeddings: self.config["tie_word_embeddings"].as_bool().unwrap_or(false),
            rope_theta,
            rope_scaling,
            max_position_embeddings,
            sliding_window,
            layer_types,
            logit_softcap: match self.config.get("final_logit_softcapping") {
                Some(cap) => cap.as_f64().unwrap_or(0.0),
                None => plain.logit_softcap,
            },
            value_embeddings: self.is_on("value_embeddings"),
            residual_scalars: self.is_on("residual_scalars"),
            ..plain
        })
    }

    /// The sliding window, and what the layers see.
    fn window(&self, model_type: ModelType, layers: u64) -> Result<(u64, Vec<LayerType>), ModelError> {
        let all = vec![LayerType::SlidingAttention];
        let facts = model_type.facts();
        if facts.sliding_window == Part::Never {
            return Ok((0, all));
        }
        if model_type == ModelType::Mistral {
            return match self.config.get("sliding_window") {
                Some(Value::Null) => Ok((0, all)),
                _ => Ok((self.count("sliding_window")?, all)),
            };
        }
        let listed = match &self.config["layer_types"] {
            Value::Null => None,
            words => Some(serde_json::from_value::<Vec<LayerType>>(words.clone()).map_err(|_| {
                self.wrong(format!("layer_types: {words}: expected sliding_attention or full_attention"))
            })?),
        };
        if !self.is_on("use_sliding_window") {
            if listed.is_some_and(|types| types.contains(&LayerType::SlidingAttention)) {
                let message = "layer_types: layers slide, and use_sliding_window is not true";
                return Err(self.wrong(message.into()));
            }
            return Ok((0, all));
        }
        let types = match listed {
            Some(types) if types.len() as u64 == layers => types,
            Some(types) => {
                let message = format!("layer_types: {} words for {layers} layers", types.len());
                return Err(self.wrong(message));
            }
            None => {
                let first = self.count("max_window_layers")?;
                let of = |layer| {
                    if layer >= first { LayerType::SlidingAttention } else { LayerType::FullAttention }
                };
                (0..layers).map(of).collect()
            }
        };
        let is_mixed = types.contains(&LayerType::FullAttention);
        Ok((self.count("sliding_window")?, if is_mixed { types } else { all }))
    }

    /// RoPE's base and stretch: `rope_parameters` of transformers 5, `rope_theta` and `rope_scaling` of transformers 4.
    fn rope(&self, max_positions: u64) -> Result<(f64, RopeScaling), ModelError> {
        let empty = Map::new();
        let (name, object) = match (&self.config["rope_scaling"], &self.config["rope_parameters"]) {
            (Value::Object(object), _) => ("rope_scaling", object),
            (_, Value::Object(object)) => ("rope_parameters", object),
            _ => ("rope_scaling", &empty),
        };
        let theta = object.get("rope_theta").and_then(Value::as_f64);
        let theta = theta.or_else(|| self.config["rope_theta"].as_f64()).unwrap_or(10_000.0);
        let kind = object.get("rope_type").or_else(|| object.get("type"));
        let kind = kind.and_then(Value::as_str).unwrap_or("default");
        let scaling = self.scaling(name, object, kind, max_positions)?;
        let known: &[&str] = match scaling {
            RopeScaling::Default => &[],
            RopeScaling::Linear { .. } | RopeScaling::Dynamic { .. } => &["factor"],
            RopeScaling::Yarn { .. } => &[
                "factor",
                "original_max_position_embeddings",
                "beta_fast",
                "beta_slow",
                "attention_factor",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
            RopeScaling::Llama3 { .. } => {
                &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
            }
        };
        let is_known = |key: &str| known.contains(&key) || ["rope_type", "type", "rope_theta"].contains(&key);
        // A part of Hugging Face's own that says nothing.
        let is_whole =
            |key: &str, value: &Value| key == "partial_rotary_factor" && value.as_f64() == Some(1.0);
        match object.iter().find(|(key, value)| !is_known(key) && !is_whole(key, value) && !value.is_null()) {
            Some((key, value)) => Err(self.wrong(format!(
                "{name}.{key}: {value} is set, and this version does not carry it out with rope_type {kind}"
            ))),
            None => Ok((theta, scaling)),
        }
    }

    fn scaling(
        &self,
        name: &str,
        object: &Map<String, Value>,
        kind: &str,
        max_positions: u64,
    ) -> Result<RopeScaling, ModelError> {
        let optional = |field: &str| object.get(field).and_then(Value::as_f64);
        let number = |field: &str| {
            optional(field).ok_or_else(|| {
                let got = object.get(field).cloned().unwrap_or_default().to_string();
                let (path, field) = (self.path.to_path_buf(), format!("{name}.{field}"));
                ModelError::ConfigField { path, field, expected: "a number", got }
            })
        };
        let original = || {
            let own = self.config["original_max_position_embeddings"].as_f64();
            own.or_else(|| optional("original_max_position_embeddings")).map_or(max_positions, |n| n as u64)
        };
        Ok(match kind {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: number("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: original(),
            },
            "yarn" => {
                let factor = optional("factor").unwrap_or_else(|| max_positions as f64 / original() as f64);
                let grown = |times: f64| if factor <= 1.0 { 1.0 } else { 0.1 * times * factor.ln() + 1.0 };
                let by_scales = match (optional("mscale"), optional("mscale_all_dim")) {
                    (Some(one), Some(all)) if one != 0.0 && all != 0.0 => grown(one) / grown(all),
                    _ => grown(1.0),
                };
                let or = |field: &str, default: f64| optional(field).filter(|n| *n != 0.0).unwrap_or(default);
                RopeScaling::Yarn {
                    factor,
                    original_max_position_embeddings: original(),
                    beta_fast: or("beta_fast", 32.0),
                    beta_slow: or("beta_slow", 1.0),
                    attention_factor: optional("attention_factor").unwrap_or(by_scales),
                    truncate: object.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                }
            }
            other => {
                return Err(self.wrong(format!(
                    "{name}.rope_type {other:?}: expected default, linear, dynamic, yarn or llama3"
                )));
            }
        })
    }

    /// Settings that change what a network computes and that ours does not carry out.
    fn refuse_settings(&self, model_type: ModelType) -> Result<(), ModelError> {
        let facts = model_type.facts();
        let is_set = |field: &str| !matches!(self.config[field], Value::Null | Value::Bool(false));
        let never = |field: &str, part: Part| part == Part::Never && self.is_on(field);
        let is_lstm = model_type == ModelType::Lstm;
        let is_own = self.config["model_type"] == "cupola_nanochat";
        let refused = [
            ("attention_bias", !is_lstm && never("attention_bias", facts.attention_bias)),
            ("mlp_bias", !is_lstm && never("mlp_bias", facts.mlp_bias)),
            ("use_sliding_window", never("use_sliding_window", facts.sliding_window)),
            (
                "use_sliding_window",
                model_type == ModelType::Nanochat && !is_own && is_set("use_sliding_window"),
            ),
            (
                "partial_rotary_factor",
                !matches!(self.config["partial_rotary_factor"].as_f64(), None | Some(1.0)),
            ),
            ("quantization_config", is_set("quantization_config")),
            ("scale_attn_by_inverse_layer_idx", is_set("scale_attn_by_inverse_layer_idx")),
            ("reorder_and_upcast_attn", is_set("reorder_and_upcast_attn")),
            ("add_cross_attention", is_set("add_cross_attention")),
            ("scale_attn_weights: false", self.config["scale_attn_weights"].as_bool() == Some(false)),
            ("value_embeddings", !is_own && is_set("value_embeddings")),
            ("residual_scalars", !is_own && is_set("residual_scalars")),
        ];
        match refused.iter().find(|(_, is_on)| *is_on) {
            Some((name, _)) => {
                Err(self.wrong(format!("{name} is set, and this version does not carry it out")))
            }
            None => Ok(()),
        }
    }
}
