//! The Hugging Face files of a tokenizer, read and written.
//!
//! `tokenizer.json` is the engine's ([`TokenizerFile`]); beside it `tokenizer_config.json` holds the roles of special tokens and the chat template, which newer folders
//! have in a file of its own, `chat_template.jinja`. Where both are there the file counts, as in Hugging Face's reader.

use std::path::{Path, PathBuf};

use cupola_tokenizer::TokenizerFile;
use serde_json::{Map, Value, json};

use super::{TokenizerError, tiktoken};

/// The tokenizer's own file.
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";
/// Chat template and the roles of special tokens.
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";
/// The chat template, where it is a file of its own.
pub(super) const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The roles of special tokens once more, where older readers look.
pub(super) const SPECIALS_FILE: &str = "special_tokens_map.json";

/// What the files hold.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) json: TokenizerFile,
    pub(super) roles: Roles,
    pub(super) chat_template: String,
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
    /// Roles by name: the first special token separates documents, `<|im_end|>` ends a turn, or else `<|endoftext|>`, and `<|pad|>` pads.
    pub(super) fn of(specials: &[String]) -> Option<Self> {
        let bos = specials.first()?.clone();
        let find = |name: &str| specials.iter().find(|token| *token == name).cloned();
        let eos = find("<|im_end|>").or_else(|| find("<|endoftext|>"));
        Some(Self { eos: eos.unwrap_or_else(|| bos.clone()), pad: find("<|pad|>"), bos })
    }
}

/// Writes the three files.
pub(super) fn write(dir: &Path, files: &TokenizerFiles) -> Result<(), TokenizerError> {
    let tokenizer = files.json.to_value();
    let roles = &files.roles;
    let mut map = Map::new();
    map.insert("bos_token".into(), json!(roles.bos));
    map.insert("eos_token".into(), json!(roles.eos));
    if let Some(pad) = &roles.pad {
        map.insert("pad_token".into(), json!(pad));
    }
    let named = [Some(&roles.bos), Some(&roles.eos), roles.pad.as_ref()];
    let specials = files.json.added().iter().filter(|token| token.is_special).map(|token| &token.content);
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

/// Reads the files of a folder, or a `.tiktoken` file with what stands beside it. `special_tokens_map.json` is not read: `tokenizer_config.json` says
/// the same.
pub(super) fn read(path: &Path) -> Result<TokenizerFiles, TokenizerError> {
    if let Some(ranks) = tiktoken::find(path)? {
        let json = TokenizerFile::from(tiktoken::read(&ranks)?);
        let config = ranks.with_file_name(CONFIG_FILE);
        if config.is_file() {
            return with_config(json, &Json::open(config)?);
        }
        let contents: Vec<String> = json.added().iter().map(|token| token.content.clone()).collect();
        let roles = Roles::of(&contents).ok_or_else(|| TokenizerError::File {
            path: ranks,
            field: "special_tokens".into(),
            expected: "at least one, which separates documents".into(),
            got: "none".into(),
        })?;
        return Ok(TokenizerFiles { json, roles, chat_template: String::new() });
    }
    let file = path.join(TOKENIZER_FILE);
    let text = std::fs::read(&file).map_err(|e| TokenizerError::io(&file, e))?;
    let json = TokenizerFile::parse(&text).map_err(|error| TokenizerError::engine(&file, error))?;
    with_config(json, &Json::open(path.join(CONFIG_FILE))?)
}

/// The tokenizer with what `tokenizer_config.json` says of it.
fn with_config(mut json: TokenizerFile, config: &Json) -> Result<TokenizerFiles, TokenizerError> {
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
    for token in json.added_mut() {
        token.is_special |= named.contains(&Some(&token.content));
    }
    let template = config.path.with_file_name(TEMPLATE_FILE);
    let chat_template = match config.at("chat_template") {
        _ if template.is_file() => {
            std::fs::read_to_string(&template).map_err(|e| TokenizerError::io(template, e))?
        }
        Value::String(text) => text,
        Value::Null => String::new(),
        other => return Err(config.wrong("chat_template", "one template as a string", &other)),
    };
    Ok(TokenizerFiles { json, roles, chat_template })
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

    fn wrong(&self, field: &str, expected: &str, got: &Value) -> TokenizerError {
        let got: String = got.to_string().chars().take(200).collect();
        TokenizerError::File { path: self.path.clone(), field: field.into(), expected: expected.into(), got }
    }
}
