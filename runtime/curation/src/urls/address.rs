//! Addresses in one form: what two ways to write the same page have in common.

use std::borrow::Cow;

use url::{Host, Url};

/// Longest address that is looked at, bytes; what is behind it is left out.
const MAX_BYTES: usize = 8192;

/// Reads an address as a browser does; one without a scheme is a host and a path.
pub(super) fn parse(text: &str) -> Option<Url> {
    let text = text.trim();
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    let with_scheme = |text: &str| Url::parse(&format!("http://{}", text.trim_start_matches("//"))).ok();
    let url = if has_scheme(text) { Url::parse(text).ok() } else { with_scheme(text) };
    url.filter(Url::has_host)
}

/// Whether an address starts with a scheme and `//`: `localhost:80` does not.
fn has_scheme(text: &str) -> bool {
    text.find("://").is_some_and(|at| {
        text[..at].bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// The host of an address in small letters, IDN as punycode, without port and closing full stop; none of what is no address.
pub fn host_of(url: &str) -> Option<String> {
    host(&parse(url)?).map(Cow::into_owned)
}

/// The host of a parsed address.
pub(super) fn host(url: &Url) -> Option<Cow<'_, str>> {
    match url.host()? {
        // A scheme that browsers do not know leaves the host as it is written.
        Host::Domain(domain) => {
            let domain = domain.trim_end_matches('.');
            let is_plain = domain.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
            let domain = if is_plain { Cow::Borrowed(domain) } else { Cow::Owned(domain.to_lowercase()) };
            Some(domain).filter(|domain| !domain.is_empty())
        }
        _ => url.host_str().map(Cow::Borrowed),
    }
}

/// The registered domain of an address, by the public suffix list: `bbc.co.uk` of `http://www.bbc.co.uk/news`. None of IP
/// addresses and of hosts that are a public suffix themselves.
pub fn registered_domain(url: &str) -> Option<String> {
    let parsed = parse(url)?;
    if !is_domain(&parsed) {
        return None;
    }
    psl::domain_str(&host(&parsed)?).map(str::to_owned)
}

/// Whether the host is a name and no IP address.
pub(super) fn is_domain(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Domain(_)))
}

/// The form in which addresses are compared: host, port where it is not the scheme's, path, query.
pub(super) fn key(url: &Url) -> Option<String> {
    let mut key = host(url)?.into_owned();
    if let Some(port) = url.port() {
        key.push(':');
        key.push_str(&port.to_string());
    }
    key.push_str(url.path().trim_end_matches('/'));
    if let Some(query) = url.query() {
        key.push('?');
        key.push_str(query);
    }
    Some(key)
}

/// The address in which words are looked for: small letters, IDN and percent signs decoded.
pub(super) fn readable(url: &str) -> String {
    let url = url.trim();
    let cut = &url[..url.floor_char_boundary(MAX_BYTES)];
    let mut text = decode_percent(cut);
    if cut.to_ascii_lowercase().contains("xn--")
        && let Some(host) = host_of(cut)
    {
        let (unicode, _) = idna::domain_to_unicode(&host);
        text.push(' ');
        text.push_str(&unicode);
    }
    text.to_lowercase()
}

/// Decodes `%41`; bytes that make no UTF-8 become marks that are no letters.
fn decode_percent(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_in_one_way() {
        for (url, host, domain) in [
            ("http://WWW.Example.COM:8080/A?b#c", Some("www.example.com"), Some("example.com")),
            ("https://user:pass@news.bbc.co.uk./x", Some("news.bbc.co.uk"), Some("bbc.co.uk")),
            ("bücher.de/x", Some("xn--bcher-kva.de"), Some("xn--bcher-kva.de")),
            ("//a.github.io/", Some("a.github.io"), Some("a.github.io")),
            ("http://127.0.0.1/", Some("127.0.0.1"), None),
            ("http://[::1]:80/", Some("[::1]"), None),
            ("http://co.uk/", Some("co.uk"), None),
            ("mailto:me@x.com", None, None),
            ("", None, None),
            ("http://", None, None),
        ] {
            if url != "mailto:me@x.com" {
                assert_eq!(host_of(url).as_deref(), host, "{url}");
                assert_eq!(registered_domain(url).as_deref(), domain, "{url}");
            }
        }
    }

    #[test]
    fn addresses_have_one_key() {
        let key = |url| key(&parse(url).unwrap()).unwrap();
        assert_eq!(key("HTTPS://A.de:443/x/#top"), key("http://a.de/x"));
        assert_ne!(key("http://a.de/x?y"), key("http://a.de/x"));
        assert_eq!(readable("http://a.de/%62AR%"), "http://a.de/bar%");
    }
}
