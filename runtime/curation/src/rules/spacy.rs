//! `words: spacy_like`: the tokens of spaCy 3.8's blank English pipeline, which datatrove 0.10.1 counts for English.
//!
//! A stretch between blanks loses prefixes and suffixes one at a time (punctuation, quotes, units behind a number, full stops behind a
//! small letter) until it is an exception, an address or has no more; what is left is parted at infixes (hyphens between letters,
//! commas between letters, ellipses). Exceptions (`can't`, `a.m.`, emoticons) are in `spacy_exceptions.txt`, the pieces of each
//! parted by a blank. Where it differs: private IPv4 addresses count as addresses, and of two exceptions that overlap after
//! the split (`:):(`) the first is taken.
//!
//! Work: each prefix and suffix costs the length of the longest exception at most, so that a stretch of a million brackets is linear.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::chars::{CLASS, DIGIT, HIGH, LOWER, OTHER, UPPER};
use super::spacy_address::is_address;
use super::spacy_affixes::{ends_in_unit, first_infix, next_infix, prefix, suffix};
use super::table::hash_of;

/// A token's place in its stretch, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte behind it.
    pub(super) end: usize,
}

/// An exception: the lengths of its pieces in bytes.
#[derive(Debug)]
struct Exception {
    pieces: Vec<usize>,
}

/// Exceptions by the hash of their text.
struct Exceptions {
    /// Open addressing: hash and the exception's place plus one; 0 is free. Most looks end at the first place.
    slots: Vec<(u64, usize)>,
    all: Vec<Exception>,
    /// Which hashes may be those of exceptions, a bit each: small enough to stay in the nearest cache, and most words end here.
    sieve: Sieve,
    /// Longest exception, bytes.
    longest: usize,
    /// Those that the rules would split, by the hash of their first token: they are looked for once more among the tokens.
    merged: HashMap<u64, Vec<Vec<usize>>>,
    /// Which hashes may be those of first tokens.
    first_tokens: Sieve,
}

/// A set of hashes that says "not in it" for sure, and "in it" for some that are not.
struct Sieve {
    bits: Vec<u64>,
}

impl Sieve {
    fn of(hashes: impl Iterator<Item = u64>) -> Self {
        let mut sieve = Self { bits: vec![0; SIEVE_WORDS] };
        for hash in hashes {
            sieve.bits[Self::word(hash)] |= 1 << (hash % 64);
        }
        sieve
    }

    fn may_hold(&self, hash: u64) -> bool {
        self.bits[Self::word(hash)] >> (hash % 64) & 1 == 1
    }

    fn word(hash: u64) -> usize {
        (hash >> 6) as usize % SIEVE_WORDS
    }
}

static EXCEPTIONS: LazyLock<Exceptions> = LazyLock::new(|| {
    let mut by_hash = HashMap::new();
    let mut texts: Vec<String> = Vec::new();
    for line in include_str!("spacy_exceptions.txt").lines() {
        for line in [line.to_owned(), line.replace('\'', "\u{2019}")] {
            let text: String = line.split(' ').collect();
            let pieces = line.split(' ').map(str::len).collect();
            if by_hash.insert(hash_of(text.as_bytes()), Exception { pieces }).is_none() {
                texts.push(text);
            }
        }
    }
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    let mut merged: HashMap<u64, Vec<Vec<usize>>> = HashMap::new();
    let mut splitter = Splitter::default();
    for text in &texts {
        let is_split = prefix(text) > 0 || suffix(text) > 0 || first_infix(text).is_some();
        if is_split {
            splitter.tokens.clear();
            splitter.split_by_rules(text, None);
            let lengths: Vec<usize> = splitter.tokens.iter().map(|token| token.end - token.start).collect();
            let first = hash_of(&text.as_bytes()[..lengths.first().copied().unwrap_or(0)]);
            if lengths.len() > 1 {
                merged.entry(first).or_default().push(lengths);
            }
        }
    }
    // The longest first, as spaCy prefers them.
    #[allow(clippy::iter_over_hash_type, reason = "each list is sorted by itself")]
    for patterns in merged.values_mut() {
        patterns.sort_by_key(|lengths| std::cmp::Reverse(lengths.iter().sum::<usize>()));
    }
    let sieve = Sieve::of(texts.iter().map(|text| hash_of(text.as_bytes())));
    let first_tokens = Sieve::of(merged.keys().copied());
    let mut slots = vec![(0, 0); SLOTS];
    let mut all = Vec::new();
    for text in &texts {
        let hash = hash_of(text.as_bytes());
        let Some(exception) = by_hash.remove(&hash) else { continue };
        all.push(exception);
        let mut at = hash as usize % SLOTS;
        while slots[at].1 != 0 {
            at = (at + 1) % SLOTS;
        }
        slots[at] = (hash, all.len());
    }
    Exceptions { slots, all, sieve, longest, merged, first_tokens }
});

