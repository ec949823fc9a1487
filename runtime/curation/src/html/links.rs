//! What a crawler asks of a page: where it leads, and whether it wants to be followed and kept.

use url::Url;

use super::dom::{Attr, Dom};
use super::error::{HtmlError, Limits};
use super::page::clean;
use super::tag::Tag;
use super::tree::{self, Scripts};

/// A link of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it leads: absolute, without its fragment.
    pub url: String,
    /// What it says.
    pub text: String,
    /// It has `rel=nofollow`, `ugc` or `sponsored`, or the page's robots meta tag says so of all.
    pub is_nofollow: bool,
}

/// What a page's `<meta name="robots">` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Robots {
    /// The page must not be kept.
    pub is_noindex: bool,
    /// Its links must not be followed.
    pub is_nofollow: bool,
}

/// Bytes of a link's text that are kept.
const MAX_TEXT: usize = 200;

/// The links of a page to `http` and `https` addresses, in the page's order, each address once. `base` is the page's own address; a `<base>` in it counts.
///
/// # Errors
/// [`HtmlError::Limit`].
pub fn links(html: &str, base: &str) -> Result<Vec<Link>, HtmlError> {
    let dom = tree::parse(html, Scripts::Off, Limits::default())?;
    let Some(base) = base_of(&dom, base) else { return Ok(Vec::new()) };
    let robots = robots_of(&dom);
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    for id in 0..dom.len() {
        if !matches!(dom.tag(id), Tag::A | Tag::Area) || dom.node(id).is_text() {
            continue;
        }
        let Some(mut url) = dom.attribute(id, Attr::Href).and_then(|href| base.join(href.trim()).ok()) else {
            continue;
        };
        if !matches!(url.scheme(), "http" | "https") {
            continue;
        }
        url.set_fragment(None);
        let rel = dom.attribute(id, Attr::Rel).unwrap_or_default().to_ascii_lowercase();
        let is_nofollow = robots.is_nofollow
            || rel.split_ascii_whitespace().any(|word| matches!(word, "nofollow" | "ugc" | "sponsored"));
        let url = String::from(url);
        if seen.insert(url.clone()) {
            out.push(Link { url, text: text_of(&dom, id), is_nofollow });
        }
    }
    Ok(out)
}

/// What a page asks robots to do.
///
/// # Errors
/// [`HtmlError::Limit`].
pub fn robots(html: &str) -> Result<Robots, HtmlError> {
    Ok(robots_of(&tree::parse(html, Scripts::Run, Limits::default())?))
}

fn robots_of(dom: &Dom) -> Robots {
    let mut out = Robots::default();
    for id in 0..dom.len() {
        let is_robots = dom.tag(id) == Tag::Meta
            && dom.attribute(id, Attr::Name).is_some_and(|name| name.eq_ignore_ascii_case("robots"));
        if !is_robots {
            continue;
        }
        for word in dom
            .attribute(id, Attr::Content)
            .unwrap_or_default()
            .to_ascii_lowercase()
            .split(',')
            .map(str::trim)
        {
            out.is_noindex |= matches!(word, "noindex" | "none");
            out.is_nofollow |= matches!(word, "nofollow" | "none");
        }
    }
    out
}

fn base_of(dom: &Dom, base: &str) -> Option<Url> {
    let own = Url::parse(base).ok()?;
    let tag = (0..dom.len()).find(|id| dom.tag(*id) == Tag::Base && dom.attribute(*id, Attr::Href).is_some());
    let href = tag.and_then(|id| dom.attribute(id, Attr::Href));
    Some(href.and_then(|href| own.join(href.trim()).ok()).unwrap_or(own))
}

/// A link's text, cut: a link may hold half the page.
fn text_of(dom: &Dom, id: u32) -> String {
    let mut out = String::new();
    for node in &dom.nodes[id as usize..dom.node(id).end as usize] {
        if out.len() >= MAX_TEXT {
            break;
        }
        if node.is_text() {
            let text: String = dom.text(node).chars().take(MAX_TEXT).collect();
            out.push_str(&text);
            out.push(' ');
        }
    }
    clean(&out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_absolute_and_come_once() {
        let html = "<base href='/docs/'><a href='a?x=1&amp;y=2#part'>A <b>b</b></a><a href='a?x=1&y=2'>again</a><a href='mailto:a@b.c'>m</a>\
            <a rel='Nofollow noopener' href=//other.org/>o</a><area href='/map'><a>none</a><a href='http://['>bad</a>";
        let found = links(html, "https://example.org/x/y").unwrap();
        let found: Vec<_> =
            found.iter().map(|link| (link.url.as_str(), link.text.as_str(), link.is_nofollow)).collect();
        assert_eq!(
            found,
            [
                ("https://example.org/docs/a?x=1&y=2", "A b", false),
                ("https://other.org/", "o", true),
                ("https://example.org/map", "", false)
            ]
        );
    }

    #[test]
    fn the_meta_tag_counts_for_all() {
        let html = "<meta name=ROBOTS content='NoFollow, max-snippet:2'><a href=/a>a</a>";
        assert!(links(html, "https://example.org/").unwrap()[0].is_nofollow);
        assert_eq!(
            robots("<meta name=robots content=none>").unwrap(),
            Robots { is_noindex: true, is_nofollow: true }
        );
        assert_eq!(robots("<meta name=robots content='index, follow'>").unwrap(), Robots::default());
        assert!(links("<a href=/a>a</a>", "not an address").unwrap().is_empty());
    }
}
