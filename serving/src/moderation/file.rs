//! The file of rules. Each value is checked where it is read, so that an error names its line.
//!
//! ```yaml
//! refusal: I can't help with that.
//! block_lists:
//!   - category: weapons
//!     phrases: [pipe bomb, nerve agent]
//!     files: [weapons.txt]        # a phrase a line; `#` begins a comment
//!     scope: both                 # or prompt, or answer
//!     action: refuse              # or log
//! classifiers:
//!   - category: toxicity
//!     model: models/judge
//!     template: "Text: {text}\nIs it toxic? Answer:"
//!     labels: {hit: [" yes"], miss: [" no"]}
//!     threshold: 0.7
//!     scope: answer
//!     action: refuse
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::phrases::{Lexicon, folded};
use super::{Action, Rule, Scope};
use crate::ServeError;
use crate::watch::{Stamp, stamp};

/// What is said where the file has no words for it.
const REFUSAL: &str = "I can't help with that.";
/// Characters that classifiers judge at a time.
const WINDOW: usize = 240;

/// The rules, read.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) refusal: String,
    /// The file, and the lists that it names, as they were before they were read.
    pub(super) files: Vec<(PathBuf, Stamp)>,
    pub(super) window: usize,
    /// Of prompts and of answers.
    pub(super) lexicons: [Lexicon; 2],
    pub(super) classifiers: Vec<ClassifierRules>,
}

/// A classifier as the file has it.
#[derive(Debug)]
pub(super) struct ClassifierRules {
    pub(super) rule: Arc<Rule>,
    pub(super) scope: Scopes,
    /// The model's folder.
    pub(super) model: PathBuf,
    /// What stands before and behind the text.
    pub(super) template: (String, String),
    pub(super) labels: Labels,
    pub(super) threshold: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    refusal: Option<Words>,
    window_chars: Option<Window>,
    #[serde(default)]
    block_lists: Vec<BlockList>,
    #[serde(default)]
    classifiers: Vec<WrittenClassifier>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockList {
    category: Category,
    #[serde(default)]
    phrases: Vec<Phrase>,
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    scope: Scopes,
    #[serde(default = "refuse")]
    action: Action,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenClassifier {
    category: Category,
    model: PathBuf,
    template: Template,
    labels: Labels,
    threshold: Threshold,
    #[serde(default)]
    scope: Scopes,
    #[serde(default = "refuse")]
    action: Action,
}

/// The tokens that a classifier answers with; each text is one token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    /// Where the text has what the category says.
    pub(super) hit: Vec<String>,
    /// Where it has not.
    pub(super) miss: Vec<String>,
}

/// Which texts are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scopes {
    Prompt,
    Answer,
    #[default]
    Both,
}

impl Scopes {
    pub(super) fn has(self, scope: Scope) -> bool {
        self == Self::Both || (self == Self::Prompt) == (scope == Scope::Prompt)
    }
}

