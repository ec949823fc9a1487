//! What a run is of: its tokens and tokenizer, and from parameters and law a shape and a token count.

use std::path::Path;

use cupola_specs::artifact::{LawFile, Recommendation};
use cupola_specs::job::{Family, ModelParams, ModelShape, PretrainParams, TokenBudget};

use super::PretrainError;
use crate::job::StepContext;
use crate::model::Network;
use crate::tokenizer::Tokenizer;
use crate::train::{LanguageRun, TokenData};

/// What a run is of.
pub(super) struct Resolved {
    pub(super) tokenizer: Tokenizer,
    /// Tokens to train on, and held-out ones.
    pub(super) data: TokenData,
    pub(super) held_out: TokenData,
    pub(super) law: Option<Law>,
    pub(super) shape: ModelShape,
    /// Tokens that it reads.
    pub(super) tokens: u64,
}

impl Resolved {
    /// Opens a step's inputs.
    pub(super) fn of(ctx: &StepContext, params: &PretrainParams) -> Result<Self, PretrainError> {
        let tokenizer = Tokenizer::load(&ctx.input("tokenizer")?.path)?;
        let (data, held_out) = LanguageRun::open(ctx)?;
        check_tokenizer(ctx, &data, &tokenizer)?;
        let law = read_law(ctx)?;
        let shape = shape(params, law.as_ref())?;
        let tokens = tokens(params, &shape, law.as_ref())?;
        Ok(Self { tokenizer, data, held_out, law, shape, tokens })
    }
}

/// The law, with its fingerprint.
pub(super) struct Law {
    pub(super) file: LawFile,
    pub(super) fingerprint: String,
}

/// Reads the input `law`, where there is one.
fn read_law(ctx: &StepContext) -> Result<Option<Law>, PretrainError> {
    let Some(input) = ctx.optional_input("law") else { return Ok(None) };
    let path = input.path.join("law.json");
    let wrong = |path: &Path, message: String| PretrainError::Format { path: path.to_path_buf(), message };
    let text = std::fs::read(&path).map_err(|error| crate::job::JobError::io(&path, error))?;
    let file = serde_json::from_slice(&text).map_err(|error| wrong(&path, error.to_string()))?;
    Ok(Some(Law { file, fingerprint: input.fingerprint.clone() }))
}

/// The network's shape.
fn shape(params: &PretrainParams, law: Option<&Law>) -> Result<ModelShape, PretrainError> {
    let mut shape = match &params.model {
        ModelParams::Shape(shape) => shape.clone(),
        ModelParams::Law { family } => recommendation(law, *family)?.shape.clone(),
    };
    shape.max_position_embeddings = shape.max_position_embeddings.max(params.context_length);
    Ok(shape)
}

/// The token count.
fn tokens(params: &PretrainParams, shape: &ModelShape, law: Option<&Law>) -> Result<u64, PretrainError> {
    match params.tokens {
        TokenBudget::Count { tokens } => Ok(tokens),
        TokenBudget::PerParam { ratio } => {
            Ok((ratio * Network::outline(shape, 1)?.num_params() as f64) as u64)
        }
        TokenBudget::FromLaw => Ok(recommendation(law, shape.family)?.tokens as u64),
    }
}

fn recommendation(law: Option<&Law>, family: Family) -> Result<&Recommendation, PretrainError> {
    let law = law.ok_or_else(|| {
        PretrainError::Mismatch("the size comes from a law, and the step has no input `law`".into())
    })?;
    law.file.recommendations.get(&family).ok_or_else(|| {
        PretrainError::Mismatch(format!(
            "the law recommends nothing for {family:?}; add the family to the scaling job"
        ))
    })
}

/// The tokens were made by this tokenizer.
fn check_tokenizer(ctx: &StepContext, data: &TokenData, tokenizer: &Tokenizer) -> Result<(), PretrainError> {
    let fingerprint = &ctx.input("tokenizer")?.fingerprint;
    if *fingerprint != data.index.tokenizer_fingerprint
        || data.index.vocab_size != tokenizer.vocab_size() as u64
    {
        return Err(PretrainError::Mismatch(format!(
            "the tokens were made by tokenizer {} of {} tokens, and the input is tokenizer {fingerprint} of {} tokens",
            data.index.tokenizer_fingerprint,
            data.index.vocab_size,
            tokenizer.vocab_size()
        )));
    }
    Ok(())
}
