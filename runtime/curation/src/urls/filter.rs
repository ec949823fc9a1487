//! The lists, and what they say of an address.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;

use super::address::{host, is_domain, key, parse, readable};
use super::error::UrlError;
use super::hashes::Hashes;
use super::lines::{Skipped, for_each};

/// Lines that are no entry, kept by name.
const MAX_SKIPPED: usize = 100;

/// A list as it was read.
#[derive(Debug, Clone, Copy)]
pub struct List<'l> {
    /// Its name, for reasons.
    pub name: &'l str,
    /// Its content, gzip or plain.
    pub bytes: &'l [u8],
}

/// All lists of a filter.
#[derive(Debug, Clone, Copy, Default)]
pub struct UrlLists<'l> {
    /// Domains; hosts files (`0.0.0.0 domain`) are read too.
    pub domains: &'l [List<'l>],
    /// Addresses.
    pub urls: &'l [List<'l>],
    /// Words of which one blocks.
    pub hard_words: &'l [List<'l>],
    /// Words of which several block.
    pub soft_words: &'l [List<'l>],
    /// Parts of words.
    pub substrings: &'l [List<'l>],
    /// Different soft words that block; 0 stands for the published 2.
    pub min_soft_words: u64,
}

/// The rule that blocks an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UrlRule {
    /// The host or a domain above it.
    Domain,
    /// The address.
    Url,
    /// A hard word.
    HardWord,
    /// Several soft words.
    SoftWords,
    /// A part of a word.
    Substring,
}

impl UrlRule {
    /// All of them, in the order that they are tried.
    pub const ALL: [Self; 5] = [Self::Domain, Self::Url, Self::HardWord, Self::SoftWords, Self::Substring];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Domain => "urls.domain",
            Self::Url => "urls.url",
            Self::HardWord => "urls.hard_word",
            Self::SoftWords => "urls.soft_words",
            Self::Substring => "urls.substring",
        }
    }
}

/// Why an address is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlDrop {
    /// The rule.
    pub rule: UrlRule,
    /// The list that has the entry.
    pub list: String,
    /// The entry; of soft words all that were found.
    pub entry: String,
}

/// A filter on addresses.
#[derive(Debug, Clone)]
pub struct UrlFilter {
    domains: Vec<(String, Hashes)>,
    urls: Vec<(String, Hashes)>,
    /// Words and the list that has them.
    hard: BTreeMap<String, String>,
    soft: BTreeMap<String, String>,
    min_soft: usize,
    substrings: AhoCorasick,
    /// Substrings and the list that has them.
    parts: Vec<(String, String)>,
    skipped: Vec<Skipped>,
    num_skipped: u64,
}

impl UrlFilter {
    /// Reads the lists.
    ///
    /// # Errors
    /// A list can't be unpacked, or is longer than any list.
    pub fn new(lists: &UrlLists<'_>) -> Result<Self, UrlError> {
        let mut skipped = Skips::default();
        let domains = hashed(lists.domains, &mut skipped, domain)?;
        let urls = hashed(lists.urls, &mut skipped, |entry| key(&parse(entry)?))?;
        let hard = words(lists.hard_words, &mut skipped)?;
        let soft = words(lists.soft_words, &mut skipped)?;
        let parts: Vec<(String, String)> = words(lists.substrings, &mut skipped)?.into_iter().collect();
        let substrings = AhoCorasick::new(parts.iter().map(|(part, _)| part))
            .map_err(|error| UrlError::Substrings { message: error.to_string() })?;
        let min_soft = if lists.min_soft_words == 0 { 2 } else { lists.min_soft_words as usize };
        let (skipped, num_skipped) = (skipped.first, skipped.count);
        Ok(Self { domains, urls, hard, soft, min_soft, substrings, parts, skipped, num_skipped })
    }

