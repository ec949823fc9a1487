//! Every size and part of a network, and which of them each class of Hugging Face's has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every size of a network. `vocab_size` comes with the tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "parts that are there or not, as in config.json")]
pub struct ModelShape {
    /// Which network.
    pub family: Family,
    /// Hugging Face's class that loads the saved folder.
    pub model_type: ModelType,
    /// Layers.
    pub num_hidden_layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the feed-forward layer.
    pub intermediate_size: u64,
    /// Query heads.
    pub num_attention_heads: u64,
    /// Key and value heads.
    pub num_key_value_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Feed-forward activation.
    pub activation: Activation,
    /// RMS norm on queries and keys.
    pub qk_norm: bool,
    /// Biases in attention: of queries, keys and values in `qwen2`, of all four products in the others.
    pub attention_bias: bool,
    /// Biases in the feed-forward layer.
    pub mlp_bias: bool,
    /// Epsilon of every norm.
    pub norm_eps: f64,
    /// One matrix for input and output embeddings.
    pub tie_word_embeddings: bool,
    /// RoPE's base.
    pub rope_theta: f64,
    /// How RoPE's frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Longest context that the config states.
    pub max_position_embeddings: u64,
    /// Tokens that a sliding layer sees, the token itself included; 0: every layer sees the whole past.
    pub sliding_window: u64,
    /// What the layers see where there is a window, repeated over the layers.
    pub layer_types: Vec<LayerType>,
    /// Logits are squeezed into ± this bound by a tanh; 0 is off.
    pub logit_softcap: f64,
    /// Every second layer, the last one among them, adds a gated embedding of the token to its values.
    pub value_embeddings: bool,
    /// Before each layer, learned scalars weigh the residual stream and the first embedding into it.
    pub residual_scalars: bool,
}

/// A family of networks; each is one file in `runtime/src/model/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Decoder-only transformer.
    Transformer,
    /// Stacked LSTM.
    Lstm,
}

/// Feed-forward activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// SiLU-gated linear unit.
    Swiglu,
    /// Squared ReLU.
    Relu2,
    /// GELU in its tanh form.
    GeluNew,
}

/// Hugging Face's class that loads a saved folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// Llama 1 to 3.
    Llama,
    /// Qwen2: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: RMS norm on queries and keys.
    Qwen3,
    /// Mistral: a sliding window.
    Mistral,
    /// GPT-2: learned positions, layer norm, GELU, biases.
    Gpt2,
    /// Arcee: Llama with ReLU².
    Arcee,
    /// Nanochat: norms without gain, query-key norm after RoPE, ReLU², a logit soft cap.
    Nanochat,
    /// No class of Hugging Face's.
    Lstm,
}

/// What a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// The sliding window.
    SlidingAttention,
    /// The whole past.
    FullAttention,
}

/// How RoPE's frequencies are stretched to longer contexts, by Hugging Face's names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every frequency divided by a factor.
    Linear {
        /// How many times longer.
        factor: f64,
    },
    /// The base grows with rows longer than `max_position_embeddings` (NTK-aware).
    Dynamic {
        /// How many times longer.
        factor: f64,
    },
    /// Low frequencies divided, high ones kept, a ramp between (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// How many times longer.
        factor: f64,
        /// Context of the training before, tokens.
        original_max_position_embeddings: u64,
        /// Turns over that context above which a frequency is kept.
        beta_fast: f64,
        /// Turns below which it is divided.
        beta_slow: f64,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// Whether the ramp's ends are whole dimensions.
        truncate: bool,
    },
    /// Llama 3's: as YaRN, the ramp by wavelength.
    Llama3 {
        /// How many times longer.
        factor: f64,
        /// Context over the wavelength from which on a frequency is divided.
        low_freq_factor: f64,
        /// Context over the wavelength up to which a frequency is kept.
        high_freq_factor: f64,
        /// Context of the training before, tokens.
        original_max_position_embeddings: u64,
    },
}

impl RopeScaling {
    /// YaRN's factor on cosines and sines where none is given.
    pub fn yarn_attention_factor(factor: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
    }
}

/// A part that a class always has, never has, or has as a config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Always there.
    Always,
    /// Never there.
    Never,
    /// As the config says.
    Free,
}

