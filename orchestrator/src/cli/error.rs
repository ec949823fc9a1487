//! What ends a command, with its exit code and a hint.

use std::path::PathBuf;

use cupola_specs::contract::ErrorClass;
use cupola_specs::spec::{Code, Diagnostics, Format};
use serde_json::{Value, json};

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What is wrong with a spec, in the format that the user asked for.
    #[error("{}", diagnostics.to_format(*format).trim_end())]
    Diagnostics {
        /// Every error.
        diagnostics: Diagnostics,
        /// How they are printed.
        format: Format,
    },
    /// The user's input is wrong.
    #[error("{message}")]
    Input {
        /// What, expected and got.
        message: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// A plan is refused.
    #[error("{}", messages.join("\n"))]
    Refused {
        /// Why, as `cupola explain` has it.
        code: Code,
        /// What, for each step.
        messages: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else broke.
    #[error("{message}")]
    Other {
        /// What, expected and got.
        message: String,
        /// What to do; may be empty.
        hint: String,
        /// What to do about it.
        class: ErrorClass,
    },
}

impl CliError {
    /// An error in what the user gave.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { message: message.into(), hint: hint.into() }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Diagnostics { .. } | Self::Input { .. } | Self::Refused { .. } => ErrorClass::User,
            Self::Io { .. } => ErrorClass::Transient,
            Self::Other { class, .. } => *class,
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            Self::Input { hint, .. } | Self::Other { hint, .. } => hint,
            Self::Refused { code, .. } => code.advice(),
            _ => "",
        }
    }

    /// 2 where the user's input is wrong, else 1.
    pub fn code(&self) -> u8 {
        match self.class() {
            ErrorClass::User => 2,
            ErrorClass::Transient | ErrorClass::Bug => 1,
        }
    }

    /// Prints the error on standard error: text, or one JSON object. What other programs collect goes to standard output.
    pub fn print(&self, json: bool) {
        let json = json || matches!(self, Self::Diagnostics { format: Format::Json, .. });
        match self {
            Self::Diagnostics { format: Format::Sarif | Format::Github, .. } => println!("{self}"),
            _ if json => eprintln!("{}", self.to_json()),
            Self::Diagnostics { .. } => eprintln!("{self}"),
            Self::Refused { code, messages } => {
                for message in messages {
                    eprintln!("error[{}]: {message}", code.as_str());
                }
                eprintln!("hint: {}", code.advice());
            }
            _ => {
                eprintln!("error: {self}");
                if !self.hint().is_empty() {
                    eprintln!("hint: {}", self.hint());
                }
            }
        }
    }

    /// `{"error": …, "class": …, "hint": …}`; of a refused plan also its code, of a spec also each of its errors, under `errors`.
    fn to_json(&self) -> Value {
        let Self::Diagnostics { diagnostics, .. } = self else {
            let mut object = json!({ "error": self.to_string(), "class": self.class(), "hint": self.hint() });
            if let Self::Refused { code, .. } = self {
                object["code"] = code.as_str().into();
            }
            return object;
        };
        let mut object = diagnostics.to_json();
        object["error"] = diagnostics.count().into();
        object["class"] = json!(self.class());
        object["hint"] = "`cupola explain CODE` says more about a code".into();
        object
    }
}
