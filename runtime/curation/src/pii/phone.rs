//! Phone numbers: international ones by their plus, national ones by how they are grouped or by the words before them.
//!
//! Years, dates, versions, amounts, identifiers and parts of longer numbers look alike; what decides is what a number touches, how its groups
//! are long, and whether a word such as `Phone:` announces it.

use std::ops::Range;

use super::context::{after, before, is_wordy, label_before, word_before};

/// Most groups of digits, and most digits (E.164 allows 15, plus a trunk zero).
const MOST_GROUPS: usize = 8;
const MOST_DIGITS: usize = 17;

/// Country codes (ITU-T E.164), those of three digits by their first two where all ten are in use.
const COUNTRIES: &str = "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 \
    91 92 93 94 95 98 211 212 213 216 218 22 23 24 25 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 35 37 38 42 50 59 67 68 \
    690 691 692 800 808 85 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 \
    994 995 996 998";

/// Labels that stand right before a number.
const LABELS: [&str; 34] = [
    "phone",
    "phones",
    "telephone",
    "tel",
    "tél",
    "fax",
    "mobile",
    "cell",
    "cellphone",
    "whatsapp",
    "hotline",
    "helpline",
    "landline",
    "telefon",
    "telefono",
    "teléfono",
    "telefone",
    "téléphone",
    "fon",
    "fono",
    "mobil",
    "handy",
    "móvil",
    "movil",
    "celular",
    "rufnummer",
    "telefax",
    "telefoon",
    "numéro",
    "ph",
    "dial",
    "sms",
    "voicemail",
    "pager",
];
/// Words in a sentence with a number.
const WORDS: [&str; 14] = [
    "call", "calling", "called", "contact", "dial", "phoned", "ring", "text", "reach", "number", "appelez",
    "anrufen", "llame", "llamar",
];

/// A number as it stands: groups of digits with separators between.
struct Number {
    start: usize,
    has_plus: bool,
    /// The first group is in parentheses.
    has_parens: bool,
    groups: [Group; MOST_GROUPS],
    count: usize,
}

#[derive(Clone, Copy, Default)]
struct Group {
    from: usize,
    to: usize,
    /// What stands before it.
    separator: Separator,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Separator {
    #[default]
    None,
    Space,
    Hyphen,
    Dot,
    Slash,
    Parens,
}

impl Group {
    fn len(&self) -> usize {
        self.to - self.from
    }
}

/// The phone number whose first digit is at `digit`.
pub(super) fn at(text: &str, digit: usize) -> Option<Range<usize>> {
    let number = read(text, digit)?;
    if !may_start(text, &number) {
        return None;
    }
    let context = Context { label: label_before(text, number.start, &LABELS), text, start: number.start };
    for count in (1..=number.count).rev() {
        let groups = &number.groups[..count];
        let end = groups[count - 1].to;
        if ends_well(text, &number, count) && is_phone(text, &number, groups, &context) {
            return Some(number.start..extension(text, end));
        }
    }
    None
}

struct Context<'t> {
    label: bool,
    text: &'t str,
    start: usize,
}

/// Labels of numbers that are no phones.
const OTHER_LABELS: [&str; 16] = [
    "order",
    "id",
    "ref",
    "reference",
    "invoice",
    "ticket",
    "tracking",
    "serial",
    "account",
    "case",
    "isbn",
    "sku",
    "item",
    "part",
    "commit",
    "timestamp",
];

impl Context<'_> {
    fn is_other(&self) -> bool {
        label_before(self.text, self.start, &OTHER_LABELS)
    }

    fn said(&self) -> bool {
        self.label
            || word_before(self.text, self.start, 40, &WORDS)
            || word_before(self.text, self.start, 40, &LABELS)
    }
}

