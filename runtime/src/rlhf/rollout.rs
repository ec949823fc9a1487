//! One rollout of PPO: answers of the policy as it is now, with everything that the updates need and never recompute.
//!
//! A rollout is written beside the checkpoints before its first update. A run that resumes between two updates reads it back, so it goes on with
//! the same bytes; one that resumes at a rollout's border makes it again from the same weights and seeds.

use std::path::{Path, PathBuf};

use cupola_specs::job::{Precision, TrainOn};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{EncodedPrompt, Prompt, RewardModel, RlhfError, SampleOptions, engine_for, gae, sample_answers};
use crate::job::{JobError, StepContext, write_durably};
use crate::model::Network;
use crate::sft::{Chat, PackedBatch, to_floats};
use crate::tokenizer::{EncodedChat, Tokenizer};

/// GAE's discount: an answer is one short episode.
const GAMMA: f64 = 1.0;
/// GAE's λ.
const LAMBDA: f64 = 0.95;
/// What an answer loses that was cut before its end.
const TRUNCATION_PENALTY: f64 = 1.0;
/// Answers of one forward pass.
const BATCH_ANSWERS: usize = 32;

/// The answers of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rollout {
    /// Which rollout of the run.
    pub iteration: u64,
    /// Its answers.
    pub episodes: Vec<Episode>,
    /// Mean score by the reward model.
    pub mean_score: f64,
    /// Mean log-ratio of policy to reference, nats an answer.
    pub mean_kl: f64,
}

/// One answer with its prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// Prompt and answer, the end of the turn included.
    pub ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Log-probability of each answer token when it was sampled.
    pub log_probs: Vec<f32>,
    /// The critic's value at each answer token.
    pub values: Vec<f32>,
    /// Advantages, whitened over the rollout.
    pub advantages: Vec<f32>,
    /// Returns: what the critic should have said.
    pub returns: Vec<f32>,
}

impl Episode {
    /// The answer in its chat, with loss on the answer.
    pub(super) fn sequence(&self) -> EncodedChat {
        let trained = (0..self.ids.len()).map(|index| index >= self.prompt_tokens).collect();
        EncodedChat { ids: self.ids.clone(), trained }
    }
}

/// What makes rollouts.
pub(super) struct RolloutMaker<'a> {
    /// The step.
    pub ctx: &'a StepContext,
    /// The tokenizer of all three models.
    pub tokenizer: &'a Tokenizer,
    /// The policy before training.
    pub reference: &'a Network,
    /// The scorer of answers.
    pub reward_model: &'a RewardModel,
    /// All prompts.
    pub prompts: &'a [Prompt],
    /// Strength of the pull to the reference.
    pub kl_coef: f64,
    /// How answers are sampled.
    pub options: SampleOptions,
}

