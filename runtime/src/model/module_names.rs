//! The names of a class's modules, and how its matrices lie.

use cupola_specs::job::ModelType;

use super::layers::{Layout, NormKind};

/// Hugging Face's names of a class's modules, the layout of its matrices and its norm.
pub(crate) struct Names {
    pub embedding: &'static str,
    pub layers: &'static str,
    pub input_norm: &'static str,
    pub inputs: &'static [&'static str],
    pub output: &'static str,
    pub post_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub norm: &'static str,
    pub norm_kind: NormKind,
    pub layout: Layout,
}

impl Names {
    /// The names of a class.
    pub(crate) fn of(model_type: ModelType) -> Self {
        let llama = Self {
            embedding: "model.embed_tokens.weight",
            layers: "model.layers",
            input_norm: "input_layernorm",
            inputs: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            output: "self_attn.o_proj",
            post_norm: "post_attention_layernorm",
            up: "up_proj",
            down: "down_proj",
            norm: "model.norm",
            norm_kind: NormKind::Rms,
            layout: Layout::OutIn,
        };
        match model_type {
            ModelType::Gpt2 => Self {
                embedding: "transformer.wte.weight",
                layers: "transformer.h",
                input_norm: "ln_1",
                inputs: &["attn.c_attn"],
                output: "attn.c_proj",
                post_norm: "ln_2",
                up: "c_fc",
                down: "c_proj",
                norm: "transformer.ln_f",
                norm_kind: NormKind::Layer,
                layout: Layout::InOut,
            },
            ModelType::Nanochat => Self { up: "fc1", down: "fc2", norm_kind: NormKind::Plain, ..llama },
            _ => llama,
        }
    }
}
