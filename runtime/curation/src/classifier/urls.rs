//! One spelling for the addresses of one page.

use std::fmt::Write;

use url::Url;

/// The longest address that is looked at, bytes.
const MAX_URL: usize = 8192;
/// Archives within archives that are followed.
const MAX_ARCHIVES: usize = 4;
/// Parameters that say where a reader came from, not what is read.
const TRACKING: [&str; 12] = [
    "fbclid", "gclid", "dclid", "msclkid", "yclid", "igshid", "mc_cid", "mc_eid", "ref_src", "_ga", "spm",
    "wt_mc",
];
/// A page that stands for its folder.
const INDEX: [&str; 5] = ["index.html", "index.htm", "index.php", "default.aspx", "index.shtml"];

/// The canonical spelling of a web address, so that two links to one page are equal: `https`, no `www.`, no default port, user or fragment; no parameters of trackers, the others in order;
/// escapes only where they are needed, no `index.html` and no slash at the end. A copy in web.archive.org is what it is a copy of.
///
/// It is a key, and need not be an address that answers. None for what is no http(s) address, or is over 8 KB.
pub fn canonical_url(address: &str) -> Option<String> {
    let mut address = address.trim();
    if address.len() > MAX_URL {
        return None;
    }
    let mut original = original(address);
    for _ in 0..MAX_ARCHIVES {
        match original {
            Some(inner) => (address, original) = (inner, self::original(inner)),
            None => break,
        }
    }
    let parsed = match address.strip_prefix("//") {
        Some(rest) => Url::parse(&format!("https://{rest}")),
        None => Url::parse(address),
    };
    let url = parsed.ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?.trim_end_matches('.');
    let host = host.strip_prefix("www.").filter(|rest| rest.contains('.')).unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    let mut out = format!("https://{host}");
    if let Some(port) = url.port().filter(|port| !matches!(port, 80 | 443)) {
        // Writing to a string can't fail.
        let _ = write!(out, ":{port}");
    }
    let path = url.path();
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_index = INDEX.iter().any(|index| name.eq_ignore_ascii_case(index));
    let path = if is_index { &path[..path.len() - name.len()] } else { path };
    push_plain(&mut out, path.trim_end_matches('/'));
    let mut parameters: Vec<&str> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|one| !one.is_empty() && !is_tracking(one))
        .collect();
    parameters.sort_unstable();
    for (at, parameter) in parameters.iter().enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        push_plain(&mut out, parameter);
    }
    Some(out)
}

/// What an address in the Wayback Machine is a copy of.
fn original(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let rest = rest.strip_prefix("web.archive.org/").or_else(|| rest.strip_prefix("archive.org/"))?;
    let (date, rest) = rest.strip_prefix("web/")?.split_once('/')?;
    let is_date = date.starts_with(|first: char| first.is_ascii_digit() || first == '*');
    (is_date && (rest.starts_with("http://") || rest.starts_with("https://"))).then_some(rest)
}

fn is_tracking(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("utm_"))
        || TRACKING.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Adds a text whose escapes of letters, digits and `-._~` are undone, and the others in capitals.
fn push_plain(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1..at + 3);
        let digit = |byte: u8| char::from(byte).to_digit(16);
        match escape.and_then(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
            }
            Some(byte) => {
                let _ = write!(out, "%{byte:02X}");
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
                continue;
            }
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_page_are_one() {
        let page = Some("https://example.org/a/b?id=3&x=1".to_owned());
        for spelling in [
            "http://www.example.org/a/b?id=3&x=1",
            "HTTPS://Example.ORG:443/a/b/?x=1&id=3#top",
            "//example.org/%61/b?utm_source=wiki&id=3&x=1&fbclid=zz",
            " http://user:pw@example.org:80/a/b/index.html?x=1&id=3 ",
            "https://web.archive.org/web/20130101000000/http://example.org/a/b?id=3&x=1",
            "https://web.archive.org/web/2013*/https://web.archive.org/web/2012id_/http://example.org/a/b?id=3&x=1",
        ] {
            assert_eq!(canonical_url(spelling), page, "{spelling}");
        }
        assert_eq!(canonical_url("http://example.org").as_deref(), Some("https://example.org"));
        assert_eq!(
            canonical_url("http://bücher.example/%c3%bc").as_deref(),
            Some("https://xn--bcher-kva.example/%C3%BC")
        );
        assert_ne!(canonical_url("http://example.org/A"), canonical_url("http://example.org/a"));
        assert_eq!(canonical_url("http://www.com/").as_deref(), Some("https://www.com"));
    }

    #[test]
    fn what_is_no_page_is_none() {
        let long = format!("http://example.org/{}", "a".repeat(MAX_URL));
        for address in
            ["", "mailto:a@b.c", "ftp://example.org/", "/a/b", "http://", "http://[::1", "//", &long]
        {
            assert_eq!(canonical_url(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_spelling_stays(address in "(https?:)?//[a-z.é]{1,9}(:[0-9]{1,3})?/[ -~é]{0,30}") {
            if let Some(once) = canonical_url(&address) {
                prop_assert_eq!(canonical_url(&once), Some(once.clone()));
            }
        }
    }
}
