//! What spaCy's English rules take off at either end of a stretch, and where they part what is left.

use super::chars::{char_at, char_before, is_alpha, is_icon, is_lower, is_upper};

/// Punctuation that is taken off at either end.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        ',' | ':'
            | ';'
            | '!'
            | '?'
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '}'
            | '<'
            | '>'
            | '_'
            | '#'
            | '*'
            | '&'
            | '…'
            | '¿'
            | '؟'
            | '¡'
            | '。'
            | '？'
            | '！'
            | '，'
            | '、'
            | '；'
            | '：'
            | '～'
            | '·'
            | '।'
            | '،'
            | '۔'
            | '؛'
            | '٪'
    )
}

/// Quotes and brackets that count as quotes.
fn is_quote(c: char) -> bool {
    matches!(
        c,
        '\'' | '"'
            | '`'
            | ','
            | '”'
            | '“'
            | '‘'
            | '´'
            | '’'
            | '‚'
            | '„'
            | '»'
            | '«'
            | '「'
            | '」'
            | '『'
            | '』'
            | '（'
            | '）'
            | '〔'
            | '〕'
            | '【'
            | '】'
            | '《'
            | '》'
            | '〈'
            | '〉'
            | '⟦'
            | '⟧'
    )
}

fn is_currency(c: char) -> bool {
    matches!(c, '$' | '£' | '€' | '¥' | '฿' | '₽' | '﷼' | '₠'..='₿')
}

/// Bytes of the prefix that comes off; 0 where none does.
pub(super) fn prefix(text: &str) -> usize {
    let c = char_at(text, 0);
    if c.is_ascii_alphanumeric() {
        let has_dollar = text.starts_with("US$") || text.starts_with("C$") || text.starts_with("A$");
        return if !has_dollar {
            0
        } else if c == 'U' {
            3
        } else {
            2
        };
    }
    match c {
        '+' if !char_at(text, 1).is_ascii_digit() => 1,
        '.' => match dots(text.bytes()) {
            1 => 0,
            run => run,
        },
        '§' | '%' | '=' | '—' | '–' => c.len_utf8(),
        _ if is_mark(c) || is_quote(c) || is_currency(c) || is_icon(c) => c.len_utf8(),
        _ => 0,
    }
}

/// Full stops at the start of bytes.
fn dots(bytes: impl Iterator<Item = u8>) -> usize {
    bytes.take_while(|byte| *byte == b'.').count()
}

/// Bytes of the suffix that comes off; 0 where none does. Of several the longest, as spaCy's search finds the leftmost.
pub(super) fn suffix(text: &str) -> usize {
    let c = char_before(text, text.len());
    let length = c.len_utf8();
    let head = &text[..text.len().saturating_sub(length)];
    match c {
        '.' => match dots(text.bytes().rev()) {
            1 => usize::from(is_split_before_dot(head)),
            run => run,
        },
        's' | 'S' if head.ends_with(['\'', '’']) => length + char_before(head, head.len()).len_utf8(),
        '+' => usize::from(char_before(head, head.len()).is_ascii_digit()),
        '…' if head.ends_with('…') => 2 * length,
        '—' | '–' => length,
        _ if unit(text) > 0 => unit(text),
        _ if is_mark(c) || is_quote(c) || is_icon(c) => length,
        _ => 0,
    }
}

/// Whether a full stop behind this is a token of its own.
fn is_split_before_dot(head: &str) -> bool {
    let c = char_before(head, head.len());
    let before = char_before(head, head.len().saturating_sub(c.len_utf8()));
    c.is_ascii_digit()
        || is_lower(c)
        || matches!(c, '%' | '²' | '-' | '+' | '|' | '(' | '?' | ':' | ')')
        || is_mark(c)
        || is_quote(c)
        || is_upper(c) && is_upper(before)
        || matches!(c, 'F' | 'C' | 'K') && before == '°'
}

