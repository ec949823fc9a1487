//! A tokenizer job, resolved.

use super::written::{SpecialTokens, TokenizerJob};
use super::{
    CODE_PATTERN, Digits, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN, TokenizerAlgorithm, TokenizerParams,
};
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::tree::Spot;
use crate::spec::wanted::Wanted;
use crate::spec::{Code, SourceGlob, TokenizerBody};

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
    let special_tokens = special_tokens(w, resolver);
    let files = compare(w, resolver);
    let vocab_size = match w.algorithm {
        TokenizerAlgorithm::Bytes => refuse_choices(w, resolver).then_some(special_tokens.len() as u64 + 256),
        // Where it is missing, decoding has said so.
        _ => w.vocab_size.as_ref().map(|size| sized(size, special_tokens.len() as u64, resolver)),
    };
    let pattern = match w.algorithm {
        TokenizerAlgorithm::Bytes => "",
        _ => w.pattern.as_ref().map_or(GPT4_PATTERN, |pattern| named_pattern(pattern, resolver)),
    };
    Some(TokenizerBody {
        corpus: corpus?,
        files: files?,
        params: TokenizerParams {
            algorithm: w.algorithm,
            vocab_size: vocab_size?,
            pattern: pattern.to_owned(),
            digits: w.digits.as_ref().map_or(Digits::UpTo3, |digits| digits.value),
            special_tokens,
            chat_template: CHATML.to_owned(),
            train_bytes: w.max_bytes.as_ref().map_or(0, |bytes| bytes.value.0),
        },
    })
}

/// Special tokens in id order.
fn special_tokens(w: &TokenizerJob, resolver: &mut Resolver<'_, '_>) -> Vec<String> {
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
            } else if let Some(message) = taken(&token.value) {
                resolver
                    .session
                    .error(Code::DuplicateName, token.spot, message)
                    .expecting("more than one character, such as <|note|>");
            }
            special_tokens.push(token.value.clone());
        }
    }
    special_tokens
}

/// Why a text can't be a special token: text becomes it already, or its file would take it for a byte.
fn taken(token: &str) -> Option<String> {
    let byte = byte_spelled(token)?;
    Some(match token.len() {
        1 => format!("`{}` is one byte, which is a token already", token.escape_debug()),
        _ => format!(
            "`{token}` is how a vocabulary file spells the byte 0x{byte:02X}, which is a token already"
        ),
    })
}

/// The byte that a text of one character is, or is spelled as in GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes are the characters
/// from U+0100 on in their order.
fn byte_spelled(token: &str) -> Option<u8> {
    let mut chars = token.chars();
    let (char, None) = (chars.next()?, chars.next()) else { return None };
    let is_visible = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(char) {
        code @ 0..=0x7f => u8::try_from(code).ok(),
        code @ 0x80..=0xff => u8::try_from(code).ok().filter(|byte| is_visible(*byte)),
        code => {
            let place = usize::try_from(code - 0x100).ok()?;
            (0..=u8::MAX).filter(|byte| !is_visible(*byte)).nth(place)
        }
    }
}

/// A size that has room for the special tokens and the 256 bytes.
fn sized(size: &At<u64>, num_specials: u64, resolver: &mut Resolver<'_, '_>) -> u64 {
    let least = num_specials + 256;
    if size.value < least {
        resolver
            .session
            .error(
                Code::OutOfRange,
                size.spot,
                format!("{} tokens have no room for those that there are always", size.value),
            )
            .expecting(format!(
                "at least {least}: {num_specials} special tokens, the chat's among them, and the 256 bytes"
            ));
    }
    size.value
}

/// Where the bytes are the tokens, there is nothing to choose: a field that says how would mean nothing.
fn refuse_choices(w: &TokenizerJob, resolver: &mut Resolver<'_, '_>) -> bool {
    let written: [(&str, Option<Spot>); 4] = [
        ("vocab_size", w.vocab_size.as_ref().map(|field| field.spot)),
        ("pattern", w.pattern.as_ref().map(|field| field.spot)),
        ("digits", w.digits.as_ref().map(|field| field.spot)),
        ("max_bytes", w.max_bytes.as_ref().map(|field| field.spot)),
    ];
    let mut is_right = true;
    for (name, spot) in written {
        let Some(spot) = spot else { continue };
        is_right = false;
        let message = format!("`{name}` says nothing with `algorithm: bytes`");
        resolver
            .session
            .error(Code::Conflict, spot, message)
            .expecting("`algorithm: bpe` or `unigram`, or no such field: the 256 bytes and the special tokens are all there is");
    }
    is_right
}

/// The tokenizers to compare with, by files whose names say what they are.
fn compare(w: &TokenizerJob, resolver: &mut Resolver<'_, '_>) -> Option<Vec<SourceGlob>> {
    let Some(files) = &w.compare else { return Some(Vec::new()) };
    let mut is_right = true;
    for file in files.iter() {
        let path = &file.value.0;
        if !path.extension().is_some_and(|ending| ending == "tiktoken" || ending == "json") {
            is_right = false;
            let message = format!("`{}` is not known for a tokenizer", path.display());
            resolver
                .session
                .error(Code::UnknownWord, file.spot, message)
                .expecting("a file that ends in .tiktoken or .json");
        }
    }
    let glob = resolver.glob("compare", files)?;
    is_right.then(|| vec![glob])
}

/// The regex of a pattern that may be a name.
fn named_pattern<'w>(pattern: &'w At<String>, resolver: &mut Resolver<'_, '_>) -> &'w str {
    match pattern.value.as_str() {
        "gpt2" => GPT2_PATTERN,
        "gpt4" => GPT4_PATTERN,
        "o200k" => O200K_PATTERN,
        "code" => CODE_PATTERN,
        other => {
            check_pattern(other, pattern.spot, resolver);
            other
        }
    }
}

/// A pattern that is not a known name must at least look like a regex: balanced, and more than a word.
fn check_pattern(pattern: &str, spot: Spot, resolver: &mut Resolver<'_, '_>) {
    const NAMES: [&str; 4] = ["gpt2", "gpt4", "o200k", "code"];
    let is_word = pattern.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_word {
        resolver
            .session
            .error(Code::UnknownWord, spot, format!("there is no pattern `{pattern}`"))
            .expecting("gpt2, gpt4, o200k, code, or a regex")
            .suggesting(pattern, NAMES);
    } else if let Some(problem) = unbalanced(pattern) {
        resolver
            .session
            .error(Code::BadPattern, spot, format!("this regex {problem}"))
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