impl RolloutMaker<'_> {
    /// Samples, scores and values a rollout.
    pub(super) fn make(
        &self,
        policy: &Network,
        value: &Tensor,
        iteration: u64,
        chosen: &[EncodedPrompt],
    ) -> Result<Rollout, RlhfError> {
        let _no_grad = tch::no_grad_guard();
        let options = SampleOptions { seed: self.options.seed ^ iteration.rotate_left(32), ..self.options };
        let sampler = policy.frozen(options.precision)?;
        let mut engine = engine_for(&sampler, chosen, &options)?;
        let answers = sample_answers(self.ctx, &mut engine, self.tokenizer, chosen, &options, &mut |_| ())?;
        let mut rollout = Rollout { iteration, episodes: Vec::new(), mean_score: 0.0, mean_kl: 0.0 };
        let mut scored = Vec::with_capacity(chosen.len());
        for (prompt, mut answers) in chosen.iter().zip(answers) {
            let Some(answer) = answers.pop() else { continue };
            let penalty = if answer.is_truncated() { TRUNCATION_PENALTY } else { 0.0 };
            let ids = prompt.ids.iter().chain(&answer.completion.ids).copied().collect();
            let chat = Chat::of_answer("", &self.prompts[prompt.index].text, &answer.text);
            let chat =
                self.tokenizer.chat().encode_chat(self.tokenizer, &chat.messages, TrainOn::LastAssistant)?;
            scored.push((chat, penalty));
            rollout.episodes.push(Episode {
                ids,
                prompt_tokens: prompt.ids.len(),
                log_probs: Vec::new(),
                values: Vec::new(),
                advantages: Vec::new(),
                returns: Vec::new(),
            });
        }
        let scores = self.scores(&scored, options.precision)?;
        self.fill(policy, value, &scores, &mut rollout)?;
        whiten(&mut rollout.episodes);
        Ok(rollout)
    }

    fn scores(&self, scored: &[(EncodedChat, f64)], precision: Precision) -> Result<Vec<f64>, RlhfError> {
        let mut scores = Vec::with_capacity(scored.len());
        for part in scored.chunks(BATCH_ANSWERS) {
            let sequences: Vec<&EncodedChat> = part.iter().map(|(chat, _)| chat).collect();
            let longest = sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or(1);
            let batch = PackedBatch::pack(self.reward_model.net(), &sequences, longest)?;
            let values = to_floats(&self.reward_model.scores(&batch, precision))?;
            scores
                .extend(values.into_iter().zip(part).map(|(score, (_, penalty))| f64::from(score) - penalty));
        }
        Ok(scores)
    }

    /// Fills in log-probabilities, values, advantages and returns.
    fn fill(
        &self,
        policy: &Network,
        value: &Tensor,
        scores: &[f64],
        rollout: &mut Rollout,
    ) -> Result<(), RlhfError> {
        let precision = self.options.precision;
        let mut kl = 0.0;
        for (episodes, scores) in rollout.episodes.chunks_mut(BATCH_ANSWERS).zip(scores.chunks(BATCH_ANSWERS))
        {
            let sequences: Vec<EncodedChat> = episodes.iter().map(Episode::sequence).collect();
            let sequences: Vec<&EncodedChat> = sequences.iter().collect();
            let longest = sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or(1);
            let batch = PackedBatch::pack(policy, &sequences, longest)?;
            let hidden = batch.hidden(policy, precision).index_select(0, &batch.positions); // [N, C]
            let log_probs = crate::sft::gather_log_probs(&policy.logits(&hidden), &batch.targets);
            let reference = batch.log_probs(self.reference, precision);
            let columns = [&log_probs, &reference, &token_values(&hidden, value)];
            let [log_probs, reference, values] = columns.map(|column| by_sequence(&batch, column));
            let (log_probs, reference, values) = (log_probs?, reference?, values?);
            for (index, episode) in episodes.iter_mut().enumerate() {
                let ratio: Vec<f64> =
                    log_probs[index].iter().zip(&reference[index]).map(|(p, r)| f64::from(p - r)).collect();
                kl += ratio.iter().sum::<f64>();
                let mut rewards: Vec<f64> = ratio.iter().map(|ratio| -self.kl_coef * ratio).collect();
                if let Some(last) = rewards.last_mut() {
                    *last += scores[index];
                }
                let of_critic: Vec<f64> = values[index].iter().map(|value| f64::from(*value)).collect();
                let advantages = gae(&rewards, &of_critic, GAMMA, LAMBDA);
                episode.returns = advantages.iter().zip(&of_critic).map(|(a, v)| (a + v) as f32).collect();
                episode.advantages = advantages.into_iter().map(|a| a as f32).collect();
                episode.log_probs.clone_from(&log_probs[index]);
                episode.values.clone_from(&values[index]);
            }
        }
        let count = rollout.episodes.len().max(1) as f64;
        rollout.mean_score = scores.iter().sum::<f64>() / count;
        rollout.mean_kl = kl / count;
        Ok(())
    }
}

/// The critic's value at each place. `[N, C] → [N]`
pub(super) fn token_values(hidden: &Tensor, value: &Tensor) -> Tensor {
    hidden.to_kind(Kind::Float).matmul(&value.transpose(0, 1)).squeeze_dim(1) // [N]
}

