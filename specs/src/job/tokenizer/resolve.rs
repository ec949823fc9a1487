//! A tokenizer job, resolved.

use super::written::{SpecialTokens, TokenizerJob};
use super::{CODE_PATTERN, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN, TokenizerParams};
use crate::spec::jobs::Resolver;
use crate::spec::wanted::Wanted;
use crate::spec::{Code, TokenizerBody};

/// The special tokens of a chat, in id order.
const CHAT_TOKENS: [&str; 4] = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"];
/// The ChatML template; every chat starts a document.
const CHATML: &str = concat!(
    "{{ '<|bos|>' }}",
    "{% for message in messages %}",
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
);

/// Resolves a tokenizer job.
pub(crate) fn tokenizer(w: &TokenizerJob, resolver: &mut Resolver<'_, '_>) -> Option<TokenizerBody> {
    let corpus = resolver.artifact(&w.corpus, Wanted::Corpus);
    let mut special_tokens: Vec<String> = CHAT_TOKENS.iter().map(|token| (*token).to_owned()).collect();
    if let SpecialTokens::More(more) = &w.special_tokens {
        for token in more {
            if token.value.is_empty() || special_tokens.contains(&token.value) {
                resolver
                    .session
                    .error(
                        Code::DuplicateName,
                        token.spot,
                        format!("`{}` can't be one more token", token.value),
                    )
                    .expecting(format!("a text that is not one of {}", special_tokens.join(", ")));
            }
            special_tokens.push(token.value.clone());
        }
    }
    let pattern = match w.pattern.value.as_str() {
        "gpt2" => GPT2_PATTERN,
        "gpt4" => GPT4_PATTERN,
        "o200k" => O200K_PATTERN,
        "code" => CODE_PATTERN,
        other => {
            check_pattern(other, w, resolver);
            other
        }
    };
    Some(TokenizerBody {
        corpus: corpus?,
        params: TokenizerParams {
            vocab_size: w.vocab_size,
            pattern: pattern.to_owned(),
            digits: w.digits,
            special_tokens,
            chat_template: CHATML.to_owned(),
            train_bytes: w.max_bytes.map_or(0, |bytes| bytes.0),
        },
    })
}

/// A pattern that is not a known name must at least look like a regex: balanced, and more than a word.
fn check_pattern(pattern: &str, w: &TokenizerJob, resolver: &mut Resolver<'_, '_>) {
    const NAMES: [&str; 4] = ["gpt2", "gpt4", "o200k", "code"];
    let is_word = pattern.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_word {
        resolver
            .session
            .error(Code::UnknownWord, w.pattern.spot, format!("there is no pattern `{pattern}`"))
            .expecting("gpt2, gpt4, o200k, code, or a regex")
            .suggesting(pattern, NAMES);
    } else if let Some(problem) = unbalanced(pattern) {
        resolver
            .session
            .error(Code::BadPattern, w.pattern.spot, format!("this regex {problem}"))
            .expecting("a regex whose brackets close; `\\` escapes");
    }
}

/// What is open at the end of a regex, or closed too much.
fn unbalanced(pattern: &str) -> Option<&'static str> {
    let (mut groups, mut in_class, mut escaped) = (0_i32, false, false);
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => groups += 1,
            ')' if groups == 0 => return Some("closes a group that is not open"),
            ')' => groups -= 1,
            _ => {}
        }
    }
    match (escaped, in_class, groups) {
        (true, _, _) => Some("ends in `\\`"),
        (_, true, _) => Some("does not close its `[`"),
        (_, _, 1..) => Some("does not close its `(`"),
        _ => None,
    }
}
