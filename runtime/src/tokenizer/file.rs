//! The Hugging Face files of a tokenizer, read and written.
//!
//! `tokenizer.json` may say many things that change ids (normalisers, prefix spaces, templates around a text). What this encoder
//! does not carry out is refused by field, never skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cupola_specs::job::GPT2_PATTERN;
use serde_json::{Map, Value, json};

use super::TokenizerError;
use super::bytes::{byte_chars, spell, unspell};
use super::train::Vocabulary;

/// The tokenizer's own file.
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";
/// Chat template and the roles of special tokens.
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";
/// The roles of special tokens once more, where older readers look.
pub(super) const SPECIALS_FILE: &str = "special_tokens_map.json";

/// What the files hold.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) patterns: Vec<String>,
    pub(super) vocabulary: Vocabulary,
    pub(super) ignore_merges: bool,
    pub(super) added: Vec<AddedToken>,
    pub(super) roles: Roles,
    pub(super) chat_template: String,
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
    pub(super) fn specials(contents: &[String]) -> Vec<Self> {
        let of = |(content, id): (&String, u32)| Self { content: content.clone(), id, is_special: true };
        contents.iter().zip(0..).map(of).collect()
    }
}

/// The special tokens' roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roles {
    /// The token before each document.
    pub(super) bos: String,
    /// The end of a turn.
    pub(super) eos: String,
    /// Padding.
    pub(super) pad: Option<String>,
}

impl Roles {
    /// Roles by name: the first special token separates documents, `<|im_end|>` ends a turn, `<|pad|>` pads.
    pub(super) fn of(specials: &[String]) -> Option<Self> {
        let bos = specials.first()?.clone();
        let find = |name: &str| specials.iter().find(|token| *token == name).cloned();
        Some(Self { eos: find("<|im_end|>").unwrap_or_else(|| bos.clone()), pad: find("<|pad|>"), bos })
    }
}

/// Writes the three files.
pub(super) fn write(dir: &Path, files: &TokenizerFiles) -> Result<(), TokenizerError> {
    let mut splits: Vec<Value> = files.patterns.iter().map(|pattern| {
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
    }).collect();
    splits.push(
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
    );
    let added: Vec<Value> = files
        .added
        .iter()
        .map(|token| {
            json!({"id": token.id, "content": token.content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": token.is_special})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": model(files),
    });
    let roles = &files.roles;
    let mut map = Map::new();
    map.insert("bos_token".into(), json!(roles.bos));
    map.insert("eos_token".into(), json!(roles.eos));
    if let Some(pad) = &roles.pad {
        map.insert("pad_token".into(), json!(pad));
    }
    let named = [Some(&roles.bos), Some(&roles.eos), roles.pad.as_ref()];
    let specials = files.added.iter().filter(|token| token.is_special).map(|token| &token.content);
    let others = specials.filter(|content| !named.contains(&Some(content)));
    map.insert("additional_special_tokens".into(), json!(others.collect::<Vec<_>>()));
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.extend(map.clone());
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    if !files.chat_template.is_empty() {
        config.insert("chat_template".into(), json!(files.chat_template));
    }
    for (name, value) in
        [(TOKENIZER_FILE, tokenizer), (CONFIG_FILE, config.into()), (SPECIALS_FILE, map.into())]
    {
        let path = dir.join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(|e| TokenizerError::io(path, e))?;
    }
    Ok(())
}

impl TokenizerFiles {
    /// A token as vocabularies spell it: an added one by its content, any other one byte by byte.
    pub(super) fn spelled(&self, id: u32, chars: &[char; 256]) -> String {
        match self.added.iter().find(|token| token.id == id) {
            Some(token) => token.content.clone(),
            None => spell(&self.vocabulary.tokens[id as usize], chars),
        }
    }
}

fn model(files: &TokenizerFiles) -> Value {
    let chars = byte_chars();
    let spelled = |id: u32| files.spelled(id, &chars);
    let tokens = 0..files.vocabulary.tokens.len() as u32;
    let vocab: Map<String, Value> = tokens.map(|id| (spelled(id), json!(id))).collect();
    let merges: Vec<Value> = files
        .vocabulary
        .merges
        .iter()
        .map(|(left, right, _)| json!([spelled(*left), spelled(*right)]))
        .collect();
    json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": files.ignore_merges,
        "vocab": vocab, "merges": merges,
    })
}