fn read(text: &str, digit: usize) -> Option<Number> {
    let bytes = text.as_bytes();
    let mut start = digit;
    let opened = start.checked_sub(1).is_some_and(|at| bytes[at] == b'(');
    start -= usize::from(opened);
    let mut has_plus = start.checked_sub(1).is_some_and(|at| bytes[at] == b'+');
    if has_plus {
        start -= 1;
    } else if opened && digit >= 2 && bytes[digit - 1] == b'+' {
        has_plus = true;
    }
    // `(+49) 30 …`
    if !opened && has_plus && start > 0 && bytes[start - 1] == b'(' {
        start -= 1;
    }
    let mut number =
        Number { start, has_plus, has_parens: opened, groups: [Group::default(); MOST_GROUPS], count: 0 };
    let (mut at, mut separator, mut digits) = (digit, Separator::None, 0);
    while number.count < MOST_GROUPS {
        let end = at + bytes[at..].iter().take(MOST_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
        if end == at || digits + (end - at) > MOST_DIGITS {
            break;
        }
        digits += end - at;
        number.groups[number.count] = Group { from: at, to: end, separator };
        number.count += 1;
        let Some((next, kind)) = separator_at(text, end) else { break };
        (at, separator) = (next, kind);
    }
    // A parenthesis that does not close after the first group was opened for the sentence, not for the number.
    if opened && !has_plus && number.count > 1 && number.groups[1].separator != Separator::Parens {
        number.start = digit;
        number.has_parens = false;
    }
    (number.count > 0 && digits >= 7).then_some(number)
}

/// What separates two groups, and where the next starts.
fn separator_at(text: &str, start: usize) -> Option<(usize, Separator)> {
    let mut at = start;
    let mut kind = Separator::None;
    let mut blank = 0;
    for c in text.get(start..)?.chars().take(4) {
        kind = match c {
            '0'..='9' => break,
            ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' => {
                blank += 1;
                if kind == Separator::None { Separator::Space } else { kind }
            }
            '-' | '\u{2010}' | '\u{2011}' | '\u{2013}'
                if matches!(kind, Separator::None | Separator::Space | Separator::Parens) =>
            {
                if kind == Separator::Parens { kind } else { Separator::Hyphen }
            }
            '.' | '·' if kind == Separator::None => Separator::Dot,
            '/' if matches!(kind, Separator::None | Separator::Space) => Separator::Slash,
            '(' | ')' => Separator::Parens,
            _ => return None,
        };
        at += c.len_utf8();
    }
    let goes_on = text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    (goes_on && kind != Separator::None && blank < 3).then_some((at, kind))
}

/// What a number may not touch on its left.
fn may_start(text: &str, number: &Number) -> bool {
    let previous = before(text, number.start);
    if number.has_plus && matches!(previous, Some('=' | ':')) {
        return true;
    }
    let touches = is_wordy(previous) || previous.is_some_and(|c| "-/=#$%@*^\\~€£¥+)".contains(c));
    let touches = touches || (previous == Some('(') && is_wordy(before(text, number.start - 1)));
    let dotted = previous == Some('.') && !before(text, number.start - 1).is_some_and(char::is_alphabetic);
    // `1 234-5678`: the middle of a longer row of numbers.
    let in_row = matches!(previous, Some(' '))
        && !number.has_parens
        && !number.has_plus
        && before(text, number.start - 1).is_some_and(|c| c.is_ascii_digit() || c == '+');
    !touches && !dotted && !in_row
}

/// What the first `count` groups may not touch on their right.
fn ends_well(text: &str, number: &Number, count: usize) -> bool {
    let end = number.groups[count - 1].to;
    if count < number.count {
        // A shorter reading ends where a blank is, before a number that starts anew.
        return number.groups[count].separator == Separator::Space;
    }
    let next = after(text, end);
    let then = text.get(end..).and_then(|rest| rest.chars().nth(1));
    match next {
        Some('x' | 'X') => then.is_some_and(|c| c.is_ascii_digit()),
        Some('.' | ',' | ':' | '-' | '/') => !then.is_some_and(|c| {
            c.is_ascii_digit() || (next != Some('.') && next != Some(',') && c.is_alphabetic())
        }),
        Some('%' | '=' | '@' | '°' | '\\' | '*' | '^') => false,
        _ => !is_wordy(next),
    }
}