    /// Whether an address is blocked. What is no address at all is judged by its words alone.
    pub fn judge(&self, url: &str) -> Option<UrlDrop> {
        let drop =
            |rule, list: &str, entry: &str| Some(UrlDrop { rule, list: list.into(), entry: entry.into() });
        if let Some(parsed) = parse(url) {
            if let Some((list, entry)) = host(&parsed).and_then(|host| self.domain(&host, is_domain(&parsed)))
            {
                return drop(UrlRule::Domain, list, &entry);
            }
            let entry = key(&parsed)?;
            if let Some((list, _)) = self.urls.iter().find(|(_, urls)| urls.has(&entry)) {
                return drop(UrlRule::Url, list, &entry);
            }
        }
        if self.hard.is_empty() && self.soft.is_empty() && self.parts.is_empty() {
            return None;
        }
        let text = readable(url);
        let words: BTreeSet<&str> =
            text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        if let Some((word, list)) = words.iter().find_map(|word| self.hard.get_key_value(*word)) {
            return drop(UrlRule::HardWord, list, word);
        }
        let soft: Vec<(&String, &String)> =
            words.iter().filter_map(|word| self.soft.get_key_value(*word)).collect();
        if let Some((_, list)) = soft.first().filter(|_| soft.len() >= self.min_soft) {
            let entry: Vec<&str> = soft.iter().map(|(word, _)| word.as_str()).collect();
            return drop(UrlRule::SoftWords, list, &entry.join(" "));
        }
        let joined: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        let found = self.substrings.find(&joined)?;
        let (part, list) = self.parts.get(found.pattern().as_usize())?;
        drop(UrlRule::Substring, list, part)
    }

    /// Entries of all lists.
    pub fn num_entries(&self) -> usize {
        let hashed: usize = self.domains.iter().chain(&self.urls).map(|(_, hashes)| hashes.len()).sum();
        hashed + self.hard.len() + self.soft.len() + self.parts.len()
    }

    /// Lines that are no entry: the first of them, and how many there are.
    pub fn skipped(&self) -> (&[Skipped], u64) {
        (&self.skipped, self.num_skipped)
    }

    /// The list that has a host or a domain above it, and that domain. A public suffix of one label blocks nothing below it: a stray
    /// `com` in a list is a mistake.
    fn domain(&self, host: &str, is_name: bool) -> Option<(&str, String)> {
        let mut at = host;
        loop {
            if let Some((list, _)) = self.domains.iter().find(|(_, domains)| domains.has(at)) {
                return Some((list, at.to_owned()));
            }
            at = at.split_once('.').filter(|(_, above)| is_name && above.contains('.'))?.1;
        }
    }
}

/// Lines that are no entry.
#[derive(Default)]
struct Skips {
    first: Vec<Skipped>,
    count: u64,
}

impl Skips {
    fn add(&mut self, list: &str, line: u64, text: &str) {
        self.count += 1;
        if self.first.len() < MAX_SKIPPED {
            self.first.push(Skipped { list: list.into(), line, text: text.chars().take(80).collect() });
        }
    }
}

