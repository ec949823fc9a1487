//! Text to pieces. No token crosses a piece's end.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of blanks leaves its last one to the word that follows. A look-ahead
//! needs a backtracking engine, ten times slower than an automaton; so that ending is carried out by hand after an automaton
//! matched the rest, and only other look-arounds fall back to backtracking.

use cupola_specs::job::Digits;

use super::TokenizerError;

/// The ending that is carried out by hand.
const BLANKS: &str = r"|\s+(?!\S)|\s+";
/// Runs of digits in the published patterns.
const DIGIT_RUN: &str = r"\p{N}{1,3}";

/// The regexes of a tokenizer, in the order that they split; each splits every piece of the one before it.
#[derive(Debug, Clone)]
pub(super) struct Pretokenizer {
    splitters: Vec<Splitter>,
}

#[derive(Debug, Clone)]
enum Splitter {
    /// No look-around at all.
    Plain(regex::Regex),
    /// A pattern that ends in [`BLANKS`]: the whole with `|\s+` for an ending, and what stands before it, anchored.
    Blanks { whole: regex::Regex, front: regex::Regex },
    /// Any other pattern.
    Backtracking(fancy_regex::Regex),
}

/// The regexes that a pattern and a digit limit mean. The published patterns hold a digit run, whose length is set; for other
/// patterns digits are split off first.
pub(super) fn patterns_of(pattern: &str, digits: Digits) -> Vec<String> {
    let run = match digits {
        Digits::Single => r"\p{N}",
        Digits::UpTo2 => r"\p{N}{1,2}",
        Digits::UpTo3 => DIGIT_RUN,
    };
    if pattern.contains(DIGIT_RUN) {
        vec![pattern.replace(DIGIT_RUN, run)]
    } else {
        vec![run.to_owned(), pattern.to_owned()]
    }
}

impl Pretokenizer {
    /// Compiles regexes in Oniguruma's syntax, as far as Rust's engines share it.
    pub(super) fn new(patterns: &[String]) -> Result<Self, TokenizerError> {
        let splitters = patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { splitters })
    }

    /// Calls `each` with every piece in order; their concatenation is the text.
    pub(super) fn pieces<'t>(&self, text: &'t str, each: &mut dyn FnMut(&'t str)) {
        split(&self.splitters, text, each);
    }
}

fn compile(pattern: &str) -> Result<Splitter, TokenizerError> {
    if let Some(front) = pattern.strip_suffix(BLANKS) {
        let whole = regex::Regex::new(&format!(r"{front}|\s+"));
        let front = regex::Regex::new(&format!("^(?:{front})"));
        if let (Ok(whole), Ok(front)) = (whole, front) {
            return Ok(Splitter::Blanks { whole, front });
        }
    }
    if let Ok(plain) = regex::Regex::new(pattern) {
        return Ok(Splitter::Plain(plain));
    }
    fancy_regex::Regex::new(pattern)
        .map(Splitter::Backtracking)
        .map_err(|error| TokenizerError::Pattern { pattern: pattern.to_owned(), message: error.to_string() })
}

fn split<'t>(splitters: &[Splitter], text: &'t str, each: &mut dyn FnMut(&'t str)) {
    let Some((first, rest)) = splitters.split_first() else {
        if !text.is_empty() {
            each(text);
        }
        return;
    };
    let mut done = 0;
    let mut from = 0;
    while from < text.len() {
        let Some((start, end)) = first.find(text, from) else { break };
        if end == start {
            // An empty match splits nothing off; the search goes on behind the next character.
            from = end + text[end..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        split(rest, &text[done..start], each);
        split(rest, &text[start..end], each);
        done = end;
        from = end;
    }
    split(rest, &text[done..], each);
}

impl Splitter {
    fn find(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        match self {
            Self::Plain(regex) => regex.find_at(text, from).map(|found| (found.start(), found.end())),
            Self::Blanks { whole, front } => {
                let found = whole.find_at(text, from)?;
                Some((found.start(), without_last_blank(text, found.start(), found.end(), front)))
            }
            // The engine's only run-time error is its backtracking limit: the rest of the text is then one piece.
            Self::Backtracking(regex) => {
                regex.find_from_pos(text, from).ok().flatten().map(|found| (found.start(), found.end()))
            }
        }
    }
}

/// The end of a match once `\s+(?!\S)` had its say: a run of two or more blanks before a word leaves its last one.
fn without_last_blank(text: &str, start: usize, end: usize, front: &regex::Regex) -> usize {
    let matched = &text[start..end];
    let Some(last) = matched.chars().next_back().filter(|last| last.is_whitespace()) else { return end };
    let shorter = end - last.len_utf8();
    let keeps = end == text.len()
        || shorter == start
        || !matched.chars().all(char::is_whitespace)
        || front.is_match(&text[start..]);
    if keeps { end } else { shorter }
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::GPT4_PATTERN;

    use super::*;

    fn pieces(pretokenizer: &Pretokenizer, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        pretokenizer.pieces(text, &mut |piece| found.push(piece.to_owned()));
        found
    }

    #[test]
    fn the_automaton_splits_as_the_backtracking_engine_does() {
        let fast = Pretokenizer::new(&[GPT4_PATTERN.to_owned()]).unwrap();
        assert!(matches!(fast.splitters[0], Splitter::Blanks { .. }));
        let exact = Splitter::Backtracking(fancy_regex::Regex::new(GPT4_PATTERN).unwrap());
        let slow = Pretokenizer { splitters: vec![exact] };
        let alphabet = [' ', '\n', '\r', '\t', 'a', '\'', 's', '1', '.', 'é', '\u{a0}', '\u{3000}', '日'];
        let mut state = 7_u64;
        for _ in 0..4000 {
            let text: String = (0..12)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect();
            assert_eq!(pieces(&fast, &text), pieces(&slow, &text), "{text:?}");
        }
    }

    #[test]
    fn digits_are_limited_in_any_pattern() {
        let published = Pretokenizer::new(&patterns_of(GPT4_PATTERN, Digits::Single)).unwrap();
        assert_eq!(pieces(&published, "a 12"), ["a", " ", "1", "2"]);
        let own = Pretokenizer::new(&patterns_of(r"\S+|\s+", Digits::UpTo2)).unwrap();
        assert_eq!(pieces(&own, "ab123 c"), ["ab", "12", "3", " ", "c"]);
    }
}