/// Reads the files of a folder. `special_tokens_map.json` is not read: `tokenizer_config.json` says the same.
pub(super) fn read(dir: &Path) -> Result<TokenizerFiles, TokenizerError> {
    let file = Json::open(dir.join(TOKENIZER_FILE))?;
    let config = Json::open(dir.join(CONFIG_FILE))?;
    file.refuse_unless("normalizer", &[Value::Null])?;
    file.refuse_unless("model.type", &[json!("BPE")])?;
    for field in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        file.refuse_unless(&format!("model.{field}"), &[Value::Null, json!("")])?;
    }
    file.refuse_unless("model.byte_fallback", &[json!(false), Value::Null])?;
    if file.at("post_processor.type") == json!("TemplateProcessing") {
        // A template of the text alone adds nothing to it.
        file.refuse_unless("post_processor.single", &[json!([{"Sequence": {"id": "A", "type_id": 0}}])])?;
    } else {
        file.refuse_unless("post_processor.type", &[Value::Null, json!("ByteLevel")])?;
    }
    let mut added = added_tokens(&file)?;
    let vocabulary = vocabulary(&file, &added)?;
    let token = |field: &str| match config.at(field) {
        Value::String(text) => Some(text),
        Value::Object(map) => map.get("content").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let missing = |field: &str| config.wrong(field, "a special token", &config.at(field));
    let eos = token("eos_token").ok_or_else(|| missing("eos_token"))?;
    let roles =
        Roles { bos: token("bos_token").unwrap_or_else(|| eos.clone()), eos, pad: token("pad_token") };
    // What has a role is special, whatever its own entry says.
    let named = [Some(&roles.bos), Some(&roles.eos), roles.pad.as_ref()];
    for token in &mut added {
        token.is_special |= named.contains(&Some(&token.content));
    }
    let chat_template = match config.at("chat_template") {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => return Err(config.wrong("chat_template", "one template as a string", &other)),
    };
    Ok(TokenizerFiles {
        patterns: patterns(&file)?,
        vocabulary,
        ignore_merges: file.at("model.ignore_merges") == json!(true),
        added,
        roles,
        chat_template,
    })
}

fn added_tokens(file: &Json) -> Result<Vec<AddedToken>, TokenizerError> {
    let mut found = Vec::new();
    for (index, token) in file.at("added_tokens").as_array().into_iter().flatten().enumerate() {
        let field = format!("added_tokens.{index}");
        for flag in ["single_word", "lstrip", "rstrip"] {
            if token[flag] == json!(true) {
                return Err(file.wrong(&format!("{field}.{flag}"), "false", &token[flag]));
            }
        }
        match (token["content"].as_str(), token["id"].as_u64()) {
            (Some(content), Some(id)) => found.push(AddedToken {
                content: content.to_owned(),
                id: id as u32,
                is_special: token["special"] == json!(true),
            }),
            _ => return Err(file.wrong(&field, "content and id", token)),
        }
    }
    Ok(found)
}

fn patterns(file: &Json) -> Result<Vec<String>, TokenizerError> {
    let pre = file.at("pre_tokenizer");
    let steps = match pre["type"].as_str() {
        Some("Sequence") => pre["pretokenizers"].as_array().cloned().unwrap_or_default(),
        _ => vec![pre],
    };
    let mut patterns = Vec::new();
    let mut byte_level = false;
    for (index, step) in steps.iter().enumerate() {
        let field = format!("pre_tokenizer.{index}");
        match (step["type"].as_str(), step["pattern"]["Regex"].as_str()) {
            (Some("Split"), Some(regex))
                if step["behavior"] == json!("Isolated") && step["invert"] != json!(true) =>
            {
                patterns.push(regex.to_owned());
            }
            (Some("Digits"), _) if step["individual_digits"] == json!(true) => patterns.push(r"\p{N}".into()),
            (Some("ByteLevel"), _) if step["add_prefix_space"] == json!(false) => {
                byte_level = true;
                // `ByteLevel` by itself splits as GPT-2 does.
                if step["use_regex"] != json!(false) {
                    patterns.push(GPT2_PATTERN.to_owned());
                }
            }
            _ => {
                return Err(file.wrong(
                    &field,
                    "isolated regex splits, then ByteLevel without a prefix space",
                    step,
                ));
            }
        }
    }
    if byte_level { Ok(patterns) } else { Err(file.wrong("pre_tokenizer", "ByteLevel", &Value::Null)) }
}

