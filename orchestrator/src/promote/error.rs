//! What goes wrong with promotions.

use std::path::PathBuf;

use cupola_specs::contract::ErrorClass;

use super::PromotionState;

/// What goes wrong with promotions.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// There is no promotion of this id.
    #[error("there is no promotion `{id}`")]
    Unknown {
        /// What was asked for.
        id: String,
        /// Ids that there are.
        hint: String,
    },
    /// Nothing waits for a person.
    #[error("nothing awaits approval")]
    NothingAwaits,
    /// Several proposals or specs fit.
    #[error("{what}: {ids}")]
    Ambiguous {
        /// What is not clear.
        what: &'static str,
        /// What fits.
        ids: String,
    },
    /// The promotion stands otherwise.
    #[error("{id} is {}", state.as_str())]
    WrongState {
        /// The promotion.
        id: String,
        /// How it stands.
        state: PromotionState,
        /// What the user can do.
        hint: String,
    },
    /// The gate does not let the model pass.
    #[error("the gate refuses {name}: {saw}")]
    Refused {
        /// The model's name.
        name: String,
        /// What the gate saw.
        saw: String,
    },
    /// Forcing needs a reason.
    #[error("--force needs --reason: it goes into the audit log")]
    NoReason,
    /// No model is served.
    #[error("no model is served")]
    NothingServed,
    /// There is no model before the served one.
    #[error("there is no model before {id} to go back to")]
    NothingBefore {
        /// The served promotion.
        id: String,
    },
    /// The model's folder is gone.
    #[error("the model of {id} is gone: there is no {}", path.display())]
    Gone {
        /// The promotion.
        id: String,
        /// Where it was.
        path: PathBuf,
    },
    /// A record could not be encoded.
    #[error("a promotion could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl PromoteError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Encode(_) => ErrorClass::Bug,
            Self::Io { .. } => ErrorClass::Transient,
            _ => ErrorClass::User,
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            Self::Unknown { hint, .. } | Self::WrongState { hint, .. } => hint,
            Self::NothingAwaits => "`cupola get promotions` lists what was decided",
            Self::Ambiguous { .. } => "name one of them",
            Self::Refused { .. } => "`cupola promote --force --reason TEXT` promotes it all the same",
            Self::NoReason => "such as --reason \"the judge was down\"",
            Self::NothingServed => "`cupola promote` promotes the newest model of the spec",
            Self::NothingBefore { .. } => "`cupola promote JOB` promotes another model",
            Self::Gone { .. } => "`cupola apply` makes it again; `cupola rollback --to ID` goes back further",
            Self::Encode(_) | Self::Io { .. } => "",
        }
    }
}
