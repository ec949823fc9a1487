//! What a `.tiktoken` file leaves unsaid: how text is split, and the special tokens. They are the other arguments of tiktoken's `Encoding`.
//!
//! Of the files that OpenAI published they are known by the file's name. Beside a file of our own they lie in `tiktoken.json`, under the names that
//! `Encoding` gives them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::split::{pattern_named, portable};
use crate::{AddedToken, EngineError, Ranks, TokenizerJson, check_portable};

/// Ids of special tokens end before so many times the number of tokens.
const MAX_GAPS: usize = 4;

/// How text is split and which tokens are special.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiktokenFrame {
    /// The tokenizer's name.
    pub name: String,
    /// The regex that splits a text.
    pub pattern: String,
    /// Special tokens with their ids.
    pub specials: Vec<AddedToken>,
}

impl TiktokenFrame {
    /// That of a file that OpenAI published, by the file's name without its ending.
    pub fn published(name: &str) -> Option<Self> {
        let pattern = match name {
            "gpt2" | "r50k_base" | "p50k_base" | "p50k_edit" => "gpt2",
            "cl100k_base" | "cl100k" => "cl100k",
            "o200k_base" | "o200k" | "o200k_harmony" => "o200k",
            _ => return None,
        };
        let specials: &[(&str, u32)] = match name {
            "gpt2" | "r50k_base" | "p50k_base" => &[("<|endoftext|>", 50_256)],
            "p50k_edit" => &[
                ("<|endoftext|>", 50_256),
                ("<|fim_prefix|>", 50_281),
                ("<|fim_middle|>", 50_282),
                ("<|fim_suffix|>", 50_283),
            ],
            "cl100k_base" | "cl100k" => &[
                ("<|endoftext|>", 100_257),
                ("<|fim_prefix|>", 100_258),
                ("<|fim_middle|>", 100_259),
                ("<|fim_suffix|>", 100_260),
                ("<|endofprompt|>", 100_276),
            ],
            "o200k_harmony" => &[
                ("<|startoftext|>", 199_998),
                ("<|endoftext|>", 199_999),
                ("<|return|>", 200_002),
                ("<|constrain|>", 200_003),
                ("<|channel|>", 200_005),
                ("<|start|>", 200_006),
                ("<|end|>", 200_007),
                ("<|message|>", 200_008),
                ("<|call|>", 200_012),
                ("<|endofprompt|>", 200_018),
            ],
            _ => &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)],
        };
        let special = |(content, id): &(&str, u32)| AddedToken {
            content: (*content).to_owned(),
            id: *id,
            is_special: true,
        };
        let mut specials: Vec<AddedToken> = specials.iter().map(special).collect();
        if name == "o200k_harmony" {
            specials.extend(harmony_reserved());
            specials.sort_by_key(|token| token.id);
        }
        Some(Self { name: name.to_owned(), pattern: pattern_named(pattern).to_owned(), specials })
    }

    /// The ranks and the frame of a tokenizer: tiktoken gives the same ids with them.
    ///
    /// # Errors
    /// A text that is split by two regexes one after the other, of which tiktoken takes one; merges that are not in the order of their ids.
    pub fn of(json: &TokenizerJson, name: &str) -> Result<(Ranks, Self), EngineError> {
        let [pattern] = json.patterns.as_slice() else {
            let got = json!(json.patterns);
            return Err(EngineError::field("pre_tokenizer", "one regex, as tiktoken takes it", got));
        };
        let added: Vec<u32> = json.added.iter().map(|token| token.id).collect();
        let ranks = Ranks::of(&json.vocabulary, &added)?;
        let specials = json.added.clone();
        Ok((ranks, Self { name: name.to_owned(), pattern: pattern.clone(), specials }))
    }

    /// Reads a `tiktoken.json`.
    ///
    /// # Errors
    /// What is no JSON, and the first field that is none of an `Encoding`'s.
    pub fn parse(file: &[u8]) -> Result<Self, EngineError> {
        let file: Value =
            serde_json::from_slice(file).map_err(|error| EngineError::field("the file", "JSON", error))?;
        let text = |field: &str| {
            let value = file[field].as_str();
            value.map(str::to_owned).ok_or_else(|| EngineError::field(field, "a text", &file[field]))
        };
        let mut specials = Vec::new();
        for (content, id) in file["special_tokens"].as_object().into_iter().flatten() {
            let field = || format!("special_tokens.{content}");
            let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let known = known.filter(|id| *id < u32::MAX && !content.is_empty());
            let number = known.ok_or_else(|| EngineError::field(field(), "an id", id))?;
            specials.push(AddedToken { content: content.clone(), id: number, is_special: true });
        }
        specials.sort_by_key(|token| token.id);
        Ok(Self { name: text("name")?, pattern: text("pat_str")?, specials })
    }

    /// The `tiktoken.json`.
    pub fn to_value(&self) -> Value {
        let specials = self.specials.iter().map(|token| (token.content.clone(), json!(token.id)));
        json!({"name": self.name, "pat_str": self.pattern, "special_tokens": specials.collect::<Map<_, _>>()})
    }

    /// The tokenizer of ranks and this frame. Of special tokens with one id, which tiktoken takes, it has the first: an id has one spelling there.
    ///
    /// # Errors
    /// A special token whose id is another token's, or far beyond them; a pattern that engines read differently; tokens that are too long.
    pub fn tokenizer(&self, ranks: &Ranks) -> Result<TokenizerJson, EngineError> {
        let mut vocabulary = ranks.vocabulary()?;
        let most = MAX_GAPS * (vocabulary.tokens.len() + self.specials.len());
        let mut seen = HashSet::new();
        let added: Vec<AddedToken> =
            self.specials.iter().filter(|token| seen.insert(token.id)).cloned().collect();
        for token in &added {
            let (field, id) = (|| format!("special_tokens.{}", token.content), token.id as usize);
            if id >= most {
                return Err(EngineError::field(field(), "ids without large gaps", id));
            }
            if id >= vocabulary.tokens.len() {
                vocabulary.tokens.resize(id + 1, Vec::new());
            }
            if !vocabulary.tokens[id].is_empty() {
                return Err(EngineError::field(field(), "an id of its own", id));
            }
            vocabulary.tokens[id] = token.content.clone().into_bytes();
        }
        let patterns = vec![portable(&self.pattern)];
        check_portable(&patterns)?;
        Ok(TokenizerJson { patterns, vocabulary, ignore_merges: true, added })
    }
}

