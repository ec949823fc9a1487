//! Addresses written so that machines don't see them: `name [at] host [dot] com`, `<name at host.org>`.

use std::ops::Range;

use super::class::Placeholders;
use super::context::{after, before, word_before};
use super::email::{can_end, is_somebodys, name_start};

/// Ways to write a dot, brackets aside.
const DOTS: [&str; 3] = ["dot", "punkt", "point"];
/// Words before `at` or after it that make a sentence of it (`look at the dot`).
const SENTENCE: [&str; 36] = [
    "the", "a", "an", "this", "that", "each", "every", "any", "our", "his", "her", "its", "my", "your",
    "their", "some", "one", "least", "most", "first", "last", "all", "look", "looking", "arrive", "meet",
    "us", "me", "is", "are", "was", "it", "them", "and", "or", "not",
];
/// Ends of domains that a bare `dot` is believed with.
const ENDS: [&str; 68] = [
    "com", "org", "net", "edu", "gov", "mil", "info", "biz", "name", "io", "dev", "app", "ai", "co", "uk",
    "de", "fr", "nl", "ch", "at", "eu", "ru", "jp", "cn", "au", "ca", "nz", "br", "es", "pl", "se", "dk",
    "fi", "cz", "ie", "be", "il", "kr", "tw", "za", "museum", "design", "online", "site", "tech", "xyz",
    "cloud", "blog", "shop", "store", "email", "news", "pro", "travel", "jobs", "tv", "gr", "pt", "ro", "hu",
    "tr", "mx", "ar", "cl", "sg", "hk", "ac", "agency",
];
const CONTEXT: [&str; 12] = [
    "email",
    "mail",
    "e",
    "contact",
    "author",
    "authors",
    "maintainer",
    "mailto",
    "address",
    "reach",
    "write",
    "list",
];

/// The address around a bracketed `at` (`[at]`, `(at)`, `{at}`, `<at>`) that takes `sign`.
pub(super) fn around_bracketed(
    text: &str,
    sign: Range<usize>,
    placeholders: Placeholders,
) -> Option<Range<usize>> {
    let start = name_before(text, blanks_back(text, sign.start, 3))?;
    let domain = domain_after(text, blanks(text, sign.end, 3), true)?;
    let name = &text[start..blanks_back(text, sign.start, 3)];
    is_somebodys(name, &domain.name, placeholders).then_some(start..domain.end)
}

/// The address around ` at ` or ` @ `, blanks in `sign`: only with a spelled dot, between angle brackets or parentheses, or where mail was spoken of.
pub(super) fn around_plain(
    text: &str,
    sign: Range<usize>,
    placeholders: Placeholders,
) -> Option<Range<usize>> {
    let start = name_before(text, sign.start)?;
    let name = &text[start..sign.start];
    let is_word = |word: &str| SENTENCE.iter().any(|other| word.eq_ignore_ascii_case(other));
    if name.len() < 2 || is_word(name) {
        return None;
    }
    let domain = domain_after(text, sign.end, false)?;
    let first = domain.name.split('.').next().unwrap_or("");
    let last = domain.name.rsplit('.').next().unwrap_or("");
    let enclosed = matches!(
        (before(text, start), after(text, domain.end)),
        (Some('<'), Some('>')) | (Some('('), Some(')'))
    );
    let known = ENDS.iter().any(|end| last.eq_ignore_ascii_case(end));
    let spelled = domain.spelled && known && first.len() > 1;
    let said = || known && word_before(text, start, 40, &CONTEXT) && !name.eq_ignore_ascii_case("mail");
    let is_address = !is_word(first) && (enclosed || spelled || said());
    (is_address && is_somebodys(name, &domain.name, placeholders)).then_some(start..domain.end)
}

/// The start of the name that ends at `end`, with spelled dots in it.
fn name_before(text: &str, end: usize) -> Option<usize> {
    let mut start = name_start(text, end)?;
    for _ in 0..3 {
        let Some(earlier) = dot_before(text, start) else { break };
        let Some(more) = name_start(text, earlier) else { break };
        start = more;
    }
    Some(start)
}

