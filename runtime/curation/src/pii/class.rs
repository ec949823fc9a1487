//! The classes of personal data and what is done about each.

use std::ops::Range;

use cupola_specs::job::{PiiAction, PiiParams};
use serde::{Deserialize, Serialize};

/// A class of personal data. The order says which one stays where two overlap: a secret may hold what looks like an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Keys, tokens, passwords.
    Secret,
    /// E-mail addresses.
    Email,
    /// International bank account numbers.
    Iban,
    /// Payment cards.
    Card,
    /// IP addresses.
    Ip,
    /// Phone numbers.
    Phone,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 6] = [Self::Secret, Self::Email, Self::Iban, Self::Card, Self::Ip, Self::Phone];

    /// As reports name it: the suffix of the rule `pii.<name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ip => "ip",
            Self::Phone => "phone",
        }
    }

    /// What replaces it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Secret => "<SECRET>",
            Self::Email => "<EMAIL>",
            Self::Iban => "<IBAN>",
            Self::Card => "<CARD>",
            Self::Ip => "<IP>",
            Self::Phone => "<PHONE>",
        }
    }
}

/// Something personal, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is.
    pub class: Class,
    /// Bytes of the text.
    pub range: Range<usize>,
}

/// What is done about each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actions {
    /// E-mail addresses.
    pub email: PiiAction,
    /// IP addresses, but for loopback, private and documentation ranges.
    pub ip: PiiAction,
    /// Phone numbers.
    pub phone: PiiAction,
    /// Payment cards that pass Luhn's check.
    pub card: PiiAction,
    /// Bank accounts that pass their check.
    pub iban: PiiAction,
    /// Keys and tokens.
    pub secret: PiiAction,
}

impl Actions {
    /// One action for every class.
    pub fn all(action: PiiAction) -> Self {
        Self { email: action, ip: action, phone: action, card: action, iban: action, secret: action }
    }

    /// What is done about a class.
    pub fn of(&self, class: Class) -> PiiAction {
        match class {
            Class::Secret => self.secret,
            Class::Email => self.email,
            Class::Iban => self.iban,
            Class::Card => self.card,
            Class::Ip => self.ip,
            Class::Phone => self.phone,
        }
    }
}

/// A spec that names no action for bank accounts treats them as cards.
impl From<&PiiParams> for Actions {
    fn from(params: &PiiParams) -> Self {
        Self {
            email: params.email,
            ip: params.ip,
            phone: params.phone,
            card: params.card,
            iban: params.card,
            secret: params.secret,
        }
    }
}

/// What becomes of e-mail addresses that are reserved for documents (`example.com`, `.test`, `.invalid`; RFC 2606).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placeholders {
    /// They are found as any other: no text that passed holds an address.
    #[default]
    Find,
    /// They stay, as in code and its documentation.
    Keep,
}