/// Places for exceptions, six times as many as there are.
const SLOTS: usize = 8192;
/// Words of 64 bits of a sieve: 8 KiB.
const SIEVE_WORDS: usize = 1024;

impl Exceptions {
    fn of(&self, text: &str) -> Option<&Exception> {
        if text.len() > self.longest { None } else { self.by_hash(hash_of(text.as_bytes())) }
    }

    /// The exceptions to look for among the tokens, whose first token has this hash.
    fn merged_from(&self, hash: u64) -> Option<&Vec<Vec<usize>>> {
        if self.first_tokens.may_hold(hash) { self.merged.get(&hash) } else { None }
    }

    /// The exception with this hash.
    fn by_hash(&self, hash: u64) -> Option<&Exception> {
        if !self.sieve.may_hold(hash) {
            return None;
        }
        let mut at = hash as usize % SLOTS;
        loop {
            match self.slots[at] {
                (_, 0) => return None,
                (known, place) if known == hash => return self.all.get(place - 1),
                _ => at = (at + 1) % SLOTS,
            }
        }
    }
}

/// Whether a stretch of these classes is letters of ASCII and one mark that is a token of its own behind them.
fn is_word_and_mark(chunk: &[u8], classes: u8) -> bool {
    let Some((mark, [.., last])) = chunk.split_last().filter(|_| classes & (DIGIT | HIGH) == 0) else {
        return false;
    };
    let word = &chunk[..chunk.len() - 1];
    (matches!(mark, b',' | b';' | b':' | b'!' | b'?' | b')') || *mark == b'.' && last.is_ascii_lowercase())
        && word.iter().fold(0, |classes, byte| classes | CLASS[usize::from(*byte)]) & OTHER == 0
}

/// Splits stretches between blanks into tokens.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    tokens: Vec<Token>,
    suffixes: Vec<Token>,
}

impl Splitter {
    /// The tokens of a stretch without blanks, whose bytes have these classes.
    pub(super) fn split(&mut self, chunk: &str, classes: u8) -> &[Token] {
        self.tokens.clear();
        let exceptions = &*EXCEPTIONS;
        if let Some(exception) = exceptions.of(chunk) {
            self.push_pieces(0, exception);
        } else if classes & (OTHER | HIGH) == 0
            && (classes & (LOWER | UPPER) == classes || !ends_in_unit(chunk))
        {
            self.tokens.push(Token { start: 0, end: chunk.len() });
        } else {
            if is_word_and_mark(chunk.as_bytes(), classes) {
                self.split_before_mark(chunk, exceptions);
            } else {
                self.split_by_rules(chunk, Some(exceptions));
            }
            if self.tokens.len() > 1 {
                self.merge(chunk, exceptions);
            }
        }
        &self.tokens
    }

    fn push_pieces(&mut self, start: usize, exception: &Exception) {
        let mut at = start;
        for length in &exception.pieces {
            self.tokens.push(Token { start: at, end: at + length });
            at += length;
        }
    }

    /// Splits a word from the mark behind it: what the rules do with most of what they get.
    fn split_before_mark(&mut self, chunk: &str, exceptions: &Exceptions) {
        let (start, end) = (chunk.len() - 1, chunk.len());
        match exceptions.of(&chunk[..start]) {
            Some(exception) => self.push_pieces(0, exception),
            None => self.tokens.push(Token { start: 0, end: start }),
        }
        self.tokens.push(Token { start, end });
    }

    /// Takes prefixes and suffixes off, then parts the rest.
    fn split_by_rules(&mut self, chunk: &str, exceptions: Option<&Exceptions>) {
        let is_exception =
            |from: usize, to: usize| exceptions.is_some_and(|e| e.of(&chunk[from..to]).is_some());
        self.suffixes.clear();
        let (mut start, mut end) = (0, chunk.len());
        while start < end && !is_exception(start, end) {
            let before = prefix(&chunk[start..end]);
            if before > 0 {
                self.tokens.push(Token { start, end: start + before });
                start += before;
                if start < end && is_exception(start, end) {
                    break;
                }
            }
            // The suffix is looked for behind the prefix.
            let behind = suffix(&chunk[start..end]);
            if behind > 0 {
                // An exception before the suffix is one of the whole rest, the prefix included.
                let whole = start - before;
                if before > 0 && is_exception(whole, end - behind) {
                    self.tokens.pop();
                    start = whole;
                    self.suffixes.push(Token { start: end - behind, end });
                    end -= behind;
                    break;
                }
                self.suffixes.push(Token { start: end - behind, end });
                end -= behind;
            }
            if before + behind == 0 {
                break;
            }
        }
        if start < end {
            match exceptions.and_then(|e| e.of(&chunk[start..end])) {
                Some(exception) => self.push_pieces(start, exception),
                None if is_address(&chunk[start..end]) => self.tokens.push(Token { start, end }),
                None => self.part(chunk, start, end),
            }
        }
        while let Some(token) = self.suffixes.pop() {
            self.tokens.push(token);
        }
    }

