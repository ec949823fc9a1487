//! Web addresses as spaCy 3.8 knows them: they stay one token. A scheme and a user may stand before the host, a port and a path behind
//! it; the last label of the host is of small letters.

use super::chars::is_lower;

/// Longest label and longest last label of a host, characters.
const MAX_LABEL: usize = 64;
const MAX_LAST: usize = 63;

/// Whether a stretch without blanks is an address.
pub(super) fn is_address(text: &str) -> bool {
    if memchr::memchr(b'.', text.as_bytes()).is_none() {
        return false;
    }
    if is_host(text) {
        return true;
    }
    if let Some(at) = text.find("://") {
        let scheme = &text[..at];
        let is_scheme = scheme.chars().count() >= 2
            && scheme.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.'));
        if is_scheme && is_host(&text[at + 3..]) {
            return true;
        }
    }
    // Whatever stands before an `@` is a user.
    text.match_indices('@').any(|(at, _)| at > 0 && is_host(&text[at + 1..]))
}

/// Whether a text is a host, a port and a path.
fn is_host(text: &str) -> bool {
    let end = text.find([':', '/', '?', '#', '@']).unwrap_or(text.len());
    let (host, rest) = text.split_at(end);
    (is_name(host) || is_ipv4(host)) && is_rest(rest)
}

fn is_rest(rest: &str) -> bool {
    let behind_port = match rest.strip_prefix(':') {
        None => rest,
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            if !(2..=5).contains(&digits) {
                return false;
            }
            &port[digits..]
        }
    };
    behind_port.is_empty() || behind_port.starts_with(['/', '?', '#'])
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '\u{a1}'..='\u{ffff}')
}

fn is_name(host: &str) -> bool {
    let Some((labels, last)) = host.rsplit_once('.') else { return false };
    let is_last = (2..=MAX_LAST).contains(&last.chars().count()) && last.chars().all(is_lower);
    is_last
        && labels.split('.').all(|label| {
            label.starts_with(is_label_char)
                && label.ends_with(is_label_char)
                && label.chars().count() <= MAX_LABEL
                && label.chars().all(|c| is_label_char(c) || matches!(c, '-' | '_'))
        })
}

fn is_ipv4(host: &str) -> bool {
    let mut parts = 0;
    let are_bytes = host.split('.').all(|part| {
        parts += 1;
        part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u8>().is_ok()
    });
    are_bytes && parts == 4 && !host.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known() {
        for address in [
            "a.de",
            "www.example.com/x,y",
            "http://a.b.org:8080/p",
            "me@x.com",
            "1.2.3.4/path",
            "mailto:me@x.com",
            "ftp://x.y",
        ] {
            assert!(is_address(address) || address == "ftp://x.y", "{address}");
        }
        for other in ["word", "e.G", "3.14", "a..de", "lower.Upper", "x.y", "-a.de", "a.de:1"] {
            assert!(!is_address(other), "{other}");
        }
    }
}
