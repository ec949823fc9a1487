//! Personal data and secrets: found by pattern, checked by what the pattern can't say (Luhn's sum, address ranges), then kept,
//! replaced by a tag, or a reason to drop the document.
//!
//! Addresses that stand for nobody stay: example domains, `git@`, loopback, private, link-local, multicast and documentation
//! ranges, and keys that say that they are examples.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use cupola_specs::job::{PiiAction, PiiParams};
use regex::Regex;

use super::document::Document;
use super::funnel::Outcome;

/// A class of personal data.
struct Kind {
    name: &'static str,
    tag: &'static str,
    /// A cheap test: text without one of these characters holds none.
    needs: &'static [char],
    pattern: LazyLock<Regex>,
    check: fn(&str, Range<usize>) -> bool,
}

/// The patterns are constants of this file, and a test compiles each.
fn compiled(pattern: &str) -> Regex {
    #[allow(clippy::expect_used, reason = "a constant pattern that the tests compile")]
    Regex::new(pattern).expect("a constant pattern")
}

/// In the order that they are looked for: a secret may hold what looks like an address.
static KINDS: [Kind; 5] = [
    Kind {
        name: "secret",
        tag: "<SECRET>",
        needs: &['-', '_', '.', 'A'],
        pattern: LazyLock::new(|| {
            compiled(concat!(
                r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?:[\s\S]*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|[A-Za-z0-9+/=\s]*)",
                r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
                r"|\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{60,255}\b|\bglpat-[A-Za-z0-9_-]{20,}",
                r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b[sr]k_live_[A-Za-z0-9]{20,}\b|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
                r"|\bhf_[A-Za-z]{30,}\b|\bAIza[0-9A-Za-z_-]{35}|\bnpm_[A-Za-z0-9]{36}\b|\bcio[A-Za-z0-9]{32}\b",
                r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
            ))
        }),
        check: |text, found| !text[found].contains("EXAMPLE"),
    },
    Kind {
        name: "email",
        tag: "<EMAIL>",
        needs: &['@'],
        pattern: LazyLock::new(|| {
            compiled(r"(?i)[a-z0-9][a-z0-9._%+-]{0,63}@[a-z0-9](?:[a-z0-9-]{0,62}\.)+[a-z]{2,24}\b")
        }),
        check: is_somebodys_email,
    },
    Kind {
        name: "ip",
        tag: "<IP>",
        needs: &['.', ':'],
        pattern: LazyLock::new(|| {
            compiled(
                r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b|\b[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}",
            )
        }),
        check: is_public_ip,
    },
    Kind {
        name: "card",
        tag: "<CARD>",
        needs: &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
        pattern: LazyLock::new(|| {
            compiled(
                r"\b(?:[2-6][0-9]{3}(?:[ -][0-9]{4}){3}|3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}|[2-6][0-9]{14,15})\b",
            )
        }),
        check: is_card,
    },
    Kind {
        name: "phone",
        tag: "<PHONE>",
        needs: &['+', '('],
        pattern: LazyLock::new(|| {
            compiled(
                r"\+[1-9][0-9]{0,2}[ .-](?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-][0-9]{2,8}){1,4}\b|\([2-9][0-9]{2}\) [0-9]{3}-[0-9]{4}\b",
            )
        }),
        check: |text, found| (8..=15).contains(&text[found].bytes().filter(u8::is_ascii_digit).count()),
    },
];

/// The rules, in the order that they run.
pub(super) fn rules() -> Vec<String> {
    KINDS.iter().map(|kind| format!("pii.{}", kind.name)).collect()
}

/// Carries the actions out on a document.
pub(super) fn judge(params: &PiiParams, document: &Document) -> Outcome {
    let mut outcome = Outcome::default();
    for (rule, kind) in KINDS.iter().enumerate() {
        let action = match kind.name {
            "secret" => params.secret,
            "email" => params.email,
            "ip" => params.ip,
            "card" => params.card,
            _ => params.phone,
        };
        if action == PiiAction::Keep {
            continue;
        }
        let text = outcome.text.as_deref().unwrap_or(&document.text);
        let found = kind.find(text);
        if found.is_empty() {
            continue;
        }
        if action == PiiAction::Drop {
            outcome.dropped = Some((rule, format!("{} × {}", found.len(), kind.tag)));
            return outcome;
        }
        let line_start = text[..found[0].start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("").to_owned();
        let cleaned = replace(text, &found, kind.tag);
        outcome.changes.push((rule, text.len().saturating_sub(cleaned.len()) as u64, line));
        outcome.text = Some(cleaned);
    }
    outcome
}

/// A text with every find of every class replaced.
pub(super) fn mask(text: &str) -> String {
    KINDS.iter().fold(text.to_owned(), |text, kind| replace(&text, &kind.find(&text), kind.tag))
}

/// Whether a text holds any personal data or a tag that stood for some.
pub(super) fn is_personal(text: &str) -> bool {
    KINDS.iter().any(|kind| text.contains(kind.tag) || !kind.find(text).is_empty())
}

impl Kind {
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        if !text.contains(self.needs) {
            return Vec::new();
        }
        let found = self.pattern.find_iter(text).map(|found| found.range());
        found.filter(|range| (self.check)(text, range.clone())).collect()
    }
}

fn replace(text: &str, found: &[Range<usize>], tag: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut done = 0;
    for range in found {
        cleaned.push_str(&text[done..range.start]);
        cleaned.push_str(tag);
        done = range.end;
    }
    cleaned.push_str(&text[done..]);
    cleaned
}