    /// Parts a stretch at its infixes.
    fn part(&mut self, chunk: &str, start: usize, end: usize) {
        let text = &chunk[..end];
        let (mut from, mut at) = (start, start);
        while let Some((infix, length)) = next_infix(text, start, at) {
            at = infix + length;
            // At the very start it is no infix.
            if infix == start {
                continue;
            }
            if infix > from {
                self.tokens.push(Token { start: from, end: infix });
            }
            self.tokens.push(Token { start: infix, end: infix + length });
            from = infix + length;
        }
        if from < end {
            self.tokens.push(Token { start: from, end });
        }
    }

    /// Puts tokens together that make an exception: `:` and `)` behind a word are one.
    fn merge(&mut self, chunk: &str, exceptions: &Exceptions) {
        let mut read = 0;
        let mut write = 0;
        while read < self.tokens.len() {
            let token = self.tokens[read];
            let first = hash_of(&chunk.as_bytes()[token.start..token.end]);
            let found = exceptions.merged_from(first).and_then(|patterns| {
                patterns.iter().find(|lengths| {
                    let end = token.start + lengths.iter().sum::<usize>();
                    let own = self.tokens[read..].iter().map(|token| token.end - token.start);
                    lengths.iter().copied().eq(own.take(lengths.len()))
                        && chunk
                            .get(token.start..end)
                            .is_some_and(|text| exceptions.of(text).is_some_and(|e| e.pieces.len() == 1))
                })
            });
            let length = found.map_or(1, Vec::len);
            self.tokens[write] = Token { start: token.start, end: self.tokens[read + length - 1].end };
            read += length;
            write += 1;
        }
        self.tokens.truncate(write);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(chunk: &str) -> Vec<&str> {
        let classes = chunk.bytes().fold(0, |classes, byte| classes | CLASS[usize::from(byte)]);
        let mut splitter = Splitter::default();
        splitter.split(chunk, classes).iter().map(|token| &chunk[token.start..token.end]).collect()
    }

    /// Stretches with their tokens parted by `|`, as spaCy 3.8.18 gives them.
    const EXPECTED: &str = r#"
        word end|. can|not do|n't I|'m (|hello|)|! U.S. well|-|known and/or 10|km $|10 50|% a.m. Dr. it|’s
        www.example.com http://a.de/b?c=d|, e.g.|, foo|): ...|and end|... x=1 a|=|b 1|-|2 3.14 2,000
        one|,|two US$|10 John|'s A.B. lower|.|Upper --all we|--|all :) hi|:) C++ f(x snake_case _|emphasis|_
        #|1 5|+ +5 km|/|h 9|am ABC|. Z. '|tis foo@bar.com f(x|) -1 a|/|b do|n’t ‘|hello|’ http://x.y 1|.
        i.e. (|i.e.|, 3rd 10|m I x|'s students|' rock'n'roll state|-|of|-|the|-|art|. 1990s 1990|'s
        10|-|year|-|old =|= =|=|=|=|= ~~~~ a|~|b -|> - -- *|*|*|bold|*|*|* U.S.A. Ph.D. p.m.|)|. 3|pm 3:30pm
        £|5|m v1.2.3 foo.bar|(|) self.x a|,|b|,|c 1,2 Hello|,|World x|...|y e.g Mr.|Smith do|n't|. Gov.|'s
        word|.|) [|1|] {|a|} 100|°|C|. I|/|O TCP|/|IP n't c|/|o "|Yes|,|"
    "#;

    #[test]
    fn chunks_are_split_as_spacy_splits_them() {
        for expected in EXPECTED.split_whitespace() {
            let chunk = expected.replace('|', "");
            let expected: Vec<&str> = expected.split('|').collect();
            assert_eq!(tokens(&chunk), expected, "{chunk}");
        }
    }

    proptest! {
        #[test]
        fn a_word_and_a_mark_are_split_as_the_rules_do(word in "[a-zA-Z]{1,6}|dont|cannot|Mr|pm|US", mark in "[,;:!?).]") {
            let chunk = format!("{word}{mark}");
            let is_exception = EXCEPTIONS.of(&chunk).is_some();
            if !is_exception && is_word_and_mark(chunk.as_bytes(), LOWER | UPPER | OTHER) {
                let mut by_rules = Splitter::default();
                by_rules.split_by_rules(&chunk, Some(&EXCEPTIONS));
                by_rules.merge(&chunk, &EXCEPTIONS);
                let mut splitter = Splitter::default();
                prop_assert_eq!(splitter.split(&chunk, LOWER | OTHER), &by_rules.tokens[..]);
            }
        }
    }

    #[test]
    fn a_million_brackets_take_linear_time() {
        let chunk = "(".repeat(1_000_000) + &")".repeat(1_000_000);
        assert_eq!(tokens(&chunk).len(), 2_000_000);
        let chunk = "a:)".repeat(300_000);
        assert!(tokens(&chunk).len() > 1);
    }
}
