//! `kind: rlhf`: preferences, a reward model, and a policy aligned with them.
//!
//! 1. `preferences`: several answers a prompt, scored by a labeler; the best and the worst make a pair ([`PairCollector`]).
//! 2. `reward_model`: a scalar head on the policy's network, trained by Bradley and Terry's loss ([`RewardModel`]).
//! 3. `optimize`: DPO and IPO on the pairs (`pair_objective`), or PPO against the reward model (`ppo`).
//!
//! Invariants: a tie makes no pair, and a cut answer is never the chosen one; held-out pairs are of prompts that no training pair has; at
//! step 0 the policy is its reference, and a self-test says so.

mod error;
mod held_out;
pub mod job;
mod loss;
mod pair_objective;
mod pair_training;
mod pairs;
mod ppo;
mod preferences;
mod prompts;
mod reward_model;
mod rollout;
mod rouge;
mod sample;

pub use error::RlhfError;
pub use loss::{PairValues, bradley_terry, clipped_value_loss, dpo, gae, ipo, ppo_surrogate, preference_gap};
pub use pairs::{
    EncodedPair, EncodedPairs, PairData, pack_pairs, pair_log_probs, pair_tokens, read_encoded_pairs,
    read_pair_data, split_pairs,
};
pub use preferences::{Candidate, PairCollector};
pub use prompts::{Prompt, read_prompts};
pub use reward_model::RewardModel;
pub use rouge::{rouge_l, rouge_words};
pub use sample::{Answer, EncodedPrompt, SampleOptions, encode_prompts, engine_for, sample_answers};
