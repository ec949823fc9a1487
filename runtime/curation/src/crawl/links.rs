//! The links of a page and what it asks of crawlers. One pass over the tags; text is not looked at.

use url::Url;

use super::Canonical;
use super::canonical::canonical;

/// Links of one page that are followed.
const MAX_LINKS: usize = 20_000;
/// Attributes of a tag that are looked at.
const MAX_ATTRIBUTES: usize = 256;

/// What a page links to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// Canonical addresses, in the page's order, each once.
    pub(super) urls: Vec<Url>,
    /// Links that crawlers shall not follow.
    pub(super) nofollow: u64,
    /// Whether the page asks not to be kept.
    pub(super) noindex: bool,
}

/// Finds the links of a page. `header` is its `X-Robots-Tag`; `respect` says whether the page's wishes count.
pub(super) fn links(html: &str, page: &Url, header: &str, respect: bool, options: Canonical) -> Links {
    let mut found = Links::default();
    let mut directives = header.to_ascii_lowercase();
    let (mut base, mut has_base) = (page.clone(), false);
    let mut hrefs: Vec<(String, bool)> = Vec::new();
    let mut tags = Tags { rest: html };
    while let Some(tag) = tags.next() {
        let attribute =
            |name: &str| tag.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match tag.name.as_str() {
            "base" if !has_base => {
                if let Some(url) = attribute("href").and_then(|href| page.join(href.trim()).ok()) {
                    (base, has_base) = (url, true);
                }
            }
            "meta" if attribute("name").is_some_and(|name| name.trim().eq_ignore_ascii_case("robots")) => {
                directives.push(',');
                directives.push_str(&attribute("content").unwrap_or_default().to_ascii_lowercase());
            }
            "a" | "area" | "frame" | "iframe" if hrefs.len() < MAX_LINKS => {
                let href = attribute(if tag.name.ends_with("frame") { "src" } else { "href" });
                let words = attribute("rel").unwrap_or_default().to_ascii_lowercase();
                let nofollow = words.split_ascii_whitespace().any(|word| word == "nofollow");
                hrefs.extend(href.map(|href| (href.to_owned(), nofollow)));
            }
            _ => {}
        }
    }
    let mut says = directives.split([',', ':']).map(str::trim);
    let all_nofollow = respect && says.clone().any(|word| matches!(word, "nofollow" | "none"));
    found.noindex = respect && says.any(|word| matches!(word, "noindex" | "none"));
    let mut seen = std::collections::HashSet::new();
    for (href, nofollow) in hrefs {
        if respect && (nofollow || all_nofollow) {
            found.nofollow += 1;
            continue;
        }
        if let Some(url) = canonical(&href, Some(&base), options)
            && seen.insert(url.clone())
        {
            found.urls.push(url);
        }
    }
    found
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

/// The begin tags of a page.
struct Tags<'a> {
    rest: &'a str,
}

impl Tags<'_> {
    fn next(&mut self) -> Option<Tag> {
        loop {
            let at = memchr::memchr(b'<', self.rest.as_bytes())?;
            self.rest = &self.rest[at + 1..];
            if let Some(comment) = self.rest.strip_prefix("!--") {
                self.rest = comment.split_once("-->").map_or("", |(_, after)| after);
            } else if self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let tag = self.tag();
                if matches!(tag.name.as_str(), "script" | "style" | "textarea" | "title" | "xmp" | "noembed")
                {
                    self.skip_text(&tag.name);
                }
                return Some(tag);
            }
        }
    }

    fn tag(&mut self) -> Tag {
        let end = self
            .rest
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))
            .unwrap_or(self.rest.len());
        let name = self.rest[..end].to_ascii_lowercase();
        self.rest = &self.rest[end..];
        let mut attributes = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if self.rest.is_empty() {
                break;
            }
            if let Some(after) = self.rest.strip_prefix('>') {
                self.rest = after;
                break;
            }
            let attribute = self.attribute();
            if attributes.len() < MAX_ATTRIBUTES {
                attributes.push(attribute);
            }
        }
        Tag { name, attributes }
    }

    fn attribute(&mut self) -> (String, String) {
        let is_end = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=');
        let first = self.rest.chars().next().map_or(0, char::len_utf8);
        let end = self.rest[first..].find(is_end).map_or(self.rest.len(), |at| at + first);
        let name = self.rest[..end].to_ascii_lowercase();
        self.rest = &self.rest[end..];
        let Some(value) = self.rest.trim_ascii_start().strip_prefix('=') else {
            return (name, String::new());
        };
        let value = value.trim_ascii_start();
        let (text, rest) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let inner = &value[1..];
                inner.split_once(quote).unwrap_or((inner, ""))
            }
            _ => value
                .split_at(value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len())),
        };
        self.rest = rest;
        (name, unescaped(text))
    }

    /// Passes over text that has no tags, up to its end tag; to the end of the page if there is none.
    fn skip_text(&mut self, name: &str) {
        let bytes = self.rest.as_bytes();
        let mut ends = memchr::memmem::find_iter(bytes, b"</");
        let end = ends.find(|at| {
            bytes
                .get(at + 2..at + 2 + name.len())
                .is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
        });
        self.rest = end.map_or("", |end| &self.rest[end..]);
    }
}

/// An attribute's value without the character references that addresses have.
pub(super) fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        clean.push_str(before);
        let end = after.bytes().take(10).position(|byte| byte == b';');
        let reference = end.and_then(|end| Some((after.get(..end)?, after.get(end + 1..)?)));
        let character = reference.and_then(|(name, _)| match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => {
                let digits = name.strip_prefix('#')?;
                let number = digits
                    .strip_prefix(['x', 'X'])
                    .map_or_else(|| digits.parse(), |hex| u32::from_str_radix(hex, 16));
                char::from_u32(number.ok()?)
            }
        });
        clean.push(character.unwrap_or('&'));
        rest = match (character, reference) {
            (Some(_), Some((_, behind))) => behind,
            _ => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str, header: &str) -> (Vec<String>, u64, bool) {
        let page = Url::parse("http://h/dir/page").unwrap();
        let links = links(html, &page, header, true, Canonical::default());
        (links.urls.into_iter().map(String::from).collect(), links.nofollow, links.noindex)
    }

    #[test]
    fn links_are_found_where_browsers_find_them() {
        let html = "<A HREF='a?x=1&amp;y=2'>x</a><a href=b>x</a><a title=\"<a href=no>\" href = \"/c\">x</a><!-- <a href=no> -->\
                    <script>'<a href=no>'</script><a href=b#2><area href=d><iframe src=e></iframe><a href=\"mailto:x@y\"><a href=f rel='x NoFollow'>";
        let (urls, nofollow, noindex) = found(html, "");
        let expected = ["a?x=1&y=2", "b", "../c", "d", "e"]
            .map(|link| Url::parse("http://h/dir/").unwrap().join(link).unwrap().to_string());
        assert_eq!((urls, nofollow, noindex), (expected.to_vec(), 1, false));
        assert_eq!(found("<base href='/other/'><a href=x>", "").0, ["http://h/other/x"]);
    }

    #[test]
    fn pages_say_what_they_want() {
        assert_eq!(found("<meta name=ROBOTS content='NoIndex, nofollow'><a href=x>", ""), (vec![], 1, true));
        assert_eq!(found("<a href=x>", "none"), (vec![], 1, true));
        for broken in
            ["<a", "<a href", "<a href=", "<a href='x", "<!--", "<script", "<", "<a href=\"é", "<aé é=é>"]
        {
            found(broken, "");
        }
    }
}
