//! `kind: rlhf` as the user writes it.

use schemars::JsonSchema;

use super::{Labeler, Method};
use crate::job::Recompute;
use crate::job::lora::written::LoraWritten;
use crate::job::pretrain::optimizer_written::OptimizerWritten;
use crate::job::pretrain::written::{BatchWritten, CheckpointWritten, ParallelWritten, RowLengthWritten};
use crate::spec::decode::At;
use crate::spec::reference::{Ref, Rows};
use crate::spec::units::Share;
use crate::spec::written::written;

written! {
    /// Aligns a model with preferences. Fields with methods in brackets are read by those alone, so that one word changes the method.
    pub(crate) struct RlhfJob {
        /// preferences, reward_model or optimize. Default: all three; a step whose result is given (`preferences`, `reward_model`) is left out.
        stage: Option<Stage>,
        /// The algorithm of the last step.
        method: At<Method> = "dpo",
        /// The model to align.
        policy: Ref,
        /// Prompts: `corpus.pairs`, or files of {prompt, answer?}.
        prompts: Option<At<Rows>>,
        /// A job or folder with labelled pairs.
        preferences: Option<Ref>,
        /// A job or folder with a reward model.
        reward_model: Option<Ref>,
        /// Pairs wanted.
        pairs: u64 = "1000"; 1 ..= 1_000_000_000,
        /// Who decides which answer is better.
        labeler: At<LabelerWritten> = "{kind: reference}",
        /// Share of the pairs held out to measure the reward model.
        validation: Share = "10%"; 0.0 ..= 0.5,
        /// Answers a prompt; the best and the worst make the pair.
        samples: u64 = "2"; 2 ..= 64,
        /// Sampling temperature.
        temperature: f64 = "1"; 0.0 ..= 2.0,
        /// Longest answer, tokens.
        max_new_tokens: u64 = "128"; 1 ..= 1_048_576,
        /// Smallest difference of the labeler's score that is not a tie.
        min_margin: f64 = "0.02"; 0.0 ..= 1_000_000.0,
        /// Pull to the reference policy. Default: 0.1 (dpo, ipo), 2 (length-normalized dpo), 0.05 (ppo).
        beta: Option<f64>; 0.0 ..= 1000.0,
        /// Divides the log-ratio of each answer by its tokens (dpo, ipo): else a policy learns length where longer answers win a little more often.
        length_normalized: bool = "false",
        /// Passes over the pairs (dpo, ipo; default 1), or over each rollout batch (ppo; default 2).
        epochs: Option<f64>; 0.001 ..= 1000.0,
        /// Passes of the reward model over the pairs.
        reward_epochs: f64 = "1"; 0.001 ..= 1000.0,
        /// Rollouts in all (ppo).
        rollouts: u64 = "1024"; 1 ..= 1_000_000_000,
        /// Rollouts between updates (ppo).
        rollout_batch: u64 = "64"; 1 ..= 1_000_000,
        /// Clip range (ppo).
        clip: f64 = "0.2"; 0.0 ..= 1.0,
        /// Longest prompt and answer. Default: the positions of the policy.
        context: Option<At<RowLengthWritten>>,
        /// Optimisers of each step.
        optimizer: OptimizerWritten = "{}",
        /// Batch sizes of each step; global_tokens counts both answers.
        batch: BatchWritten = "{}",
        /// Ranks of the reward model and of dpo and ipo.
        parallel: At<ParallelWritten> = "{}",
        /// What the backward pass computes again instead of keeping it: none, or blocks (the inside of each layer), which takes about a third
        /// more time and far less memory. Not in the fingerprint: the result is the same to the bit.
        recompute: At<Recompute> = "none",
        /// When states are saved.
        checkpoint: CheckpointWritten = "{}",
        /// Low-rank adapters in place of full tuning, of the reward model and of the policy each. Default: null, every weight trains.
        lora: Option<At<LoraWritten>>,
    }

    /// Who decides.
    pub(crate) struct LabelerWritten {
        /// reference (the answer nearer to the reference text, ROUGE-L), reward_model, judge or human.
        kind: Labeler,
        /// The judge by name.
        judge: Option<At<String>>,
    }
}

/// One step of alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Samples and labels pairs.
    Preferences,
    /// Trains a reward model.
    RewardModel,
    /// Optimises the policy.
    Optimize,
}

crate::spec::decode::words!(Stage);
