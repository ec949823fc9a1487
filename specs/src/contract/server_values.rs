//! Values of the server's options that say more than one thing.

use std::path::PathBuf;
use std::str::FromStr;

/// An adapter of a model, with a name of its own: `NAME=DIR`, or with several models `NAME=DIR@MODEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSource {
    /// The name that clients ask for.
    pub name: String,
    /// A folder in PEFT's format, or a model folder that has one below it.
    pub folder: PathBuf,
    /// The name of the model that it stands beside; none where one model is served.
    pub model: Option<String>,
}

impl FromStr for AdapterSource {
    type Err = String;

    /// What is behind the last `@` is a model's name unless it has a `/`: a folder's own `@` is kept by a `/` at its end.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected NAME=DIR or NAME=DIR@MODEL".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(expected)?;
        let (folder, model) = match rest.rsplit_once('@').filter(|(_, model)| !model.contains('/')) {
            Some((folder, model)) => (folder, Some(model)),
            None => (rest, None),
        };
        if name.is_empty() || folder.is_empty() || model.is_some_and(str::is_empty) {
            return Err(expected());
        }
        Ok(Self { name: name.to_owned(), folder: folder.into(), model: model.map(str::to_owned) })
    }
}

/// What guesses the tokens that follow, so that one pass checks several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speculation {
    /// What followed the same tokens before, in the prompt or the answer.
    PromptLookup {
        /// Most tokens of a guess.
        tokens: usize,
    },
    /// A smaller model of the same vocabulary.
    Draft {
        /// A model folder or a GGUF file.
        folder: PathBuf,
        /// Most tokens of a guess.
        tokens: usize,
    },
}

impl Speculation {
    /// Tokens of a guess where none are said: as many as one pass checks at little more than the cost of one.
    const PROMPT_LOOKUP_TOKENS: usize = 7;
    const DRAFT_TOKENS: usize = 4;
    /// More guesses than this cost more than they can save.
    const MOST_TOKENS: usize = 64;
}

impl FromStr for Speculation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected prompt-lookup[:N] or draft=DIR[:N]";
        // A folder may have colons: what is no number behind the last one is its own.
        let (what, tokens) = match text.rsplit_once(':') {
            Some((what, count)) if count.parse::<usize>().is_ok() => (what, count.parse::<usize>().ok()),
            _ => (text, None),
        };
        if tokens.is_some_and(|tokens| tokens == 0 || tokens > Self::MOST_TOKENS) {
            return Err(format!("expected 1 to {} tokens of a guess", Self::MOST_TOKENS));
        }
        match what.split_once('=') {
            None if what == "prompt-lookup" => {
                Ok(Self::PromptLookup { tokens: tokens.unwrap_or(Self::PROMPT_LOOKUP_TOKENS) })
            }
            Some(("draft", folder)) if !folder.is_empty() => {
                Ok(Self::Draft { folder: folder.into(), tokens: tokens.unwrap_or(Self::DRAFT_TOKENS) })
            }
            _ => Err(expected.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_has_a_name_a_folder_and_perhaps_a_model() {
        let source = |name: &str, folder: &str, model: Option<&str>| AdapterSource {
            name: name.to_owned(),
            folder: folder.into(),
            model: model.map(str::to_owned),
        };
        let read = |text: &str| text.parse::<AdapterSource>();
        assert_eq!(read("law=a/b").unwrap(), source("law", "a/b", None));
        assert_eq!(read("law=a/b@large").unwrap(), source("law", "a/b", Some("large")));
        assert_eq!(read("law=/x=y/b@2/").unwrap(), source("law", "/x=y/b@2/", None));
        for wrong in ["a/b", "=a", "law=", "law=@large", "law=a@"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn guesses_are_by_prompt_lookup_or_by_a_draft_model() {
        let read = |text: &str| text.parse::<Speculation>();
        assert_eq!(read("prompt-lookup").unwrap(), Speculation::PromptLookup { tokens: 7 });
        assert_eq!(read("prompt-lookup:3").unwrap(), Speculation::PromptLookup { tokens: 3 });
        let draft = |folder: &str, tokens| Speculation::Draft { folder: folder.into(), tokens };
        assert_eq!(read("draft=a/b").unwrap(), draft("a/b", 4));
        assert_eq!(read("draft=a:b:6").unwrap(), draft("a:b", 6));
        for wrong in [
            "prompt-lookup:0",
            "prompt-lookup:65",
            "prompt-lookup=a",
            "draft",
            "draft=",
            "draft=:3",
            "n-gram",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
