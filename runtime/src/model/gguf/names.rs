//! Hugging Face's names and layouts of tensors, and ggml's.

use cupola_specs::job::{ModelShape, ModelType};
use tch::Tensor;

/// How a tensor lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// As Hugging Face's class has it.
    Same,
    /// Rows and columns swapped: GPT-2's matrices are `[in, out]`.
    Transposed,
    /// The rows of each of so many heads go in pairs that RoPE turns: first one of the first half, then one of the second.
    Paired(i64),
}

impl Layout {
    /// Hugging Face's tensor as it lies in the file.
    pub(super) fn put(self, tensor: &Tensor) -> Tensor {
        match self {
            Self::Same => tensor.shallow_clone(),
            Self::Transposed => tensor.transpose(0, 1).contiguous(),
            Self::Paired(heads) => swapped(tensor, [heads, 2, -1]),
        }
    }

    /// The file's tensor as Hugging Face's class has it.
    pub(super) fn take(self, tensor: &Tensor) -> Tensor {
        match self {
            Self::Same => tensor.shallow_clone(),
            Self::Transposed => tensor.transpose(0, 1).contiguous(),
            Self::Paired(heads) => swapped(tensor, [heads, -1, 2]),
        }
    }

    /// The size that the file has for Hugging Face's.
    pub(super) fn size(self, size: &[i64]) -> Vec<u64> {
        let size = size.iter().map(|size| *size as u64);
        if self == Self::Transposed { size.rev().collect() } else { size.collect() }
    }
}

/// Rows in groups of two sizes, the two swapped.
fn swapped(tensor: &Tensor, [heads, first, second]: [i64; 3]) -> Tensor {
    let size = tensor.size();
    let columns: i64 = size[1..].iter().product();
    tensor.reshape([heads, first, second, columns]).transpose(1, 2).contiguous().view(size.as_slice())
}

/// ggml's name of a tensor of Hugging Face's, and how it lies there.
pub(super) fn of(shape: &ModelShape, name: &str) -> Option<(String, Layout)> {
    let top = |name: &str| Some((name.to_owned(), Layout::Same));
    match name {
        "model.embed_tokens.weight" | "transformer.wte.weight" => return top("token_embd.weight"),
        "transformer.wpe.weight" => return top("position_embd.weight"),
        "model.norm.weight" | "transformer.ln_f.weight" => return top("output_norm.weight"),
        "transformer.ln_f.bias" => return top("output_norm.bias"),
        "lm_head.weight" => return top("output.weight"),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.").or_else(|| name.strip_prefix("transformer.h."))?;
    let (layer, rest) = rest.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let module = match module {
        "input_layernorm" | "ln_1" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "attn.c_attn" => "attn_qkv",
        "self_attn.o_proj" | "attn.c_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" | "ln_2" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.c_fc" => "ffn_up",
        "mlp.down_proj" | "mlp.c_proj" => "ffn_down",
        _ => return None,
    };
    // ggml turns neighbours where Hugging Face turns halves; for Qwen's classes it does as Hugging Face does.
    let is_paired = matches!(shape.model_type, ModelType::Llama | ModelType::Mistral | ModelType::Arcee);
    let layout = match module {
        "attn_q" if is_paired => Layout::Paired(shape.num_attention_heads as i64),
        "attn_k" if is_paired => Layout::Paired(shape.num_key_value_heads as i64),
        _ if shape.model_type == ModelType::Gpt2 && kind == "weight" && !module.ends_with("norm") => {
            Layout::Transposed
        }
        _ => Layout::Same,
    };
    Some((format!("blk.{layer}.{module}.{kind}"), layout))
}
