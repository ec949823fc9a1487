//! Runs of ASCII letters, eight bytes at a time.

/// The high bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;
/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Eight bytes from `at` on, the first one lowest; none where the text ends before.
#[inline(always)]
pub(super) fn load(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// How many of the eight bytes are ASCII letters, up to the first that is none.
#[inline(always)]
fn leading_letters(word: u64) -> usize {
    let small = (word | (0x20 * ONES)) & !HIGH;
    // Adding carries into the high bit of each byte that is at least `a`, or more than `z`.
    let from_a = small + (0x80 - u64::from(b'a')) * ONES;
    let above_z = small + (0x7f - u64::from(b'z')) * ONES;
    let letters = from_a & !above_z & !word & HIGH;
    ((letters ^ HIGH).trailing_zeros() / 8) as usize
}

/// The end of the run of ASCII letters that begins at `at`. None where there are no letters, where a character follows that is not ASCII (it may
/// be a letter as well), and at the end of the text: the slow way knows more.
#[inline(always)]
pub(super) fn ascii_word_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    loop {
        let word = load(text, end)?;
        let run = leading_letters(word);
        if run < 8 {
            end += run;
            let is_ascii = (word >> (8 * run)) & 0x80 == 0;
            return (end > at && is_ascii).then_some(end);
        }
        end += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_as_one_by_one() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut bytes = *b"azAZmMqQ";
                bytes[place] = byte;
                let expected = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                assert_eq!(leading_letters(u64::from_le_bytes(bytes)), expected, "{bytes:?}");
            }
        }
        assert_eq!(ascii_word_end(b"abcdefghijk lmnop", 0), Some(11));
        assert_eq!(ascii_word_end("abcdé lmnop".as_bytes(), 0), None);
        assert_eq!(ascii_word_end(b" abc lmnop", 0), None);
        assert_eq!(ascii_word_end(b"abcdefghijk", 0), None);
    }
}
