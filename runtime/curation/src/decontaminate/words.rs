//! Text to words: ids and where each starts.

/// The words of a text. An id is 32 bits of a hash of the lower-cased word.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) ids: Vec<u32>,
    pub(super) starts: Vec<usize>,
}

const SEPARATOR: u8 = 0;
const WIDE: u8 = 0xFF;

/// Lower case of ASCII letters and digits; zero separates; `WIDE` starts or continues a character beyond ASCII.
static FOLD: [u8; 256] = fold_table();

const fn fold_table() -> [u8; 256] {
    let mut table = [SEPARATOR; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        table[byte] = if value >= 0x80 {
            WIDE
        } else if value.is_ascii_alphanumeric() {
            value.to_ascii_lowercase()
        } else {
            SEPARATOR
        };
        byte += 1;
    }
    table
}

const START: u64 = 0x9e37_79b9_7f4a_7c15;

fn add(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
}

fn finish(hash: u64) -> u32 {
    let mixed = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 32) as u32
}

impl Words {
    /// Reads a text. What was there before is gone.
    pub(super) fn read(&mut self, text: &str) {
        self.ids.clear();
        self.starts.clear();
        let mut at = 0;
        let bytes = text.as_bytes();
        while at < bytes.len() {
            let folded = FOLD[bytes[at] as usize];
            if folded == SEPARATOR {
                at += 1;
                continue;
            }
            if folded == WIDE && !begins_word(text, at) {
                at += wide_len(bytes[at]);
                continue;
            }
            let (id, end) = read_word(text, at);
            self.ids.push(id);
            self.starts.push(at);
            at = end;
        }
    }

    pub(super) fn of(text: &str) -> Self {
        let mut words = Self::default();
        words.read(text);
        words
    }

    /// The bytes of the words `from..to` of the text that was read.
    pub(super) fn bytes(&self, text: &str, from: usize, to: usize) -> std::ops::Range<usize> {
        match (self.starts.get(from), to.checked_sub(1).and_then(|last| self.starts.get(last))) {
            (Some(&start), Some(&last)) if from < to => start..read_word(text, last).1,
            _ => 0..0,
        }
    }
}

/// Bytes of the character that starts with `first`.
fn wide_len(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..).and_then(|rest| rest.chars().next())
}

fn begins_word(text: &str, at: usize) -> bool {
    char_at(text, at).is_some_and(char::is_alphanumeric)
}

/// The word that starts at a byte: its id and its end.
fn read_word(text: &str, start: usize) -> (u32, usize) {
    let bytes = text.as_bytes();
    let (mut hash, mut at) = (START, start);
    while at < bytes.len() {
        let folded = FOLD[bytes[at] as usize];
        if folded == SEPARATOR {
            break;
        }
        if folded != WIDE {
            hash = add(hash, folded);
            at += 1;
            continue;
        }
        let Some(c) = char_at(text, at) else { break };
        if !c.is_alphanumeric() || (is_ideograph(c) && at > start) {
            break;
        }
        for lower in c.to_lowercase() {
            let mut buffer = [0; 4];
            hash = lower.encode_utf8(&mut buffer).bytes().fold(hash, add);
        }
        at += c.len_utf8();
        if is_ideograph(c) {
            break;
        }
    }
    (finish(hash), at)
}

/// Scripts written without spaces whose characters carry a word or a syllable each.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The words of a text as text: for counting, at build time only.
pub(super) fn spellings(text: &str) -> Vec<String> {
    let words = Words::of(text);
    (0..words.ids.len()).map(|at| text[words.bytes(text, at, at + 1)].to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_matter() {
        let words = |text: &str| Words::of(text).ids;
        assert_eq!(words("Janet’s ducks, lay 16 EGGS!"), words("janet s \"ducks\" lay—16 eggs"));
        assert_ne!(words("ab c"), words("a bc"));
        assert_eq!(words("ÉCOLE Straße").len(), 2);
        assert_eq!(words("École"), words("éCOLE"));
        assert_eq!(words("日本語 text").len(), 4);
        assert!(words(" \u{2014}… \n").is_empty());
    }

    #[test]
    fn a_range_covers_its_words() {
        let text = "«Über den Fluss» und 日本";
        let words = Words::of(text);
        assert_eq!(&text[words.bytes(text, 0, 3)], "Über den Fluss");
        assert_eq!(&text[words.bytes(text, 4, 6)], "日本");
        assert_eq!(words.bytes(text, 3, 3), 0..0);
        assert_eq!(spellings(text), ["über", "den", "fluss", "und", "日", "本"]);
    }
}