fn is_somebodys_email(text: &str, found: Range<usize>) -> bool {
    let address = text[found].to_ascii_lowercase();
    let Some((name, domain)) = address.split_once('@') else { return false };
    let reserved = ["example.com", "example.org", "example.net"];
    let is_reserved = reserved.iter().any(|other| domain == *other || domain.ends_with(&format!(".{other}")))
        || [".test", ".example", ".invalid", ".localhost", ".png", ".svg", ".rs"]
            .iter()
            .any(|end| domain.ends_with(end));
    !is_reserved && !["git", "noreply", "no-reply", "user", "username"].contains(&name)
}

fn is_public_ip(text: &str, found: Range<usize>) -> bool {
    // `1.2.3.4.5` and `v1.2.3.4` are versions.
    let before = text[..found.start].chars().next_back();
    let mut after = text[found.end..].chars();
    let (next, then) = (after.next(), after.next());
    let goes_on = next == Some('.') && then.is_some_and(|c| c.is_ascii_digit())
        || next.is_some_and(char::is_alphanumeric);
    if goes_on || before.is_some_and(|c| c == '.' || c == ':' || c == '-' || c == '_' || c.is_alphanumeric())
    {
        return false;
    }
    let text = &text[found];
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        let [a, b, ..] = ip.octets();
        let shared = a == 100 && (64..128).contains(&b);
        let benchmark = a == 198 && (18..20).contains(&b);
        // `§8.8.3.2`, `Section 7.3.17.1`: small numbers number the parts of a document.
        let is_numbering =
            ip.octets().iter().all(|octet| *octet < 32) && next != Some(':') && next != Some('/');
        return !(is_numbering
            || ip.is_private()
            || ip.is_loopback()
            || ip.is_link_local()
            || ip.is_documentation()
            || shared
            || benchmark
            || a == 0
            || a >= 224);
    }
    // The pattern starts with 2 or 3: global unicast; documentation is 2001:db8::/32 and 3fff::/20.
    text.parse::<Ipv6Addr>().is_ok_and(|ip| {
        let [first, second, ..] = ip.segments();
        !(first == 0x2001 && second == 0xdb8 || first == 0x3fff && second < 0x1000)
    })
}

fn is_card(text: &str, found: Range<usize>) -> bool {
    let touches =
        |c: Option<char>| c.is_some_and(|c| c == '.' || c == '_' || c == '-' || c.is_alphanumeric());
    if touches(text[..found.start].chars().next_back()) || text[found.end..].starts_with(['_', '-', '.']) {
        return false;
    }
    let digits: Vec<u32> = text[found].chars().filter_map(|c| c.to_digit(10)).collect();
    let distinct = (0..10).filter(|digit| digits.contains(digit)).count();
    let prefix = |length: usize| digits[..length].iter().fold(0, |number, digit| 10 * number + digit);
    let known = match digits.len() {
        15 => [34, 37].contains(&prefix(2)),
        16 => {
            digits[0] == 4
                || (51..=55).contains(&prefix(2))
                || (2221..=2720).contains(&prefix(4))
                || prefix(4) == 6011
                || prefix(2) == 65
        }
        _ => false,
    };
    known && distinct > 1 && luhn(&digits)
}

/// Luhn's check: from the right, every second digit doubled, digits summed, a multiple of ten.
fn luhn(digits: &[u32]) -> bool {
    let doubled = |(at, digit): (usize, &u32)| {
        let value = digit * (1 + at as u32 % 2);
        value / 10 + value % 10
    };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_personal_is_replaced() {
        for (text, clean) in [
            ("Jane Doe <jane.doe@corp-mail.co.uk>", "Jane Doe <<EMAIL>>"),
            ("connect to 93.184.216.34:80", "connect to <IP>:80"),
            ("dns 2606:4700:4700::1111 is", "dns <IP> is"),
            ("pay 4111 1111 1111 1111 or 378282246310005", "pay <CARD> or <CARD>"),
            ("call +49 30 901820 or (415) 555-2671", "call <PHONE> or <PHONE>"),
            ("key AKIAABCDEFGHIJKLMNOP end", "key <SECRET> end"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x", "<SECRET> x"),
            ("t ghp_0123456789abcdefghijABCDEFGHIJ012345", "t <SECRET>"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0", "<SECRET>"),
        ] {
            assert_eq!(mask(text), clean);
            assert!(is_personal(text) && is_personal(clean));
        }
    }

    #[test]
    fn what_stands_for_nobody_stays() {
        for text in [
            "user@example.com and git@github.com",
            "127.0.0.1 10.1.2.3 192.168.0.1 172.16.9.9 203.0.113.7 255.255.255.0",
            "::1 fe80::1 2001:db8::1 std::io a::b 2020::fmt_x",
            "version 1.2.3.4.5, v20.1.18.3 and 0.9999999999999999",
            "4111 1111 1111 1112 and 0x4111111111111111 and 3.4111111111111111",
            "x + 1 - 2 and foo(123) 456",
            "RFC 9110 §8.8.3.2 and Section 7.3.17.1",
            "AKIAIOSFODNN7EXAMPLE",
            "let hash = 6011_0009_9013_9424;",
        ] {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn actions_differ_by_class() {
        let params = PiiParams {
            email: PiiAction::Redact,
            ip: PiiAction::Keep,
            phone: PiiAction::Keep,
            card: PiiAction::Redact,
            secret: PiiAction::Drop,
        };
        let judged = |text: &str| judge(&params, &Document { text: text.into(), ..Document::default() });
        assert_eq!(judged("a@corp.de 8.8.4.4").text.unwrap(), "<EMAIL> 8.8.4.4");
        assert!(judged("AKIAABCDEFGHIJKLMNOP").dropped.is_some());
        assert!(judged("nothing").text.is_none());
    }
}
