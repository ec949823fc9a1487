//! The three steps of an rlhf job.

mod optimize;
mod preferences;
mod reward_model;

pub use optimize::run as run_optimize;
pub use preferences::run as run_preferences;
pub use reward_model::run as run_reward_model;