/// Units behind a number.
const UNITS: [&str; 78] = [
    "km", "km²", "km³", "m", "m²", "m³", "dm", "dm²", "dm³", "cm", "cm²", "cm³", "mm", "mm²", "mm³", "ha",
    "µm", "nm", "yd", "in", "ft", "kg", "g", "mg", "µg", "t", "lb", "oz", "m/s", "km/h", "kmh", "mph", "hPa",
    "Pa", "mbar", "mb", "MB", "kb", "KB", "gb", "GB", "tb", "TB", "T", "G", "M", "K", "%", "км", "км²",
    "км³", "м", "м²", "м³", "дм", "дм²", "дм³", "см", "см²", "см³", "мм", "мм²", "мм³", "нм", "кг", "г",
    "мг", "м/с", "км/ч", "кПа", "Па", "мбар", "Кб", "КБ", "кб", "Мб", "МБ", "мб",
];
/// Longest unit, bytes.
const MAX_UNIT: usize = 12;

/// Bytes of a unit or a currency at the end that stands right behind a digit; 0 where there is none.
fn unit(text: &str) -> usize {
    let tail = text.bytes().rev().take(MAX_UNIT + 1).take_while(|byte| !byte.is_ascii_digit()).count();
    if tail == 0 || tail > MAX_UNIT || tail == text.len() {
        return 0;
    }
    let Some(unit) = text.get(text.len() - tail..) else { return 0 };
    let mut chars = unit.chars();
    let is_money = chars.next().is_some_and(is_currency) && chars.next().is_none()
        || matches!(unit, "US$" | "C$" | "A$");
    let is_other = matches!(unit, "Гб" | "ГБ" | "гб" | "Тб" | "ТБ");
    if is_money || is_other || UNITS.contains(&unit) { tail } else { 0 }
}

/// Whether letters and digits end in a unit, so that they are two tokens.
pub(super) fn ends_in_unit(chunk: &str) -> bool {
    unit(chunk) > 0
}

pub(super) fn first_infix(text: &str) -> Option<(usize, usize)> {
    next_infix(text, 0, 0)
}

/// The next infix at or behind a place in a stretch that starts at `start`: its first byte and its length.
pub(super) fn next_infix(text: &str, start: usize, mut at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let c = char_at(text, at);
        let length = c.len_utf8();
        let before = if at == start { ' ' } else { char_before(text, at) };
        let after = char_at(text, at + length);
        let is_infix = match c {
            '.' => {
                let run = dots(bytes[at..].iter().copied());
                if run > 1 {
                    return Some((at, run));
                }
                (is_lower(before) || is_quote(before)) && (is_upper(after) || is_quote(after))
            }
            '…' => true,
            '+' | '*' | '^' => before.is_ascii_digit() && (after.is_ascii_digit() || after == '-'),
            '-' if before.is_ascii_digit() && (after.is_ascii_digit() || after == '-') => true,
            '-' | '—' | '–' | '~' if is_alpha(before) || before.is_ascii_digit() => {
                if let Some(run) = hyphens(text, at, c) {
                    return Some((at, run));
                }
                false
            }
            ',' => is_alpha(before) && is_alpha(after),
            ':' | '<' | '>' | '=' | '/' => (is_alpha(before) || before.is_ascii_digit()) && is_alpha(after),
            _ => is_icon(c),
        };
        if is_infix {
            return Some((at, length));
        }
        at += length;
    }
    None
}

/// Bytes of hyphens before a letter: up to three `-`, up to two `—`, one `–` or `~`.
fn hyphens(text: &str, at: usize, c: char) -> Option<usize> {
    let most = match c {
        '-' => 3,
        '—' => 2,
        _ => 1,
    };
    let mut end = at;
    for _ in 0..most {
        end += c.len_utf8();
        let next = char_at(text, end);
        if is_alpha(next) {
            return Some(end - at);
        }
        if next != c {
            break;
        }
    }
    None
}