/// A value of each trained token, by sequence.
fn by_sequence(batch: &PackedBatch, values: &Tensor) -> Result<Vec<Vec<f32>>, RlhfError> {
    let owners = Vec::<i64>::try_from(&batch.owners.f_to_device(tch::Device::Cpu)?)?;
    let mut sequences = vec![Vec::new(); batch.num_sequences];
    for (owner, value) in owners.into_iter().zip(to_floats(values)?) {
        sequences[owner as usize].push(value);
    }
    Ok(sequences)
}

/// Values by episode as one column in the batch's order: the inverse of [`by_sequence`]. `[N]`
pub(super) fn column(
    batch: &PackedBatch,
    episodes: &[&Episode],
    of: impl Fn(&Episode) -> &[f32],
) -> Result<Tensor, RlhfError> {
    let owners = Vec::<i64>::try_from(&batch.owners.f_to_device(tch::Device::Cpu)?)?;
    let mut next = vec![0usize; episodes.len()];
    let mut values = Vec::with_capacity(owners.len());
    for owner in owners {
        let owner = owner as usize;
        values.push(of(episodes[owner])[next[owner]]);
        next[owner] += 1;
    }
    Ok(Tensor::from_slice(&values).f_to_device(batch.owners.device())?)
}

/// Moves advantages to mean 0 and standard deviation 1 over the whole rollout.
fn whiten(episodes: &mut [Episode]) {
    let all: Vec<f64> = episodes.iter().flat_map(|e| e.advantages.iter().map(|a| f64::from(*a))).collect();
    let count = all.len().max(1) as f64;
    let mean = all.iter().sum::<f64>() / count;
    let deviation = (all.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / count).sqrt().max(1e-8);
    for advantage in episodes.iter_mut().flat_map(|episode| &mut episode.advantages) {
        *advantage = ((f64::from(*advantage) - mean) / deviation) as f32;
    }
}

/// Where a rollout waits for a resume.
fn path_of(folder: &Path, iteration: u64) -> PathBuf {
    folder.join(format!("rollout-{iteration:06}.json"))
}

/// Writes a rollout beside the checkpoints.
pub(super) fn save_rollout(folder: &Path, rollout: &Rollout) -> Result<(), RlhfError> {
    let path = path_of(folder, rollout.iteration);
    let json = serde_json::to_vec(rollout).map_err(|error| JobError::io(&path, error.into()))?;
    // The self-tests come before the loop, which makes the folder.
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| JobError::io(folder, error))?;
    }
    Ok(write_durably(&path, &json)?)
}

/// Deletes the rollouts from this iteration on.
pub(super) fn drop_rollouts(folder: &Path, from: u64) -> Result<(), RlhfError> {
    for iteration in from.. {
        let path = path_of(folder, iteration);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            // They are made one after the other.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(JobError::io(&path, error).into()),
        }
    }
    Ok(())
}

/// Reads a rollout back, where it was written.
pub(super) fn load_rollout(folder: &Path, iteration: u64) -> Result<Option<Rollout>, RlhfError> {
    let path = path_of(folder, iteration);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JobError::io(&path, error).into()),
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| RlhfError::State { stage: "ppo", message: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_are_whitened_over_all_answers() {
        let episode = |advantages: Vec<f32>| Episode {
            ids: vec![],
            prompt_tokens: 0,
            log_probs: vec![],
            values: vec![],
            advantages,
            returns: vec![],
        };
        let mut episodes = vec![episode(vec![1.0, 2.0]), episode(vec![6.0])];
        whiten(&mut episodes);
        let all: Vec<f32> = episodes.iter().flat_map(|e| e.advantages.clone()).collect();
        assert!(all.iter().sum::<f32>().abs() < 1e-6);
        assert!((all.iter().map(|a| a * a).sum::<f32>() / 3.0 - 1.0).abs() < 1e-5);
    }
}
