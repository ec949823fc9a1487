//! Payment cards: lengths and ranges of the issuers (ISO/IEC 7812), and Luhn's sum.

use std::ops::Range;

use super::context::{after, before, is_wordy, label_before, word_before};

/// Most digits of a card.
const MOST_DIGITS: usize = 19;
/// Words that say that a number is a card's.
const CARD_WORDS: [&str; 16] = [
    "card",
    "cards",
    "visa",
    "mastercard",
    "amex",
    "maestro",
    "discover",
    "jcb",
    "diners",
    "credit",
    "debit",
    "payment",
    "kreditkarte",
    "karte",
    "carte",
    "tarjeta",
];
/// Labels of numbers that are none, whatever their sum.
const OTHER_LABELS: [&str; 20] = [
    "id",
    "ids",
    "order",
    "tracking",
    "ref",
    "reference",
    "invoice",
    "serial",
    "imei",
    "isbn",
    "ean",
    "upc",
    "sku",
    "ticket",
    "status",
    "timestamp",
    "seed",
    "hash",
    "uid",
    "guid",
];

/// The card that starts with the digit at `start`.
pub(super) fn at(text: &str, start: usize) -> Option<Range<usize>> {
    let previous = before(text, start);
    if is_wordy(previous) || previous.is_some_and(|c| ".-/=#@$€£".contains(c)) {
        return None;
    }
    let (digits, count, groups, end) = read(text.as_bytes(), start)?;
    let digits = &digits[..count];
    let next = after(text, end);
    let joins = next.is_some_and(|c| c == '.' || c == '-') && is_wordy(after(text, end + 1));
    if is_wordy(next) || joins || !is_grouped(groups, count) {
        return None;
    }
    let said = || word_before(text, start, 48, &CARD_WORDS);
    let is_sure = groups[1] > 0 || [15, 16].contains(&count);
    let known = is_issued(digits) && (is_sure || said());
    let distinct = (0..10).filter(|digit| digits.contains(digit)).count();
    (known && distinct > 1 && luhn(digits) && !label_before(text, start, &OTHER_LABELS)).then_some(start..end)
}

type Digits = ([u8; MOST_DIGITS], usize, [usize; 5], usize);

/// Digits with single spaces or hyphens between, the same throughout: digits, their number, the lengths of up to five groups, the end.
fn read(bytes: &[u8], start: usize) -> Option<Digits> {
    let (mut digits, mut count) = ([0; MOST_DIGITS], 0);
    let (mut groups, mut group) = ([0; 5], 0);
    let (mut at, mut end) = (start, start);
    let mut separator = None;
    loop {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_digit() => {
                *digits.get_mut(count)? = byte - b'0';
                count += 1;
                groups[group] += 1;
                at += 1;
                end = at;
            }
            Some(byte @ (b' ' | b'-'))
                if end == at && group < 4 && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) =>
            {
                if separator.is_some_and(|other| other != byte) {
                    break;
                }
                separator = Some(byte);
                group += 1;
                at += 1;
            }
            _ => break,
        }
    }
    Some((digits, count, groups, end))
}

/// How cards are written: in one run, in fours, or as American Express and Diners do.
fn is_grouped(groups: [usize; 5], count: usize) -> bool {
    (groups[1] == 0 && (12..=19).contains(&count))
        || matches!(groups, [4, 4, 4, 4, 0..=3] | [4, 6, 5, 0, 0] | [4, 6, 4, 0, 0] | [4, 4, 5, 0, 0])
}

fn is_issued(digits: &[u8]) -> bool {
    let prefix =
        |length: usize| digits[..length].iter().fold(0u32, |number, digit| 10 * number + u32::from(*digit));
    let (two, three, four, six) = (prefix(2), prefix(3), prefix(4), prefix(6));
    match digits.len() {
        16 if (51..=55).contains(&two) || (2221..=2720).contains(&four) => true, // Mastercard
        13 | 16 | 19 if digits[0] == 4 => true,                                  // Visa
        15 => two == 34 || two == 37,                                            // American Express
        16 | 19 if four == 6011 || two == 65 || (644..=649).contains(&three) => true, // Discover
        16 | 19 if (622_126..=622_925).contains(&six) || two == 62 => true,      // UnionPay
        16 if (3528..=3589).contains(&four) || (2200..=2204).contains(&four) => true, // JCB, Mir
        14 => two == 36 || two == 38 || two == 39 || (300..=305).contains(&three), // Diners
        12..=19 => [5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763].contains(&four), // Maestro
        _ => false,
    }
}

/// Luhn's check: from the right, every second digit doubled, digits summed, a multiple of ten.
fn luhn(digits: &[u8]) -> bool {
    let doubled = |(at, digit): (usize, &u8)| {
        let value = u32::from(*digit) * (1 + at as u32 % 2);
        value / 10 + value % 10
    };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}
