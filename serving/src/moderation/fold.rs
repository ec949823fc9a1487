//! Texts as phrases are compared: compatibility forms are taken apart (two texts are equal in NFKD where they are in NFKC), case is folded, blanks in a row
//! are one, what is not seen is left out. It goes character by character, so that a stream folds as the whole text does.

use unicode_normalization::char::{canonical_combining_class, decompose_compatible, is_combining_mark};

/// Folds a text as it comes.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    /// Marks since the last character that is none: their order is theirs by class, whatever order they came in.
    marks: Vec<(u8, char, usize)>,
    is_behind_blank: bool,
}

impl Folder {
    /// Takes a character and its place in the text; gives what it folds to, with that place. Marks are given with the next character.
    pub(super) fn push(&mut self, character: char, at: usize, folded: &mut Vec<(char, usize)>) {
        if character.is_ascii() {
            self.take(character.to_ascii_lowercase(), at, folded);
            return;
        }
        let mut parts = Vec::new();
        decompose_compatible(character, |part| {
            let cased = part.to_uppercase().flat_map(char::to_lowercase);
            for part in cased {
                decompose_compatible(part, |part| parts.push(part));
            }
        });
        for part in parts {
            self.take(part, at, folded);
        }
    }

    /// Gives what was held at the end of the text.
    pub(super) fn finish(&mut self, folded: &mut Vec<(char, usize)>) {
        self.marks.sort_by_key(|(class, ..)| *class);
        folded.extend(self.marks.drain(..).map(|(_, mark, at)| (mark, at)));
    }

    fn take(&mut self, part: char, at: usize, folded: &mut Vec<(char, usize)>) {
        if is_unseen(part) {
            return;
        }
        match canonical_combining_class(part) {
            0 => self.finish(folded),
            class => {
                self.marks.push((class, part, at));
                return;
            }
        }
        let is_blank = part.is_whitespace();
        if !is_blank {
            folded.push((part, at));
        } else if !self.is_behind_blank {
            folded.push((' ', at));
        }
        self.is_behind_blank = is_blank;
    }
}

/// The folded characters of a whole text.
pub(super) fn fold(text: &str) -> String {
    let (mut folder, mut folded) = (Folder::default(), Vec::new());
    for (at, character) in text.char_indices() {
        folder.push(character, at, &mut folded);
    }
    folder.finish(&mut folded);
    folded.into_iter().map(|(character, _)| character).collect()
}

/// Whether a mark goes with the character before it.
pub(super) fn is_mark(character: char) -> bool {
    is_combining_mark(character)
}

/// Whether a word has it.
pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || is_mark(character)
}

/// Whether it is of a script that puts no blanks between words, so that a word may begin and end anywhere.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3005 | 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0x20000..=0x3ffff
    )
}

/// Whether a word may begin between two characters.
pub(super) fn begins_between(before: Option<char>, character: char) -> bool {
    if is_mark(character) {
        return false;
    }
    let is_within = |before: char| {
        is_word(before) && is_word(character) && !is_unspaced(before) && !is_unspaced(character)
    };
    !before.is_some_and(is_within)
}

/// Characters that show nothing (Unicode's Default_Ignorable_Code_Point) and control characters that are no blanks.
fn is_unseen(character: char) -> bool {
    let is_ignorable = matches!(
        u32::from(character),
        0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f
            | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfff8 | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff
    );
    is_ignorable || character.is_control() && !character.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_in_nfkc_and_case_is_equal_folded() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
            ("a\n\t b", "A b"),
            ("ﬁne", "fine"),
            ("b\u{200b}o\u{ad}mb", "bomb"),
            ("q\u{307}\u{323}", "Q\u{323}\u{307}"),
            ("ΟΔΟΣ", "οδος"),
            ("한", "\u{1112}\u{1161}\u{11ab}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one}");
        }
        assert_ne!(fold("cafe"), fold("café"));
    }
}
