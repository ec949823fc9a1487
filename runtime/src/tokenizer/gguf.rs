//! A tokenizer as facts of a GGUF file, and back.
//!
//! llama.cpp knows pre-token patterns by name only. Those below mean the same there as here; other patterns have no name, or one whose pattern there is
//! an approximation (`gpt-4o`), and are refused.

use std::path::Path;

use cupola_specs::job::{Digits, GPT2_PATTERN, GPT4_PATTERN};
use cupola_tokenizer::{
    AddedToken, SpellingIds, TokenizerFile, TokenizerJson, Vocabulary, byte_chars, merge_of, patterns_of,
    unspell,
};
use serde_json::json;

use super::TokenizerError;
use super::file::{Roles, TokenizerFiles, read as read_folder};
use crate::model::{Fact, Gguf};

/// llama.cpp's numbers of kinds of tokens.
const NORMAL: u64 = 1;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// Names of patterns, with the pattern and whether a word that is a token is taken whole.
fn names() -> Vec<(&'static str, Vec<String>, bool)> {
    let gpt4 = |digits| patterns_of(GPT4_PATTERN, digits);
    let gpt2 = || vec![GPT2_PATTERN.to_owned()];
    vec![
        ("gpt-2", gpt2(), false),
        ("dbrx", gpt4(Digits::UpTo3), false),
        ("smaug-bpe", gpt4(Digits::UpTo3), false),
        ("llama-bpe", gpt4(Digits::UpTo3), true),
        ("llama3", gpt4(Digits::UpTo3), true),
        ("qwen2", gpt4(Digits::Single), false),
        ("deepseek-r1-qwen", gpt4(Digits::Single), false),
        ("smollm", patterns_of(GPT2_PATTERN, Digits::Single), false),
    ]
}

/// The facts of the tokenizer in a folder, for a vocabulary of `vocab_size` rows: those beyond the tokenizer's are unused.
///
/// # Errors
/// A pattern without a name in llama.cpp.
pub(crate) fn facts(folder: &Path, vocab_size: usize) -> Result<Vec<(String, Fact)>, TokenizerError> {
    let TokenizerFiles { json, roles, chat_template } = read_folder(folder)?;
    let TokenizerFile::Bpe(files) = json else {
        return Err(TokenizerError::File {
            path: folder.join("tokenizer.json"),
            field: "model.type".into(),
            expected: "BPE: llama.cpp has no Unigram model over bytes".into(),
            got: "Unigram".into(),
        });
    };
    let known = names();
    let name = known
        .iter()
        .find(|(_, patterns, is_whole)| *patterns == files.patterns && *is_whole == files.ignore_merges);
    let Some((name, _, _)) = name else {
        return Err(TokenizerError::File {
            path: folder.join("tokenizer.json"),
            field: "pre_tokenizer".into(),
            expected: "a pattern that llama.cpp has: gpt2, or gpt4 with digits of 1 or up to 3".into(),
            got: json!(files.patterns).to_string().chars().take(200).collect(),
        });
    };
    let count = files.vocabulary.tokens.len();
    let spellings = files.spellings();
    let spelled = |id: usize| spellings[id].clone();
    let added = |id: usize| files.added.iter().find(|token| token.id as usize == id);
    let tokens = (0..vocab_size.max(count))
        .map(|id| Fact::Text(if id < count { spelled(id) } else { format!("[unused{id}]") }));
    let types = (0..vocab_size.max(count)).map(|id| match added(id) {
        Some(AddedToken { is_special: true, .. }) => CONTROL,
        Some(_) => USER_DEFINED,
        None if id < count => NORMAL,
        None => UNUSED,
    });
    let types = types.map(|kind| Fact::Signed(kind as i64));
    let merges = files.vocabulary.merges.iter();
    let merges =
        merges.map(|(left, right, _)| format!("{} {}", spelled(*left as usize), spelled(*right as usize)));
    let id_of = |content: &str| {
        let found = files.added.iter().find(|token| token.content == content);
        found.map(|token| Fact::Count(u64::from(token.id)))
    };
    let mut facts = vec![
        ("model", Fact::from("gpt2")),
        ("pre", Fact::from(*name)),
        ("tokens", Fact::List(tokens.collect())),
        ("token_type", Fact::List(types.collect())),
        ("merges", Fact::List(merges.map(Fact::Text).collect())),
        // The chat template and the caller say where a text begins.
        ("add_bos_token", Fact::Flag(false)),
        ("add_eos_token", Fact::Flag(false)),
        ("add_space_prefix", Fact::Flag(false)),
    ];
    facts.extend(id_of(&roles.bos).map(|id| ("bos_token_id", id)));
    facts.extend(id_of(&roles.eos).map(|id| ("eos_token_id", id)));
    facts.extend(roles.pad.as_deref().and_then(id_of).map(|id| ("padding_token_id", id)));
    let mut facts: Vec<(String, Fact)> =
        facts.into_iter().map(|(name, fact)| (format!("tokenizer.ggml.{name}"), fact)).collect();
    if !chat_template.is_empty() {
        facts.push(("tokenizer.chat_template".into(), Fact::Text(chat_template)));
    }
    Ok(facts)
}

