//! Whether four numbers count versions or the parts of a document, told from what stands around them.

use std::ops::Range;

use super::context::{after, before, is_wordy, label_before};

/// Words that say it of any four numbers.
const NUMBERING: [&str; 18] = [
    "version",
    "versions",
    "ver",
    "v",
    "release",
    "rev",
    "revision",
    "build",
    "section",
    "sections",
    "sec",
    "chapter",
    "clause",
    "paragraph",
    "annex",
    "firmware",
    "driver",
    "rule",
];
/// Words that say it of small numbers too, before them.
const SMALL_NUMBERING: [&str; 32] = [
    "releases",
    "revisions",
    "builds",
    "chapters",
    "clauses",
    "paragraphs",
    "rules",
    "subsection",
    "subsections",
    "appendix",
    "article",
    "articles",
    "figure",
    "figures",
    "fig",
    "table",
    "tables",
    "example",
    "theorem",
    "lemma",
    "definition",
    "rfc",
    "iso",
    "kernel",
    "edition",
    "patch",
    "update",
    "upgrade",
    "upgraded",
    "downgraded",
    "bump",
    "bumped",
];
/// Words behind four small numbers that say it.
const BEHIND: [&str; 8] =
    ["version", "release", "build", "revision", "update", "patch", "section", "changelog"];
/// Words right before an address.
const NETWORK: [&str; 16] = [
    "dns",
    "ip",
    "ips",
    "ipv4",
    "ping",
    "host",
    "server",
    "servers",
    "address",
    "addresses",
    "resolver",
    "resolvers",
    "nameserver",
    "nameservers",
    "gateway",
    "traceroute",
];
/// Words between the numbers of a list.
const JOINERS: [&str; 5] = ["and", "or", "to", "through", "from"];
const COMPARISONS: [&str; 7] = ["==", ">=", "<=", "!=", "~=", "~", "^"];
/// Bytes before the numbers that are looked at.
const MAX_BEFORE: usize = 200;
/// Numbers of a list that are looked at.
const MAX_LISTED: usize = 8;

/// Whether the numbers at `start` are named as those of a version or of a part, however large they are.
pub(super) fn numbers_parts(text: &str, start: usize) -> bool {
    text[..start].ends_with("§ ") || label_before(text, start, &NUMBERING)
}

/// Whether four small numbers stand as those of versions and parts do: in a list of them, in a range, compared, at the start of a
/// heading. A word such as `dns` before them says no.
pub(super) fn is_small_numbering(text: &str, range: Range<usize>) -> bool {
    let mut from = range.start.saturating_sub(MAX_BEFORE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let (text, start, end) = (&text[from..], range.start - from, range.end - from);
    if before(text, start) == Some('@') || label_before(text, start, &NETWORK) {
        return false;
    }
    let is_dash = |c: char| matches!(c, '-' | '–' | '—');
    let behind = &text[end..];
    let is_range = before(text, start).is_some_and(is_dash)
        || behind.strip_prefix(is_dash).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let head = text[..start].strip_suffix(' ').unwrap_or(&text[..start]);
    is_range
        || COMPARISONS.iter().any(|sign| head.ends_with(sign))
        || BEHIND.contains(&first_word(behind).to_ascii_lowercase().as_str())
        || is_heading(text, start..end)
        || is_listed(text, start)
}

/// The word behind one blank.
fn first_word(behind: &str) -> &str {
    let rest = behind.strip_prefix(' ').unwrap_or("");
    let end = rest.bytes().take(16).take_while(u8::is_ascii_alphabetic).count();
    if is_wordy(after(rest, end)) { "" } else { &rest[..end] }
}

/// `7.3.17.1 Conditions`, `## 1.2.3.4`, `1.2.3.4 (2021-03-04)` at the start of a line.
fn is_heading(text: &str, range: Range<usize>) -> bool {
    let head = text[..range.start].trim_end_matches([' ', '\t']);
    let marks = head.len() - head.trim_end_matches('#').len();
    let head = head[..head.len() - marks].trim_end_matches([' ', '\t']);
    if !(head.is_empty() || head.ends_with('\n')) {
        return false;
    }
    let behind = &text[range.end..];
    let behind = behind.strip_prefix(['.', ')']).unwrap_or(behind);
    let title = behind.trim_start_matches([' ', '\t']);
    let is_title = title.starts_with(char::is_uppercase)
        || title.strip_prefix('(').is_some_and(|date| date.starts_with(|c: char| c.is_ascii_digit()));
    marks > 1 || (title.len() < behind.len() && is_title)
}

/// Whether a list of numbers that ends at `start` is one of versions or parts: `sections 2.3.4.1, 2.3.4.2 and `, `RFC 9110, `.
fn is_listed(text: &str, start: usize) -> bool {
    let mut at = start;
    for _ in 0..MAX_LISTED {
        if label_before(text, at, &NUMBERING) || label_before(text, at, &SMALL_NUMBERING) {
            return true;
        }
        let head = text[..at].trim_end_matches([' ', ',', '/', '&']);
        let joined = JOINERS
            .iter()
            .find_map(|joiner| head.strip_suffix(joiner).filter(|rest| !is_wordy(before(rest, rest.len()))));
        let head = joined.unwrap_or(head).trim_end_matches([' ', ',']);
        let number = head.bytes().rev().take(16).take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        if joined.is_none() && number == 0 {
            return false;
        }
        at = head.len() - number;
    }
    false
}
