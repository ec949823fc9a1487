//! A pretraining for another engine: what `cupola export --for` writes where a model outgrows copies of its weights on each device.
//!
//! From a pretrain step and its inputs come a folder with the tokens (Megatron-LM's indexed datasets, or text by domain for torchtitan, which
//! encodes it itself), the tokenizer, the network's `config.json`, and the run with every `auto` resolved: sizes, batch, steps, rates and
//! mixture. `README.md` in it says how it is started, and each thing that the engine does not have.
//!
//! Invariants: a network that the engine does not have is refused, never written as another one; what of the *training* differs is in
//! `README.md` and in the report, each thing once.

mod differences;
mod error;
mod megatron;
mod plan;
mod readme;
mod torchtitan;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cupola_specs::job::StepParams;
use serde::Serialize;

pub use error::HandoverError;

use plan::RunPlan;

use super::job::recipe;
use super::resolve::Resolved;
use crate::job::{JobError, StepContext};
use crate::model::SaveFacts;
use crate::train::LanguageRun;

/// An engine that takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// NVIDIA's Megatron-LM.
    Megatron,
    /// PyTorch's torchtitan.
    Torchtitan,
}

impl Engine {
    /// The engine of a word of the command line.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "megatron" => Some(Self::Megatron),
            "torchtitan" => Some(Self::Torchtitan),
            _ => None,
        }
    }

    /// Its name, with the version whose formats are written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Megatron => "Megatron-LM (core 0.16)",
            Self::Torchtitan => "torchtitan 0.2.2",
        }
    }
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Optimiser steps.
    pub steps: u64,
    /// Rows of a step.
    pub global_batch: u64,
    /// Parameters.
    pub total_params: u64,
    /// Tokens of the train side.
    pub train_tokens: u64,
    /// What the engine does otherwise than the step would, each thing once.
    pub differences: Vec<String>,
}

/// Writes the folder `out` for the step of a job file.
///
/// # Errors
/// A step of another kind, a network that the engine does not have, rates that it can't follow, or a broken input.
pub fn write(ctx: &StepContext, engine: Engine, out: &Path) -> Result<Report, HandoverError> {
    let StepParams::Pretrain(params) = &ctx.job().params else {
        let message = format!("{} is a {} step", ctx.job().step, ctx.job().params.kind().as_str());
        return Err(HandoverError::Kind(message));
    };
    let Resolved { tokenizer, data, held_out, shape, tokens, .. } = Resolved::of(ctx, params)?;
    let run = LanguageRun::outline(&recipe(ctx, params, &shape, tokens), &data)?;
    let plan = RunPlan::of(engine, params, &run, &data, ctx.job().seed)?;
    let facts = SaveFacts {
        bos_token_id: tokenizer.bos_id(),
        stop_token_ids: tokenizer.chat().stop_ids(),
        pad_token_id: tokenizer.pad_id().unwrap_or(tokenizer.bos_id()),
    };
    let assets = out.join("tokenizer");
    std::fs::create_dir_all(&assets).map_err(|error| JobError::io(&assets, error))?;
    tokenizer.copy_files(&assets)?;
    run.network.write_config(&assets, &facts)?;
    for (side, data) in [("train", &data), ("validation", &held_out)] {
        let folder = out.join("data").join(side);
        std::fs::create_dir_all(&folder).map_err(|error| JobError::io(&folder, error))?;
        match engine {
            Engine::Megatron => megatron::write_data(&folder, data)?,
            Engine::Torchtitan => torchtitan::write_data(&folder, data, &tokenizer)?,
        }
    }
    match engine {
        Engine::Megatron => megatron::write_run(out, &plan, &held_out)?,
        Engine::Torchtitan => torchtitan::write_run(out, &plan)?,
    }
    readme::write(out, &plan)?;
    Ok(Report {
        steps: plan.steps,
        global_batch: plan.global_batch,
        total_params: run.network.total_params(),
        train_tokens: data.num_tokens(),
        differences: plan.differences,
    })
}

/// The file name of a domain, without its ending.
fn file_of(domain: &str) -> String {
    domain.replace('/', "-")
}

/// Writes a text file of the folder; one of commands may be run.
fn put(out: &Path, name: &str, text: &str) -> Result<(), HandoverError> {
    let path = out.join(name);
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    let write = || {
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode))
    };
    Ok(write().map_err(|error| JobError::io(&path, error))?)
}

#[cfg(test)]
mod tests;