/// The tokens that `o200k_harmony` keeps for later: the ids that are no mark's, up to the last. One of them is `<|endofprompt|>`'s too.
fn harmony_reserved() -> impl Iterator<Item = AddedToken> {
    let early = [200_000, 200_001, 200_004, 200_009, 200_010, 200_011];
    early.into_iter().chain(200_013..=201_087).map(|id| AddedToken {
        content: format!("<|reserved_{id}|>"),
        id,
        is_special: true,
    })
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::{Digits, GPT4_PATTERN};

    use super::*;
    use crate::train::{CensusLimits, Trainer, TrainerSettings};
    use crate::{Splitter, TokenizerFile};

    fn trained(pattern: &str) -> TokenizerJson {
        let splitter = Splitter::named(pattern, Digits::UpTo2).unwrap();
        let specials = ["<|bos|>".to_owned(), "<|pad|>".to_owned()];
        let settings = TrainerSettings::new(300, &specials);
        let mut trainer = Trainer::new(settings, &splitter, CensusLimits::default()).unwrap();
        trainer.add_text(&"the cat and the hat, 1234 bats and banana bandanas; ".repeat(30)).unwrap();
        let trained = trainer.train(&mut |_| {}).unwrap();
        let (patterns, added) = (splitter.patterns().to_vec(), AddedToken::specials(&specials));
        TokenizerJson { patterns, vocabulary: trained.vocabulary, ignore_merges: false, added }
    }

    #[test]
    fn a_tokenizer_comes_back_from_ranks_and_frame_with_the_same_ids() {
        let json = trained("gpt4");
        let (ranks, frame) = TiktokenFrame::of(&json, "tokenizer").unwrap();
        assert!(!ranks.write().contains(" 0\n") && frame.pattern == GPT4_PATTERN.replace("{1,3}", "{1,2}"));
        let frame = TiktokenFrame::parse(frame.to_value().to_string().as_bytes()).unwrap();
        let again = frame.tokenizer(&Ranks::parse(ranks.write().as_bytes()).unwrap()).unwrap();
        assert_eq!(
            (&again.patterns, &again.vocabulary, &again.added),
            (&json.patterns, &json.vocabulary, &json.added)
        );
        let text = "the bandana and 98765 hats<|pad|> banananana\n";
        let encode = |json: TokenizerJson| TokenizerFile::from(json).into_encoding().unwrap().encode(text);
        assert_eq!(encode(again), encode(json));
    }

    #[test]
    fn what_tiktoken_can_not_say_is_refused() {
        let error = TiktokenFrame::of(&trained("gpt2"), "x").unwrap_err().to_string();
        assert!(error.starts_with("pre_tokenizer: expected one regex"), "{error}");
        let (ranks, mut frame) = TiktokenFrame::of(&trained("gpt4"), "x").unwrap();
        let refused = |frame: &TiktokenFrame| frame.tokenizer(&ranks).unwrap_err().to_string();
        frame.specials[0].id = 7;
        assert_eq!(refused(&frame), "special_tokens.<|bos|>: expected an id of its own, got 7");
        frame.specials[0].id = 70_000;
        assert_eq!(refused(&frame), "special_tokens.<|bos|>: expected ids without large gaps, got 70000");
        frame.specials.clear();
        frame.pattern = r"^\w+|\W".into();
        assert!(refused(&frame).contains("match at every line"));
        let error = |file: &str| TiktokenFrame::parse(file.as_bytes()).unwrap_err().to_string();
        assert!(error("{").starts_with("the file: expected JSON"));
        assert_eq!(error(r#"{"name": "x"}"#), "pat_str: expected a text, got null");
        let file = r#"{"name": "x", "pat_str": "x", "special_tokens": {"<s>": -1}}"#;
        assert_eq!(error(file), "special_tokens.<s>: expected an id, got -1");
    }

    #[test]
    fn published_files_have_their_patterns_and_special_tokens() {
        let line = |byte: u8| {
            use base64::Engine as _;
            format!("{} {byte}\n", base64::engine::general_purpose::STANDARD.encode([byte]))
        };
        let bytes: String = (0..=255_u8).map(line).collect();
        let ranks = Ranks::parse(bytes.as_bytes()).unwrap();
        for name in ["gpt2", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony"] {
            let mut frame = TiktokenFrame::published(name).unwrap();
            assert_eq!(frame.specials.iter().filter(|token| token.content == "<|endoftext|>").count(), 1);
            // Among the bytes alone their ids would be far away.
            for (token, id) in frame.specials.iter_mut().zip(256..) {
                token.id = id;
            }
            let json = frame.tokenizer(&ranks).unwrap();
            assert!(Splitter::of_patterns(&json.patterns).unwrap().is_fast(), "{name}");
        }
        assert_eq!(TiktokenFrame::published("mine"), None);
    }

    #[test]
    fn harmony_has_every_id_behind_its_ranks_and_one_of_them_twice() {
        let frame = TiktokenFrame::published("o200k_harmony").unwrap();
        let mut ids: Vec<u32> = frame.specials.iter().map(|token| token.id).collect();
        assert_eq!(ids.len(), 1091);
        ids.dedup();
        assert_eq!(ids, (199_998..=201_087).collect::<Vec<u32>>());
        let of = |id: u32| {
            let found = frame.specials.iter().filter(move |token| token.id == id);
            found.map(|token| token.content.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of(200_018), ["<|endofprompt|>", "<|reserved_200018|>"]);
        assert_eq!((of(200_012), of(200_013)), (vec!["<|call|>"], vec!["<|reserved_200013|>"]));
        let tokens =
            (0..=255_u8).map(|byte| vec![byte]).chain((256..199_998).map(|id| id.to_string().into_bytes()));
        let line = |(token, id): (Vec<u8>, usize)| {
            use base64::Engine as _;
            format!("{} {id}\n", base64::engine::general_purpose::STANDARD.encode(token))
        };
        let ranks: String = tokens.zip(0..).map(line).collect();
        let json = frame.tokenizer(&Ranks::parse(ranks.as_bytes()).unwrap()).unwrap();
        assert_eq!((json.vocabulary.tokens.len(), json.added.len()), (201_088, 1090));
        assert_eq!(json.spellings()[200_018], "<|endofprompt|>");
        let again = TiktokenFrame::parse(frame.to_value().to_string().as_bytes()).unwrap();
        assert_eq!(again, frame);
    }
}
