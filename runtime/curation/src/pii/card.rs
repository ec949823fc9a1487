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
    let (digits, groups, ends) = read(text.as_bytes(), start)?;
    // The longest reading first: what follows a card with a blank between may be its check value or a date.
    (1..=groups.len()).rev().filter(|used| groups[used - 1] > 0).find_map(|used| {
        let count = groups[..used].iter().sum();
        let mut shape = [0; 5];
        shape[..used].copy_from_slice(&groups[..used]);
        let end = ends[used - 1];
        let cut = groups.get(used).is_some_and(|more| *more > 0);
        let is_whole = if cut { text.as_bytes().get(end) == Some(&b' ') } else { ends_well(text, end) };
        (is_whole && is_card(text, start, &digits[..count], shape)).then_some(start..end)
    })
}

fn ends_well(text: &str, end: usize) -> bool {
    let next = after(text, end);
    let joins = next.is_some_and(|c| c == '.' || c == '-') && is_wordy(after(text, end + 1));
    !is_wordy(next) && !joins
}

fn is_card(text: &str, start: usize, digits: &[u8], groups: [usize; 5]) -> bool {
    let said = || word_before(text, start, 48, &CARD_WORDS);
    let is_sure = groups[1] > 0 || [15, 16].contains(&digits.len());
    let known = is_grouped(groups, digits.len()) && is_issued(digits) && (is_sure || said());
    let distinct = (0..10).filter(|digit| digits.contains(digit)).count();
    known && distinct > 1 && luhn(digits) && !label_before(text, start, &OTHER_LABELS)
}

type Digits = ([u8; 5 * MOST_DIGITS], [usize; 5], [usize; 5]);

/// Digits with single spaces or hyphens between, the same throughout: digits, and the lengths and ends of up to five groups.
fn read(bytes: &[u8], start: usize) -> Option<Digits> {
    let mut digits = [0; 5 * MOST_DIGITS];
    let (mut groups, mut ends) = ([0; 5], [0; 5]);
    let (mut at, mut count) = (start, 0);
    let mut separator = None;
    for group in 0..5 {
        let run =
            bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).take(MOST_DIGITS + 1).count();
        if run > MOST_DIGITS {
            return if group == 0 { None } else { Some((digits, groups, ends)) };
        }
        for byte in &bytes[at..at + run] {
            digits[count] = byte - b'0';
            count += 1;
        }
        at += run;
        (groups[group], ends[group]) = (run, at);
        let next = bytes.get(at).filter(|byte| matches!(byte, b' ' | b'-'));
        if next.is_none()
            || separator.is_some_and(|other| Some(&other) != next)
            || !bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
        {
            break;
        }
        separator = next.copied();
        at += 1;
    }
    Some((digits, groups, ends))
}

/// How cards are written: in one run, in fours, or as American Express and Diners do.
fn is_grouped(groups: [usize; 5], count: usize) -> bool {
    (groups[1] == 0 && (12..=19).contains(&count))
        || matches!(groups, [4, 4, 4, 4, 0..=3] | [4, 6, 4 | 5, 0, 0])
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
