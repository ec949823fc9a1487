//! What kind of character a code point is, as far as the published patterns tell characters apart.
//!
//! The classes are the general categories and `White_Space` of the Unicode tables that the regex engine of this workspace has, so that a
//! hand-written splitter and the regex agree on every code point. Two stages: which block of 64 code points, then the place in the block; the last
//! six bits of a code point are those of its last byte in UTF-8.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// A letter with a small form: Lu, Lt.
pub(super) const UPPER: u8 = 1;
/// A small letter: Ll.
pub(super) const LOWER: u8 = 2;
/// A letter without case: Lm, Lo.
pub(super) const CASELESS: u8 = 4;
/// A mark: M.
pub(super) const MARK: u8 = 8;
/// A number: N.
pub(super) const NUMBER: u8 = 16;
/// White space other than the two of [`NEWLINE`].
pub(super) const BLANK: u8 = 32;
/// `\r` and `\n`.
pub(super) const NEWLINE: u8 = 64;
/// Anything else: punctuation, symbols, controls, code points without a meaning.
pub(super) const OTHER: u8 = 128;
/// `\p{L}`.
pub(super) const LETTER: u8 = UPPER | LOWER | CASELESS;
/// `\s`.
pub(super) const SPACE: u8 = BLANK | NEWLINE;
/// `[^\s\p{L}\p{N}]`.
pub(super) const SIGN: u8 = OTHER | MARK;
/// The class behind the last character: no mask holds it.
pub(super) const END: u8 = 0;

/// Code points of a block.
const BLOCK: usize = 64;
/// Code points in all.
const CODE_POINTS: usize = 0x11_0000;

/// The table.
#[derive(Debug)]
pub(super) struct Classes {
    ascii: [u8; 128],
    blocks: Box<[u16]>,
    in_block: Box<[u8]>,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::new);

/// The table, made when it is first asked for (about a millisecond).
pub(super) fn classes() -> &'static Classes {
    &CLASSES
}

impl Classes {
    fn new() -> Self {
        let mut flat = vec![OTHER; CODE_POINTS];
        let of = [
            (r"[\p{Lu}\p{Lt}]", UPPER),
            (r"\p{Ll}", LOWER),
            (r"[\p{Lm}\p{Lo}]", CASELESS),
            (r"\p{M}", MARK),
            (r"\p{N}", NUMBER),
            (r"\s", BLANK),
            (r"[\r\n]", NEWLINE),
        ];
        for (pattern, class) in of {
            for (first, last) in ranges(pattern) {
                flat[first as usize..=last as usize].fill(class);
            }
        }
        let mut ascii = [OTHER; 128];
        ascii.copy_from_slice(&flat[..128]);
        let mut known = std::collections::HashMap::new();
        let mut blocks = Vec::with_capacity(CODE_POINTS / BLOCK);
        let mut classes = Vec::new();
        for block in flat.chunks(BLOCK) {
            let next = (classes.len() / BLOCK) as u16;
            let number = *known.entry(block).or_insert(next);
            if number == next {
                classes.extend_from_slice(block);
            }
            blocks.push(number);
        }
        Self { ascii, blocks: blocks.into(), in_block: classes.into() }
    }

    /// The class of the character that begins at `at`, and its bytes; [`END`] and 0 behind the last.
    #[inline(always)]
    pub(super) fn at(&self, text: &[u8], at: usize) -> (u8, usize) {
        match text.get(at) {
            Some(byte) if *byte < 0x80 => (self.ascii[usize::from(*byte)], 1),
            Some(byte) => self.wide(text, at, *byte),
            None => (END, 0),
        }
    }

    #[inline]
    fn wide(&self, text: &[u8], at: usize, first: u8) -> (u8, usize) {
        let rest = |n: usize| text.get(at + n).map_or(0, |byte| usize::from(byte & 0x3f));
        let first = usize::from(first);
        let (block, last, len) = match first {
            0..0xe0 => (first & 0x1f, rest(1), 2),
            0xe0..0xf0 => (((first & 0xf) << 6) | rest(1), rest(2), 3),
            _ => (((first & 7) << 12) | (rest(1) << 6) | rest(2), rest(3), 4),
        };
        let block = self.blocks.get(block).map_or(0, |block| usize::from(*block));
        (self.in_block.get(block * BLOCK + last).copied().unwrap_or(OTHER), len)
    }

    /// The end of the run of characters of the classes in `mask` that begins at `at`.
    #[inline]
    pub(super) fn run(&self, text: &[u8], mut at: usize, mask: u8) -> usize {
        loop {
            let (class, len) = self.at(text, at);
            if class & mask == 0 {
                return at;
            }
            at += len;
        }
    }

    /// The same, of at most `most` characters.
    pub(super) fn run_of(&self, text: &[u8], mut at: usize, mask: u8, most: usize) -> usize {
        for _ in 0..most {
            let (class, len) = self.at(text, at);
            if class & mask == 0 {
                break;
            }
            at += len;
        }
        at
    }
}

/// The code points of a class in regex syntax. The patterns are those above: one that did not parse would be found by the property tests.
fn ranges(pattern: &str) -> Vec<(u32, u32)> {
    let Ok(hir) = regex_syntax::parse(pattern) else { return Vec::new() };
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_point_has_the_class_that_the_regex_engine_gives_it() {
        let of = [
            (r"\p{L}", LETTER),
            (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER | CASELESS | MARK),
            (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER | CASELESS | MARK),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
            (r"[^\s\p{L}\p{N}]", SIGN),
            (r"[^\r\n\p{L}\p{N}]", SIGN | BLANK),
        ];
        for (pattern, mask) in of {
            let regex = regex::Regex::new(&format!("^{pattern}$")).unwrap();
            for char in '\0'..=char::MAX {
                let mut bytes = [0; 4];
                let text = char.encode_utf8(&mut bytes);
                let (class, len) = classes().at(text.as_bytes(), 0);
                assert_eq!(
                    (class & mask != 0, len),
                    (regex.is_match(text), text.len()),
                    "{pattern} {char:?}"
                );
            }
        }
        assert_eq!(classes().at(b"a", 1), (END, 0));
    }
}
