//! torchtitan's files: text by domain, `train.toml`, and a module that registers the network's sizes and the mixture of the domains.
//!
//! torchtitan's Qwen3 is a Llama with norms on queries and keys that can be left out, and takes every size by itself; so it stands for both.
//! Its loader encodes text: it is written as it was encoded here, one document a line. `tests/python/handover.py` loads all of it with the real
//! library.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cupola_specs::job::{LrShape, Precision};
use serde_json::json;

use super::megatron::clip;
use super::plan::RunPlan;
use super::{HandoverError, file_of, put};
use crate::job::JobError;
use crate::tokenizer::Tokenizer;
use crate::train::TokenData;

/// The module's name, and the name of network, sizes and data in it.
const MODULE: &str = "cupola_recipe";
const NAME: &str = "cupola";

/// Writes the text of one side.
pub(super) fn write_data(
    folder: &Path,
    data: &TokenData,
    tokenizer: &Tokenizer,
) -> Result<(), HandoverError> {
    let names: Vec<String> = data.domains().map(str::to_owned).collect();
    for (domain, name) in names.iter().enumerate() {
        let documents = data.documents(domain)?;
        let path = folder.join(format!("{}.jsonl", file_of(name)));
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            let mut ids = Vec::new();
            for (start, tokens) in &documents {
                ids.clear();
                // Without the token before it, which the loader adds.
                data.read(domain, start + 1, tokens - 1, &mut ids);
                let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
                writeln!(file, "{}", json!({ "text": tokenizer.decode(&ids) }))?;
            }
            file.into_inner()?.sync_all()
        };
        write().map_err(|error| JobError::io(&path, error))?;
    }
    Ok(())
}

/// Writes the run.
pub(super) fn write_run(out: &Path, plan: &RunPlan) -> Result<(), HandoverError> {
    put(out, "train.toml", &config(plan))?;
    put(out, &format!("{MODULE}.py"), &module(plan))?;
    put(
        out,
        "train.sh",
        "#!/bin/bash\n\
         # Pretraining by torchtitan, which is installed: GPUS are the devices of this machine; what else is said goes to torchtitan.\n\
         set -euo pipefail\n\
         cd \"$(dirname \"$0\")\"\n\
         export PYTHONPATH=\"$PWD${PYTHONPATH:+:$PYTHONPATH}\"\n\
         exec torchrun --nproc_per_node \"${GPUS:-8}\" -m torchtitan.train --job.config_file train.toml \"$@\"\n",
    )
}

fn config(plan: &RunPlan) -> String {
    let RunPlan { steps, fall, betas, .. } = plan;
    let decay = match fall.shape {
        LrShape::Cosine => "cosine",
        LrShape::OneMinusSqrt => "sqrt",
        _ => "linear",
    };
    // A fall to the peak itself is none.
    let last = if fall.shape == LrShape::Constant { 1.0 } else { fall.last };
    let ratio = fall.steps as f64 / *steps as f64;
    let precision = if plan.precision == Precision::Bf16 { "bfloat16" } else { "float32" };
    format!(
        "[job]\ndump_folder = \"./outputs\"\n\n\
         [experimental]\ncustom_import = \"{MODULE}\"\n\n\
         [model]\nname = \"{NAME}\"\nflavor = \"{NAME}\"\nhf_assets_path = \"./tokenizer\"\n\n\
         [optimizer]\nname = \"AdamW\"\nlr = {lr:?}\nbeta1 = {beta1:?}\nbeta2 = {beta2:?}\neps = {eps:?}\nweight_decay = {decay_rate:?}\n\n\
         [lr_scheduler]\nwarmup_steps = {warmup}\ndecay_ratio = {ratio:?}\ndecay_type = \"{decay}\"\nmin_lr_factor = {last:?}\n\n\
         [training]\ndataset = \"{NAME}\"\ndataset_path = \"./data/train\"\nlocal_batch_size = {micro}\nglobal_batch_size = {global}\n\
         seq_len = {length}\nmax_norm = {clip:?}\nsteps = {steps}\nmixed_precision_param = \"{precision}\"\n\n\
         [validation]\nenable = true\ndataset = \"{NAME}_validation\"\ndataset_path = \"./data/validation\"\nlocal_batch_size = {micro}\n\
         seq_len = {length}\nfreq = {every}\nsteps = 10\n\n\
         [checkpoint]\nenable = true\ninterval = {every}\n\n\
         [debug]\nseed = {seed}\n",
        lr = plan.lr,
        beta1 = betas[0],
        beta2 = betas[1],
        eps = plan.eps,
        decay_rate = plan.weight_decay,
        warmup = plan.warmup_steps,
        micro = plan.micro_batch,
        global = plan.global_batch,
        length = plan.context_length,
        clip = clip(plan.grad_clip),
        every = (steps / 20).max(1),
        seed = plan.seed % (1 << 31),
    )
}

