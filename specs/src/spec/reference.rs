//! References as written: a job's name, `job.part`, `{path: DIR}`, or files.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{At, Decode, wrong_type};
use super::list::Filled;
use super::session::Session;
use super::tree::{Node, Spot, Value};
use super::written::{name, written};

/// Where an artifact comes from, as written.
#[derive(Debug, Clone)]
pub(crate) struct Ref {
    /// What is referred to.
    pub(crate) target: Target,
    /// Where.
    pub(crate) spot: Spot,
}

/// The three ways to name an artifact.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// `job` or `job.part`.
    Job(String),
    /// `{path: DIR}`.
    Path(PathBuf),
    /// `{huggingface: org/name}`.
    Huggingface,
    /// One with an error that is reported.
    Broken,
}

written! {
    /// An exported artifact or a model folder.
    pub(crate) struct External {
        /// Folder of an exported artifact, or of a Hugging Face model.
        path: Option<FilePath>,
        /// Model or data set of the Hugging Face hub, `org/name`.
        huggingface: Option<String>,
    }
}

impl Decode for Ref {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let target = match &node.value {
            Value::Scalar { text, .. } if is_path(text) => {
                let expected = "the name of a job, `job.part`, or {path: DIR}";
                if let Some(error) = wrong_type(node, expected, session) {
                    error.message = format!("`{text}` is a path, and no job");
                    error.suggestion = Some(format!("{{path: {text}}}"));
                }
                return None;
            }
            Value::Scalar { text, .. } => Target::Job(text.clone()),
            Value::Map(_) => match External::decode(node, session)? {
                External { path: Some(path), huggingface: None } => Target::Path(path.0),
                External { huggingface: Some(_), path: None } => Target::Huggingface,
                _ => {
                    if !session.misspelt_in.contains(&node.spot) {
                        wrong_type(node, "either `path` or `huggingface`", session);
                    }
                    return None;
                }
            },
            _ => {
                wrong_type(node, "the name of a job, `job.part`, or {path: DIR}", session);
                return None;
            }
        };
        Some(Self { target, spot: node.spot })
    }

    fn stand_in(spot: Spot) -> Option<Self> {
        Some(Self { target: Target::Broken, spot })
    }
}

impl JsonSchema for Ref {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("Reference")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a job, `job.part`, {path: DIR} or {huggingface: org/name}.",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<External>()],
            "examples": ["corpus", "corpus.validation"],
        })
    }
}

/// A path; `~` is the home folder, relative ones start beside the file that they are written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Decode for FilePath {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let text = String::decode(node, session)?;
        if text.is_empty() || text.contains('\0') {
            wrong_type(node, "a path", session);
            return None;
        }
        Some(Self(expand(&text, session.folder(node.spot), session.env.home())))
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(Self(PathBuf::new()))
    }
}

/// The path with `~` replaced and the folder in front of a relative one.
fn expand(text: &str, folder: &Path, home: Option<PathBuf>) -> PathBuf {
    if let (Some(home), Some(rest)) = (home, text.strip_prefix('~')) {
        if rest.is_empty() {
            return home;
        }
        if let Some(rest) = rest.strip_prefix('/') {
            return home.join(rest);
        }
    }
    let text = text.strip_prefix("./").unwrap_or(text);
    folder.join(text)
}

impl JsonSchema for FilePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("FilePath")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["./chats.jsonl"], "x-unit": "a path or a glob" })
    }
}

/// Rows of text: a part of a corpus, or files.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// `corpus.pairs`.
    Part(Ref),
    /// Files.
    Files(Vec<At<FilePath>>),
}

written! {
    /// Files.
    pub(crate) struct Files {
        /// Files or globs.
        paths: Filled<At<FilePath>>,
    }
}

impl Decode for Rows {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } if is_path(text) => {
                Some(Self::Files(vec![At::<FilePath>::decode(node, session)?]))
            }
            Value::Map(_) if node.get("paths").is_some() => {
                Files::decode(node, session).map(|files| Self::Files(files.paths.0))
            }
            Value::List(_) => Filled::decode(node, session).map(|paths| Self::Files(paths.0)),
            _ => Ref::decode(node, session).map(Self::Part),
        }
    }

    fn stand_in(spot: Spot) -> Option<Self> {
        Ref::stand_in(spot).map(Self::Part)
    }
}

/// Whether a text names a file rather than a job. The name of a matrix's job holds values, which may be paths.
pub(crate) fn is_path(text: &str) -> bool {
    let is_like_one =
        text.starts_with(['.', '~', '/']) || text.contains(['/', '*']) || text.contains(".jsonl");
    is_like_one && !text.contains('[')
}

impl JsonSchema for Rows {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("Rows")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A part of a corpus (`corpus.pairs`), a file, a list of files, or {paths: […]}.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                generator.subschema_for::<Files>(),
                generator.subschema_for::<External>(),
            ],
            "examples": ["corpus.pairs", "./prompts.jsonl"],
        })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
