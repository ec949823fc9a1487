//! Sentences of one line.
//!
//! **`unicode`**: a sentence ends at `.`, `!`, `?` or another script's full stop where no letter or digit follows at once, but not at
//! the full stop of an initial (`J. Smith`); a full stop of a script without blanks always ends it. The next sentence starts at the
//! next character that is no punctuation.
//!
//! **`spacy_like`**: spaCy's rule-based sentence splitter over the tokens of the line, which datatrove's C4 filter counts.

use super::chars::{
    BLANK, CLASS, HIGH, char_at, char_before, is_blank, is_punctuation, is_terminal, next_chunk,
};
use super::spacy::Splitter;
use super::words::Words;

/// Sentences of a line.
pub(super) fn count_sentences(line: &str, words: Words, splitter: &mut Splitter) -> u64 {
    match words {
        Words::Unicode => count_unicode(line),
        Words::SpacyLike => count_spacy(line, splitter),
    }
}

/// Sentences of a line by characters.
pub(super) fn count_unicode(line: &str) -> u64 {
    let bytes = line.as_bytes();
    let is_ascii = line.is_ascii();
    let (mut count, mut is_over, mut is_blank_line, mut at) = (0_u64, true, true, 0);
    while let Some(&byte) = bytes.get(at) {
        if CLASS[usize::from(byte)] & HIGH == 0 {
            match byte {
                b'.' | b'!' | b'?' => {
                    is_over |= ends_sentence(line, at, byte);
                    is_blank_line = false;
                }
                _ if byte.is_ascii_alphanumeric()
                    || matches!(byte, b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'|' | b'~') =>
                {
                    count += u64::from(is_over);
                    is_over = false;
                    // Nothing happens before the next end of a sentence.
                    at += behind_plain(&bytes[at + 1..], is_ascii);
                }
                _ => is_blank_line &= byte.is_ascii_whitespace(),
            }
            at += 1;
            continue;
        }
        let c = char_at(line, at);
        at += c.len_utf8();
        if is_terminal(c) {
            is_over = true;
            is_blank_line = false;
        } else if is_blank(c) || is_punctuation(c) {
            is_blank_line &= is_blank(c);
        } else {
            count += u64::from(is_over);
            is_over = false;
        }
    }
    // A line of nothing but punctuation is one.
    if count == 0 && !is_blank_line { 1 } else { count }
}

/// Bytes before the next `.`, `!`, `?` or the next character outside ASCII.
fn behind_plain(bytes: &[u8], is_ascii: bool) -> usize {
    if is_ascii {
        return memchr::memchr3(b'.', b'!', b'?', bytes).unwrap_or(bytes.len());
    }
    bytes.iter().take_while(|byte| !matches!(**byte, b'.' | b'!' | b'?' | 128..)).count()
}

/// Whether a mark of ASCII ends a sentence.
fn ends_sentence(line: &str, at: usize, mark: u8) -> bool {
    if char_at(line, at + 1).is_alphanumeric() {
        return false;
    }
    let before = char_before(line, at);
    let is_initial = mark == b'.' && before.is_alphabetic() && {
        let earlier = at - before.len_utf8();
        !char_before(line, earlier).is_alphanumeric()
    };
    !is_initial
}

fn count_spacy(line: &str, splitter: &mut Splitter) -> u64 {
    let is_ascii = line.is_ascii();
    let (mut count, mut is_over, mut at) = (0, false, 0);
    loop {
        if count > 0 && !is_over {
            at = chunk_with_an_end(line.as_bytes(), at, is_ascii);
        }
        let Some(chunk) = next_chunk(line, at) else { return count };
        // More blanks than one space are a token of their own, which is no punctuation.
        let gap = &line[at..chunk.start];
        if count > 0 && is_over && !gap.is_empty() && gap != " " {
            count += 1;
            is_over = false;
        }
        let stretch = &line[chunk.start..chunk.end];
        at = chunk.end;
        if chunk.classes & HIGH == 0 && memchr::memchr3(b'.', b'!', b'?', stretch.as_bytes()).is_none() {
            // However it is split, no token of it ends a sentence.
            if count == 0 || is_over && !stretch.chars().all(is_category_p) {
                count += 1;
                is_over = false;
            }
            continue;
        }
        for token in splitter.split(stretch, chunk.classes) {
            let token = &stretch[token.start..token.end];
            let mut chars = token.chars();
            let ends = chars.next().is_some_and(is_terminal) && chars.next().is_none();
            if count == 0 {
                count = 1;
                is_over = ends;
            } else if ends {
                is_over = true;
            } else if is_over && !token.chars().all(is_category_p) {
                count += 1;
                is_over = false;
            }
        }
    }
}

