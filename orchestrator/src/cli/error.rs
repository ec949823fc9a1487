//! What ends a command, with its exit code and a hint.

use std::path::PathBuf;
use std::process::ExitCode;

use cupola_specs::contract::ErrorClass;

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The subcommand has no code yet.
    #[error("`cupola {0}` is not supported yet")]
    NotYet(&'static str),
    /// Diagnostics of a spec, already rendered: printed as they are.
    #[error("{0}")]
    Diagnostics(String),
    /// The user's input is wrong.
    #[error("{message}")]
    Input {
        /// What, expected and got.
        message: String,
        /// What to do; may be empty.
        hint: String,
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
            Self::NotYet(_) | Self::Diagnostics(_) | Self::Input { .. } => ErrorClass::User,
            Self::Io { .. } => ErrorClass::Transient,
            Self::Other { class, .. } => *class,
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            Self::Input { hint, .. } | Self::Other { hint, .. } => hint,
            _ => "",
        }
    }

    /// 2 where the user's input is wrong, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self.class() {
            ErrorClass::User => ExitCode::from(2),
            ErrorClass::Transient | ErrorClass::Bug => ExitCode::from(1),
        }
    }

    /// Prints the error on standard error: text, or one JSON object.
    pub fn print(&self, json: bool) {
        if json {
            let object =
                serde_json::json!({ "error": self.to_string(), "class": self.class(), "hint": self.hint() });
            eprintln!("{object}");
        } else if let Self::Diagnostics(text) = self {
            eprintln!("{}", text.trim_end());
        } else {
            eprintln!("error: {self}");
            if !self.hint().is_empty() {
                eprintln!("hint: {}", self.hint());
            }
        }
    }
}
