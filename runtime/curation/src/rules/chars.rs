//! Classes of characters and the scan of a text's bytes: blanks, ends of lines, ends of sentences.
//!
//! ASCII is looked up in one table; every other character is decoded and found in [`super::char_tables`].

use super::char_tables::{ALPHA, ICONS, PUNCTUATION, TERMINAL, UNCASED};

/// Byte is a letter `a` to `z`.
pub(super) const LOWER: u8 = 1;
/// Byte is a letter `A` to `Z`.
pub(super) const UPPER: u8 = 2;
/// Byte is a digit.
pub(super) const DIGIT: u8 = 4;
/// Byte is a blank: space, tab, line breaks, and the separators 0x1c to 0x1f.
pub(super) const BLANK: u8 = 8;
/// Byte is printable and none of the above, or a control character.
pub(super) const OTHER: u8 = 16;
/// Byte is a full stop or a number sign: what ellipses and hashes are made of.
pub(super) const DOT_OR_HASH: u8 = 32;
/// Byte belongs to a character outside ASCII.
pub(super) const HIGH: u8 = 128;

/// The class of each byte.
pub(super) static CLASS: [u8; 256] = classes();

/// The class of each byte, none of a byte that is zero.
static PLAIN: [u8; 256] = {
    let mut table = classes();
    table[0] = 0;
    table
};

const fn classes() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_lowercase() {
            table[byte] = LOWER;
        } else if b.is_ascii_uppercase() {
            table[byte] = UPPER;
        } else if b.is_ascii_digit() {
            table[byte] = DIGIT;
        } else if matches!(b, b' ' | 0x09..=0x0d | 0x1c..=0x1f) {
            table[byte] = BLANK;
        } else if b >= 128 {
            table[byte] = HIGH;
        } else if matches!(b, b'.' | b'#') {
            table[byte] = OTHER | DOT_OR_HASH;
        }
        byte += 1;
    }
    table
}

/// Whether a character is a blank, as Python's `str.isspace` has it: Unicode's White_Space and the separators 0x1c to 0x1f.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// Whether a character ends a line, as Python's `str.splitlines` has it.
pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a character ends a sentence in its script: Unicode's Sentence_Terminal.
pub(super) fn is_terminal(c: char) -> bool {
    matches!(c, '.' | '!' | '?') || !c.is_ascii() && is_in(&TERMINAL, c)
}

/// Whether a character makes no word by itself: punctuation and control characters.
pub(super) fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '\t' | '\n')
    } else {
        is_in(&PUNCTUATION, c)
    }
}

/// Whether spaCy's rules take a character for a letter.
pub(super) fn is_alpha(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { is_in(&ALPHA, c) }
}

/// Whether they take it for a small letter: letters without case count for both cases.
pub(super) fn is_lower(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_lowercase()
    } else {
        is_in(&ALPHA, c) && (c.is_lowercase() || is_in(&UNCASED, c))
    }
}

/// Whether they take it for a capital.
pub(super) fn is_upper(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_uppercase()
    } else {
        is_in(&ALPHA, c) && (c.is_uppercase() || is_in(&UNCASED, c))
    }
}

/// Whether they take it for an icon.
pub(super) fn is_icon(c: char) -> bool {
    !c.is_ascii() && is_in(&ICONS, c)
}

/// Whether sorted ranges hold a character.
fn is_in(ranges: &[(u32, u32)], c: char) -> bool {
    let c = u32::from(c);
    let after = ranges.partition_point(|(low, _)| *low <= c);
    after > 0 && c <= ranges[after - 1].1
}

/// The character at a place; a blank behind the end, so that scans stop there.
pub(super) fn char_at(text: &str, at: usize) -> char {
    text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or(' ')
}

/// The character before a place; a blank before the start.
pub(super) fn char_before(text: &str, at: usize) -> char {
    text.get(..at).and_then(|before| before.chars().next_back()).unwrap_or(' ')
}

