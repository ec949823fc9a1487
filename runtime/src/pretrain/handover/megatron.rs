//! Megatron-LM's files: an indexed dataset for each domain, and the command line of `pretrain_gpt.py`.
//!
//! An indexed dataset is `NAME.bin`, the ids end to end, and `NAME.idx`, little-endian: `MMIDIDX\0\0`, version 1 (u64), the code of the ids' type (u8: 8 is
//! u16, 4 is i32), the number of sequences and of document borders (u64 each), the length of each sequence (i32), the byte where each begins
//! (i64), and the number of the sequence with which each document begins and the last one ends (i64). Here each document is one sequence,
//! with the token before it. The format is that of `megatron/core/datasets/indexed_dataset.py`; `tests/python/handover.py` reads it with that.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cupola_specs::job::{Activation, LrShape, ModelShape, ModelType, Precision};

use super::plan::RunPlan;
use super::{HandoverError, file_of, put};
use crate::job::JobError;
use crate::train::TokenData;

const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";
const VERSION: u64 = 1;

/// Writes the datasets of one side.
pub(super) fn write_data(folder: &Path, data: &TokenData) -> Result<(), HandoverError> {
    let names: Vec<String> = data.domains().map(str::to_owned).collect();
    for (domain, name) in names.iter().enumerate() {
        let documents = data.documents(domain)?;
        if let Some((_, tokens)) = documents.iter().find(|(_, tokens)| *tokens > i32::MAX as u64) {
            return Err(HandoverError::Document { domain: name.clone(), tokens: *tokens });
        }
        let path = folder.join(format!("{}.bin", file_of(name)));
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            let mut ids = Vec::new();
            for (start, tokens) in &documents {
                ids.clear();
                data.read(domain, *start, *tokens, &mut ids);
                for id in &ids {
                    let bytes = (*id as u32).to_le_bytes();
                    file.write_all(&bytes[..data.index.id_bytes as usize])?;
                }
            }
            file.into_inner()?.sync_all()
        };
        write().map_err(|error| JobError::io(&path, error))?;
        let lengths: Vec<u64> = documents.iter().map(|(_, tokens)| *tokens).collect();
        let path = folder.join(format!("{}.idx", file_of(name)));
        std::fs::write(&path, index(data.index.id_bytes, &lengths))
            .map_err(|error| JobError::io(&path, error))?;
    }
    Ok(())
}

/// The index of documents of these lengths.
fn index(id_bytes: u64, lengths: &[u64]) -> Vec<u8> {
    let count = lengths.len() as u64;
    let mut bytes = Vec::with_capacity(34 + 20 * lengths.len() + 8);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.push(if id_bytes == 2 { 8 } else { 4 });
    bytes.extend(count.to_le_bytes());
    bytes.extend((count + 1).to_le_bytes());
    bytes.extend(lengths.iter().flat_map(|length| (*length as u32).to_le_bytes()));
    let mut at = 0;
    for length in lengths {
        bytes.extend(u64::to_le_bytes(at));
        at += length * id_bytes;
    }
    bytes.extend((0..=count).flat_map(u64::to_le_bytes));
    bytes
}

/// Writes the command line.
pub(super) fn write_run(out: &Path, plan: &RunPlan, held_out: &TokenData) -> Result<(), HandoverError> {
    let mut lines = network(&plan.shape, plan);
    lines.extend(training(plan));
    let train: Vec<String> = plan
        .mixture
        .iter()
        .map(|(domain, share)| format!("{share} data/train/{}", file_of(domain)))
        .collect();
    lines.push(format!("--train-data-path {}", train.join(" ")));
    let valid: Vec<String> = held_out
        .domains()
        .enumerate()
        .filter(|(domain, _)| held_out.shard(*domain).num_tokens > plan.context_length)
        .map(|(domain, name)| {
            format!("{} data/validation/{}", held_out.shard(domain).num_tokens, file_of(name))
        })
        .collect();
    if valid.is_empty() {
        lines.push("--eval-iters 0".to_owned());
    } else {
        lines.push(format!("--valid-data-path {}", valid.join(" ")));
        lines.push(format!("--eval-interval {} --eval-iters 10", (plan.steps / 20).max(1)));
    }
    let text = format!(
        "#!/bin/bash\n\
         # Pretraining by Megatron-LM: MEGATRON is a checkout of it, GPUS the devices of this machine; what else is said goes to pretrain_gpt.py.\n\
         set -euo pipefail\n\
         cd \"$(dirname \"$0\")\"\n\
         exec torchrun --nproc_per_node \"${{GPUS:-8}}\" \"${{MEGATRON:?a checkout of Megatron-LM}}/pretrain_gpt.py\" \\\n    {} \\\n    \"$@\"\n",
        lines.join(" \\\n    ")
    );
    put(out, "train.sh", &text)
}

