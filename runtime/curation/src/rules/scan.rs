//! Passes over a text's bytes without a branch in them, compiled for the widest registers of the machine that runs them.

#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wide registers of the machine"
)]

/// What a pass over a text's bytes finds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Survey {
    /// Characters.
    pub(super) chars: u64,
    /// `A` to `Z`.
    pub(super) capitals: u64,
    /// `0` to `9`.
    pub(super) digits: u64,
    /// Letters of ASCII.
    pub(super) letters: u64,
}

impl Survey {
    /// Surveys a text.
    pub(super) fn of(text: &str) -> Self {
        pulp::Arch::new().dispatch(Count(text.as_bytes()))
    }
}

/// Whether a text holds an end of a line that is no line feed, as [`super::chars::is_line_end`] has them.
pub(super) fn has_other_end(text: &[u8]) -> bool {
    pulp::Arch::new().dispatch(OtherEnd(text))
}

/// Whether bytes hold one of these in small or capital letters; rarely yes where there is none, never no where there is one.
pub(super) fn may_hold<const N: usize>(bytes: &[u8], parts: [&[u8; PART]; N]) -> bool {
    pulp::Arch::new().dispatch(Parts { bytes, parts })
}

/// Length of the parts that [`may_hold`] looks for.
pub(super) const PART: usize = 5;

/// Bytes that are counted in sums of a byte each.
const BLOCK: usize = 192;

struct Count<'t>(&'t [u8]);

impl pulp::NullaryFnOnce for Count<'_> {
    type Output = Survey;

    #[inline(always)]
    fn call(self) -> Survey {
        let mut survey = Survey::default();
        for block in self.0.chunks(BLOCK) {
            let (mut chars, mut capitals, mut digits, mut letters) = (0_u8, 0_u8, 0_u8, 0_u8);
            for byte in block {
                chars += u8::from(*byte as i8 >= -0x40);
                capitals += u8::from(byte.wrapping_sub(b'A') < 26);
                digits += u8::from(byte.wrapping_sub(b'0') < 10);
                letters += u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
            }
            survey.chars += u64::from(chars);
            survey.capitals += u64::from(capitals);
            survey.digits += u64::from(digits);
            survey.letters += u64::from(letters);
        }
        survey
    }
}

struct OtherEnd<'t>(&'t [u8]);

impl pulp::NullaryFnOnce for OtherEnd<'_> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let mut found = 0_u8;
        for byte in self.0 {
            found |= u8::from(byte.wrapping_sub(0x0b) < 3) | u8::from(byte.wrapping_sub(0x1c) < 3);
        }
        // U+0085; U+2028 and U+2029.
        let [first, second, third] = columns::<3>(self.0);
        for ((first, second), third) in first.iter().zip(second).zip(third) {
            found |= u8::from(*first == 0xe2) & u8::from(*second == 0x80) & u8::from(third & 0xfe == 0xa8);
        }
        let [first, second] = columns::<2>(self.0);
        for (first, second) in first.iter().zip(second) {
            found |= u8::from(*first == 0xc2) & u8::from(*second == 0x85);
        }
        found != 0
    }
}

struct Parts<'t, const N: usize> {
    bytes: &'t [u8],
    parts: [&'t [u8; PART]; N],
}

impl<const N: usize> pulp::NullaryFnOnce for Parts<'_, N> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let [a, b, c, d, e] = columns::<PART>(self.bytes);
        let mut found = 0_u8;
        for ((((a, b), c), d), e) in a.iter().zip(b).zip(c).zip(d).zip(e) {
            for part in self.parts {
                // A small letter is its capital with a bit more.
                found |= u8::from(a | 0x20 == part[0])
                    & u8::from(b | 0x20 == part[1])
                    & u8::from(c | 0x20 == part[2])
                    & u8::from(d | 0x20 == part[3])
                    & u8::from(e | 0x20 == part[4]);
            }
        }
        found != 0
    }
}

/// The bytes at every place, those behind them, and so on: all as long.
#[inline(always)]
fn columns<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let length = (bytes.len() + 1).saturating_sub(N);
    std::array::from_fn(|column| bytes.get(column..column + length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::chars::is_line_end;

    proptest! {
        #[test]
        fn a_survey_counts_what_there_is(text in "([a-zA-Z0-9]|\\PC){0,400}") {
            let count = |is: fn(char) -> bool| text.chars().filter(|c| is(*c)).count() as u64;
            let survey = Survey {
                chars: count(|_| true),
                capitals: count(|c| c.is_ascii_uppercase()),
                digits: count(|c| c.is_ascii_digit()),
                letters: count(|c| c.is_ascii_alphabetic()),
            };
            prop_assert_eq!(Survey::of(&text), survey);
        }

        #[test]
        fn ends_of_lines_are_found(text in "(a|é|“|…|\u{2027}|\u{84}){0,70}", end in "|\n|[\u{b}-\u{1f}]|\u{85}|\u{2028}|\u{2029}|\u{202a}") {
            let text = format!("{text}{end}b");
            let has_other = text.chars().any(|c| c != '\n' && is_line_end(c));
            prop_assert_eq!(has_other_end(text.as_bytes()), has_other);
        }

        #[test]
        fn parts_are_found_in_any_case(before in "[a-zA-Z ]{0,70}", part in "(?i)hello|wor d", behind in "[a-z]{0,3}") {
            let parts = [b"hello", b"wor d"];
            let with = format!("{before}{part}{behind}");
            prop_assert!(may_hold(with.as_bytes(), parts));
            let without = before.replace(['o', 'O'], "x");
            prop_assert!(!may_hold(without.as_bytes(), parts));
        }
    }

    #[test]
    fn short_texts_hold_nothing() {
        for text in ["", "a", "\u{e2}", "hell"] {
            assert!(!has_other_end(text.as_bytes()) && !may_hold(text.as_bytes(), [b"hello"]));
        }
    }
}
