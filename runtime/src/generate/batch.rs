//! The batch call: many requests, all answers, in the order of the requests.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Completion, Decoder, Engine, FinishReason, GenerateError, Request, RequestId};

/// Answers every request. The engine must be idle.
pub fn generate_all<D: Decoder>(
    engine: &mut Engine<D>,
    requests: Vec<Request>,
) -> Result<Vec<Completion>, GenerateError> {
    generate_each(engine, requests, &mut |_, _| ControlFlow::Continue(()))
}

/// Answers every request and tells `watch` how many of how many are done, after every step; a break cancels the rest, which come
/// back as [`FinishReason::Cancelled`] with what they have. Long prompts start first, so that the last steps are not run for a few.
pub fn generate_each<D: Decoder>(
    engine: &mut Engine<D>,
    requests: Vec<Request>,
    watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<Completion>, GenerateError> {
    let total = requests.len();
    let mut answers: Vec<Completion> = (0..total)
        .map(|_| Completion { ids: Vec::new(), logprobs: Vec::new(), finish: FinishReason::Cancelled })
        .collect();
    let mut order: Vec<(usize, Request)> = requests.into_iter().enumerate().collect();
    // A stable sort: samples of one prompt stay together, so that its prefill is shared.
    order.sort_by_key(|(_, request)| std::cmp::Reverse(request.ids.len()));
    let mut index_of: BTreeMap<RequestId, usize> = BTreeMap::new();
    for (index, request) in order {
        match engine.submit(request) {
            Ok(id) => index_of.insert(id, index),
            Err(error) => {
                cancel_all(engine, &index_of);
                return Err(error);
            }
        };
    }
    let mut done = 0;
    while !engine.is_idle() {
        let outputs = match engine.step() {
            Ok(outputs) => outputs,
            Err(error) => {
                cancel_all(engine, &index_of);
                return Err(error);
            }
        };
        for output in outputs {
            let Some(answer) = index_of.get(&output.id).and_then(|&index| answers.get_mut(index)) else {
                continue;
            };
            if let Some(error) = output.failure {
                cancel_all(engine, &index_of);
                return Err(error);
            }
            if let Some(token) = output.token {
                answer.ids.push(token.token);
                answer.logprobs.push(token.logprob);
            }
            if let Some(finish) = output.finished {
                answer.finish = finish;
                done += 1;
            }
        }
        if watch(done, total).is_break() {
            cancel_all(engine, &index_of);
        }
    }
    Ok(answers)
}

fn cancel_all<D: Decoder>(engine: &mut Engine<D>, index_of: &BTreeMap<RequestId, usize>) {
    for &id in index_of.keys() {
        engine.cancel(id);
    }
}
