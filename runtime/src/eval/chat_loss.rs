//! Loss on the assistant's tokens of held-out chats: comparable between models of one tokenizer, trained on chats or not.

use cupola_specs::job::TrainOn;

use super::{EvalError, EvalModel, ReportBuilder, RowFacts, Suite, ratio};
use crate::sft::{SequenceScore, encode_chats, permutation, read_chats};

const SUITE: &str = "chat_loss";

/// Runs the suite.
pub(super) fn run(
    suite: &Suite<'_>,
    models: &[EvalModel],
    part: &str,
    limit: u64,
    report: &mut ReportBuilder,
) -> Result<(), EvalError> {
    let mut chats = read_chats(suite.ctx, &suite.role(), part)?;
    if limit > 0 && (limit as usize) < chats.len() {
        let order = permutation(suite.seed("chats"), 0, chats.len());
        chats = order.into_iter().take(limit as usize).map(|index| chats[index].clone()).collect();
    }
    if chats.is_empty() {
        return Err(suite.nothing(SUITE, "there is no chat".into()));
    }
    for model in models.iter().filter(|model| !model.tokenizer.chat().source().is_empty()) {
        let encoded = encode_chats(&model.tokenizer, &chats, TrainOn::Assistant, model.context)?;
        suite.warn_too_long(SUITE, model, encoded.too_long);
        if encoded.chats.is_empty() {
            return Err(suite.nothing_fits(SUITE, model, chats.len()));
        }
        let scores: Vec<SequenceScore> = model.score(suite.ctx, SUITE, &encoded.chats)?;
        let parts: Vec<(f64, f64)> = scores.iter().map(|s| (-s.log_prob, s.tokens as f64)).collect();
        let facts = RowFacts {
            suite: SUITE,
            metric: "loss".into(),
            method: format!(
                "nats a token over the assistant's tokens, with the end of the turn; n counts chats, {} too long were left out, linearised standard error by chat",
                encoded.too_long
            ),
            chance: None,
            higher_is_better: false,
        };
        report.row(&model.name, &facts, ratio(&parts));
    }
    Ok(())
}
