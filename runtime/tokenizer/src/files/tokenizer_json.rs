//! Hugging Face's `tokenizer.json`, read and written.
//!
//! It may say many things that change ids (normalisers, prefix spaces, templates around a text). What this encoder does not carry out is refused by
//! field, never skipped. Work grows with the file's size: no list in it is worth more than its length.

use std::collections::HashMap;

use cupola_specs::job::GPT2_PATTERN;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::bytes::{byte_chars, spell, unspell};
use crate::{EngineError, Vocabulary, check_portable};

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
        for field in ["truncation", "padding"] {
            if !file[field].is_null() {
                let expected = "null: remove it, training and serving cut and fill texts by themselves";
                return Err(EngineError::field(field, expected, &file[field]));
            }
        }
        refuse_other_decoders(&file["decoder"])?;
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
        let mut vocab = Map::new();
        for (id, token) in spelled.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
            // Of two tokens of one spelling the first keeps it: a byte's own, and never that of a mark spelled like it.
            vocab.entry(token.as_str()).or_insert(json!(id));
        }
        let part = |id: u32| spelled.get(id as usize);
        let merge = |(left, right, _): &(u32, u32, u32)| json!([part(*left), part(*right)]);
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

/// Refuses a decoder that makes other text of ids than the bytes that their tokens spell. `ByteLevel` makes that, and `Fuse` behind it joins what is joined
/// already; a file without a decoder says nothing about it.
fn refuse_other_decoders(decoder: &Value) -> Result<(), EngineError> {
    let steps = match (decoder["type"].as_str(), decoder["decoders"].as_array()) {
        (Some("Sequence"), Some(steps)) => steps.as_slice(),
        _ if decoder.is_null() => return Ok(()),
        _ => std::slice::from_ref(decoder),
    };
    match steps {
        [first, rest @ ..]
            if first["type"] == *"ByteLevel" && rest.iter().all(|step| step["type"] == *"Fuse") =>
        {
            Ok(())
        }
        _ => {
            let expected = "ByteLevel, or ByteLevel and then Fuse in a sequence: tokens are byte strings";
            Err(EngineError::field("decoder", expected, decoder))
        }
    }
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
    check_portable(&patterns)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bpe;

    /// A file with the 256 bytes, `ab` and `abc`, in GPT-2's old form.
    fn old_form() -> Value {
        let mut vocab: Map<String, Value> =
            byte_chars().iter().enumerate().map(|(byte, char)| (char.to_string(), json!(byte))).collect();
        vocab.insert("ab".into(), json!(256));
        vocab.insert("abc".into(), json!(257));
        json!({
            "added_tokens": [{"id": 258, "content": "<|end|>", "special": true}],
            "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "post_processor": {"type": "ByteLevel"},
            "model": {"unk_token": null, "continuing_subword_prefix": "", "vocab": vocab, "merges": ["a b", ["ab", "c"]]},
        })
    }

    #[test]
    fn the_old_form_and_both_spellings_of_merges_are_read_and_written_anew() {
        let json = TokenizerJson::read(&old_form()).unwrap();
        assert_eq!(json.patterns, [GPT2_PATTERN]);
        assert_eq!(json.vocabulary.merges, [(97, 98, 256), (256, 99, 257)]);
        assert_eq!(json.spellings()[258], "<|end|>");
        let bpe = Bpe::new(json.vocabulary.clone(), &[258], json.ignore_merges).unwrap();
        assert_eq!((bpe.whole(b"abc"), bpe.whole(b"<|end|>")), (Some(257), None));
        assert_eq!(TokenizerJson::parse(json.to_value().to_string().as_bytes()).unwrap(), json);
    }

    /// Files with another value at a pointer, and how each is refused.
    fn assert_refused<const N: usize>(cases: [(&str, Value, &str); N]) {
        for (pointer, value, message) in cases {
            let mut file = old_form();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            file.pointer_mut(parent).unwrap()[key] = value;
            let error = TokenizerJson::read(&file).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn what_is_not_carried_out_is_refused_by_field() {
        let cases = [
            ("/normalizer", json!({"type": "NFC"}), "normalizer: expected null, got {\"type\":\"NFC\"}"),
            ("/model/type", json!("WordPiece"), "model.type: expected \"BPE\", got \"WordPiece\""),
            (
                "/model/byte_fallback",
                json!(true),
                "model.byte_fallback: expected false: a vocabulary of byte strings",
            ),
            ("/model/dropout", json!(0.1), "model.dropout: expected null or \"\", got 0.1"),
            ("/model/vocab", json!([]), "model.vocab: expected an object, got []"),
            ("/model/vocab/ab", json!(255), "model.vocab: expected one token for each id, got two for 255"),
            ("/model/vocab/ab", json!(-1), "model.vocab: expected ids, got -1"),
            ("/model/vocab/ab", json!(4_294_967_295_u32), "model.vocab: expected ids, got 4294967295"),
            (
                "/model/vocab/ab",
                json!(4_000_000),
                "model.vocab: expected ids without large gaps, got 4000001",
            ),
            (
                "/model/merges",
                json!(["a b", "b x"]),
                "model.merges.1: expected two tokens that make a third one",
            ),
            (
                "/pre_tokenizer",
                json!({"type": "Whitespace"}),
                "pre_tokenizer.0: expected isolated regex splits",
            ),
            (
                "/pre_tokenizer",
                json!({"type": "Sequence", "pretokenizers": []}),
                "pre_tokenizer: expected ByteLevel",
            ),
            (
                "/post_processor",
                json!({"type": "BertProcessing"}),
                "post_processor.type: expected null or \"ByteLevel\"",
            ),
            (
                "/added_tokens",
                json!([{"content": "x", "id": 1, "lstrip": true}]),
                "added_tokens.0.lstrip: expected false",
            ),
            ("/added_tokens", json!([{"content": "x"}]), "added_tokens.0: expected content and id"),
        ];
        assert_refused(cases);
        let mut file = old_form();
        file["model"]["vocab"].as_object_mut().unwrap().remove("!");
        let error = TokenizerJson::read(&file).unwrap_err().to_string();
        assert_eq!(error, "model.vocab: expected all 256 bytes, got no '!'");
        let error = TokenizerJson::parse(b"{").unwrap_err().to_string();
        assert!(error.starts_with("the file: expected JSON, got "), "{error}");
    }

    #[test]
    fn what_cuts_and_fills_texts_or_decodes_otherwise_is_refused() {
        assert_refused([
            (
                "/truncation",
                json!({"max_length": 512}),
                "truncation: expected null: remove it, training and serving cut and fill texts by themselves, got {",
            ),
            ("/padding", json!({"pad_id": 0}), "padding: expected null: remove it"),
            (
                "/decoder",
                json!({"type": "WordPiece"}),
                "decoder: expected ByteLevel, or ByteLevel and then Fuse in a sequence: tokens are byte strings, got {",
            ),
            (
                "/decoder",
                json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip", "content": " "}]}),
                "decoder: expected ByteLevel",
            ),
            (
                "/decoder",
                json!({"type": "Sequence", "decoders": [{"type": "Fuse"}]}),
                "decoder: expected ByteLevel",
            ),
        ]);
    }

    #[test]
    fn decoders_that_spell_out_the_bytes_are_read() {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
        let decoders = [
            Value::Null,
            byte_level.clone(),
            json!({"type": "Sequence", "decoders": [byte_level]}),
            json!({"type": "Sequence", "decoders": [byte_level, {"type": "Fuse"}]}),
        ];
        for decoder in decoders {
            let mut file = old_form();
            file["decoder"] = decoder;
            assert_eq!(TokenizerJson::read(&file).unwrap(), TokenizerJson::read(&old_form()).unwrap());
        }
    }

    #[test]
    fn a_pattern_that_hugging_face_reads_otherwise_is_refused() {
        let mut file = old_form();
        for (pattern, message) in
            [(r"\s+$|\S+|\s+", "match at every line"), (r"\p{N}{1,3}+|\s", "leave out the `+`")]
        {
            let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"});
            let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
            let error = TokenizerJson::read(&file).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_merge_that_does_not_make_its_token_is_refused() {
        let mut json = TokenizerJson::read(&old_form()).unwrap();
        json.vocabulary.merges.push((97, 97, 257));
        let error = json.vocabulary.check().unwrap_err().to_string();
        assert_eq!(
            error,
            "merges.2: expected two tokens and the token that they make, got 97 and 97 make 257"
        );
    }
}
