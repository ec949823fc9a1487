//! A shape as facts of a file, and back.

use cupola_specs::job::{ModelShape, ModelType, RopeScaling};

use super::{Fact, Gguf, GgufError};
use crate::model::ModelError;
use crate::model::rope::{frequencies, plain_frequencies};

/// The tensor of Llama 3's stretch: what each frequency is divided by.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// Llama 3's own stretches: factors that its models were published with.
const LLAMA3_FACTORS: [f64; 2] = [8.0, 32.0];

/// The architecture that computes what the shape does.
///
/// # Errors
/// A shape that llama.cpp has no architecture for.
pub(super) fn architecture(shape: &ModelShape) -> Result<&'static str, ModelError> {
    let refused = |what: String| Err(GgufError::NoPlace { what }.into());
    if shape.sliding_window > 0 && shape.sliding_window < shape.max_position_embeddings {
        return refused(format!("a sliding window of {} tokens in this class", shape.sliding_window));
    }
    match shape.rope_scaling {
        RopeScaling::Dynamic { .. } => return refused("RoPE's `dynamic` stretch".into()),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, .. } => {
            let usual = RopeScaling::yarn_attention_factor(factor);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
            if !(near(beta_fast, 32.0) && near(beta_slow, 1.0) && near(attention_factor, usual) && truncate) {
                return refused("YaRN with other numbers than its paper's".into());
            }
        }
        RopeScaling::Default | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => {}
    }
    match shape.model_type {
        ModelType::Llama | ModelType::Mistral => Ok("llama"),
        ModelType::Qwen2 => Ok("qwen2"),
        ModelType::Qwen3 => Ok("qwen3"),
        ModelType::Arcee => Ok("arcee"),
        ModelType::Gpt2 => Ok("gpt2"),
        ModelType::Nanochat => refused("nanochat's class".into()),
        ModelType::Lstm => refused("LSTMs".into()),
    }
}

/// The facts of a shape.
pub(super) fn of_shape(shape: &ModelShape, vocab_size: i64) -> Result<Vec<(String, Fact)>, ModelError> {
    let arch = architecture(shape)?;
    let mut facts = Vec::new();
    let mut put = |name: &str, fact: Fact| facts.push((format!("{arch}.{name}"), fact));
    put("vocab_size", Fact::Count(vocab_size as u64));
    put("context_length", Fact::Count(shape.max_position_embeddings));
    put("embedding_length", Fact::Count(shape.hidden_size));
    put("block_count", Fact::Count(shape.num_hidden_layers));
    put("feed_forward_length", Fact::Count(shape.intermediate_size));
    put("attention.head_count", Fact::Count(shape.num_attention_heads));
    put("attention.head_count_kv", Fact::Count(shape.num_key_value_heads));
    if shape.model_type == ModelType::Gpt2 {
        put("attention.layer_norm_epsilon", Fact::Number(shape.norm_eps));
        return Ok(facts);
    }
    put("attention.layer_norm_rms_epsilon", Fact::Number(shape.norm_eps));
    put("attention.key_length", Fact::Count(shape.head_dim));
    put("attention.value_length", Fact::Count(shape.head_dim));
    put("rope.dimension_count", Fact::Count(shape.head_dim));
    put("rope.freq_base", Fact::Number(shape.rope_theta));
    match shape.rope_scaling {
        RopeScaling::Linear { factor } => {
            put("rope.scaling.type", "linear".into());
            put("rope.scaling.factor", Fact::Number(factor));
        }
        RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
            put("rope.scaling.type", "yarn".into());
            put("rope.scaling.factor", Fact::Number(factor));
            put("rope.scaling.original_context_length", Fact::Count(original_max_position_embeddings));
        }
        RopeScaling::Default | RopeScaling::Dynamic { .. } | RopeScaling::Llama3 { .. } => {}
    }
    Ok(facts)
}

/// What the frequencies of Llama 3's stretch are divided by; none for other stretches.
pub(super) fn rope_factors(shape: &ModelShape) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { .. } = shape.rope_scaling else { return None };
    let (stretched, _) = frequencies(shape, shape.max_position_embeddings);
    let plain = plain_frequencies(shape);
    Some(plain.into_iter().zip(stretched).map(|(plain, stretched)| (plain / stretched) as f32).collect())
}

/// The shape and vocabulary of a file.
///
/// # Errors
/// An architecture that no class here has, or a fact that is missing or is not carried out.
pub(super) fn to_shape(gguf: &Gguf) -> Result<(ModelShape, i64), ModelError> {
    let read = Reader::new(gguf)?;
    let plain = ModelShape::plain(read.model_type);
    let has = |name: &str| gguf.tensors.contains_key(name);
    let (hidden_size, heads) = (read.count("embedding_length")?, read.count("attention.head_count")?);
    let head_dim = read.optional("attention.key_length").unwrap_or(hidden_size / heads.max(1));
    let is_gpt2 = read.model_type == ModelType::Gpt2;
    let mut shape = ModelShape {
        num_hidden_layers: read.count("block_count")?,
        hidden_size,
        intermediate_size: read.count("feed_forward_length")?,
        num_attention_heads: heads,
        num_key_value_heads: read.optional("attention.head_count_kv").unwrap_or(heads),
        head_dim,
        attention_bias: plain.attention_bias || has("blk.0.attn_q.bias"),
        mlp_bias: plain.mlp_bias || has("blk.0.ffn_down.bias"),
        norm_eps: read.number(if is_gpt2 {
            "attention.layer_norm_epsilon"
        } else {
            "attention.layer_norm_rms_epsilon"
        })?,
        tie_word_embeddings: !has("output.weight"),
        max_position_embeddings: read.count("context_length")?,
        ..plain
    };
    read.refuse(&shape)?;
    if !is_gpt2 {
        shape.rope_theta = read.optional_number("rope.freq_base").unwrap_or(10_000.0);
        shape.rope_scaling = read.scaling(&shape)?;
    }
    crate::model::config::check(&shape)
        .map_err(|error| ModelError::format(gguf.path(), error.to_string()))?;
    let embedding = gguf.tensors.get("token_embd.weight").and_then(|tensor| tensor.size.first());
    let missing = || ModelError::MissingTensor {
        path: gguf.path().to_path_buf(),
        name: "token_embd.weight".to_owned(),
    };
    Ok((shape, *embedding.ok_or_else(missing)? as i64))
}

