//! Texts that a model writes on the way, so that people see it learn.

use std::ops::ControlFlow;

use cupola_specs::job::Precision;

use super::PretrainError;
use crate::generate::{Engine, Request, Sampling, TorchConfig, generate_each};
use crate::job::StepContext;
use crate::model::Network;
use crate::tokenizer::Tokenizer;

/// Tokens of a sample.
const SAMPLE_TOKENS: usize = 48;
/// What samples begin with, in turn.
const OPENINGS: [&str; 4] = ["/// Returns", "# Usage\n", "pub fn new(", "impl "];

/// Writes `count` samples as events.
pub(super) fn write(
    ctx: &StepContext,
    network: &Network,
    tokenizer: &Tokenizer,
    (step, count): (u64, u64),
) -> Result<(), PretrainError> {
    if count == 0 {
        return Ok(());
    }
    let openings: Vec<&str> = OPENINGS.iter().copied().cycle().take(count as usize).collect();
    let requests = openings.iter().enumerate().map(|(i, opening)| {
        let mut ids = vec![tokenizer.bos_id()];
        ids.extend(tokenizer.encode(opening));
        let sampling = Sampling::with_temperature(0.8, ctx.seed("samples").wrapping_add(i as u64));
        Request::new(ids, sampling, SAMPLE_TOKENS, vec![tokenizer.bos_id()])
    });
    let requests: Vec<Request> = requests.collect();
    let longest = requests.iter().map(|request| request.ids.len()).max().unwrap_or(0) + SAMPLE_TOKENS;
    let config = TorchConfig::batch(requests.len(), longest, Precision::Fp32);
    let mut engine = Engine::on_torch(network.frozen(Precision::Fp32)?, config)?;
    let completions = generate_each(&mut engine, requests, &mut |_, _| {
        if ctx.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    ctx.check_stop()?;
    for (opening, completion) in openings.iter().zip(completions) {
        ctx.events().sample(step, opening, &tokenizer.decode(completion.text_ids()));
    }
    Ok(())
}
