//! `tokenizer.json`, whatever its model.

use serde_json::Value;

use crate::unigram::UnigramJson;
use crate::{AddedToken, Bpe, Encoding, EngineError, Splitter, TokenizerJson};

/// What a `tokenizer.json` holds.
#[derive(Debug, Clone)]
pub enum TokenizerFile {
    /// Byte-pair encoding, and bytes alone.
    Bpe(Box<TokenizerJson>),
    /// The Unigram language model.
    Unigram(UnigramJson),
}

impl TokenizerFile {
    /// Reads a parsed file.
    ///
    /// # Errors
    /// The first field that says what is not carried out.
    pub fn read(file: &Value) -> Result<Self, EngineError> {
        if file["model"]["type"] == "Unigram" {
            UnigramJson::read(file).map(Self::Unigram)
        } else {
            TokenizerJson::read(file).map(Self::from)
        }
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
        match self {
            Self::Bpe(json) => json.to_value(),
            Self::Unigram(json) => json.to_value(),
        }
    }

    /// Tokens beside those that text becomes.
    pub fn added(&self) -> &[AddedToken] {
        match self {
            Self::Bpe(json) => &json.added,
            Self::Unigram(json) => &json.added,
        }
    }

    /// The same, to say what else of them is special.
    pub fn added_mut(&mut self) -> &mut [AddedToken] {
        match self {
            Self::Bpe(json) => &mut json.added,
            Self::Unigram(json) => &mut json.added,
        }
    }

    /// Text to ids and back.
    ///
    /// # Errors
    /// A pattern that is no regex, merges that do not fit their tokens.
    pub fn into_encoding(self) -> Result<Encoding, EngineError> {
        match self {
            Self::Bpe(json) => {
                let json = *json;
                let added: Vec<u32> = json.added.iter().map(|token| token.id).collect();
                let splitter = Splitter::of_patterns(&json.patterns)?;
                Ok(Encoding::new(splitter, Bpe::new(json.vocabulary, &added, json.ignore_merges)?))
            }
            Self::Unigram(json) => Ok(Encoding::new(Splitter::of_patterns(&json.patterns)?, json.model)),
        }
    }
}

impl From<TokenizerJson> for TokenizerFile {
    fn from(json: TokenizerJson) -> Self {
        Self::Bpe(Box::new(json))
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::TokenizerAlgorithm;

    use super::*;
    use crate::train::{CensusLimits, Trainer, TrainerSettings};
    use crate::unigram::UnigramSettings;

    #[test]
    fn what_each_algorithm_made_is_written_read_and_encodes_as_before() {
        let text = "the cat and the hat, the bat and the rat; <|end|> ".repeat(30) + "日本\u{0}\r\n";
        let specials = ["<|end|>".to_owned(), "<|pad|>".to_owned()];
        for algorithm in [TokenizerAlgorithm::Bpe, TokenizerAlgorithm::Unigram, TokenizerAlgorithm::Bytes] {
            let splitter = match algorithm {
                TokenizerAlgorithm::Bytes => Splitter::of_patterns(&[]),
                _ => Splitter::named("gpt4", cupola_specs::job::Digits::UpTo3),
            };
            let splitter = splitter.unwrap();
            let settings = TrainerSettings::new(290, &specials);
            let mut trainer = Trainer::new(settings, &splitter, CensusLimits::default()).unwrap();
            trainer.add_text(&text).unwrap();
            let learned = trainer.train_with(algorithm, &UnigramSettings::default(), &mut |_| {}).unwrap();
            let (tokens, num_merges) = (learned.tokens().to_vec(), learned.num_merges());
            assert_eq!(num_merges > 0, algorithm == TokenizerAlgorithm::Bpe);
            let made = learned.into_file(splitter.patterns().to_vec(), &specials);
            let read = TokenizerFile::parse(made.to_value().to_string().as_bytes()).unwrap();
            assert_eq!(read.added(), made.added());
            let (made, read) = (made.into_encoding().unwrap(), read.into_encoding().unwrap());
            assert_eq!(read.model().tokens(), tokens);
            let ids = made.encode(&text);
            assert_eq!(read.encode(&text), ids);
            assert!(ids.iter().all(|id| *id > 1) && read.decode(&ids) == text);
            let mut again = Vec::new();
            read.encoder().encode_into(&text, &mut again);
            assert_eq!(again, ids);
            if algorithm == TokenizerAlgorithm::Bytes {
                assert_eq!((tokens.len(), ids.len()), (258, text.len()));
            } else {
                assert!(ids.len() * 2 < text.len());
            }
        }
    }
}
