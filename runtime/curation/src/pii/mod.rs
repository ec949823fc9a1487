//! Personal data and secrets: found in one pass, checked by what a pattern can't say, then kept, replaced by a tag, or a reason to
//! drop the document.
//!
//! **How.** A table of 256 bytes stops at what can start or split a find (`@`, `:`, a digit), and one automaton stops at the words that
//! announce one (`sk_live_`, `[at]`, `password`). A verifier written by hand then reads the few bytes around. Nothing backtracks: each
//! verifier reads a bounded number of bytes, so the time is linear in the text whatever it holds.
//!
//! **Classes.** E-mail addresses, obfuscated ones too; IPv4 and IPv6 addresses; phone numbers; payment cards (Luhn, issuer ranges, lengths); IBANs
//! (mod 97, length by country); secrets: keys of known make, private keys, passwords in URLs, and assignments of random-looking
//! values. Names, postal addresses, dates of birth and business figures are out of scope: no pattern tells them.
//!
//! **What stays.** What stands for nobody: loopback, private, link-local, multicast and documentation addresses, versions and section numbers,
//! keys that say that they are examples. An address at `example.com` is reserved for documents, and `git@` logs in to a service; they are found all the same
//! unless [`Placeholders::Keep`] is asked for, because little is lost with them and a corpus can be promised to hold no address.
//!
//! Invariants: finds are sorted, don't overlap, lie on the borders of characters; after [`Finder::redact`] a second pass finds nothing of
//! the redacted classes ([`Finder::find`] looks again at what a tag will uncover).

mod card;
mod class;
mod context;
mod email;
mod evaluation;
mod finder;
mod iban;
mod ip;
mod numbering;
mod obfuscated;
mod phone;
mod scan;
mod secret;
mod secret_shapes;

pub use class::{Actions, Class, Found, Placeholders};
pub use evaluation::{ClassEvaluation, Evaluation};
pub use finder::{Finder, Verdict, redact};

#[cfg(test)]
mod tests;
