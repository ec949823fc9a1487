//! A step of the tokenizer room.

use cupola_specs::job::TokenizerParams;

use super::TokenizerError;
use crate::job::{StepContext, Summary};

/// Runs the step.
pub fn run(_ctx: &StepContext, _params: &TokenizerParams) -> Result<Summary, TokenizerError> {
    Err(TokenizerError::EmptyCorpus)
}
