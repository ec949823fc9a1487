//! Headers and footers that extraction left: lines that many pages of a host have.
//!
//! Which lines those are is found on a sample of each host's pages: those whose keys hash lowest (a bottom-k sample: Cohen and Kaplan, "Summarizing Data using
//! Bottom-k Sketches", PODC 2007). So memory is bounded, the outcome does not depend on the order of the pages, and parts that were counted apart can
//! be put together.

use std::collections::{BTreeMap, HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64;

/// How much is remembered and what counts as repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiteOptions {
    /// Pages sampled of each host.
    pub sample_pages: usize,
    /// Hosts that are counted; of more, those whose names hash lowest. The others keep their lines.
    pub max_hosts: usize,
    /// Lines remembered of a page: its first and its last, half of them each.
    pub max_lines: usize,
    /// A line is repeated if at least this many sampled pages have it...
    pub min_pages: usize,
    /// ...and at least this share of them.
    pub min_share: f64,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self { sample_pages: 64, max_hosts: 100_000, max_lines: 64, min_pages: 4, min_share: 0.3 }
    }
}

/// Counts lines of pages by host.
#[derive(Debug, Clone, Default)]
pub struct SiteBlocks {
    options: SiteOptions,
    /// Hosts by the hash of their names, with the lines of their sampled pages by the hash of the page's key.
    hosts: BTreeMap<u64, BTreeMap<u64, Vec<u64>>>,
}

/// The repeated lines of each host.
#[derive(Debug, Clone, Default)]
pub struct RepeatedLines {
    hosts: HashMap<u64, HashSet<u64>>,
}

/// The hash of a line, without its marks and white space; none for a line without a letter or a digit.
fn line_hash(line: &str) -> Option<u64> {
    let line = line.trim_matches(|letter: char| !letter.is_alphanumeric());
    (!line.is_empty()).then(|| xxh3_64(line.as_bytes()))
}

/// The lines of a text that may go, and whether each stands in code.
fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut in_code = false;
    text.split('\n').map(move |line| {
        let is_fence = line.trim_start_matches(['>', ' ']).starts_with("```");
        in_code ^= is_fence;
        (line, in_code || is_fence)
    })
}

impl SiteBlocks {
    /// Counts nothing yet.
    pub fn new(options: SiteOptions) -> Self {
        Self { options, hosts: BTreeMap::new() }
    }

    /// Counts a page's extracted text. `key` names the page (its address): the same key counts once.
    pub fn add(&mut self, host: &str, key: &str, text: &str) {
        let mut hashes: Vec<u64> =
            lines(text).filter(|(_, in_code)| !in_code).filter_map(|(line, _)| line_hash(line)).collect();
        let half = self.options.max_lines / 2;
        if hashes.len() > self.options.max_lines {
            hashes.drain(half..hashes.len() - half);
        }
        hashes.sort_unstable();
        hashes.dedup();
        self.put(xxh3_64(host.as_bytes()), xxh3_64(key.as_bytes()), hashes);
    }

    fn put(&mut self, host: u64, key: u64, hashes: Vec<u64>) {
        if self.hosts.len() >= self.options.max_hosts
            && !self.hosts.contains_key(&host)
            && self.hosts.last_key_value().is_some_and(|last| *last.0 < host)
        {
            return;
        }
        let pages = self.hosts.entry(host).or_default();
        match pages.entry(key) {
            // Two texts under one key: the lesser, so that their order does not matter.
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                if hashes < *entry.get() {
                    entry.insert(hashes);
                }
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(hashes);
            }
        }
        while pages.len() > self.options.sample_pages {
            pages.pop_last();
        }
        while self.hosts.len() > self.options.max_hosts {
            self.hosts.pop_last();
        }
    }

    /// Adds what was counted elsewhere, under the same options.
    pub fn merge(&mut self, other: Self) {
        for (host, pages) in other.hosts {
            for (key, hashes) in pages {
                self.put(host, key, hashes);
            }
        }
    }

    /// The lines that are repeated.
    pub fn repeated(&self) -> RepeatedLines {
        let mut out = RepeatedLines::default();
        for (host, pages) in &self.hosts {
            let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
            for hash in pages.values().flatten() {
                *counts.entry(*hash).or_default() += 1;
            }
            let enough = |count: usize| {
                count >= self.options.min_pages.max(2)
                    && count as f64 >= self.options.min_share * pages.len() as f64
            };
            let repeated: HashSet<u64> =
                counts.into_iter().filter(|(_, count)| enough(*count)).map(|(hash, _)| hash).collect();
            if !repeated.is_empty() {
                out.hosts.insert(*host, repeated);
            }
        }
        out
    }
}

impl RepeatedLines {
    /// How many lines are repeated.
    pub fn len(&self) -> usize {
        self.hosts.values().map(HashSet::len).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// A page's text without the repeated lines of its host, and how many lines went.
    pub fn strip(&self, host: &str, text: &str) -> (String, usize) {
        let Some(repeated) = self.hosts.get(&xxh3_64(host.as_bytes())) else { return (text.to_owned(), 0) };
        let mut out = String::with_capacity(text.len());
        let mut stripped = 0;
        let mut was_blank = true;
        for (line, in_code) in lines(text) {
            if !in_code && line_hash(line).is_some_and(|hash| repeated.contains(&hash)) {
                stripped += 1;
                continue;
            }
            let is_blank = line.is_empty() && !in_code;
            if is_blank && was_blank {
                continue;
            }
            was_blank = is_blank;
            out.push_str(line);
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        (out, stripped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: usize) -> String {
        format!(
            "# Title {number}\n\nFollow us today\n\nText of page {number}.\n\n```\nshared code\n```\n\n© Example"
        )
    }

    fn counted(order: impl Iterator<Item = usize>, options: SiteOptions) -> SiteBlocks {
        let mut blocks = SiteBlocks::new(options);
        order.for_each(|number| blocks.add("example.org", &format!("/{number}"), &page(number)));
        blocks
    }

    #[test]
    fn lines_of_many_pages_go_and_code_stays() {
        let repeated = counted(0..10, SiteOptions::default()).repeated();
        assert_eq!(repeated.len(), 2);
        let (text, stripped) = repeated.strip("example.org", &page(3));
        assert_eq!((text.as_str(), stripped), ("# Title 3\n\nText of page 3.\n\n```\nshared code\n```", 2));
        assert_eq!(repeated.strip("other.org", &page(3)), (page(3), 0));
    }

    #[test]
    fn few_pages_have_no_repeated_lines() {
        assert!(counted(0..3, SiteOptions::default()).repeated().is_empty());
        assert!(counted(std::iter::repeat_n(1, 50), SiteOptions::default()).repeated().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_order_does_not_matter() {
        let options = SiteOptions { sample_pages: 16, max_hosts: 3, ..SiteOptions::default() };
        let forwards = counted(0..500, options);
        let mut apart = counted((0..500).rev().filter(|number| number % 2 == 0), options);
        apart.merge(counted((0..500).filter(|number| number % 2 == 1), options));
        assert_eq!(forwards.hosts, apart.hosts);
        assert_eq!(forwards.hosts.values().next().unwrap().len(), 16);
        let mut many = SiteBlocks::new(options);
        (0..50).for_each(|number| many.add(&format!("host{number}"), "/", "line"));
        let mut backwards = SiteBlocks::new(options);
        (0..50).rev().for_each(|number| backwards.add(&format!("host{number}"), "/", "line"));
        assert_eq!((many.hosts.len(), &many.hosts), (3, &backwards.hosts));
    }
}
