//! Hugging Face's `tokenizer.json`, read and written.
//!
//! It may say many things that change ids (normalisers, prefix spaces, templates around a text). What this encoder does not carry out is refused by
//! field, never skipped. Work grows with the file's size: no list in it is worth more than its length.

use std::collections::HashMap;

use cupola_specs::job::GPT2_PATTERN;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::bytes::{byte_chars, spell, unspell};
use crate::{EngineError, Vocabulary};

/// A vocabulary has at most so many ids for each token.
const MAX_GAPS: usize = 4;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerJson {
    /// The regexes that split a text, each the pieces of the one before.
    pub patterns: Vec<String>,
    /// Tokens and merges.
    pub vocabulary: Vocabulary,
    /// Whether a piece that is a token is that token, whatever the merges make of it.
    pub ignore_merges: bool,
    /// Tokens that no merge makes.
    pub added: Vec<AddedToken>,
}

/// A token beside those that the merges make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// How it is spelled.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// Whether it is a mark, which no text shows. One that is none, such as `<tool_call>` of Qwen's, is text.
    pub is_special: bool,
}

impl AddedToken {
    /// Special tokens with the ids from 0 on.
    pub fn specials(contents: &[String]) -> Vec<Self> {
        let of = |(content, id): (&String, u32)| Self { content: content.clone(), id, is_special: true };
        contents.iter().zip(0..).map(of).collect()
    }
}

/// Ids by a token's spelling.
pub type SpellingIds<'a> = HashMap<&'a str, u32, Xxh3DefaultBuilder>;

/// The ids of a merge's parts and of the token that it makes, by their spelling.
pub fn merge_of(ids: &SpellingIds<'_>, (left, right): (&str, &str)) -> Option<(u32, u32, u32)> {
    let new = ids.get(format!("{left}{right}").as_str())?;
    Some((*ids.get(left)?, *ids.get(right)?, *new))
}

impl TokenizerJson {
    /// Reads a parsed file. `model` may have no type, as in GPT-2's own file, and merges are `"a b"` or `["a", "b"]`.
    ///
    /// # Errors
    /// The first field that says what is not carried out.
    pub fn read(file: &Value) -> Result<Self, EngineError> {
        refuse_unless(file, "normalizer", &[Value::Null])?;
        let model = &file["model"];
        if !model["type"].is_null() || !model["merges"].is_array() {
            refuse_unless(file, "model.type", &[json!("BPE")])?;
        }
        for field in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            refuse_unless(file, &format!("model.{field}"), &[Value::Null, json!("")])?;
        }
        if model["byte_fallback"] == json!(true) {
            let expected = "false: a vocabulary of byte strings, as GPT-2's; SentencePiece's, with tokens such as <0x0A>, is another";
            return Err(EngineError::field("model.byte_fallback", expected, "true"));
        }
        if file["post_processor"]["type"] == json!("TemplateProcessing") {
            // A template of the text alone adds nothing to it.
            let alone = json!([{"Sequence": {"id": "A", "type_id": 0}}]);
            refuse_unless(file, "post_processor.single", &[alone])?;
        } else {
            refuse_unless(file, "post_processor.type", &[Value::Null, json!("ByteLevel")])?;
        }
        let added = added_tokens(&file["added_tokens"])?;
        Ok(Self {
            patterns: patterns(&file["pre_tokenizer"])?,
            vocabulary: vocabulary(model, &added)?,
            ignore_merges: model["ignore_merges"] == json!(true),
            added,
        })
    }

    /// Parses and reads a file.
    ///
    /// # Errors
    /// What is no JSON, and what [`Self::read`] refuses.
    pub fn parse(file: &[u8]) -> Result<Self, EngineError> {
        let value =
            serde_json::from_slice(file).map_err(|error| EngineError::field("the file", "JSON", error))?;
        Self::read(&value)
    }

    /// The file.
    pub fn to_value(&self) -> Value {
        let splits = self.patterns.iter().map(|pattern| {
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
        });
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let splits: Vec<Value> = splits.chain([byte_level]).collect();
        let added = self.added.iter().map(|token| {
            json!({"id": token.id, "content": token.content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": token.is_special})
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(), "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": self.model(),
        })
    }

    fn model(&self) -> Value {
        let spelled = self.spellings();
        let vocab: Map<String, Value> =
            spelled.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let merge =
            |(left, right, _): &(u32, u32, u32)| json!([spelled[*left as usize], spelled[*right as usize]]);
        let merges: Vec<Value> = self.vocabulary.merges.iter().map(merge).collect();
        json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": self.ignore_merges,
            "vocab": vocab, "merges": merges,
        })
    }

    /// How each token is spelled in the file, by id.
    pub fn spellings(&self) -> Vec<String> {
        let chars = byte_chars();
        let mut spelled: Vec<String> =
            self.vocabulary.tokens.iter().map(|token| spell(token, &chars)).collect();
        for token in &self.added {
            if let Some(spelling) = spelled.get_mut(token.id as usize) {
                spelling.clone_from(&token.content);
            }
        }
        spelled
    }
}