fn vocabulary(file: &Json, added: &[AddedToken]) -> Result<Vocabulary, TokenizerError> {
    let vocab = file.at("model.vocab");
    let entries = vocab.as_object().ok_or_else(|| file.wrong("model.vocab", "an object", &Value::Null))?;
    let mut ids: BTreeMap<&str, u32> = BTreeMap::new();
    for (token, id) in entries {
        let id = id.as_u64().ok_or_else(|| file.wrong("model.vocab", "ids", id))?;
        ids.insert(token, id as u32);
    }
    let size = ids.values().chain(added.iter().map(|token| &token.id)).max().map_or(0, |id| *id as usize + 1);
    if size > 4 * (ids.len() + added.len()) {
        return Err(file.wrong("model.vocab", "ids without large gaps", &json!(size)));
    }
    let mut tokens = vec![Vec::new(); size];
    for (token, id) in &ids {
        tokens[*id as usize] = unspell(token).unwrap_or_else(|| token.as_bytes().to_vec());
    }
    for token in added {
        tokens[token.id as usize] = token.content.clone().into_bytes();
    }
    let mut byte_ids = [0; 256];
    for (byte, char) in byte_chars().iter().enumerate() {
        byte_ids[byte] = *ids
            .get(char.to_string().as_str())
            .ok_or_else(|| file.wrong("model.vocab", "all 256 bytes", &json!(char.to_string())))?;
    }
    let mut merges = Vec::new();
    for merge in file.at("model.merges").as_array().into_iter().flatten() {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            other => other[0].as_str().zip(other[1].as_str()),
        };
        let known = pair.and_then(|pair| merge_of(&ids, pair));
        merges.push(known.ok_or_else(|| file.wrong("model.merges", "pairs of tokens", merge))?);
    }
    Ok(Vocabulary { tokens, byte_ids, merges })
}

/// The ids of a merge's parts and of the token that it makes.
pub(super) fn merge_of(ids: &BTreeMap<&str, u32>, (left, right): (&str, &str)) -> Option<(u32, u32, u32)> {
    let new = ids.get(format!("{left}{right}").as_str())?;
    Some((*ids.get(left)?, *ids.get(right)?, *new))
}

/// A JSON file that knows its path.
struct Json {
    path: PathBuf,
    value: Value,
}

impl Json {
    fn open(path: PathBuf) -> Result<Self, TokenizerError> {
        let text = std::fs::read(&path).map_err(|e| TokenizerError::io(&path, e))?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Self { path, value }),
            Err(error) => Err(TokenizerError::File {
                path,
                field: "the file".into(),
                expected: "JSON".into(),
                got: error.to_string(),
            }),
        }
    }

    fn at(&self, field: &str) -> Value {
        let mut value = &self.value;
        for key in field.split('.') {
            value = &value[key];
        }
        value.clone()
    }

    fn refuse_unless(&self, field: &str, allowed: &[Value]) -> Result<(), TokenizerError> {
        let got = self.at(field);
        let expected: Vec<String> = allowed.iter().map(Value::to_string).collect();
        if allowed.contains(&got) { Ok(()) } else { Err(self.wrong(field, &expected.join(" or "), &got)) }
    }

    fn wrong(&self, field: &str, expected: &str, got: &Value) -> TokenizerError {
        let got: String = got.to_string().chars().take(200).collect();
        TokenizerError::File { path: self.path.clone(), field: field.into(), expected: expected.into(), got }
    }
}
