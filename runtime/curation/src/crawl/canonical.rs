//! One address for one page (RFC 3986, section 6; WHATWG URL for parsing, as browsers do).

use url::Url;

/// What is done to addresses beyond what the standards say is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canonical {
    /// Session ids and the marks of campaigns (`utm_…`) go from the query.
    pub drop_tracking: bool,
    /// The parts of a query are sorted.
    pub sort_query: bool,
}

impl Default for Canonical {
    fn default() -> Self {
        Self { drop_tracking: true, sort_query: false }
    }
}

/// Names of query parts that say who asks, not what for.
const TRACKING: [&str; 12] = [
    "gclid",
    "fbclid",
    "msclkid",
    "dclid",
    "mc_cid",
    "mc_eid",
    "igshid",
    "phpsessid",
    "jsessionid",
    "aspsessionid",
    "sessionid",
    "session_id",
];
/// Bytes of an address.
const MAX_URL_BYTES: usize = 2048;
/// The digits of an escape.
pub(super) const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// The canonical form of a link found at `base`; `None` if it is no address of a page.
///
/// Host and scheme are lower case, default ports, dot segments, fragments and passwords go, escapes of plain characters are undone and others are
/// upper case.
pub(super) fn canonical(link: &str, base: Option<&Url>, options: Canonical) -> Option<Url> {
    let link = link.trim();
    if link.len() > 2 * MAX_URL_BYTES {
        return None;
    }
    let mut url = Url::options().base_url(base).parse(link).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    let path = escapes(url.path());
    let path = if options.drop_tracking { without_session(&path) } else { path };
    url.set_path(&path);
    if let Some(query) = url.query() {
        let query = escapes(query);
        let mut parts: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
        if options.drop_tracking {
            parts.retain(|part| !is_tracking(part.split('=').next().unwrap_or(part)));
        }
        if options.sort_query {
            parts.sort_unstable();
        }
        let query = parts.join("&");
        url.set_query((!query.is_empty()).then_some(query.as_str()));
    }
    // A name may be written with the root's dot.
    if let Some(host) = url.host_str().and_then(|host| host.strip_suffix('.')).map(str::to_owned) {
        url.set_host(Some(&host)).ok()?;
    }
    (url.as_str().len() <= MAX_URL_BYTES).then_some(url)
}

fn is_tracking(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("utm_") || name.starts_with("aspsessionid") || TRACKING.contains(&name.as_str())
}

/// A path without `;jsessionid=…`.
fn without_session(path: &str) -> String {
    let at = path.to_ascii_lowercase().find(";jsessionid=");
    at.map_or(path, |at| &path[..at]).to_owned()
}

/// Undoes escapes of unreserved characters and writes others in upper case.
pub(super) fn escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        clean.push_str(before);
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if !after.starts_with('+') => {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    clean.push(char::from(byte));
                } else {
                    clean.push('%');
                    clean.push(HEX[usize::from(byte >> 4)]);
                    clean.push(HEX[usize::from(byte & 15)]);
                }
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                // A percent sign that escapes nothing.
                clean.push_str("%25");
                rest = after;
            }
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_address_are_one() {
        let form = |link: &str| {
            let base = Url::parse("http://h.example/a/b").unwrap();
            canonical(link, Some(&base), Canonical::default()).map(String::from)
        };
        let same = |link: &str, expected: &str| assert_eq!(form(link).as_deref(), Some(expected), "{link}");
        same("HTTP://H.Example:80/%7euser/%e9?b=1&a=2#top", "http://h.example/~user/%E9?b=1&a=2");
        same("../c/./d/../e", "http://h.example/c/e");
        same("http://u:p@h.example./x", "http://h.example/x");
        same("?utm_source=x&q=1&PHPSESSID=9", "http://h.example/a/b?q=1");
        same("/p;jsessionid=1A?x", "http://h.example/p?x");
        same("//o.example", "http://o.example/");
        same("100%", "http://h.example/a/100%25");
        assert_eq!(form("mailto:x@y"), None);
        assert_eq!(form("javascript:void(0)"), None);
        assert_eq!(form(&format!("/{}", "x".repeat(3000))), None);
        let sorted = Canonical { sort_query: true, ..Canonical::default() };
        let url = canonical("http://h/?b&a", None, sorted).unwrap();
        assert_eq!(canonical(url.as_str(), None, sorted).unwrap().as_str(), "http://h/?a&b");
    }
}
