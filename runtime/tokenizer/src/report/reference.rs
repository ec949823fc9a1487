//! Tokenizers to compare with, from files that the user has: OpenAI's are OpenAI's to give, so none is shipped.

use crate::{Encoding, EngineError, Ranks, TiktokenFrame, TokenizerFile};

/// Bytes of the largest file that is read. That of o200k has four million, the `tokenizer.json` of a quarter of a million tokens some forty.
const MOST_FILE_BYTES: usize = 256 << 20;

/// A tokenizer to compare with.
#[derive(Debug)]
pub struct ReferenceFile {
    name: String,
    encoding: Encoding,
}

/// A file that is no tokenizer to compare with.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It is larger than such files are.
    #[error("{file}: {num_bytes} bytes; a tokenizer's file has {MOST_FILE_BYTES} at most")]
    Large {
        /// The file's name.
        file: String,
        /// Its size.
        num_bytes: usize,
    },
    /// Its name does not say what it is.
    #[error("{file}: it is neither a .tiktoken nor a .json file")]
    Ending {
        /// The file's name.
        file: String,
    },
    /// Its name does not say how text is split.
    #[error(
        "{file}: how text is split does not stand in a .tiktoken file: name it as OpenAI does (cl100k_base, o200k_base, o200k_harmony, p50k_base, \
         p50k_edit, r50k_base, gpt2), or give the tokenizer.json"
    )]
    Pattern {
        /// The file's name.
        file: String,
    },
    /// Its content is not what its name says.
    #[error("{file}: {source}")]
    Content {
        /// The file's name.
        file: String,
        /// What is wrong.
        source: EngineError,
    },
}

impl ReferenceFile {
    /// Reads a file's content. The ending of its name says what it is, and of a `.tiktoken` file the rest of it how text is split. Its special tokens
    /// never come out of text.
    ///
    /// # Errors
    /// A name that says neither, and what is no such file.
    pub fn parse(file: &str, content: &[u8]) -> Result<Self, ReferenceError> {
        let owned = || file.to_owned();
        if content.len() > MOST_FILE_BYTES {
            return Err(ReferenceError::Large { file: owned(), num_bytes: content.len() });
        }
        let base = file.rsplit('/').next().unwrap_or(file);
        let wrong = |source| ReferenceError::Content { file: owned(), source };
        let (name, read) = match base.rsplit_once('.') {
            Some((name, "tiktoken")) => {
                let frame = TiktokenFrame::published(name);
                let frame = frame.ok_or_else(|| ReferenceError::Pattern { file: owned() })?;
                let ranks = Ranks::parse(content).map_err(wrong)?;
                (name, frame.tokenizer(&ranks).map(TokenizerFile::from))
            }
            Some((name, "json")) => (name, TokenizerFile::parse(content)),
            _ => return Err(ReferenceError::Ending { file: owned() }),
        };
        let encoding = read.and_then(TokenizerFile::into_encoding).map_err(wrong)?;
        Ok(Self { name: name.to_owned(), encoding })
    }

    /// The file's name without folder and ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many tokens a text has.
    pub fn count(&self, text: &str) -> usize {
        self.encoding.encode(text).len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;

    use base64::Engine as _;
    use serde_json::json;

    use super::*;
    use crate::byte_chars;

    #[test]
    fn a_file_counts_tokens_and_what_is_none_is_named() {
        let token = |bytes: &[u8], rank: usize| {
            format!("{} {rank}\n", base64::engine::general_purpose::STANDARD.encode(bytes))
        };
        let file: String = (0..=255_u8).map(|byte| token(&[byte], byte.into())).collect();
        // Enough tokens that the special one is not far away.
        let more = (256..20_000).map(|rank| token(format!("{rank:08}").as_bytes(), rank));
        let file = file + &token(b"ab", 20_000) + &token(b" ab", 20_001) + &more.collect::<String>();
        let reference = ReferenceFile::parse("vocabularies/gpt2.tiktoken", file.as_bytes()).unwrap();
        assert_eq!((reference.name(), reference.count("ab ab abc")), ("gpt2", 4));
        let error = |name: &str, content: &[u8]| ReferenceFile::parse(name, content).unwrap_err().to_string();
        assert!(error("mine.tiktoken", b"").contains("name it as OpenAI does"));
        assert_eq!(error("mine.bpe", b""), "mine.bpe: it is neither a .tiktoken nor a .json file");
        let told = error("cl100k_base.tiktoken", b"no base64");
        assert!(told.starts_with("cl100k_base.tiktoken: line 1"), "{told}");
        let told = error("tokenizer.json", b"{}");
        assert!(told.starts_with("tokenizer.json: model.type"), "{told}");
        let vocab: serde_json::Map<_, _> =
            byte_chars().iter().enumerate().map(|(byte, char)| (char.to_string(), json!(byte))).collect();
        let file = json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": vocab, "merges": []}});
        let reference = ReferenceFile::parse("bytes.json", file.to_string().as_bytes()).unwrap();
        assert_eq!((reference.name(), reference.count("日本 a")), ("bytes", 8));
    }

    #[test]
    fn the_published_files_count_as_they_are_known_to() {
        let Some(shared) = std::env::var_os("CUPOLA_SHARED") else {
            println!("skipped: CUPOLA_SHARED does not name the folder of shared data");
            return;
        };
        let open = |name: &str| {
            let path = Path::new(&shared).join("data/tokenizer").join(format!("{name}.gz"));
            let mut file = Vec::new();
            flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut file).unwrap();
            ReferenceFile::parse(name, &file).unwrap()
        };
        let (cl100k, o200k) = (open("cl100k_base.tiktoken"), open("o200k_base.tiktoken"));
        assert_eq!((cl100k.count("tiktoken is great!"), cl100k.count("1234567")), (6, 3));
        let hindi = "कल सुबह हम पुस्तकालय जाएंगे।";
        assert!(o200k.count(hindi) * 2 < cl100k.count(hindi));
        assert_eq!(open("gpt2-tokenizer.json").count("tiktoken is great!"), 6);
    }
}
