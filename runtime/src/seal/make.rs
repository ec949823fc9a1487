//! The golden prompts, and what a network says of them.

use cupola_specs::artifact::{ChatMessage, Seal, SealedPrompt};
use cupola_specs::job::Precision;
use tch::{Device, Tensor};

use super::SealError;
use super::file::VERSION;
use crate::model::{ModelError, Network, RowLayout, token_log_probs};
use crate::tokenizer::Tokenizer;

/// Prose, source text, and several scripts with odd spaces: what tokenizers treat each in its own way.
const TEXTS: [&str; 3] = [
    "The dome was finished in the spring of 1436. Nobody had seen a wider one, and nobody knew how it had been built without a frame.",
    "fn area(radius: f64) -> f64 {\n    // π r²\n    3.14159 * radius.powi(2)\n}\n",
    "Größe: 12,5 m\u{b2}\u{a0}– «здание», 建物, مبنى. \t🙂🏛️ e\u{301}\r\n  end",
];
/// A chat by the template: roles in turn, without a system message, which some templates do not take.
const CHAT: [(&str, &str); 3] = [
    ("user", "How wide is it?"),
    ("assistant", "Forty-four metres."),
    ("user", "And how high, <|endoftext|> please?"),
];
/// Ids of a prompt that are scored: enough to see a wrong weight, and few enough for any start-up.
const SCORED_IDS: usize = 128;

/// Takes the golden prompts through the tokenizer and the training forward, in fp32. A tokenizer without a template has no chat in its seal, and
/// a template that refuses the chat neither.
pub fn seal_of(network: &Network, tokenizer: &Tokenizer) -> Result<Seal, SealError> {
    let mut prompts = Vec::new();
    for text in TEXTS {
        prompts.push((Vec::new(), text.to_owned(), text_ids(tokenizer, text)));
    }
    let message = |(role, content): (&str, &str)| ChatMessage {
        role: role.into(),
        content: content.into(),
        ..ChatMessage::default()
    };
    let messages: Vec<ChatMessage> = CHAT.into_iter().map(message).collect();
    if let Ok(text) = tokenizer.chat().render(&messages, &[], true) {
        let ids = tokenizer.chat().encode_prompt(tokenizer, &messages, &[], None)?;
        prompts.push((messages, text, ids));
    }
    let longest = (network.shape().max_position_embeddings as usize).min(SCORED_IDS);
    let mut sealed = Vec::new();
    for (messages, text, ids) in prompts {
        let logprobs = training_log_probs(network, &ids[..ids.len().min(longest)])?;
        if let Some(at) = logprobs.iter().position(|logprob| !logprob.is_finite()) {
            return Err(SealError::NotFinite { prompt: sealed.len() + 1, position: at + 2 });
        }
        sealed.push(SealedPrompt { messages, text, ids, logprobs });
    }
    Ok(Seal { version: VERSION, prompts: sealed })
}

/// A plain text as documents begin in training.
pub(super) fn text_ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = vec![tokenizer.bos_id()];
    ids.extend(tokenizer.encode(text));
    ids
}

/// Log-probabilities of the ids from the second on, in fp32.
pub(crate) fn training_log_probs(network: &Network, ids: &[u32]) -> Result<Vec<f32>, ModelError> {
    if ids.len() < 2 {
        return Ok(Vec::new());
    }
    let _no_grad = tch::no_grad_guard();
    let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    let row = |ids: &[i64]| Tensor::from_slice(ids).view([1, -1]).to_device(network.device()); // [1, T]
    let (tokens, targets) = (row(&ids[..ids.len() - 1]), row(&ids[1..]));
    let log_probs = token_log_probs(network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32); // [1, T]
    Ok(Vec::<f32>::try_from(log_probs.f_view([-1])?.f_to_device(Device::Cpu)?)?)
}
