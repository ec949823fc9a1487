//! Lists of words that a text should not have, in the format of LDNOOBW: a word or a phrase a line. Found by one automaton, whatever the
//! case, with a border on both sides; words of scripts without blanks need none.

use aho_corasick::AhoCorasick;

use super::chars::{char_at, char_before};
use super::error::RulesError;

/// A list of words, ready to be searched for.
#[derive(Debug, Clone)]
pub struct WordList {
    automaton: AhoCorasick,
    words: Vec<String>,
}

/// What a text has of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WordHits {
    /// How often words of the list are there.
    pub count: u64,
    /// The first of them, an index into [`WordList::words`].
    pub first: Option<usize>,
}

impl WordList {
    /// Reads a list. Empty lines and lines that start with `#` are skipped, case does not count.
    ///
    /// # Errors
    /// Names the line that is not UTF-8.
    pub fn new(bytes: &[u8]) -> Result<Self, RulesError> {
        let mut words = Vec::new();
        for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let word = std::str::from_utf8(bytes).map_err(|_| RulesError::WordList { line })?.trim();
            if !word.is_empty() && !word.starts_with('#') {
                words.push(word.to_lowercase());
            }
        }
        words.sort_unstable();
        words.dedup();
        let automaton = AhoCorasick::new(&words)
            .map_err(|error| RulesError::WordListSize { message: error.to_string() })?;
        Ok(Self { automaton, words })
    }

    /// Its words in small letters, sorted.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Looks for the words in a text.
    pub fn find(&self, text: &str) -> WordHits {
        let mut hits = WordHits::default();
        if self.words.is_empty() {
            return hits;
        }
        let lower = text.to_lowercase();
        for found in self.automaton.find_overlapping_iter(&lower) {
            let word = &lower[found.start()..found.end()];
            let is_word = has_border(char_before(&lower, found.start()), char_at(word, 0))
                && has_border(char_at(&lower, found.end()), char_before(word, word.len()));
            if is_word {
                hits.count += 1;
                hits.first.get_or_insert(found.pattern().as_usize());
            }
        }
        hits
    }
}

/// Whether a character outside a word parts it from the character at the word's end.
fn has_border(outside: char, inside: char) -> bool {
    let is_joined =
        (outside.is_alphanumeric() || outside == '_') && (inside.is_alphanumeric() || inside == '_');
    !is_joined || is_without_blanks(inside)
}

/// Whether a character is of a script that puts no blanks between words: Thai, Lao, Burmese, Khmer, Kana, Han.
fn is_without_blanks(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Drops a text for the words that it has: one hard word is enough, soft words must be several.
#[derive(Debug, Clone)]
pub struct WordFilter {
    hard: Option<WordList>,
    soft: Option<WordList>,
    min_soft: u64,
}

/// Why a text goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordDrop {
    /// `hard_words` or `soft_words`.
    pub list: &'static str,
    /// The first word that was found.
    pub word: String,
    /// How many were found.
    pub count: u64,
}

impl WordFilter {
    /// A filter by two lists; a text with `min_soft` words of the second goes too.
    pub fn new(hard: Option<WordList>, soft: Option<WordList>, min_soft: u64) -> Self {
        Self { hard, soft, min_soft }
    }

    /// Whether a text goes.
    pub fn judge(&self, text: &str) -> Option<WordDrop> {
        let hard = self.hard.as_ref().and_then(|list| found("hard_words", list, text, 1));
        hard.or_else(|| {
            self.soft.as_ref().and_then(|list| found("soft_words", list, text, self.min_soft.max(1)))
        })
    }
}

fn found(name: &'static str, list: &WordList, text: &str, least: u64) -> Option<WordDrop> {
    let hits = list.find(text);
    let word = hits.first.filter(|_| hits.count >= least).and_then(|first| list.words.get(first));
    word.map(|word| WordDrop { list: name, word: word.clone(), count: hits.count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_borders_and_in_any_case() {
        let list = WordList::new("Ass\n\nbad word\n性\nÄrger\n# a comment\n".as_bytes()).unwrap();
        let count = |text: &str| list.find(text).count;
        assert_eq!((count("An ASS."), count("class"), count("assets")), (1, 0, 0));
        assert_eq!((count("a Bad Word!"), count("bad words"), count("女性的")), (1, 0, 1));
        assert_eq!((count("ÄRGER"), count("a comment")), (1, 0));
        assert_eq!(list.words()[list.find("no bad word").first.unwrap()], "bad word");
        assert_eq!(WordList::new(b"ok\n\xff").unwrap_err(), RulesError::WordList { line: 2 });
    }

    #[test]
    fn one_hard_word_or_several_soft_ones_drop() {
        let list = |text: &str| Some(WordList::new(text.as_bytes()).unwrap());
        let filter = WordFilter::new(list("foul"), list("mild\nmeek"), 2);
        assert_eq!(filter.judge("a foul text").unwrap().list, "hard_words");
        assert_eq!(filter.judge("mild and meek").unwrap().count, 2);
        assert_eq!(filter.judge("mild"), None);
    }
}