/// Where the next stretch between blanks starts in which a sentence may end, behind the end of another one.
fn chunk_with_an_end(bytes: &[u8], behind: usize, is_ascii: bool) -> usize {
    let end = behind + behind_plain(&bytes[behind..], is_ascii);
    let inner = bytes[behind..end].iter().rev().take_while(|byte| CLASS[usize::from(**byte)] & BLANK == 0);
    end - inner.count()
}

/// Whether a character is of one of Unicode's punctuation categories; of the rarer scripts only those that end sentences.
fn is_category_p(c: char) -> bool {
    match c {
        '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~' => false,
        _ if c.is_ascii() => c.is_ascii_punctuation(),
        '\u{a1}'
        | '\u{a7}'
        | '\u{ab}'
        | '\u{b6}'
        | '\u{b7}'
        | '\u{bb}'
        | '\u{bf}'
        | '\u{2010}'..='\u{2027}'
        | '\u{2030}'..='\u{2043}'
        | '\u{2045}'..='\u{2051}'
        | '\u{2053}'..='\u{205e}'
        | '\u{3001}'..='\u{3003}'
        | '\u{3008}'..='\u{3011}'
        | '\u{3014}'..='\u{301f}'
        | '\u{30fb}'
        | '\u{ff01}'..='\u{ff03}'
        | '\u{ff05}'..='\u{ff0a}'
        | '\u{ff0c}'..='\u{ff0f}'
        | '\u{ff1a}'
        | '\u{ff1b}'
        | '\u{ff1f}'
        | '\u{ff20}'
        | '\u{60c}'
        | '\u{61b}'
        | '\u{66a}' => true,
        _ => is_terminal(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// spaCy's sentences by their definition: every token is looked at.
    fn defined(line: &str) -> u64 {
        let (mut tokens, mut at, mut splitter) = (Vec::new(), 0, Splitter::default());
        while let Some(chunk) = next_chunk(line, at) {
            let gap = &line[at..chunk.start];
            if !gap.is_empty() && gap != " " {
                tokens.push(gap);
            }
            let stretch = &line[chunk.start..chunk.end];
            let own = splitter.split(stretch, chunk.classes);
            tokens.extend(own.iter().map(|token| &stretch[token.start..token.end]));
            at = chunk.end;
        }
        let (mut count, mut is_over) = (0, false);
        for token in tokens {
            let is_end = token.chars().count() == 1 && token.chars().all(is_terminal);
            let is_new = if count == 0 {
                !token.trim().is_empty()
            } else {
                is_over && !is_end && !token.chars().all(is_category_p)
            };
            count += u64::from(is_new);
            is_over = is_end || is_over && !is_new;
        }
        count
    }

    proptest! {
        #[test]
        fn what_cannot_end_a_sentence_is_passed_over(line in "([a-zA-Z0-9.!?,:;)('\"é。\u{a0}-]{0,5} {0,2}){0,20}") {
            let mut splitter = Splitter::default();
            prop_assert_eq!(count_sentences(&line, Words::SpacyLike, &mut splitter), defined(&line));
        }
    }

    #[test]
    fn sentences_are_counted() {
        for (line, unicode, spacy) in [
            ("", 0, 0),
            ("One. Two! Three?", 3, 3),
            ("It is 3.14 of example.com.", 1, 1),
            ("J. Smith came. He went.", 2, 2),
            ("\"Why?\" he said.", 2, 2),
            ("No end", 1, 1),
            ("Wait... what", 2, 1),
            ("你好。再见。", 2, 1),
            ("...", 1, 1),
        ] {
            let mut splitter = Splitter::default();
            assert_eq!(count_sentences(line, Words::Unicode, &mut splitter), unicode, "{line}");
            assert_eq!(count_sentences(line, Words::SpacyLike, &mut splitter), spacy, "{line}");
        }
    }
}
