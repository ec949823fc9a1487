//! `tokenizer.json` with a model of type `Unigram`, as Hugging Face's `tokenizers` reads and writes it.
//!
//! All around the model is as in a file of byte-pair encoding over bytes, and is read and written by [`TokenizerJson`]: regexes that split, then bytes
//! spelled as visible characters. The model's `vocab` is a list of spellings with their scores, in the order of ids.

use serde_json::{Map, Value, json};

use super::model::Unigram;
use crate::bytes::{byte_chars, spell, unspell};
use crate::{AddedToken, EngineError, TokenizerJson, Vocabulary};

/// Bytes of the longest token that is read: a piece takes a step for each byte of it and each byte of the longest token.
const MOST_TOKEN_BYTES: usize = 1024;

/// What the file holds.
#[derive(Debug, Clone)]
pub struct UnigramJson {
    /// The regexes that split a text, each the pieces of the one before.
    pub patterns: Vec<String>,
    /// Tokens and scores.
    pub model: Unigram,
    /// Tokens that no text becomes, and those that a user named.
    pub added: Vec<AddedToken>,
}

impl UnigramJson {
    /// Reads a parsed file.
    ///
    /// # Errors
    /// The first field that says what is not carried out: among them a model of SentencePiece, whose tokens are no byte strings.
    pub fn read(file: &Value) -> Result<Self, EngineError> {
        let model = &file["model"];
        if model["type"] != json!("Unigram") {
            return Err(EngineError::field("model.type", "\"Unigram\"", &model["type"]));
        }
        if model["byte_fallback"] == json!(true) {
            let expected = "false: tokens that are byte strings, not characters with bytes to fall back on";
            return Err(EngineError::field("model.byte_fallback", expected, "true"));
        }
        let (mut tokens, mut scores) = vocabulary(model)?;
        let frame = TokenizerJson::read(&frame(file, &without_merges(model)))?;
        for token in &frame.added {
            let id = token.id as usize;
            if id == tokens.len() {
                tokens.push(Vec::new());
                scores.push(0.0);
            }
            let place = tokens.get_mut(id).ok_or_else(|| {
                EngineError::field(
                    "added_tokens",
                    "ids of the model's vocabulary, or those that follow in order",
                    id,
                )
            })?;
            *place = token.content.clone().into_bytes();
        }
        let specials: Vec<u32> = frame.added.iter().map(|token| token.id).collect();
        let model = Unigram::new(tokens, scores, &specials).map_err(|error| {
            EngineError::field("model.vocab", "spellings of byte strings with their scores", error)
        })?;
        Ok(Self { patterns: frame.patterns, model, added: frame.added })
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
        let vocabulary = Vocabulary { tokens: Vec::new(), byte_ids: [0; 256], merges: Vec::new() };
        let (patterns, added) = (self.patterns.clone(), self.added.clone());
        let around = TokenizerJson { patterns, vocabulary, ignore_merges: false, added }.to_value();
        let chars = byte_chars();
        let mut spelled: Vec<String> = self.model.tokens().iter().map(|bytes| spell(bytes, &chars)).collect();
        for token in &self.added {
            if let Some(spelling) = spelled.get_mut(token.id as usize) {
                spelling.clone_from(&token.content);
            }
        }
        let vocab: Vec<Value> =
            spelled.iter().zip(self.model.scores()).map(|(token, score)| json!([token, score])).collect();
        frame(&around, &json!({"type": "Unigram", "unk_id": null, "vocab": vocab, "byte_fallback": false}))
    }
}

/// A file with another model in it.
fn frame(file: &Value, model: &Value) -> Value {
    let fields = file.as_object().into_iter().flatten();
    let replaced =
        fields.map(|(key, value)| (key.clone(), if key == "model" { model.clone() } else { value.clone() }));
    Value::Object(replaced.collect())
}

/// The same tokens as those of byte-pair encoding without a merge.
fn without_merges(model: &Value) -> Value {
    let entries = model["vocab"].as_array().into_iter().flatten().enumerate();
    let ids = entries.filter_map(|(id, entry)| Some((entry[0].as_str()?.to_owned(), json!(id))));
    json!({"type": "BPE", "vocab": ids.collect::<Map<_, _>>(), "merges": []})
}

fn vocabulary(model: &Value) -> Result<(Vec<Vec<u8>>, Vec<f64>), EngineError> {
    let wrong =
        |field: String, got: &Value| EngineError::field(field, "a list of spellings with their scores", got);
    let entries =
        model["vocab"].as_array().ok_or_else(|| wrong("model.vocab".to_owned(), &model["vocab"]))?;
    let read = |(id, entry): (usize, &Value)| {
        let known = entry[0].as_str().zip(entry[1].as_f64());
        let (spelling, score) = known.ok_or_else(|| wrong(format!("model.vocab.{id}"), entry))?;
        let token = unspell(spelling).unwrap_or_else(|| spelling.as_bytes().to_vec());
        if token.len() > MOST_TOKEN_BYTES {
            let expected = format!("a token of {MOST_TOKEN_BYTES} bytes at most");
            let got = format!("one of {}", token.len());
            return Err(EngineError::field(format!("model.vocab.{id}"), expected, got));
        }
        Ok((token, score))
    };
    entries.iter().enumerate().map(read).collect()
}