/// An extension after a number: `x12`, ` ext. 12`.
fn extension(text: &str, end: usize) -> usize {
    let rest = &text.as_bytes()[end..];
    let digits = |from: usize| {
        let count =
            rest.get(from..).unwrap_or(&[]).iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(end + from + count)
    };
    let blank = usize::from(rest.first() == Some(&b' '));
    ["extension ", "ext. ", "ext.", "ext ", "x"]
        .iter()
        .filter(|word| {
            rest.get(blank..blank + word.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
        })
        .find_map(|word| digits(blank + word.len()))
        .unwrap_or(end)
}

fn is_phone(text: &str, number: &Number, groups: &[Group], context: &Context<'_>) -> bool {
    let mut digits = [0u8; MOST_DIGITS];
    let mut count = 0;
    for group in groups {
        for byte in &text.as_bytes()[group.from..group.to] {
            digits[count] = byte - b'0';
            count += 1;
        }
    }
    let digits = &digits[..count];
    let mut distinct = [false; 10];
    for digit in digits {
        distinct[*digit as usize] = true;
    }
    if distinct.iter().filter(|seen| **seen).count() < 2 {
        return false;
    }
    if number.has_plus {
        return is_international(digits, groups);
    }
    if is_date(digits, groups) {
        return false;
    }
    is_north_american(digits, number, groups, context)
        || is_national(digits, number, groups, context)
        || (digits.starts_with(&[0, 0]) && context.said() && is_international(&digits[2..], groups))
}

fn is_international(digits: &[u8], groups: &[Group]) -> bool {
    let Some(code) = country_code(digits) else { return false };
    let mut national = &digits[code..];
    if code == 1 {
        let local = groups.len() > 2 && national.len() == 7;
        return (national.len() == 10 && national[0] > 1) || local;
    }
    // The trunk zero, in parentheses or not, is no part of an international number, but people write it.
    if national.first() == Some(&0) && digits[..code] != [3, 9] {
        let in_parens = groups.iter().any(|group| group.len() <= 4 && group.separator == Separator::Parens);
        if !in_parens && groups.len() < 2 {
            return false;
        }
        national = &national[1..];
    }
    let least = if groups.len() == 1 { 8 } else { 6 };
    (least..=12).contains(&national.len()) && groups.iter().skip(1).all(|group| group.len() <= 11)
}

/// How many digits of the number are its country's code.
fn country_code(digits: &[u8]) -> Option<usize> {
    COUNTRIES.split_ascii_whitespace().find_map(|code| {
        let starts =
            code.len() <= digits.len() && code.bytes().zip(digits).all(|(code, digit)| code - b'0' == *digit);
        // Codes of three digits are listed by their first two where all ten are in use.
        let all_ten =
            ["22", "23", "24", "25", "35", "37", "38", "42", "50", "59", "67", "68", "85"].contains(&code);
        starts.then_some(code.len() + usize::from(all_ten))
    })
}

/// `(415) 555-2671`, `415-555-2671`, `1-800-555-2671`, and with words before it `415 555 2671` and `4155552671`.
fn is_north_american(digits: &[u8], number: &Number, groups: &[Group], context: &Context<'_>) -> bool {
    let (digits, groups, trunk) = match groups {
        [first, rest @ ..] if first.len() == 1 && digits[0] == 1 && !rest.is_empty() => {
            (&digits[1..], rest, true)
        }
        _ => (digits, groups, false),
    };
    let lengths: Vec<usize> = groups.iter().map(Group::len).collect();
    let is_area = digits[0] > 1;
    let parens = number.has_parens || groups[0].separator == Separator::Parens;
    let same = |kind: Separator| groups.iter().skip(1).all(|group| group.separator == kind);
    match lengths.as_slice() {
        [3, 3, 4] | [3, 7] if parens => is_area || context.said(),
        [3, 3, 4] if same(Separator::Hyphen) => is_area || context.said(),
        [3, 3, 4] if same(Separator::Dot) => (is_area && digits[3] > 1) || context.said(),
        [3, 3, 4] => (is_area && trunk && digits[3] > 1) || context.said(),
        [3, 4] => context.label && !parens,
        [10] => context.said() && !context.is_other() && is_area && (digits[3] > 1 || context.label),
        _ => false,
    }
}

/// Numbers of other countries without their code: a trunk zero and words before it, or a label right before it.
fn is_national(digits: &[u8], number: &Number, groups: &[Group], context: &Context<'_>) -> bool {
    // `030/901820-0`: only an extension at the end may be one digit.
    let middle = groups.get(1..groups.len().saturating_sub(1)).unwrap_or(&[]);
    let shape = groups.len() <= 6 && middle.iter().all(|group| group.len() >= 2);
    let trunk = digits[0] == 0 && digits[1] != 0 && (9..=12).contains(&digits.len());
    let in_parens = number.has_parens && trunk && (3..=6).contains(&groups[0].len()) && groups.len() > 1;
    let dotted = groups.len() == 4
        && groups.iter().all(|group| group.len() <= 3)
        && groups[1].separator == Separator::Dot;
    shape
        && !dotted
        && (in_parens || (trunk && context.said()) || (context.label && (7..=13).contains(&digits.len())))
}

/// `2021-05-13`, `13.05.2021`, `1990-1995`, and what follows a date without being a number of its own.
fn is_date(digits: &[u8], groups: &[Group]) -> bool {
    let year = |at: usize| matches!(digits.get(at..at + 2), Some([1, 5..=9] | [2, 0 | 1]));
    let lengths: Vec<usize> = groups.iter().map(Group::len).collect();
    match lengths.as_slice() {
        [4, 1 | 2, 2, ..] | [4, 2, 1, ..] => year(0),
        [4, 4, ..] => year(0) && year(4),
        [2, 2, 4, ..] => year(4),
        [1, 2, 4, ..] | [2, 1, 4, ..] => year(3),
        _ => false,
    }
}
