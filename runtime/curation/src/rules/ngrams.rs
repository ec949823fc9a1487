//! Repeated runs of words: Gopher's top n-grams (2 to 4 words) and duplicate n-grams (5 to 10), as datatrove 0.10.1 counts them.
//!
//! A run of n + 1 words can only be there twice if the two runs of n words in it are, so each length looks at what is left of the one
//! before it: of a text that does not repeat itself hardly anything. Runs are named by the numbers of the two runs in them; no two
//! runs share a name, so nothing is counted by a hash that may be wrong.

use super::table::Numbers;
use super::words::DocumentWords;

/// A run that stands in the text more than once, by its first word.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: u32,
    /// Equal runs have equal names.
    name: u32,
}

/// Tables that serve all documents.
#[derive(Debug, Default)]
pub(super) struct Ngrams {
    table: Numbers,
    runs: Vec<Run>,
    next: Vec<Run>,
    counts: Vec<u32>,
    seen: Vec<bool>,
}

/// Characters in repeated runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunChars {
    /// The most frequent run of 2, 3 and 4 words: its characters, blanks between its words included, times how often it is there.
    pub(super) top: [u64; 3],
    /// Runs of 5 to 10 words that stood there before, without blanks; the search goes on behind such a run.
    pub(super) duplicate: [u64; 6],
}

impl Ngrams {
    /// Measures the words of a document.
    pub(super) fn measure(&mut self, words: &DocumentWords) -> RunChars {
        let mut found = RunChars::default();
        let num_words = words.ids.len();
        self.runs.clear();
        self.runs.extend(words.ids.iter().zip(0..).map(|(&name, at)| Run { at, name }));
        self.counts.clear();
        self.counts.resize(words.num_unique(), 0);
        words.ids.iter().for_each(|id| self.counts[*id as usize] += 1);
        self.keep_repeated();
        for n in 2..=10 {
            if num_words < n {
                break;
            }
            self.lengthen();
            if n <= 4 {
                let (times, at) = self.most_frequent();
                let chars = words.chars(at, at + n) + n as u64 - 1;
                found.top[n - 2] = chars * times;
            }
            self.keep_repeated();
            if n >= 5 {
                found.duplicate[n - 5] = self.duplicate_chars(words, n);
            }
        }
        found
    }

    /// Joins runs that follow each other to runs of one word more, and counts them.
    fn lengthen(&mut self) {
        self.table.clear(self.runs.len());
        self.next.clear();
        self.counts.clear();
        for pair in self.runs.windows(2) {
            if pair[1].at == pair[0].at + 1 {
                let key = u64::from(pair[0].name) << 32 | u64::from(pair[1].name);
                let (name, is_new) = self.table.number(key);
                if is_new {
                    self.counts.push(0);
                }
                self.counts[name as usize] += 1;
                self.next.push(Run { at: pair[0].at, name });
            }
        }
        std::mem::swap(&mut self.runs, &mut self.next);
    }

    /// Leaves the runs that are there more than once.
    fn keep_repeated(&mut self) {
        let counts = &self.counts;
        self.runs.retain(|run| counts[run.name as usize] > 1);
    }

    /// How often the most frequent run is there and where it first is; of equally frequent ones the first. Where none is there twice it is
    /// the text's first.
    fn most_frequent(&self) -> (u64, usize) {
        let mut best = (1, 0);
        for run in &self.runs {
            let count = self.counts[run.name as usize];
            if count > best.0 {
                best = (count, run.at);
            }
        }
        (u64::from(best.0), best.1 as usize)
    }

    fn duplicate_chars(&mut self, words: &DocumentWords, n: usize) -> u64 {
        self.seen.clear();
        self.seen.resize(self.counts.len(), false);
        let (mut chars, mut free) = (0, 0);
        for run in &self.runs {
            let at = run.at as usize;
            if at < free {
                continue;
            }
            let seen = &mut self.seen[run.name as usize];
            if *seen {
                chars += words.chars(at, at + n);
                free = at + n;
            }
            *seen = true;
        }
        chars
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::rules::Words;

    fn measured(text: &str) -> RunChars {
        let mut words = DocumentWords::default();
        words.read(text, Words::Unicode, true);
        Ngrams::default().measure(&words)
    }

    /// The definition, word by word.
    fn defined(words: &[&str]) -> RunChars {
        let mut found = RunChars::default();
        for n in 2..=4 {
            let mut counts: HashMap<&[&str], (u64, usize)> = HashMap::new();
            for (at, run) in words.windows(n).enumerate() {
                counts.entry(run).or_insert((0, at)).0 += 1;
            }
            let top = counts.iter().max_by_key(|(_, (count, at))| (*count, std::cmp::Reverse(*at)));
            found.top[n - 2] = top.map_or(0, |(run, (count, _))| run.join(" ").len() as u64 * count);
        }
        for n in 5..=10 {
            let (mut seen, mut at) = (HashSet::new(), 0);
            while at + n <= words.len() {
                let run = &words[at..at + n];
                if seen.insert(run) {
                    at += 1;
                } else {
                    found.duplicate[n - 5] += run.concat().len() as u64;
                    at += n;
                }
            }
        }
        found
    }

    proptest! {
        #[test]
        fn it_counts_as_the_definition_does(words in proptest::collection::vec("a|bb|ccc", 0..60)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            prop_assert_eq!(measured(&words.join(" ")), defined(&words));
        }
    }

    #[test]
    fn repeated_runs_are_measured() {
        assert_eq!(measured("a b a b c").top[0], 6);
        assert_eq!(measured("a b c d e x a b c d e").duplicate[0], 5);
        assert_eq!(measured("one two three").top, [7, 13, 0]);
    }
}
