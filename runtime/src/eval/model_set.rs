//! The models of an eval step, loaded once.

use std::path::PathBuf;

use cupola_specs::job::Precision;

use super::EvalError;
use crate::job::StepContext;
use crate::model::Network;
use crate::sft::ScoreOptions;
use crate::tokenizer::{EncodedChat, Tokenizer};

/// Longest row that a suite reads, whatever context a model states.
const MAX_CONTEXT: u64 = 2048;

/// One model with its tokenizer.
#[derive(Debug)]
pub struct EvalModel {
    /// Its name in the spec.
    pub name: String,
    /// The network, without gradients.
    pub net: Network,
    /// The tokenizer of its folder.
    pub tokenizer: Tokenizer,
    /// Tokens that it reads at once.
    pub context: usize,
    precision: Precision,
}

impl EvalModel {
    /// Loads the model of input `model.<name>`.
    pub fn load(ctx: &StepContext, name: &str, precision: Precision) -> Result<Self, EvalError> {
        let folder: PathBuf = ctx.input(&format!("model.{name}"))?.path.clone();
        let net = Network::load(&folder, ctx.tensor_device())?.frozen(precision)?;
        let context = net.shape().max_position_embeddings.min(MAX_CONTEXT) as usize;
        Ok(Self { name: name.to_owned(), net, tokenizer: Tokenizer::load(&folder)?, context, precision })
    }

    /// How this model scores sequences.
    pub fn score_options(&self) -> ScoreOptions {
        ScoreOptions { row_tokens: self.context, precision: self.precision }
    }

    /// Scores sequences; progress goes to the event stream under `stage`.
    pub fn score(
        &self,
        ctx: &StepContext,
        stage: &str,
        sequences: &[EncodedChat],
    ) -> Result<Vec<crate::sft::SequenceScore>, EvalError> {
        let stage = format!("{stage} {}", self.name);
        crate::sft::score_sequences(&self.net, sequences, self.score_options(), &mut |done, total| {
            ctx.events().progress(done as f64, total as f64, "sequences", &stage);
            ctx.check_stop()?;
            Ok::<(), EvalError>(())
        })
    }
}