fn refuse() -> Action {
    Action::Refuse
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Words(String);

impl TryFrom<String> for Words {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() {
            Err("`refusal` is empty: write what the client is to read")
        } else {
            Ok(Self(text))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Category(String);

impl TryFrom<String> for Category {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(Self(text));
        }
        Err(format!("the category {text:?} is not 1 to 64 letters, digits, '.', '_', '-' or '/'"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Phrase(String);

impl TryFrom<String> for Phrase {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match folded(&text).chars().next() {
            None => Err("a phrase without a visible character: take it out"),
            Some(first) if super::fold::is_mark(first) => Err(
                "a phrase begins with a mark, which belongs to the character before it: begin with that character",
            ),
            Some(_) => Ok(Self(text)),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Template(String, String);

impl TryFrom<String> for Template {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split("{text}").collect::<Vec<_>>()[..] {
            [before, behind] if !behind.is_empty() => Ok(Self(before.into(), behind.into())),
            [_, _] => Err("a template ends with what the label answers, behind `{text}`"),
            _ => Err("a template has `{text}` once, where the text that is judged goes"),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Threshold(f64);

impl TryFrom<f64> for Threshold {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if value > 0.0 && value < 1.0 { Ok(Self(value)) } else { Err("a threshold lies between 0 and 1") }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "usize")]
struct Window(usize);

impl TryFrom<usize> for Window {
    type Error = &'static str;

    fn try_from(value: usize) -> Result<Self, Self::Error> {
        if (16..=100_000).contains(&value) {
            Ok(Self(value))
        } else {
            Err("a window has 16 to 100000 characters")
        }
    }
}

impl Rules {
    /// Reads the file, and the lists beside it.
    pub(super) fn read(path: &Path) -> Result<Self, ServeError> {
        let failed =
            |path: &Path, message: String| ServeError::Moderation { path: path.to_path_buf(), message };
        let mut files = vec![(path.to_path_buf(), stamp(path))];
        let text = std::fs::read_to_string(path).map_err(|error| failed(path, error.to_string()))?;
        let written: Written =
            serde_yaml::from_str(&text).map_err(|error| failed(path, error.to_string()))?;
        if written.block_lists.is_empty() && written.classifiers.is_empty() {
            let message = "it has neither `block_lists` nor `classifiers`, so it moderates nothing".into();
            return Err(failed(path, message));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut lexicons = [Lexicon::default(), Lexicon::default()];
        for (at, list) in written.block_lists.into_iter().enumerate() {
            let rule = Arc::new(Rule { category: list.category.0, action: list.action });
            let mut phrases: Vec<String> = list.phrases.into_iter().map(|phrase| phrase.0).collect();
            for file in list.files {
                let file = folder.join(file);
                files.push((file.clone(), stamp(&file)));
                phrases.extend(read_list(&file).map_err(|message| failed(&file, message))?);
            }
            if phrases.is_empty() {
                let message =
                    format!("block_lists[{at}]: no phrase in `phrases` or `files`; take the list out");
                return Err(failed(path, message));
            }
            for (lexicon, scope) in lexicons.iter_mut().zip([Scope::Prompt, Scope::Answer]) {
                if list.scope.has(scope) {
                    for phrase in &phrases {
                        lexicon.insert(phrase, &rule);
                    }
                }
            }
        }
        let classifier = |written: WrittenClassifier| ClassifierRules {
            rule: Arc::new(Rule { category: written.category.0, action: written.action }),
            scope: written.scope,
            model: folder.join(written.model),
            template: (written.template.0, written.template.1),
            labels: written.labels,
            threshold: written.threshold.0,
        };
        Ok(Self {
            refusal: written.refusal.map_or_else(|| REFUSAL.to_owned(), |words| words.0),
            files,
            window: written.window_chars.map_or(WINDOW, |window| window.0),
            lexicons,
            classifiers: written.classifiers.into_iter().map(classifier).collect(),
        })
    }
}

/// The phrases of a list: one a line.
fn read_list(path: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let phrase = Phrase::try_from(line.to_owned());
            phrase.map(|phrase| phrase.0).map_err(|problem| format!("{problem} at line {at}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rules, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list.txt"), "# weapons\n\npipe bomb\n").unwrap();
        std::fs::write(folder.path().join("broken.txt"), "fine\n\u{200b}\n").unwrap();
        let path = folder.path().join("moderation.yaml");
        std::fs::write(&path, text).unwrap();
        Rules::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let rules = read("block_lists:\n  - {category: a, files: [list.txt], scope: answer}\n").unwrap();
        assert_eq!((rules.refusal.as_str(), rules.window), (REFUSAL, WINDOW));
        assert_eq!(rules.lexicons.map(|lexicon| lexicon.is_empty()), [true, false]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let list = "block_lists:\n  - category: a\n    phrases: [x]\n";
        let classifier = "classifiers:\n  - category: a\n    model: m\n    template: 'x {text} y'\n    labels: {hit: [a], miss: [b]}\n    threshold: 0.5\n";
        assert!(read(list).is_ok() && read(classifier).is_ok());
        for (text, parts) in [
            (format!("{list}    actions: log\n"), &["actions", "line 4"][..]),
            (format!("{list}    action: drop\n"), &["drop", "line 4"]),
            (format!("{list}    scope: all\n"), &["all", "line 4"]),
            (list.replace("[x]", "\n      - x\n      - ' '"), &["without a visible character", "line 4"]),
            (list.replace("[x]", "[\"\\u0301a\"]"), &["a mark", "line 3"]),
            (list.replace("[x]", "[]"), &["block_lists[0]"]),
            (list.replace("category: a", "category: 'a b'"), &["a b", "line 2"]),
            (list.replace("phrases: [x]", "files: [none.txt]"), &["none.txt"]),
            (list.replace("phrases: [x]", "files: [broken.txt]"), &["broken.txt", "line 2"]),
            (classifier.replace("0.5", "1"), &["between 0 and 1", "line 2"]),
            (classifier.replace("{text}", "text"), &["`{text}` once", "line 2"]),
            (classifier.replace("{text} y", "{text}"), &["behind `{text}`", "line 2"]),
            (format!("window_chars: 3\n{list}"), &["a window has 16 to 100000"]),
            (format!("refusal: ' '\n{list}"), &["`refusal` is empty"]),
            ("refusal: no\n".to_owned(), &["moderates nothing"]),
        ] {
            let error = read(&text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}\n{text}");
        }
    }
}
