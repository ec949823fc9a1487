//! `.tiktoken` files: the ranks of tokens, and beside them `tiktoken.json` with what such a file leaves unsaid, the regex that splits text and the special
//! tokens. Both together are what tiktoken's `Encoding` takes. OpenAI's own files need none: their names say it.

use std::path::{Path, PathBuf};

use cupola_tokenizer::{EngineError, Ranks, TiktokenFrame, TokenizerJson};
use serde_json::Value;

use super::TokenizerError;
use super::file::TOKENIZER_FILE;

/// The name of our own tokenizers, without an ending.
const NAME: &str = "tokenizer";
/// What a `.tiktoken` file leaves unsaid.
const FRAME_FILE: &str = "tiktoken.json";

/// The `.tiktoken` file that a path names: itself, or the only one of a folder without a `tokenizer.json`. None where there is none.
///
/// # Errors
/// A folder that holds several, or that can't be listed.
pub(super) fn find(path: &Path) -> Result<Option<PathBuf>, TokenizerError> {
    if path.is_file() {
        return Ok(is_ranks(path).then(|| path.to_path_buf()));
    }
    if !path.is_dir() || path.join(TOKENIZER_FILE).is_file() {
        return Ok(None);
    }
    let io = |error| TokenizerError::io(path, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if is_ranks(&file) {
            found.push(file);
        }
    }
    if found.len() > 1 {
        found.sort();
        let names: Vec<String> = found
            .iter()
            .filter_map(|file| file.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        return Err(TokenizerError::File {
            path: path.to_path_buf(),
            field: "the folder".into(),
            expected: "one .tiktoken file: name the file itself".into(),
            got: names.join(", "),
        });
    }
    Ok(found.pop())
}

fn is_ranks(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "tiktoken")
}

/// Reads a file with its frame.
pub(super) fn read(path: &Path) -> Result<TokenizerJson, TokenizerError> {
    let engine = |error| TokenizerError::engine(path, error);
    let content = std::fs::read(path).map_err(|error| TokenizerError::io(path, error))?;
    let ranks = Ranks::parse(&content).map_err(engine)?;
    frame(path)?.tokenizer(&ranks).map_err(engine)
}

/// The frame beside a file where it is of that name, or else that of OpenAI's file of the name.
fn frame(path: &Path) -> Result<TiktokenFrame, TokenizerError> {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(FRAME_FILE);
    if beside.is_file() {
        let content = std::fs::read(&beside).map_err(|error| TokenizerError::io(&beside, error))?;
        let frame = TiktokenFrame::parse(&content).map_err(|error| TokenizerError::engine(&beside, error))?;
        if frame.name == name {
            return Ok(frame);
        }
    }
    TiktokenFrame::published(&name).ok_or_else(|| TokenizerError::File {
        path: path.to_path_buf(),
        field: "the name".into(),
        expected: format!(
            "that of a file of OpenAI's (cl100k_base, o200k_base, o200k_harmony, p50k_base, p50k_edit, r50k_base, gpt2), or a {FRAME_FILE} beside it with \
             this name, pat_str and special_tokens"
        ),
        got: name,
    })
}

/// Writes `tokenizer.tiktoken` and its frame; gives what of the tokenizer tiktoken can't say, and then writes neither.
pub(super) fn write(folder: &Path, json: &TokenizerJson) -> Result<Option<EngineError>, TokenizerError> {
    let (ranks, frame) = match TiktokenFrame::of(json, NAME) {
        Ok(both) => both,
        Err(error) => return Ok(Some(error)),
    };
    let frame: Value = frame.to_value();
    for (name, text) in
        [(format!("{NAME}.tiktoken"), ranks.write()), (FRAME_FILE.to_owned(), format!("{frame:#}\n"))]
    {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| TokenizerError::io(path, error))?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use cupola_tokenizer::Vocabulary;

    use super::*;
    use crate::tokenizer::Tokenizer;

    /// Ranks of the bytes, of two words, and of as many other tokens as make the published special tokens no distant ones.
    fn ranks() -> String {
        let bytes = (0..=255_u8).map(|byte| vec![byte]);
        let words = [b"ab".to_vec(), b" ab".to_vec()];
        let more = (0..20_000).map(|number| format!("{number:08}").into_bytes());
        let vocabulary = Vocabulary {
            tokens: bytes.chain(words).chain(more).collect(),
            byte_ids: std::array::from_fn(|byte| byte as u32),
            merges: vec![(97, 98, 256), (32, 256, 257)],
        };
        Ranks::of(&vocabulary, &[]).unwrap().write()
    }

    #[test]
    fn a_file_of_a_known_name_loads_by_itself_and_from_its_folder_and_is_copied_as_a_hugging_face_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gpt2.tiktoken");
        std::fs::write(&file, ranks()).unwrap();
        let text = "ab ab<|endoftext|>日本\n";
        let of_file = Tokenizer::load(&file).unwrap();
        assert_eq!((of_file.vocab_size(), of_file.bos_id(), of_file.eos_id()), (50_257, 50_256, 50_256));
        let ids = of_file.encode_with_special(text);
        assert_eq!((&ids[..3], of_file.decode(&ids)), (&[256, 257, 50_256][..], text.to_owned()));
        let of_folder = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(of_folder.encode_with_special(text), ids);
        let copy = tempfile::tempdir().unwrap();
        of_folder.copy_files(copy.path()).unwrap();
        let copied = Tokenizer::load(copy.path()).unwrap();
        assert_eq!((copied.encode_with_special(text), copied.eos_id()), (ids, 50_256));
    }

    #[test]
    fn what_is_not_clear_is_refused_with_what_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("mine.tiktoken"), ranks()).unwrap();
        let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("or a tiktoken.json beside it"), "{error}");
        let frame = r#"{"name": "mine", "pat_str": "\\S+|\\s+", "special_tokens": {"<s>": 20258}}"#;
        std::fs::write(path(FRAME_FILE), frame).unwrap();
        let loaded = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(loaded.encode_with_special("ab<s>ab"), [256, 20_258, 256]);
        std::fs::write(path("gpt2.tiktoken"), "").unwrap();
        let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("got gpt2.tiktoken, mine.tiktoken"), "{error}");
        assert_eq!(Tokenizer::load(&path("mine.tiktoken")).unwrap().bos_id(), 20_258);
    }
}