/// The end of the word before a spelled, bracketed dot that ends at `end`.
fn dot_before(text: &str, end: usize) -> Option<usize> {
    let end = blanks_back(text, end, 2);
    let (close, inner) = bracket_back(text, end)?;
    DOTS.iter().any(|dot| inner.eq_ignore_ascii_case(dot)).then(|| blanks_back(text, close, 2))
}

/// What the brackets that end at `end` hold, and where they start.
fn bracket_back(text: &str, end: usize) -> Option<(usize, &str)> {
    let open = match before(text, end)? {
        ']' => '[',
        ')' => '(',
        '}' => '{',
        '>' => '<',
        _ => return None,
    };
    let from = (end.saturating_sub(12)..end).find(|at| text.is_char_boundary(*at))?;
    let start = from + text[from..end].rfind(open)?;
    Some((start, text[start + 1..end - 1].trim()))
}

struct Domain {
    /// With plain dots.
    name: String,
    end: usize,
    /// Whether a dot was spelled.
    spelled: bool,
}

/// Labels with plain or spelled dots between, the last of which can end a domain.
fn domain_after(text: &str, start: usize, bracketed: bool) -> Option<Domain> {
    let mut best: Option<Domain> = None;
    let mut domain = Domain { name: String::new(), end: start, spelled: false };
    for _ in 0..6 {
        let label = label_at(text, domain.end)?;
        if label.is_empty() {
            break;
        }
        domain.name.push_str(&text[label.clone()]);
        domain.end = label.end;
        let is_domain = domain.name.contains('.') && can_end(&text[label.clone()]);
        let more = domain.name.chars().count() < 200;
        if is_domain {
            best = Some(Domain { name: domain.name.clone(), ..domain });
        }
        let Some((next, spelled)) = dot_after(text, label.end, bracketed || domain.spelled || best.is_none())
        else {
            break;
        };
        if !more {
            break;
        }
        domain.name.push('.');
        domain.end = next;
        domain.spelled |= spelled;
    }
    best
}

fn label_at(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = text.get(start..)?;
    let len = rest
        .char_indices()
        .take(64)
        .find(|(_, c)| !c.is_alphanumeric() && *c != '-')
        .map_or_else(|| rest.char_indices().nth(64).map_or(rest.len(), |(at, _)| at), |(at, _)| at);
    let label = rest[..len].trim_end_matches('-');
    (!label.starts_with('-')).then_some(start..start + label.len())
}

/// Where the label after a dot starts, and whether the dot was spelled.
fn dot_after(text: &str, at: usize, may_spell: bool) -> Option<(usize, bool)> {
    let rest = text.get(at..)?;
    if let Some(rest) = rest.strip_prefix('.') {
        return rest.starts_with(char::is_alphanumeric).then_some((at + 1, false));
    }
    if !may_spell {
        return None;
    }
    let from = blanks(text, at, 2);
    let rest = &text[from..];
    let close = match rest.chars().next()? {
        '[' => Some(']'),
        '(' => Some(')'),
        '{' => Some('}'),
        '<' => Some('>'),
        _ => None,
    };
    let inner_start = if close.is_some() { blanks(text, from + 1, 1) } else { from };
    let inner = &text[inner_start..];
    let dot = DOTS
        .iter()
        .chain(&["."])
        .find(|dot| inner.get(..dot.len()).is_some_and(|word| word.eq_ignore_ascii_case(dot)))?;
    let mut end = inner_start + dot.len();
    match close {
        Some(close) => {
            end = blanks(text, end, 1);
            (after(text, end) == Some(close)).then_some(())?;
            end += 1;
        }
        // A bare word needs blanks around it, and is English only: `point` is a word of too many sentences.
        None if *dot != "dot" || from == at || blanks(text, end, 2) == end => return None,
        None => {}
    }
    let next = blanks(text, end, 2);
    after(text, next).is_some_and(char::is_alphanumeric).then_some((next, true))
}

fn blanks(text: &str, at: usize, most: usize) -> usize {
    at + text.as_bytes().get(at..).unwrap_or(&[]).iter().take(most).take_while(|byte| **byte == b' ').count()
}

fn blanks_back(text: &str, at: usize, most: usize) -> usize {
    at - text.as_bytes()[..at].iter().rev().take(most).take_while(|byte| **byte == b' ').count()
}
