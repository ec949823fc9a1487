//! E-mail addresses around an `@`.

use std::ops::Range;

use super::class::Placeholders;
use super::context::{after, before};

/// Most bytes of the name before the `@`; 64 characters by RFC 5321, of which some take two bytes.
const MOST_NAME: usize = 96;
/// Most bytes of the domain.
const MOST_DOMAIN: usize = 255;

/// Ends of file names that look like domains (`icon@2x.png`). Countries that are ends of file names too (`.rs`, `.sh`, `.md`, `.py`) are not
/// among them: people have addresses there.
const FILES: [&str; 39] = [
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "bmp", "pdf", "js", "mjs", "cjs", "ts", "tsx", "jsx",
    "css", "scss", "html", "htm", "json", "yaml", "yml", "toml", "xml", "txt", "rst", "lock", "log", "cpp",
    "hpp", "java", "class", "rb", "php", "go", "exe", "dll", "tgz", "whl",
];
/// Names that are nobody's box: logins to a service, and stand-ins.
const NOBODIES: [&str; 7] = ["git", "hg", "svn", "noreply", "no-reply", "user", "username"];

/// The address around the `@` at `sign`, which is `width` bytes wide (one, or more where it is written as an entity).
pub(super) fn around(
    text: &str,
    sign: usize,
    width: usize,
    placeholders: Placeholders,
) -> Option<Range<usize>> {
    let start = name_start(text, sign)?;
    let domain = domain_at(text, sign + width)?;
    is_somebodys(&text[start..sign], &text[domain.clone()], placeholders).then_some(start..domain.end)
}

/// Where the name that ends at `end` starts.
pub(super) fn name_start(text: &str, end: usize) -> Option<usize> {
    if before(text, end) == Some('"') {
        return quoted_start(text, end - 1);
    }
    let mut start = end;
    while let Some(c) = before(text, start).filter(|c| is_name(*c)) {
        if end - (start - c.len_utf8()) > MOST_NAME {
            break;
        }
        start -= c.len_utf8();
    }
    let name = &text[start..end];
    let trimmed = name.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '_');
    // `mailto:` ends at its colon; what a URL escaped before the name is no part of it.
    let trimmed = if name.len() == trimmed.len() {
        trimmed
    } else {
        trimmed.strip_prefix("20").filter(|_| name.starts_with("%20")).unwrap_or(trimmed)
    };
    (!trimmed.is_empty() && trimmed.chars().any(|c| c.is_alphanumeric() || c == '_'))
        .then(|| end - trimmed.len())
}

/// `"john doe"@host`: the quote that opens, on the same line.
fn quoted_start(text: &str, close: usize) -> Option<usize> {
    let from = (close.saturating_sub(64)..close).find(|at| text.is_char_boundary(*at))?;
    let open = from + text[from..close].rfind('"')?;
    let inner = &text[open + 1..close];
    (!inner.is_empty() && !inner.contains(['\n', '@', '<', '>', '='])).then_some(open)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._%+-'".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

/// The domain that starts at `start`: labels to the last one that can end a domain.
fn domain_at(text: &str, start: usize) -> Option<Range<usize>> {
    let mut end = start;
    while let Some(c) =
        after(text, end).filter(|c| c.is_alphanumeric() || *c == '.' || *c == '-' || *c == '。')
    {
        if end - start > MOST_DOMAIN {
            break;
        }
        end += c.len_utf8();
    }
    // From the right: what follows the domain without a blank (`a@b.com.`, `a@b.com-`, `a@b.com.2`) is cut off label by label.
    while end > start {
        let domain = &text[start..end];
        let Some(dot) = domain.rfind(['.', '。']) else { break };
        let last = &domain[dot + if domain[dot..].starts_with('.') { 1 } else { '。'.len_utf8() }..];
        let head = &domain[..dot];
        let plain = last.split('-').next().unwrap_or("");
        if can_end(last) && is_labels(head) {
            return Some(start..end);
        }
        if plain.len() < last.len() && can_end(plain) && is_labels(head) && !last.starts_with("xn--") {
            return Some(start..end - (last.len() - plain.len()));
        }
        end = start + dot;
    }
    None
}

fn is_labels(head: &str) -> bool {
    !head.is_empty()
        && head.split(['.', '。']).all(|label| {
            !label.is_empty() && label.len() <= 63 * 2 && !label.starts_with('-') && !label.ends_with('-')
        })
}

/// Whether a label can be a top-level domain.
pub(super) fn can_end(label: &str) -> bool {
    if let Some(code) = label.get(..4).filter(|start| start.eq_ignore_ascii_case("xn--")) {
        return label.len() > code.len() + 1
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    }
    let count = label.chars().count();
    let is_word = label.chars().all(char::is_alphabetic);
    is_word && (2..=24).contains(&count) && !FILES.iter().any(|file| label.eq_ignore_ascii_case(file))
}

pub(super) fn is_somebodys(name: &str, domain: &str, placeholders: Placeholders) -> bool {
    if placeholders == Placeholders::Find {
        return true;
    }
    let domain = domain.to_ascii_lowercase();
    let reserved = ["example.com", "example.org", "example.net", "test", "example", "invalid", "localhost"];
    let is_reserved =
        |other: &str| domain.strip_suffix(other).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !reserved.iter().any(|other| is_reserved(other))
        && !NOBODIES.iter().any(|other| name.eq_ignore_ascii_case(other))
}