fn refuse_unless(file: &Value, field: &str, allowed: &[Value]) -> Result<(), EngineError> {
    let got = field.split('.').fold(file, |value, key| &value[key]);
    let expected: Vec<String> = allowed.iter().map(Value::to_string).collect();
    if allowed.contains(got) { Ok(()) } else { Err(EngineError::field(field, expected.join(" or "), got)) }
}

/// An id that fits the tables.
fn id_of(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| *id < u32::MAX)
}

fn added_tokens(list: &Value) -> Result<Vec<AddedToken>, EngineError> {
    let mut found = Vec::new();
    for (index, token) in list.as_array().into_iter().flatten().enumerate() {
        let field = format!("added_tokens.{index}");
        for flag in ["single_word", "lstrip", "rstrip"] {
            if token[flag] == json!(true) {
                return Err(EngineError::field(format!("{field}.{flag}"), "false", &token[flag]));
            }
        }
        match (token["content"].as_str(), id_of(&token["id"])) {
            (Some(content), Some(id)) if !content.is_empty() => {
                let is_special = token["special"] == json!(true);
                found.push(AddedToken { content: content.to_owned(), id, is_special });
            }
            _ => return Err(EngineError::field(field, "content and id", token)),
        }
    }
    Ok(found)
}

fn patterns(pre: &Value) -> Result<Vec<String>, EngineError> {
    let steps = match (pre["type"].as_str(), pre["pretokenizers"].as_array()) {
        (Some("Sequence"), Some(steps)) => steps.as_slice(),
        _ => std::slice::from_ref(pre),
    };
    let mut patterns = Vec::new();
    let mut is_byte_level = false;
    for (index, step) in steps.iter().enumerate() {
        match (step["type"].as_str(), step["pattern"]["Regex"].as_str()) {
            (Some("Split"), Some(regex))
                if step["behavior"] == json!("Isolated") && step["invert"] != json!(true) =>
            {
                patterns.push(regex.to_owned());
            }
            (Some("Digits"), _) if step["individual_digits"] == json!(true) => patterns.push(r"\p{N}".into()),
            (Some("ByteLevel"), _) if step["add_prefix_space"] == json!(false) => {
                is_byte_level = true;
                // `ByteLevel` by itself splits as GPT-2 does.
                if step["use_regex"] != json!(false) {
                    patterns.push(GPT2_PATTERN.to_owned());
                }
            }
            _ => {
                let expected = "isolated regex splits, then ByteLevel without a prefix space";
                return Err(EngineError::field(format!("pre_tokenizer.{index}"), expected, step));
            }
        }
    }
    if is_byte_level { Ok(patterns) } else { Err(EngineError::field("pre_tokenizer", "ByteLevel", pre)) }
}

fn vocabulary(model: &Value, added: &[AddedToken]) -> Result<Vocabulary, EngineError> {
    let wrong =
        |expected: &str, got: &dyn std::fmt::Display| EngineError::field("model.vocab", expected, got);
    let entries = model["vocab"].as_object().ok_or_else(|| wrong("an object", &model["vocab"]))?;
    let mut ids = SpellingIds::default();
    for (token, id) in entries {
        ids.insert(token, id_of(id).ok_or_else(|| wrong("ids", id))?);
    }
    let all = entries.values().filter_map(id_of).chain(added.iter().map(|token| token.id));
    let size = all.max().map_or(0, |id| id as usize + 1);
    if size > MAX_GAPS * (ids.len() + added.len()) {
        return Err(wrong("ids without large gaps", &size));
    }
    let mut tokens = vec![Vec::new(); size];
    for (token, id) in entries.iter().filter_map(|(token, id)| Some((token, id_of(id)?))) {
        let slot = &mut tokens[id as usize];
        if !slot.is_empty() {
            return Err(wrong("one token for each id", &format!("two for {id}")));
        }
        *slot = unspell(token).unwrap_or_else(|| token.as_bytes().to_vec());
    }
    for token in added {
        tokens[token.id as usize] = token.content.clone().into_bytes();
    }
    let mut byte_ids = [0; 256];
    for (slot, char) in byte_ids.iter_mut().zip(byte_chars()) {
        let id = ids.get(char.encode_utf8(&mut [0; 4]) as &str);
        *slot = *id.ok_or_else(|| wrong("all 256 bytes", &format!("no {char:?}")))?;
    }
    let merges = model["merges"].as_array().into_iter().flatten().enumerate().map(|(index, merge)| {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            other => other[0].as_str().zip(other[1].as_str()),
        };
        let known = pair.and_then(|pair| merge_of(&ids, pair));
        known.ok_or_else(|| {
            EngineError::field(format!("model.merges.{index}"), "two tokens that make a third one", merge)
        })
    });
    let merges = merges.collect::<Result<_, _>>()?;
    Ok(Vocabulary { tokens, byte_ids, merges })
}