/// The tokens of a file.
struct Tokens<'a> {
    ids: SpellingIds<'a>,
    added: Vec<AddedToken>,
    bytes: Vec<Vec<u8>>,
    byte_ids: [u32; 256],
}

impl<'a> Tokens<'a> {
    fn of(
        tokens: &'a [Fact],
        types: &[Fact],
        wrong: &dyn Fn(&str, &str, String) -> TokenizerError,
    ) -> Result<Self, TokenizerError> {
        let mut all =
            Self { ids: SpellingIds::default(), added: Vec::new(), bytes: Vec::new(), byte_ids: [0; 256] };
        for (id, token) in tokens.iter().enumerate() {
            let token = token.text().ok_or_else(|| wrong("tokens", "texts", format!("{token:?}")))?;
            match types.get(id).and_then(Fact::count) {
                Some(kind @ (CONTROL | USER_DEFINED)) => {
                    let (content, is_special) = (token.to_owned(), kind == CONTROL);
                    all.added.push(AddedToken { content, id: id as u32, is_special });
                    all.bytes.push(token.as_bytes().to_vec());
                }
                Some(UNUSED) => all.bytes.push(Vec::new()),
                _ => {
                    all.ids.insert(token, id as u32);
                    all.bytes.push(unspell(token).unwrap_or_else(|| token.as_bytes().to_vec()));
                }
            }
        }
        for (byte, char) in byte_chars().iter().enumerate() {
            let id = all.ids.get(char.to_string().as_str());
            let id = id.ok_or_else(|| wrong("tokens", "all 256 bytes", format!("none for {char}")))?;
            all.byte_ids[byte] = *id;
        }
        Ok(all)
    }
}

/// The tokenizer of a file.
///
/// # Errors
/// A tokenizer that is no byte-level BPE, or whose pattern is not known.
pub(super) fn read(gguf: &Gguf) -> Result<TokenizerFiles, TokenizerError> {
    let wrong = |field: &str, expected: &str, got: String| TokenizerError::File {
        path: gguf.path().to_path_buf(),
        field: format!("tokenizer.ggml.{field}"),
        expected: expected.to_owned(),
        got: got.chars().take(200).collect(),
    };
    let fact = |field: &str| gguf.fact(&format!("tokenizer.ggml.{field}"));
    let text = |field: &str| fact(field).and_then(Fact::text).unwrap_or_default();
    if text("model") != "gpt2" {
        return Err(wrong("model", "gpt2 (byte-level BPE)", json!(text("model")).to_string()));
    }
    let known = names();
    let pattern = known.into_iter().find(|(name, _, _)| *name == text("pre"));
    let (_, patterns, ignore_merges) = pattern.ok_or_else(|| {
        let all: Vec<&str> = names().into_iter().map(|(name, _, _)| name).collect();
        wrong("pre", &all.join(", "), json!(text("pre")).to_string())
    })?;
    let list = |field: &str| {
        fact(field).and_then(Fact::list).ok_or_else(|| wrong(field, "a list", "nothing".to_owned()))
    };
    let (tokens, types) = (list("tokens")?, list("token_type")?);
    let Tokens { ids, added, bytes, byte_ids } = Tokens::of(tokens, types, &wrong)?;
    let mut merges = Vec::new();
    for merge in list("merges")? {
        let known = merge.text().and_then(|text| merge_of(&ids, text.split_once(' ')?));
        merges.push(known.ok_or_else(|| wrong("merges", "pairs of tokens", format!("{merge:?}")))?);
    }
    let role = |field: &str| {
        let id = fact(field).and_then(Fact::count)?;
        added.iter().find(|token| u64::from(token.id) == id).map(|token| token.content.clone())
    };
    let eos = role("eos_token_id");
    let eos = eos.ok_or_else(|| wrong("eos_token_id", "a control token", "none".to_owned()))?;
    let roles = Roles {
        bos: role("bos_token_id").unwrap_or_else(|| eos.clone()),
        eos,
        pad: role("padding_token_id"),
    };
    let chat_template = gguf.fact("tokenizer.chat_template").and_then(Fact::text).unwrap_or_default();
    let vocabulary = Vocabulary { tokens: bytes, byte_ids, merges };
    let json = TokenizerJson { patterns, vocabulary, ignore_merges, added };
    Ok(TokenizerFiles { json: json.into(), roles, chat_template: chat_template.to_owned() })
}