struct Reader<'a> {
    gguf: &'a Gguf,
    arch: &'a str,
    model_type: ModelType,
}

impl<'a> Reader<'a> {
    fn new(gguf: &'a Gguf) -> Result<Self, ModelError> {
        let arch = gguf.fact("general.architecture").and_then(Fact::text).unwrap_or_default();
        let model_type = match arch {
            "llama" => ModelType::Llama,
            "qwen2" => ModelType::Qwen2,
            "qwen3" => ModelType::Qwen3,
            "arcee" => ModelType::Arcee,
            "gpt2" => ModelType::Gpt2,
            other => {
                let (path, got) = (gguf.path().to_path_buf(), other.to_owned());
                return Err(ModelError::UnknownType {
                    path,
                    got,
                    expected: "llama, qwen2, qwen3, arcee or gpt2",
                });
            }
        };
        Ok(Self { gguf, arch, model_type })
    }

    fn fact(&self, name: &str) -> Option<&'a Fact> {
        self.gguf.fact(&format!("{}.{name}", self.arch))
    }

    fn optional(&self, name: &str) -> Option<u64> {
        self.fact(name).and_then(Fact::count)
    }

    fn optional_number(&self, name: &str) -> Option<f64> {
        self.fact(name).and_then(Fact::number)
    }

    fn count(&self, name: &str) -> Result<u64, ModelError> {
        self.optional(name).ok_or_else(|| self.missing(name, "a whole number"))
    }

    fn number(&self, name: &str) -> Result<f64, ModelError> {
        self.optional_number(name).ok_or_else(|| self.missing(name, "a number"))
    }

    fn missing(&self, name: &str, expected: &'static str) -> ModelError {
        let got = self.fact(name).map_or_else(|| "nothing".to_owned(), |fact| format!("{fact:?}"));
        let got = got.chars().take(80).collect();
        let field = format!("{}.{name}", self.arch);
        ModelError::ConfigField { path: self.gguf.path().to_path_buf(), field, expected, got }
    }

    /// What changes the numbers and has no place in a shape.
    fn refuse(&self, shape: &ModelShape) -> Result<(), ModelError> {
        let refused = |what: &str| Err(ModelError::format(self.gguf.path(), format!("{}.{what}", self.arch)));
        if self.optional("expert_count").is_some_and(|count| count > 0) {
            return refused("expert_count: mixtures of experts are not carried out");
        }
        if self.optional("attention.sliding_window").is_some_and(|window| window > 0) {
            return refused("attention.sliding_window is not carried out");
        }
        if self.optional("attention.value_length").is_some_and(|length| length != shape.head_dim) {
            return refused("attention.value_length: values as wide as keys are carried out alone");
        }
        if self.optional("rope.dimension_count").is_some_and(|count| count != shape.head_dim) {
            return refused("rope.dimension_count: positions that turn a whole head are carried out alone");
        }
        Ok(())
    }

    fn scaling(&self, shape: &ModelShape) -> Result<RopeScaling, ModelError> {
        let kind = self.fact("rope.scaling.type").and_then(Fact::text).unwrap_or("none");
        if let Some(tensor) = self.gguf.tensors.get(ROPE_FACTORS) {
            let factors = tensor.kind.unpack(self.gguf.bytes_of(tensor));
            return self.llama3(shape, &factors);
        }
        match kind {
            "none" => Ok(RopeScaling::Default),
            "linear" => Ok(RopeScaling::Linear { factor: self.number("rope.scaling.factor")? }),
            "yarn" => {
                let factor = self.number("rope.scaling.factor")?;
                let scale = self.optional_number("rope.scaling.attn_factor").unwrap_or(1.0);
                Ok(RopeScaling::Yarn {
                    factor,
                    original_max_position_embeddings: self.count("rope.scaling.original_context_length")?,
                    beta_fast: 32.0,
                    beta_slow: 1.0,
                    attention_factor: scale * RopeScaling::yarn_attention_factor(factor),
                    truncate: true,
                })
            }
            _ => Err(self.missing("rope.scaling.type", "none, linear or yarn")),
        }
    }

    /// Which of Llama 3's stretches gives these factors.
    fn llama3(&self, shape: &ModelShape, factors: &[f32]) -> Result<RopeScaling, ModelError> {
        let original = 8192;
        let scalings = LLAMA3_FACTORS.map(|factor| RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: original,
        });
        let gives = |scaling: &RopeScaling| {
            let given = rope_factors(&ModelShape { rope_scaling: *scaling, ..shape.clone() });
            let given = given.unwrap_or_default();
            given.len() == factors.len()
                && given.iter().zip(factors).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs())
        };
        let found = scalings.into_iter().find(gives);
        found.ok_or_else(|| {
            ModelError::format(
                self.gguf.path(),
                format!("{ROPE_FACTORS} are none of Llama 3's (8 or 32 times 8,192 tokens)"),
            )
        })
    }
}
