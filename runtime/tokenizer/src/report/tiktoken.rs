//! Tokenizers to compare with, from `.tiktoken` files that the user has: such files are OpenAI's to give, so none is shipped.

use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::job::Digits;

use crate::{Bpe, Encoding, EngineError, Ranks, Splitter};

/// Bytes of the largest file that is read. That of o200k has four million.
const MOST_FILE_BYTES: u64 = 64 << 20;

/// A tokenizer from a `.tiktoken` file.
#[derive(Debug)]
pub struct Tiktoken {
    name: String,
    encoding: Encoding,
}

/// A file that is no tokenizer to compare with.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than such files are.
    #[error("{}: {num_bytes} bytes; a .tiktoken file has {MOST_FILE_BYTES} at most", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// Its size.
        num_bytes: u64,
    },
    /// Its name does not say how text is split.
    #[error("{}: how text is split does not stand in the file: name it cl100k_base, o200k_base, p50k_base, r50k_base or gpt2, or give the pattern", path.display())]
    Pattern {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else than tokens and ranks.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: EngineError,
    },
}

impl Tiktoken {
    /// Reads a file. `pattern` is the regex that splits text, or its name; without one the file's name tells it.
    ///
    /// # Errors
    /// A file that can't be read or is no such file, and a name that tells no pattern.
    pub fn open(path: &Path, pattern: Option<&str>) -> Result<Self, ReferenceError> {
        let owned = || path.to_path_buf();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let pattern =
            pattern.or_else(|| pattern_of(&name)).ok_or_else(|| ReferenceError::Pattern { path: owned() })?;
        let read = |source| ReferenceError::Read { path: owned(), source };
        let num_bytes = std::fs::metadata(path).map_err(read)?.len();
        if num_bytes > MOST_FILE_BYTES {
            return Err(ReferenceError::Large { path: owned(), num_bytes });
        }
        let file = std::fs::read(path).map_err(read)?;
        Self::parse(name, &file, pattern).map_err(|source| ReferenceError::Content { path: owned(), source })
    }

    /// A tokenizer from the content of a file.
    ///
    /// # Errors
    /// What is no token and rank, and a pattern that is no regex.
    pub fn parse(name: String, file: &[u8], pattern: &str) -> Result<Self, EngineError> {
        let bpe = Bpe::new(Ranks::parse(file)?.vocabulary()?, &[], true)?;
        // The published patterns have their digits inside; others are taken as they are.
        let splitter = match pattern {
            "gpt2" => Splitter::of_patterns(&[cupola_specs::job::GPT2_PATTERN.to_owned()])?,
            "cl100k" | "o200k" => Splitter::named(pattern, Digits::UpTo3)?,
            regex => Splitter::of_patterns(&[regex.to_owned()])?,
        };
        Ok(Self { name, encoding: Encoding::new(splitter, bpe) })
    }

    /// The file's name without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many tokens a text has.
    pub fn count(&self, text: &str) -> usize {
        self.encoding.encode(text).len()
    }
}

/// The pattern of OpenAI's files, by their names.
fn pattern_of(name: &str) -> Option<&'static str> {
    match name {
        "cl100k_base" | "cl100k" => Some("cl100k"),
        "o200k_base" | "o200k" | "o200k_harmony" => Some("o200k"),
        "gpt2" | "r50k_base" | "p50k_base" => Some("gpt2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use base64::Engine as _;

    use super::*;

    #[test]
    fn a_file_counts_tokens_and_what_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let token = |bytes: &[u8], rank: usize| {
            format!("{} {rank}\n", base64::engine::general_purpose::STANDARD.encode(bytes))
        };
        let file: String = (0..=255_u8).map(|byte| token(&[byte], byte.into())).collect();
        let path = folder.path().join("gpt2.tiktoken");
        std::fs::write(&path, file + &token(b"ab", 256) + &token(b" ab", 257)).unwrap();
        let reference = Tiktoken::open(&path, None).unwrap();
        assert_eq!((reference.name(), reference.count("ab ab abc")), ("gpt2", 4));
        let path = folder.path().join("other.tiktoken");
        let error = Tiktoken::open(&path, None).unwrap_err().to_string();
        assert!(error.contains("give the pattern"), "{error}");
        let error = Tiktoken::open(&path, Some("gpt2")).unwrap_err().to_string();
        assert!(error.contains("other.tiktoken"), "{error}");
        std::fs::write(&path, "no base64").unwrap();
        let error = Tiktoken::open(&path, Some("gpt2")).unwrap_err().to_string();
        assert!(error.contains("other.tiktoken") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn the_published_files_count_as_they_are_known_to() {
        let Some(shared) = std::env::var_os("CUPOLA_SHARED") else {
            println!("skipped: CUPOLA_SHARED does not name the folder of shared data");
            return;
        };
        let open = |name: &str, pattern: &str| {
            let path = Path::new(&shared).join("data/tokenizer").join(format!("{name}.tiktoken.gz"));
            let mut file = Vec::new();
            flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut file).unwrap();
            Tiktoken::parse(name.to_owned(), &file, pattern).unwrap()
        };
        let (cl100k, o200k) = (open("cl100k_base", "cl100k"), open("o200k_base", "o200k"));
        assert_eq!((cl100k.count("tiktoken is great!"), cl100k.count("1234567")), (6, 3));
        let hindi = "कल सुबह हम पुस्तकालय जाएंगे।";
        assert!(o200k.count(hindi) * 2 < cl100k.count(hindi));
    }
}
