//! robots.txt (RFC 9309), with `Crawl-delay` and `Sitemap`, which it leaves to others.

use super::canonical::{HEX, escapes};

/// Bytes of a robots.txt that are looked at: what the RFC asks for at least.
pub(super) const MAX_ROBOTS_BYTES: usize = 500 << 10;
/// Rules that are kept.
const MAX_RULES: usize = 10_000;
/// Bytes of a rule's path.
const MAX_RULE_BYTES: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    allow: bool,
    path: String,
}

/// What a host asks of this crawler.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Robots {
    rules: Vec<Rule>,
    /// Seconds between two requests.
    pub(super) delay_secs: Option<f64>,
    /// Sitemaps that it names.
    pub(super) sitemaps: Vec<String>,
}

impl Robots {
    /// Parses a file for a crawler with this product token. Lines that are none are passed over, as the RFC asks.
    pub(super) fn parse(bytes: &[u8], product: &str) -> Self {
        let bytes = bytes.get(..MAX_ROBOTS_BYTES).unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}');
        let (mut own, mut others, mut sitemaps) = (Group::default(), Group::default(), Vec::new());
        // Which groups the lines belong to, and whether the last line named an agent.
        let (mut for_own, mut for_others, mut in_agents) = (false, false, false);
        for line in text.split(['\n', '\r']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            if key == "user-agent" {
                if !in_agents {
                    (for_own, for_others) = (false, false);
                }
                in_agents = true;
                for_others |= value == "*";
                let named = value.split(['/', ' ']).next().unwrap_or(value);
                if named.eq_ignore_ascii_case(product) {
                    for_own = true;
                    own.named = true;
                }
                continue;
            }
            if key == "sitemap" {
                if sitemaps.len() < MAX_RULES {
                    sitemaps.push(value.to_owned());
                }
                continue;
            }
            in_agents &= !matches!(key.as_str(), "allow" | "disallow" | "crawl-delay");
            if for_own {
                own.line(&key, value);
            }
            if for_others {
                others.line(&key, value);
            }
        }
        let group = if own.named { own } else { others };
        Self { rules: group.rules, delay_secs: group.delay_secs, sitemaps }
    }

    /// Whether a path with its query may be asked for: the longest rule decides, and of two as long the one that allows.
    pub(super) fn allows(&self, path: &str) -> bool {
        if path == "/robots.txt" {
            return true;
        }
        let path = normal(path);
        let matching = self.rules.iter().filter(|rule| matches(&rule.path, &path));
        matching.max_by_key(|rule| (rule.path.len(), rule.allow)).is_none_or(|rule| rule.allow)
    }
}

#[derive(Default)]
struct Group {
    named: bool,
    rules: Vec<Rule>,
    delay_secs: Option<f64>,
}

impl Group {
    fn line(&mut self, key: &str, value: &str) {
        match key {
            // An empty rule forbids nothing.
            "allow" | "disallow"
                if !value.is_empty() && self.rules.len() < MAX_RULES && value.len() <= MAX_RULE_BYTES =>
            {
                self.rules.push(Rule { allow: key == "allow", path: pattern(value) });
            }
            "crawl-delay" => {
                let delay = value.parse::<f64>().ok().filter(|delay| delay.is_finite() && *delay >= 0.0);
                self.delay_secs = self.delay_secs.or(delay);
            }
            _ => {}
        }
    }
}

/// A rule's path in the form in which paths are compared; `*` stays, and `$` at the end.
fn pattern(value: &str) -> String {
    let (path, end) = value.strip_suffix('$').map_or((value, ""), |path| (path, "$"));
    path.split('*').map(normal).collect::<Vec<_>>().join("*") + end
}

/// A path in the form in which paths are compared (RFC 9309, section 2.2.2): escapes of unreserved characters are undone, others are in
/// upper case. Escaped is all that is no ASCII, that addresses escape in some of their parts, and that says something in rules.
fn normal(path: &str) -> String {
    let mut clean = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"'<>\\^`{|}*$".contains(&byte) {
            clean.push(char::from(byte));
        } else {
            clean.push('%');
            clean.push(HEX[usize::from(byte >> 4)]);
            clean.push(HEX[usize::from(byte & 15)]);
        }
    }
    escapes(&clean)
}