/// The module: sizes, and domains drawn so that tokens have their shares.
fn module(plan: &RunPlan) -> String {
    // Documents are drawn, and shares are of tokens: a domain of long documents is drawn as much less often.
    let draws: Vec<(String, f64)> = plan
        .mixture
        .iter()
        .map(|(domain, share)| {
            (file_of(domain), share / plan.mean_document.get(domain).copied().unwrap_or(1.0))
        })
        .collect();
    let all: f64 = draws.iter().map(|(_, draw)| draw).sum();
    let draws: Vec<String> =
        draws.iter().map(|(domain, draw)| format!("    {domain:?}: {:?},\n", draw / all)).collect();
    format!(
        r#""""The sizes of the network and the mixture of the data, for torchtitan: `train.toml` imports it."""

from dataclasses import replace
from pathlib import Path

from datasets import interleave_datasets, load_dataset
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import DATASETS
from torchtitan.models.qwen3 import Qwen3ModelArgs, get_train_spec
from torchtitan.protocols.train_spec import register_train_spec

{sizes}
# How often a document of each domain is drawn, so that its tokens have their share.
DRAWS = {{
{draws}}}


def train_documents(folder):
    domains = [load_dataset("json", data_files=f"{{folder}}/{{name}}.jsonl", split="train") for name in DRAWS]
    if len(domains) == 1:
        return domains[0]
    return interleave_datasets(domains, probabilities=list(DRAWS.values()), seed={seed}, stopping_strategy="all_exhausted")


def validation_documents(folder):
    files = sorted(str(file) for file in Path(folder).glob("*.jsonl") if file.stat().st_size > 0)
    return load_dataset("json", data_files=files, split="train")


DATASETS["{NAME}"] = DatasetConfig("./data/train", train_documents, lambda sample: sample["text"])
DATASETS["{NAME}_validation"] = DatasetConfig("./data/validation", validation_documents, lambda sample: sample["text"])
register_train_spec("{NAME}", replace(get_train_spec(), model_args={{"{NAME}": SIZES}}))
"#,
        sizes = sizes(plan),
        draws = draws.concat(),
        seed = plan.seed % (1 << 31),
    )
}

/// The network's sizes as torchtitan has them.
fn sizes(plan: &RunPlan) -> String {
    let shape = &plan.shape;
    let flag = |is: bool| if is { "True" } else { "False" }.to_owned();
    let fields = [
        ("vocab_size", plan.vocab_size.to_string()),
        ("max_seq_len", shape.max_position_embeddings.max(plan.context_length).to_string()),
        ("dim", shape.hidden_size.to_string()),
        ("n_layers", shape.num_hidden_layers.to_string()),
        ("n_heads", shape.num_attention_heads.to_string()),
        ("n_kv_heads", shape.num_key_value_heads.to_string()),
        ("head_dim", shape.head_dim.to_string()),
        ("hidden_dim", shape.intermediate_size.to_string()),
        ("qk_norm", flag(shape.qk_norm)),
        ("norm_eps", format!("{:?}", shape.norm_eps)),
        ("rope_theta", format!("{:?}", shape.rope_theta)),
        ("enable_weight_tying", flag(shape.tie_word_embeddings)),
    ];
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("    {name}={value},\n")).collect();
    format!("SIZES = Qwen3ModelArgs(\n{})\n", lines.concat())
}