impl Part {
    /// Whether the part may be there (`is_there`) or not.
    pub fn allows(self, is_there: bool) -> bool {
        self == Self::Free || (self == Self::Always) == is_there
    }
}

/// What a class of Hugging Face's fixes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "parts that are there or not")]
pub struct ModelFacts {
    /// Its word in `config.json` and in a spec.
    pub name: &'static str,
    /// Its feed-forward activation.
    pub activation: Activation,
    /// RMS norm on queries and keys.
    pub qk_norm: bool,
    /// Biases in attention.
    pub attention_bias: Part,
    /// Biases in the feed-forward layer.
    pub mlp_bias: Part,
    /// A sliding window.
    pub sliding_window: Part,
    /// Layers that slide beside layers that do not.
    pub layer_types: Part,
    /// RoPE; learned positions otherwise.
    pub has_rope: bool,
    /// A width of heads that is not that of the stream divided by their number.
    pub head_dim: Part,
    /// Whether the number of heads must divide the width.
    pub is_divided: bool,
    /// Nanochat's parts: logit soft cap, value embeddings, residual scalars.
    pub nanochat_parts: Part,
    /// Its usual epsilon.
    pub norm_eps: f64,
    /// Whether input and output embeddings are usually one.
    pub tie_word_embeddings: bool,
}

impl ModelType {
    /// What the class fixes.
    pub fn facts(self) -> ModelFacts {
        let llama = ModelFacts {
            name: "llama",
            activation: Activation::Swiglu,
            qk_norm: false,
            attention_bias: Part::Free,
            mlp_bias: Part::Free,
            sliding_window: Part::Never,
            layer_types: Part::Never,
            has_rope: true,
            head_dim: Part::Free,
            is_divided: true,
            nanochat_parts: Part::Never,
            norm_eps: 1e-6,
            tie_word_embeddings: false,
        };
        let never_biased = ModelFacts { mlp_bias: Part::Never, is_divided: false, ..llama };
        let sliding = ModelFacts { sliding_window: Part::Free, layer_types: Part::Free, ..never_biased };
        match self {
            Self::Llama => llama,
            Self::Qwen2 => ModelFacts { name: "qwen2", attention_bias: Part::Always, ..sliding },
            Self::Qwen3 => ModelFacts { name: "qwen3", qk_norm: true, ..sliding },
            Self::Mistral => ModelFacts {
                name: "mistral",
                attention_bias: Part::Never,
                layer_types: Part::Never,
                ..sliding
            },
            Self::Gpt2 => ModelFacts {
                name: "gpt2",
                activation: Activation::GeluNew,
                attention_bias: Part::Always,
                mlp_bias: Part::Always,
                has_rope: false,
                head_dim: Part::Never,
                norm_eps: 1e-5,
                tie_word_embeddings: true,
                ..llama
            },
            Self::Arcee => ModelFacts { name: "arcee", activation: Activation::Relu2, ..llama },
            Self::Nanochat => ModelFacts {
                name: "nanochat",
                activation: Activation::Relu2,
                qk_norm: true,
                nanochat_parts: Part::Free,
                ..sliding
            },
            Self::Lstm => ModelFacts { name: "lstm", has_rope: false, ..never_biased },
        }
    }

    /// Its network.
    pub fn family(self) -> Family {
        if self == Self::Lstm { Family::Lstm } else { Family::Transformer }
    }
}

impl ModelShape {
    /// A class as it usually is, in one layer of one head of 64 and a context of 512.
    pub fn plain(model_type: ModelType) -> Self {
        let facts = model_type.facts();
        Self {
            family: model_type.family(),
            model_type,
            num_hidden_layers: 1,
            hidden_size: 64,
            intermediate_size: if facts.activation == Activation::Swiglu { 192 } else { 256 },
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 64,
            activation: facts.activation,
            qk_norm: facts.qk_norm,
            attention_bias: facts.attention_bias == Part::Always,
            mlp_bias: facts.mlp_bias == Part::Always,
            norm_eps: facts.norm_eps,
            tie_word_embeddings: facts.tie_word_embeddings,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::Default,
            max_position_embeddings: 512,
            sliding_window: 0,
            layer_types: vec![LayerType::SlidingAttention],
            logit_softcap: if facts.nanochat_parts == Part::Free { 15.0 } else { 0.0 },
            value_embeddings: false,
            residual_scalars: false,
        }
    }