/// Whether a rule matches the begin of a path; `*` is any run of characters, `$` at the end is the path's end.
///
/// Each piece between stars is taken at its first place, which is right for prefixes; the piece before `$` at the last.
fn matches(rule: &str, path: &str) -> bool {
    let (rule, to_end) = rule.strip_suffix('$').map_or((rule, false), |rule| (rule, true));
    let mut pieces = rule.split('*');
    let Some(mut rest) = path.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return !to_end || rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if to_end && pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::canonical::{Canonical, canonical};
    use super::*;

    #[test]
    fn the_longest_rule_of_the_own_group_decides() {
        let text = "\u{feff}User-agent: other\nDisallow: /\n\nuser-agent: Cupola/2\nUser-Agent: x # y\nDisallow: /a\nAllow: /a/b\nDisallow: /*.pdf$\n\
                    Crawl-delay: 2.5\nSitemap: http://h/s.xml\n\nUser-agent: *\nDisallow: /c\nUser-agent: cupola\nDisallow: /d";
        let robots = Robots::parse(text.as_bytes(), "cupola");
        assert_eq!((robots.delay_secs, robots.sitemaps.len()), (Some(2.5), 1));
        for (path, allowed) in [
            ("/", true),
            ("/a", false),
            ("/a/b", true),
            ("/x.pdf", false),
            ("/x.pdf?q", true),
            ("/c", true),
            ("/d/e", false),
            ("/robots.txt", true),
        ] {
            assert_eq!(robots.allows(path), allowed, "{path}");
        }
        let robots = Robots::parse(text.as_bytes(), "somebody");
        assert!(!robots.allows("/c/x") && robots.allows("/a"));
    }

    #[test]
    fn stars_and_ends_match_as_the_rfc_says() {
        assert!(matches("/a*b*c", "/axbyc/more") && !matches("/a*b*c", "/axb"));
        assert!(matches("/a*.gif$", "/a.gif.gif") && !matches("/a*.gif$", "/a.gifx"));
        assert!(
            matches("/a$", "/a") && !matches("/a$", "/ab") && matches("*", "/x") && matches("/*/", "/x/y")
        );
        assert!(!Robots::parse("user-agent: *\ndisallow: /ö%aa".as_bytes(), "x").allows("/%C3%B6%AA"));
    }

    #[test]
    fn rules_and_addresses_are_escaped_alike() {
        let allows = |rule: &str, link: &str| {
            let robots = Robots::parse(format!("user-agent: *\ndisallow: {rule}").as_bytes(), "x");
            let url = url::Url::parse(&format!("http://h{link}")).unwrap();
            let url = canonical(url.as_str(), None, Canonical::default()).unwrap();
            assert_eq!(
                robots.allows(&url[url::Position::BeforePath..]),
                robots.allows(link),
                "{rule} {link}"
            );
            robots.allows(link)
        };
        for joe in ["/%7Ejoe/", "/%7ejoe/", "/~joe/"] {
            for rule in ["/%7Ejoe/", "/%7ejoe/", "/~joe/", "/*%7Ejoe/$", "/%7*joe"] {
                assert_eq!(allows(rule, joe), rule == "/%7*joe", "{rule} {joe}");
            }
        }
        for (rule, link) in [
            ("/ツ", "/%e3%83%84"),
            ("/%E3%83%84", "/ツ"),
            ("/a%2fb%3C", "/a%2Fb<"),
            ("/a?q={x}'", "/a?q=%7bx}%27"),
            ("/a{x}", "/a{x}"),
            ("/100%", "/100%25"),
            ("/file-%2A.html", "/file-*.html"),
            ("/a%24$", "/a$"),
            ("/a$b", "/a$b"),
        ] {
            assert!(!allows(rule, link), "{rule} {link}");
        }
        assert!(allows("/a%2Fb", "/a/b") && allows("/a%2A", "/ab") && allows("/a%24", "/a"));
    }
}