/// Lists as hashes of their entries in one form.
fn hashed(
    lists: &[List<'_>],
    skips: &mut Skips,
    form: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, Hashes)>, UrlError> {
    let mut all = Vec::new();
    for list in lists {
        let mut hashes = Hashes::default();
        for_each(list.name, list.bytes, |line, entry| match form(entry) {
            Some(entry) => hashes.add(&entry),
            None => skips.add(list.name, line, entry),
        })?;
        hashes.finish();
        all.push((list.name.to_owned(), hashes));
    }
    Ok(all)
}

/// An entry of a list of domains: a domain, a line of a hosts file, `*.domain`, or an address whose host is meant.
fn domain(entry: &str) -> Option<String> {
    let mut fields = entry.split_whitespace();
    let first = fields.next()?;
    let name = match (fields.next(), fields.next()) {
        (None, _) => first,
        (Some(name), None) if first.parse::<std::net::IpAddr>().is_ok() => name,
        _ => return None,
    };
    let name = name.trim_start_matches("*.").trim_start_matches('.');
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_'));
    if is_plain && !name.is_empty() && name.contains(|c: char| c.is_ascii_lowercase()) {
        return Some(name.trim_end_matches('.').to_owned());
    }
    super::address::host_of(name)
}

/// Words of lists in small letters, each with the first list that has it. What holds other characters than letters and digits loses them.
fn words(lists: &[List<'_>], skips: &mut Skips) -> Result<BTreeMap<String, String>, UrlError> {
    let mut words = BTreeMap::new();
    for list in lists {
        for_each(list.name, list.bytes, |line, entry| {
            let word: String =
                entry.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
            if word.is_empty() {
                skips.add(list.name, line, entry);
            } else {
                words.entry(word).or_insert_with(|| list.name.to_owned());
            }
        })?;
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn filter() -> UrlFilter {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"# gambling\nbad.com\n*.Worse.co.uk # all of it\n0.0.0.0 hosts.net\nB\xc3\xbccher.de\n10.1.2.3\ncom\n").unwrap();
        let bytes = gzip.finish().unwrap();
        UrlFilter::new(&UrlLists {
            domains: &[List { name: "domains", bytes: &bytes }],
            urls: &[List { name: "urls", bytes: b"https://ok.org/bad/page/\nnot a url at all: [\n" }],
            hard_words: &[List { name: "hard", bytes: "porn\nпорно\n".as_bytes() }],
            soft_words: &[List { name: "soft", bytes: b"bet\nwin\nfree\n" }],
            substrings: &[List { name: "parts", bytes: b"c-asino\n---\n" }],
            min_soft_words: 0,
        })
        .unwrap()
    }

    #[test]
    fn each_rule_blocks_what_it_names() {
        let filter = filter();
        for (url, expected) in [
            ("http://bad.com/", Some((UrlRule::Domain, "domains", "bad.com"))),
            ("https://A.b.BAD.com:8080/x", Some((UrlRule::Domain, "domains", "bad.com"))),
            ("http://notbad.com/", None),
            ("http://shop.worse.co.uk", Some((UrlRule::Domain, "domains", "worse.co.uk"))),
            ("http://hosts.net.", Some((UrlRule::Domain, "domains", "hosts.net"))),
            ("http://xn--bcher-kva.de/", Some((UrlRule::Domain, "domains", "xn--bcher-kva.de"))),
            ("http://10.1.2.3/", Some((UrlRule::Domain, "domains", "10.1.2.3"))),
            ("http://anything.com/", None),
            ("http://ok.org/bad/page#x", Some((UrlRule::Url, "urls", "ok.org/bad/page"))),
            ("http://ok.org/bad/page2", None),
            ("http://ok.org/PORN-x", Some((UrlRule::HardWord, "hard", "porn"))),
            ("http://ok.org/%D0%BF%D0%BE%D1%80%D0%BD%D0%BE", Some((UrlRule::HardWord, "hard", "порно"))),
            ("http://ok.org/pornography", None),
            ("http://win.org/bet?x", Some((UrlRule::SoftWords, "soft", "bet win"))),
            ("http://win.org/win", None),
            ("http://my-ca.si-no.org/", Some((UrlRule::Substring, "parts", "casino"))),
            ("", None),
        ] {
            let found = filter.judge(url);
            let found = found.as_ref().map(|drop| (drop.rule, drop.list.as_str(), drop.entry.as_str()));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_entry_is_told() {
        let filter = filter();
        let (skipped, count) = filter.skipped();
        let lines: Vec<(&str, u64)> = skipped.iter().map(|line| (line.list.as_str(), line.line)).collect();
        assert_eq!((count, lines), (2, vec![("urls", 2), ("parts", 2)]));
        assert_eq!(filter.num_entries(), 6 + 1 + 2 + 3 + 1);
        let broken =
            UrlLists { domains: &[List { name: "x", bytes: &[0x1f, 0x8b, 1, 2] }], ..UrlLists::default() };
        assert!(matches!(UrlFilter::new(&broken), Err(UrlError::Gzip { .. })));
    }

    #[test]
    fn hostile_addresses_are_judged() {
        let filter = filter();
        for url in [
            "http://".to_owned() + &"a.".repeat(100_000),
            "%".repeat(50_000),
            "é".repeat(50_000),
            "http://[".into(),
        ] {
            assert_eq!(filter.judge(&url), None);
        }
    }

    #[test]
    fn a_shared_list_blocks_its_domains() {
        let Some(root) = std::env::var_os("CUPOLA_SHARED") else {
            eprintln!("skipped: CUPOLA_SHARED is not set");
            return;
        };
        let path = std::path::Path::new(&root).join("data/labels/blocklist-gambling-domains.txt.gz");
        let bytes = std::fs::read(path).unwrap();
        let filter = UrlFilter::new(&UrlLists {
            domains: &[List { name: "gambling", bytes: &bytes }],
            ..UrlLists::default()
        })
        .unwrap();
        let mut count = 0;
        super::super::lines::for_each("gambling", &bytes, |_, entry| {
            count += 1;
            assert!(filter.judge(&format!("https://{entry}/page")).is_some(), "{entry}");
            let is_name = entry.parse::<std::net::IpAddr>().is_err();
            assert_eq!(filter.judge(&format!("http://www.{entry}:81")).is_some(), is_name, "{entry}");
        })
        .unwrap();
        assert!(count > 1000);
        assert_eq!(filter.judge("https://en.wikipedia.org/wiki/Gambling"), None);
        assert_eq!(filter.skipped().1, 0);
    }
}