    /// Tokens that a layer sees, the token itself included; 0 for the whole past.
    pub fn window_of(&self, layer: u64) -> u64 {
        match self.layer_types.get(layer as usize % self.layer_types.len().max(1)) {
            Some(LayerType::FullAttention) => 0,
            _ => self.sliding_window,
        }
    }

    /// Whether a layer has a value embedding.
    pub fn has_value_embedding(&self, layer: u64) -> bool {
        self.value_embeddings && (layer + 1) % 2 == self.num_hidden_layers % 2
    }

    /// Keys that a token of a row sees on average, in all layers: half the row, or the window less what the row's start cuts off.
    pub fn mean_visible_keys(&self, context_length: u64) -> f64 {
        let row = context_length as f64;
        let of_layer = |layer| match self.window_of(layer) as f64 {
            window if window > 0.0 && window < row => window * (1.0 - window / (2.0 * row)),
            _ => row / 2.0,
        };
        (0..self.num_hidden_layers).map(of_layer).sum()
    }

    /// A part that the shape's class does not have, or sizes that do not go together: what is wrong, and what would be right.
    pub fn problem(&self) -> Option<(String, String)> {
        let facts = self.model_type.facts();
        if self.model_type.family() != self.family {
            return Some((
                format!("model_type {} is of another arch", facts.name),
                "its own arch".to_owned(),
            ));
        }
        if self.family == Family::Lstm {
            return None;
        }
        self.wrong_part(&facts).or_else(|| self.wrong_size(&facts))
    }

    fn wrong_part(&self, facts: &ModelFacts) -> Option<(String, String)> {
        if self.activation != facts.activation {
            let message = format!("model_type {} has another activation", facts.name);
            return Some((message, "the model without `activation`, or another model_type".to_owned()));
        }
        let always_if = |is_there: bool| if is_there { Part::Always } else { Part::Never };
        let free_if = |is_free: bool| if is_free { Part::Free } else { Part::Never };
        let own_heads = self.head_dim * self.num_attention_heads != self.hidden_size;
        let parts = [
            ("qk_norm", self.qk_norm, always_if(facts.qk_norm)),
            ("attention_bias", self.attention_bias, facts.attention_bias),
            ("mlp_bias", self.mlp_bias, facts.mlp_bias),
            ("sliding_window", self.sliding_window > 0, facts.sliding_window),
            (
                "full layer beside sliding ones",
                self.layer_types.contains(&LayerType::FullAttention),
                facts.layer_types,
            ),
            ("rope_scaling", self.rope_scaling != RopeScaling::Default, free_if(facts.has_rope)),
            ("head_dim of its own", own_heads, facts.head_dim),
            ("logit_softcap", self.logit_softcap > 0.0, facts.nanochat_parts),
            ("value_embeddings", self.value_embeddings, facts.nanochat_parts),
            ("residual_scalars", self.residual_scalars, facts.nanochat_parts),
        ];
        let (name, is_there, _) = parts.into_iter().find(|(_, is_there, part)| !part.allows(*is_there))?;
        let (word, without) = if is_there { ("has no", "without") } else { ("always has", "with") };
        let message = format!("model_type {} {word} {name}", facts.name);
        Some((message, format!("the model {without} it, or another model_type")))
    }

    fn wrong_size(&self, facts: &ModelFacts) -> Option<(String, String)> {
        let (hidden, heads, keys) = (self.hidden_size, self.num_attention_heads, self.num_key_value_heads);
        if heads == 0 || self.head_dim == 0 || (facts.has_rope && !self.head_dim.is_multiple_of(2)) {
            return Some((format!("a head of {} dimensions", self.head_dim), "an even head_dim".to_owned()));
        }
        if facts.is_divided && !hidden.is_multiple_of(heads) {
            let message =
                format!("{heads} heads do not divide a width of {hidden}, and {} needs it", facts.name);
            return Some((message, "a multiple".to_owned()));
        }
        if keys == 0 || !heads.is_multiple_of(keys) || (self.model_type == ModelType::Gpt2 && keys != heads) {
            let message = format!("{keys} key and value heads for {heads} heads");
            return Some((message, "key and value heads that divide the heads; in gpt2 as many".to_owned()));
        }
        if self.layer_types.is_empty() {
            return Some(("layer_types is empty".to_owned(), "at least one of its words".to_owned()));
        }
        None
    }
}