/// The characters outside ASCII.
pub(super) fn high_chars(text: &str) -> impl Iterator<Item = char> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(bytes) = text.as_bytes()[at..].first_chunk::<8>() {
            if !bytes.is_ascii() {
                break;
            }
            at += bytes.len();
        }
        let rest = &text[at..];
        let before = rest.bytes().take_while(u8::is_ascii).count();
        let c = rest[before..].chars().next()?;
        at += before + c.len_utf8();
        Some(c)
    })
}

/// Characters of a stretch.
pub(super) fn num_chars(bytes: &[u8]) -> usize {
    // Bytes that start a character; the compiler makes this wide.
    bytes.iter().map(|byte| usize::from((*byte as i8) >= -0x40)).sum()
}

/// A text without blanks at its ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// A stretch between blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte behind it.
    pub(super) end: usize,
    /// The classes of its bytes.
    pub(super) classes: u8,
}

/// Bytes before the next blank, control character or character outside ASCII, whose classes are added; it may stop in the last seven bytes.
///
/// Eight bytes a step and no branch for each of them: where a word ends cannot be guessed.
fn plain_bytes(bytes: &[u8], classes: &mut u8) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let mut at = 0;
    while let Some(step) = bytes[at..].first_chunk::<8>() {
        let step = u64::from_le_bytes(*step);
        // The highest bit of each byte that is above 127, or below 33 and with nothing below it that is.
        let stops = (step | step.wrapping_sub(ONES * 33)) & (ONES << 7);
        let length = stops.trailing_zeros() / 8;
        let kept = step & 1_u64.checked_shl(length * 8).unwrap_or(0).wrapping_sub(1);
        *classes |= kept.to_le_bytes().iter().fold(0, |all, byte| all | PLAIN[usize::from(*byte)]);
        at += length as usize;
        if stops != 0 {
            break;
        }
    }
    at
}

/// The next stretch between blanks at or behind a place.
pub(super) fn next_chunk(text: &str, mut at: usize) -> Option<Chunk> {
    let bytes = text.as_bytes();
    loop {
        let class = CLASS[usize::from(*bytes.get(at)?)];
        if class & BLANK != 0 {
            at += 1;
        } else if class & HIGH != 0 {
            let c = char_at(text, at);
            if !is_blank(c) {
                break;
            }
            at += c.len_utf8();
        } else {
            break;
        }
    }
    let (start, mut classes) = (at, 0);
    loop {
        at += plain_bytes(&bytes[at..], &mut classes);
        for byte in &bytes[at..] {
            let class = CLASS[usize::from(*byte)];
            if class & (BLANK | HIGH) != 0 {
                break;
            }
            classes |= class;
            at += 1;
        }
        match bytes.get(at) {
            Some(byte) if *byte >= 128 => {
                let c = char_at(text, at);
                if is_blank(c) {
                    break;
                }
                classes |= HIGH;
                at += c.len_utf8();
            }
            _ => break,
        }
    }
    Some(Chunk { start, end: at, classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        for table in [&TERMINAL[..], &PUNCTUATION, &ALPHA, &UNCASED, &ICONS] {
            assert!(table.iter().all(|(low, high)| low <= high));
            assert!(table.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }

    #[test]
    fn chunks_are_what_blanks_part() {
        let text = " ab,\u{3000}c\u{a0}\t\u{2028}é \x1c";
        let mut chunks = Vec::new();
        let mut at = 0;
        while let Some(chunk) = next_chunk(text, at) {
            chunks.push(&text[chunk.start..chunk.end]);
            at = chunk.end;
        }
        assert_eq!(chunks, ["ab,", "c", "é"]);
        assert_eq!(num_chars(text.as_bytes()), text.chars().count());
    }

    #[test]
    fn classes_hold_what_they_should() {
        assert!(is_terminal('。') && is_terminal('!') && !is_terminal(','));
        assert!(is_punctuation('…') && is_punctuation('_') && !is_punctuation('é') && !is_punctuation('5'));
        assert!(is_lower('é') && !is_lower('É') && is_upper('É') && is_lower('中') && is_upper('中'));
        assert!(is_icon('★') && !is_icon('*') && is_line_end('\u{2028}'));
    }
}
