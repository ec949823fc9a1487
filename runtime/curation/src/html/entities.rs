//! Character references, as the HTML standard decodes them (§13.2.5.72): the longest name wins, old names need no semicolon, numbers of the C1 range mean
//! windows-1252.

use std::sync::LazyLock;

/// The standard's table: a name, its code points in hexadecimal, and `!` where the name is known without its semicolon too.
const TABLE: &str = include_str!("entities.txt");

/// The longest of the names that need no semicolon.
const LONGEST_LEGACY: usize = 6;

/// The longest name.
const LONGEST: usize = 31;

/// What the numbers 0x80 to 0x9F mean: windows-1252, since that is what their authors had.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// One name.
struct Entity {
    name: &'static str,
    text: String,
    legacy: bool,
}

static ENTITIES: LazyLock<Vec<Entity>> = LazyLock::new(|| TABLE.lines().filter_map(entity).collect());

fn entity(line: &'static str) -> Option<Entity> {
    let mut fields = line.split(' ');
    let name = fields.next()?;
    let text = fields
        .next()?
        .split('+')
        .filter_map(|hex| char::from_u32(u32::from_str_radix(hex, 16).ok()?))
        .collect();
    Some(Entity { name, text, legacy: fields.next().is_some() })
}

fn named(name: &[u8]) -> Option<&'static Entity> {
    let at = ENTITIES.binary_search_by(|entity| entity.name.as_bytes().cmp(name)).ok()?;
    ENTITIES.get(at)
}

/// Where a reference stands: in an attribute `&copy=` is not one, for the sake of addresses with parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    Attribute,
}

/// Appends `text` to `out` with its references decoded.
pub(super) fn decode_into(text: &str, place: Place, out: &mut String) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let used = reference(rest, place, out);
        if used == 0 {
            out.push('&');
        }
        rest = &rest[used.max(1)..];
    }
    out.push_str(rest);
}

/// Decodes the reference at the start of `text` and returns how many bytes it has; 0 where there is none.
fn reference(text: &str, place: Place, out: &mut String) -> usize {
    let bytes = text.as_bytes();
    if bytes.get(1) == Some(&b'#') {
        return numeric(bytes, out);
    }
    let run = bytes[1..].iter().take(LONGEST + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let name = &bytes[1..=run];
    if bytes.get(run + 1) == Some(&b';')
        && let Some(entity) = named(name)
    {
        out.push_str(&entity.text);
        return run + 2;
    }
    for length in (2..=run.min(LONGEST_LEGACY)).rev() {
        let Some(entity) = named(&name[..length]).filter(|entity| entity.legacy) else { continue };
        let next = bytes.get(length + 1);
        if place == Place::Attribute && next.is_some_and(|byte| *byte == b'=' || byte.is_ascii_alphanumeric())
        {
            return 0;
        }
        out.push_str(&entity.text);
        return length + 1;
    }
    0
}

fn numeric(bytes: &[u8], out: &mut String) -> usize {
    let hex = matches!(bytes.get(2), Some(b'x' | b'X'));
    let (start, radix) = if hex { (3, 16) } else { (2, 10) };
    let mut at = start;
    let mut code = 0_u32;
    while let Some(digit) = bytes.get(at).and_then(|byte| char::from(*byte).to_digit(radix)) {
        code = code.saturating_mul(radix).saturating_add(digit);
        at += 1;
    }
    if at == start {
        return 0;
    }
    out.push(match code {
        0 => char::REPLACEMENT_CHARACTER,
        0x80..=0x9f => WINDOWS_1252[code as usize - 0x80],
        _ => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
    });
    at + usize::from(bytes.get(at) == Some(&b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, place: Place) -> String {
        let mut out = String::new();
        decode_into(text, place, &mut out);
        out
    }

    #[test]
    fn the_table_is_whole_and_sorted() {
        assert_eq!(ENTITIES.len(), 2125);
        assert_eq!(ENTITIES.iter().filter(|entity| entity.legacy).count(), 106);
        assert!(ENTITIES.is_sorted_by(|a, b| a.name.as_bytes() < b.name.as_bytes()));
        assert!(ENTITIES.iter().all(|entity| !entity.text.is_empty() && entity.name.len() <= LONGEST));
        assert!(ENTITIES.iter().all(|entity| !entity.legacy || entity.name.len() <= LONGEST_LEGACY));
    }

    #[test]
    fn references_decode_as_the_standard_says() {
        for (source, text) in [
            ("a &amp; b &lt;c&gt;", "a & b <c>"),
            ("I'm &notit; I tell you, I'm &notin; I tell you", "I'm ¬it; I tell you, I'm ∉ I tell you"),
            ("&copy2020 &hellip &hellip;", "©2020 &hellip …"),
            ("&#x41;&#66&#67;&#x;&#;&", "ABC&#x;&#;&"),
            ("&#150;&#x80;&#0;&#xD800;&#x110000;&#99999999999;", "–€\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("&CounterClockwiseContourIntegral;&NotEqualTilde;", "∳≂̸"),
            ("&nosuchname; &é", "&nosuchname; &é"),
        ] {
            assert_eq!(decoded(source, Place::Text), text, "{source}");
        }
    }

    #[test]
    fn an_address_keeps_its_parameters() {
        assert_eq!(decoded("?a=1&copy=2&amp;lt=3&reg", Place::Attribute), "?a=1&copy=2&lt=3®");
        assert_eq!(decoded("&copy=2", Place::Text), "©=2");
    }
}
