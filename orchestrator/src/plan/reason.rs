//! Why a step runs, or does not have to.

use std::fmt;

use cupola_specs::spec::Origin;
use serde::Serialize;
use serde_json::Value;

/// Longest value that a reason shows, characters.
const MAX_SHOWN: usize = 60;

/// One reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The artifact of this fingerprint is in the store.
    InStore {
        /// The run that made it.
        run: String,
    },
    /// No step of this name has ended under a spec of this name.
    NeverRan,
    /// It was begun with the same parameters and inputs and did not end.
    Unfinished {
        /// The run.
        run: String,
    },
    /// With the same parameters and inputs it failed for good: not by chance, so it may well fail again.
    Failed {
        /// The run.
        run: String,
        /// The failure's code.
        code: String,
        /// What the worker said.
        message: String,
    },
    /// Its artifact was made and is no longer in the store.
    Gone,
    /// A field of the spec changed: a parameter, the seed, or what a reference names.
    Parameter {
        /// The field as the user knows it.
        field: String,
        /// Before; null where it was not there.
        old: Value,
        /// Now; null where it is gone.
        new: Value,
        /// Where it is written; none for a default.
        origin: Option<Origin>,
    },
    /// The code behind this kind of step changed.
    CodeVersion {
        /// Before.
        old: u32,
        /// Now.
        new: u32,
    },
    /// An input is another one than before.
    Input {
        /// Its role.
        role: String,
        /// The step or folder that it is from.
        from: String,
        /// Where a folder is named.
        origin: Option<Origin>,
    },
    /// An input is not read any more.
    InputRemoved {
        /// Its role.
        role: String,
    },
    /// Local files changed: their content, their names, or which there are.
    Sources {
        /// Their label.
        label: String,
        /// Where their paths are written.
        origin: Option<Origin>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InStore { run } if run.is_empty() => write!(f, "in the store"),
            Self::InStore { run } => write!(f, "in the store, made by run {run}"),
            Self::NeverRan => write!(f, "never ran"),
            Self::Unfinished { run } => write!(f, "did not end in run {run}"),
            Self::Failed { run, code, message } => write!(f, "failed in run {run}: {message} ({code})"),
            Self::Gone => write!(f, "its artifact is no longer in the store"),
            Self::Parameter { field, old, new, origin } => {
                match items_changed(old, new) {
                    Some(items) => write!(f, "{field} changed: {items}")?,
                    None => write!(f, "{field} changed from {} to {}", short(old), short(new))?,
                }
                place(f, origin.as_ref())
            }
            Self::CodeVersion { old, new } => {
                write!(f, "the code of this step changed (version {old} to {new})")
            }
            Self::Input { role, from, origin } => {
                write!(f, "input {role} changed ({from})")?;
                place(f, origin.as_ref())
            }
            Self::InputRemoved { role } => write!(f, "input {role} is gone"),
            Self::Sources { label, origin } => {
                write!(f, "files of {label} changed")?;
                place(f, origin.as_ref())
            }
        }
    }
}

fn place(f: &mut fmt::Formatter<'_>, origin: Option<&Origin>) -> fmt::Result {
    origin.map_or(Ok(()), |origin| write!(f, " ({}:{})", origin.file, origin.line))
}

/// Of two lists of named things: which went, came and changed.
fn items_changed(old: &Value, new: &Value) -> Option<String> {
    let (old, new) = (old.as_array()?, new.as_array()?);
    let names_of = |of: &[Value], other: &[Value]| -> Option<Vec<String>> {
        of.iter()
            .filter(|item| !other.contains(item))
            .map(|item| item["name"].as_str().map(str::to_owned))
            .collect()
    };
    let (went, came) = (names_of(old, new)?, names_of(new, old)?);
    let part = |words: &str, names: Vec<&String>| -> Option<String> {
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{words} {}", names.join(", ")))
    };
    let parts = [
        part("without", went.iter().filter(|name| !came.contains(name)).collect()),
        part("with", came.iter().filter(|name| !went.contains(name)).collect()),
        part("another", came.iter().filter(|name| went.contains(name)).collect()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A value in a few characters: large counts as people write them, long texts cut.
fn short(value: &Value) -> String {
    let count = value.as_u64().filter(|count| *count >= 100_000);
    if let Some(count) = count {
        for (unit, name) in [(1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")] {
            let scaled = count as f64 / unit as f64;
            if count >= unit && (scaled * 100.0).fract() == 0.0 {
                return format!("{scaled}{name}");
            }
        }
    }
    let text = value.to_string();
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    let cut: String = text.chars().take(MAX_SHOWN - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_list_only_what_differs_is_told() {
        let told = |old: Value, new: Value| {
            Reason::Parameter { field: "jobs.corpus.sources".to_owned(), old, new, origin: None }.to_string()
        };
        let [a, b, c] = ["a", "b", "c"].map(|name| json!({ "name": name, "format": "text" }));
        let other = json!({ "name": "a", "format": "rust" });
        assert_eq!(told(json!([a, b]), json!([a])), "jobs.corpus.sources changed: without b");
        assert_eq!(
            told(json!([a, b]), json!([other, c, b])),
            "jobs.corpus.sources changed: with c, another a"
        );
        assert_eq!(told(json!([a, b]), json!([b, a])).matches("changed from").count(), 1);
        assert_eq!(told(json!([1]), json!([1, 2])), "jobs.corpus.sources changed from [1] to [1,2]");
    }
}