/// The network.
fn network(shape: &ModelShape, plan: &RunPlan) -> Vec<String> {
    let mut lines = vec![
        format!("--num-layers {} --hidden-size {}", shape.num_hidden_layers, shape.hidden_size),
        format!("--ffn-hidden-size {}", shape.intermediate_size),
        format!("--num-attention-heads {} --kv-channels {}", shape.num_attention_heads, shape.head_dim),
    ];
    if shape.num_key_value_heads < shape.num_attention_heads {
        lines.push(format!("--group-query-attention --num-query-groups {}", shape.num_key_value_heads));
    }
    lines.push(format!("--normalization RMSNorm --norm-epsilon {:e}", shape.norm_eps));
    lines.push(format!("--position-embedding-type rope --rotary-base {}", shape.rope_theta));
    lines.push(if shape.activation == Activation::Relu2 { "--squared-relu" } else { "--swiglu" }.to_owned());
    lines.push("--disable-bias-linear --attention-dropout 0 --hidden-dropout 0".to_owned());
    if shape.attention_bias && shape.model_type == ModelType::Qwen2 {
        lines.push("--add-qkv-bias".to_owned());
    }
    if shape.qk_norm {
        lines.push("--qk-layernorm".to_owned());
    }
    if !shape.tie_word_embeddings {
        lines.push("--untie-embeddings-and-output-weights".to_owned());
    }
    let positions = shape.max_position_embeddings.max(plan.context_length);
    lines.push(format!("--seq-length {} --max-position-embeddings {positions}", plan.context_length));
    lines.push("--tokenizer-type HuggingFaceTokenizer --tokenizer-model tokenizer".to_owned());
    lines.push(format!("--vocab-size {} --make-vocab-size-divisible-by 1", plan.vocab_size));
    lines
}

/// Batch, optimiser and rates.
fn training(plan: &RunPlan) -> Vec<String> {
    let RunPlan { steps, lr, betas, fall, .. } = plan;
    let mut lines = vec![
        format!("--micro-batch-size {} --global-batch-size {}", plan.micro_batch, plan.global_batch),
        format!("--train-iters {steps} --lr-warmup-iters {}", plan.warmup_steps),
        format!("--optimizer adam --lr {lr:e} --adam-beta1 {} --adam-beta2 {}", betas[0], betas[1]),
        format!("--adam-eps {:e} --weight-decay {}", plan.eps, plan.weight_decay),
        format!("--clip-grad {} --seed {}", clip(plan.grad_clip), plan.seed % (1 << 31)),
    ];
    let word = match fall.shape {
        LrShape::Cosine => "cosine",
        LrShape::OneMinusSqrt => "minus_sqrt",
        _ => "linear",
    };
    let is_whole = fall.steps + plan.warmup_steps >= *steps && word != "minus_sqrt";
    lines.push(match (fall.shape, is_whole) {
        (LrShape::Constant, _) => "--lr-decay-style constant".to_owned(),
        (_, true) => format!("--lr-decay-style {word} --lr-decay-iters {steps} --min-lr {:e}", fall.last * lr),
        (_, false) => format!(
            "--lr-decay-style WSD --lr-wsd-decay-style {word} --lr-wsd-decay-iters {} --lr-decay-iters {steps} --min-lr {:e}",
            fall.steps,
            fall.last * lr
        ),
    });
    if plan.precision == Precision::Bf16 {
        lines.push("--bf16".to_owned());
    }
    lines
}

/// A norm that is never reached where clipping is off.
pub(super) fn clip(norm: f64) -> f64 {
    if norm > 0.0 { norm } else { 1e9 }
}
