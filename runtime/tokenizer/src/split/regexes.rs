//! Any pattern, by a regex engine.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of blanks leaves its last one to the word that follows. A look-ahead
//! needs a backtracking engine, ten times slower than an automaton; so that ending is carried out by hand after an automaton
//! matched the rest, and only other look-arounds fall back to backtracking.

use crate::EngineError;

/// The ending that is carried out by hand.
const BLANKS: &str = r"|\s+(?!\S)|\s+";

/// Regexes in the order that they split; each splits every piece of the one before it.
#[derive(Debug, Clone)]
pub(super) struct Regexes {
    engines: Vec<Engine>,
}

#[derive(Debug, Clone)]
pub(super) enum Engine {
    /// No look-around at all.
    Plain(regex::Regex),
    /// A pattern that ends in [`BLANKS`]: the whole with `|\s+` for an ending, and what stands before it, anchored.
    Blanks { whole: regex::Regex, front: regex::Regex },
    /// Any other pattern.
    Backtracking(fancy_regex::Regex),
}

impl Regexes {
    /// Compiles regexes in Oniguruma's syntax, as far as Rust's engines share it.
    pub(super) fn new(patterns: &[String]) -> Result<Self, EngineError> {
        let engines = patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { engines })
    }

    #[cfg(test)]
    pub(super) fn backtracking(patterns: &[String]) -> Self {
        let compile = |pattern: &String| Engine::Backtracking(fancy_regex::Regex::new(pattern).unwrap());
        Self { engines: patterns.iter().map(compile).collect() }
    }

    /// Calls `each` with every piece in order; their concatenation is the text.
    pub(super) fn pieces<'t>(&self, text: &'t str, each: &mut dyn FnMut(&'t str)) {
        split(&self.engines, text, each);
    }
}

fn compile(pattern: &str) -> Result<Engine, EngineError> {
    // The automaton's syntax has no possessive quantifiers: it would read `x?+` as `(x?)+`.
    if has_possessive(pattern) {
        return backtracking(pattern);
    }
    if let Some(front) = pattern.strip_suffix(BLANKS) {
        let whole = regex::Regex::new(&format!(r"{front}|\s+"));
        let front = regex::Regex::new(&format!("^(?:{front})"));
        if let (Ok(whole), Ok(front)) = (whole, front) {
            return Ok(Engine::Blanks { whole, front });
        }
    }
    if let Ok(plain) = regex::Regex::new(pattern) {
        return Ok(Engine::Plain(plain));
    }
    backtracking(pattern)
}

fn backtracking(pattern: &str) -> Result<Engine, EngineError> {
    fancy_regex::Regex::new(pattern)
        .map(Engine::Backtracking)
        .map_err(|error| EngineError::Pattern { pattern: pattern.to_owned(), message: error.to_string() })
}

/// Whether a pattern has `?+`, `*+`, `++` or `}+`.
fn has_possessive(pattern: &str) -> bool {
    let (mut is_escaped, mut in_class, mut before) = (false, 0, ' ');
    // The braces of `\p{L}` are no quantifier.
    let (mut was_name, mut in_name) = (false, false);
    for char in pattern.chars() {
        let (mut quantifier, mut is_name) = (' ', false);
        match char {
            _ if is_escaped => {
                is_escaped = false;
                is_name = matches!(char, 'p' | 'P' | 'x' | 'u' | 'k' | 'g');
            }
            '\\' => is_escaped = true,
            '[' => in_class += 1,
            ']' if in_class > 0 => in_class -= 1,
            _ if in_class > 0 => {}
            '{' => in_name = was_name,
            '+' if matches!(before, '?' | '*' | '+' | '}') => return true,
            '}' if in_name => in_name = false,
            '?' | '*' | '+' | '}' => quantifier = char,
            _ => {}
        }
        (before, was_name) = (quantifier, is_name);
    }
    false
}

fn split<'t>(engines: &[Engine], text: &'t str, each: &mut dyn FnMut(&'t str)) {
    let Some((first, rest)) = engines.split_first() else {
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

impl Engine {
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
