//! One pass over a text: where to look, and which of two overlapping finds stays.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::class::{Class, Found, Placeholders};
use super::secret::{Kind, assigned, is_name_part, private_key, url_password};
use super::secret_shapes::{key_at, prefixes, web_token};
use super::{card, email, iban, ip, obfuscated, phone};

/// What a word announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announces {
    Key,
    WebToken,
    PrivateKey,
    UrlPassword,
    Assignment(Kind),
    /// An `@` that is written in brackets.
    BracketedAt,
    /// ` at `, with its blanks.
    PlainAt,
    /// An `@` as an entity or an escape.
    EscapedAt,
}

const WORDS: [(&str, Announces); 30] = [
    ("eyj", Announces::WebToken),
    ("-----begin", Announces::PrivateKey),
    ("://", Announces::UrlPassword),
    ("api_key", Announces::Assignment(Kind::Key)),
    ("apikey", Announces::Assignment(Kind::Key)),
    ("api-key", Announces::Assignment(Kind::Key)),
    ("access_key", Announces::Assignment(Kind::Key)),
    ("access-key", Announces::Assignment(Kind::Key)),
    ("accesskey", Announces::Assignment(Kind::Key)),
    ("accountkey", Announces::Assignment(Kind::Key)),
    ("private_key", Announces::Assignment(Kind::Key)),
    ("secret", Announces::Assignment(Kind::Key)),
    ("token", Announces::Assignment(Kind::Key)),
    ("credential", Announces::Assignment(Kind::Key)),
    ("passwd", Announces::Assignment(Kind::Password)),
    ("password", Announces::Assignment(Kind::Password)),
    ("passphrase", Announces::Assignment(Kind::Password)),
    ("pwd", Announces::Assignment(Kind::Password)),
    ("bearer", Announces::Assignment(Kind::Bearer)),
    ("[at]", Announces::BracketedAt),
    ("(at)", Announces::BracketedAt),
    ("{at}", Announces::BracketedAt),
    ("<at>", Announces::BracketedAt),
    ("[ at ]", Announces::BracketedAt),
    ("( at )", Announces::BracketedAt),
    ("[@]", Announces::BracketedAt),
    (" at ", Announces::PlainAt),
    (" @ ", Announces::PlainAt),
    ("&#64;", Announces::EscapedAt),
    ("%40", Announces::EscapedAt),
];

struct Automaton {
    words: AhoCorasick,
    announces: Vec<Announces>,
}

static AUTOMATON: LazyLock<Automaton> = LazyLock::new(|| {
    let keys = prefixes().map(|prefix| (prefix, Announces::Key));
    let (patterns, announces): (Vec<&str>, Vec<Announces>) = keys.chain(WORDS).unzip();
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::DFA));
    #[allow(clippy::expect_used, reason = "constant patterns that the tests compile")]
    let words = builder.build(patterns).expect("constant patterns");
    Automaton { words, announces }
});

/// Bytes that the scan stops at.
static STOPS: [bool; 256] = stops();

const fn stops() -> [bool; 256] {
    let mut table = [false; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = true;
        digit += 1;
    }
    table[b'@' as usize] = true;
    table[b':' as usize] = true;
    // The first byte of the full-width `＠`.
    table[0xEF] = true;
    table
}

/// All finds of a text, sorted and without overlap.
pub(super) fn scan(text: &str, placeholders: Placeholders) -> Vec<Found> {
    let mut found = Vec::new();
    at_bytes(text, placeholders, &mut found);
    at_words(text, placeholders, &mut found);
    resolve(found)
}

fn push(found: &mut Vec<Found>, class: Class, range: Option<Range<usize>>) {
    if let Some(range) = range {
        found.push(Found { class, range });
    }
}

fn at_bytes(text: &str, placeholders: Placeholders, found: &mut Vec<Found>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut read_to = 0;
    while let Some(step) = bytes[at..].iter().position(|byte| STOPS[*byte as usize]) {
        at += step;
        match bytes[at] {
            b'@' => push(found, Class::Email, email::around(text, at, 1, placeholders)),
            b':' => {
                if at >= read_to && at + 1 < bytes.len() {
                    let (end, address) = ip::v6_at(text, at);
                    push(found, Class::Ip, address);
                    read_to = end;
                }
            }
            0xEF => {
                if bytes[at..].starts_with("＠".as_bytes()) {
                    push(found, Class::Email, email::around(text, at, "＠".len(), placeholders));
                }
            }
            _ => {
                number_at(text, at, found);
                at += bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count() - 1;
            }
        }
        at += 1;
    }
}

/// All that can start with the run of digits at `start`.
fn number_at(text: &str, start: usize, found: &mut Vec<Found>) {
    push(found, Class::Ip, ip::v4_at(text, start));
    push(found, Class::Iban, iban::at(text, start));
    push(found, Class::Card, card::at(text, start));
    push(found, Class::Phone, phone::at(text, start));
    // Twilio's keys are `SK` or `AC` and 32 digits of base 16: the first of those that is decimal is seldom far.
    let bytes = text.as_bytes();
    let letters =
        bytes[..start].iter().rev().take(16).take_while(|byte| (b'a'..=b'f').contains(*byte)).count();
    if let Some(prefix) = (start - letters).checked_sub(2)
        && matches!(&bytes[prefix..prefix + 2], b"SK" | b"AC")
    {
        push(found, Class::Secret, key_at(text, prefix));
    }
}

fn at_words(text: &str, placeholders: Placeholders, found: &mut Vec<Found>) {
    let automaton = &*AUTOMATON;
    for word in automaton.words.find_overlapping_iter(text) {
        let (start, end) = (word.start(), word.end());
        let Some(announces) = automaton.announces.get(word.pattern().as_usize()) else { continue };
        let (class, range) = match announces {
            Announces::Key => (Class::Secret, key_at(text, start)),
            Announces::WebToken if text[start..].starts_with("eyJ") => {
                (Class::Secret, web_token(text, start))
            }
            Announces::PrivateKey if text[start..].starts_with("-----BEGIN") => {
                (Class::Secret, private_key(text, start))
            }
            Announces::UrlPassword => (Class::Secret, url_password(text, start)),
            Announces::Assignment(kind) if is_name_part(text, start) => {
                (Class::Secret, assigned(text, end, *kind))
            }
            Announces::BracketedAt => {
                (Class::Email, obfuscated::around_bracketed(text, start..end, placeholders))
            }
            Announces::PlainAt => (Class::Email, obfuscated::around_plain(text, start..end, placeholders)),
            Announces::EscapedAt => (Class::Email, email::around(text, start, end - start, placeholders)),
            _ => continue,
        };
        push(found, class, range);
    }
}

/// Of overlapping finds the one of the class that comes first stays, of one class the longer one.
fn resolve(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|one| (one.range.start, one.class, std::cmp::Reverse(one.range.end)));
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        match kept.last_mut() {
            Some(last) if one.range.start < last.range.end => {
                let better = (one.class, std::cmp::Reverse(one.range.len()))
                    < (last.class, std::cmp::Reverse(last.range.len()));
                if better {
                    *last = one;
                }
            }
            _ => kept.push(one),
        }
    }
    kept
}
