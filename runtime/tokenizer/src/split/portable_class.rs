//! Classes and escapes that the engines here and Oniguruma read alike.

/// Properties of characters: the general categories, and the scripts that tokenizers tell apart. Of these each has the same characters in both; of other names
/// nobody looked.
const PROPERTIES: [&str; 67] = [
    "L",
    "Lu",
    "Ll",
    "Lt",
    "Lm",
    "Lo",
    "M",
    "Mn",
    "Mc",
    "Me",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Ps",
    "Pe",
    "Pi",
    "Pf",
    "Po",
    "S",
    "Sm",
    "Sc",
    "Sk",
    "So",
    "Z",
    "Zs",
    "Zl",
    "Zp",
    "C",
    "Cc",
    "Cf",
    "Co",
    "Arabic",
    "Armenian",
    "Bengali",
    "Cyrillic",
    "Devanagari",
    "Ethiopic",
    "Georgian",
    "Greek",
    "Gujarati",
    "Gurmukhi",
    "Han",
    "Hangul",
    "Hebrew",
    "Hiragana",
    "Kannada",
    "Katakana",
    "Khmer",
    "Lao",
    "Latin",
    "Malayalam",
    "Mongolian",
    "Myanmar",
    "Oriya",
    "Sinhala",
    "Tamil",
    "Telugu",
    "Thai",
    "Tibetan",
    "Tifinagh",
    "Bopomofo",
    "Cherokee",
    "Syriac",
];

/// What is not on the list, and what to write for it.
pub(super) fn unknown(what: &str, hint: &str) -> String {
    format!("{what} is not known to mean the same in Hugging Face's engine: {hint}")
}

/// What an escape is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// A character by its name or number.
    Named,
    /// A character that would mean something else without the escape.
    Punctuation,
    /// Characters of a set.
    Set,
    /// A place: the start or the end.
    Place,
}

/// The bytes of the escape that the text starts with, and what it is.
pub(super) fn escape(text: &str) -> Result<(Piece, usize), String> {
    let Some(char) = text.chars().nth(1) else { return Err("it ends in `\\`".into()) };
    let piece = match char {
        's' | 'S' | 'd' | 'D' => Piece::Set,
        'A' | 'z' => Piece::Place,
        'n' | 'r' | 't' | 'f' | 'v' => Piece::Named,
        'p' | 'P' => return Ok((Piece::Set, property(text)?)),
        'x' | 'u' => return Ok((Piece::Named, numbered(text)?)),
        ' '..='/' | ':' | ';' | '=' | '?' | '@' | '['..='`' | '{'..='~' => Piece::Punctuation,
        _ => return Err(other_escape(char)),
    };
    Ok((piece, 1 + char.len_utf8()))
}

fn other_escape(char: char) -> String {
    let (is, hint) = match char {
        'w' => ("has other characters", r"write `[\p{L}\p{N}_]`"),
        'W' => ("has other characters", r"write `[^\p{L}\p{N}_]`"),
        'b' | 'B' => ("is another place", r"write a look-around such as `(?!\p{L})`"),
        'Z' => ("is another place", r"write `\z`"),
        '0'..='9' | 'k' | 'g' => return unknown(&format!("`\\{char}`"), "write out what it refers to"),
        _ => {
            return unknown(
                &format!("`\\{char}`"),
                r"write the character itself, or a class such as `\p{L}`",
            );
        }
    };
    format!("`\\{char}` {is} in Hugging Face's engine: {hint}")
}

/// `\p{L}`.
fn property(text: &str) -> Result<usize, String> {
    let end = text.find('}').filter(|_| text[2..].starts_with('{'));
    let Some(end) = end else {
        let text: String = text.chars().take(3).collect();
        return Err(format!(
            r"`{text}` is another thing in Hugging Face's engine: write `\p{{L}}`, with braces"
        ));
    };
    if PROPERTIES.contains(&&text[3..end]) {
        return Ok(end + 1);
    }
    let hint = r"write a general category such as `\p{L}` or `\p{Lu}`, or a script such as `\p{Greek}`";
    Err(unknown(&format!("`{}`", &text[..=end]), hint))
}

/// `\x{4e00}`, `\x41` and `\u4e00`.
fn numbered(text: &str) -> Result<usize, String> {
    let are_hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
    if let Some(braced) = text.strip_prefix(r"\x{") {
        let end =
            braced.find('}').filter(|end| are_hex(&braced[..*end]) && number(&braced[..*end]).is_some());
        return end.map(|end| end + 4).ok_or_else(|| other_number(text));
    }
    let length = if text.starts_with(r"\x") { 2 } else { 4 };
    let digits = text[2..].get(..length).filter(|digits| are_hex(digits));
    // Two digits are a byte in Oniguruma.
    let known = digits.and_then(number).filter(|char| length == 4 || char.is_ascii());
    known.map(|_| 2 + length).ok_or_else(|| other_number(text))
}

fn other_number(text: &str) -> String {
    let text: String = text.chars().take(6).collect();
    format!(
        r"`{text}` is not known to be a character in Hugging Face's engine: write `\x{{4e00}}` or the character itself"
    )
}

/// What a class has before what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Nothing,
    /// A character that may begin a range.
    Char,
    /// Something that no range begins with.
    Other,
}

/// The bytes of the class that the text starts with, those in it included.
pub(super) fn class(text: &str) -> Result<usize, String> {
    let mut at = 0;
    let mut open = Vec::new();
    while let Some(char) = text[at..].chars().next() {
        let rest = &text[at..];
        let before = open.last().copied().unwrap_or(Before::Nothing);
        let (after, length) = match char {
            '[' if rest.starts_with("[:") && !open.is_empty() => return Err(posix(rest)),
            '[' => {
                if let Some(outer) = open.last_mut() {
                    *outer = Before::Other;
                }
                open.push(Before::Nothing);
                at += if rest.starts_with("[^") { 2 } else { 1 };
                continue;
            }
            ']' if before == Before::Nothing => {
                return Err("`[]` is no class: write `\\]` for the character".into());
            }
            ']' => {
                open.pop();
                at += 1;
                if open.is_empty() {
                    return Ok(at);
                }
                continue;
            }
            '&' if rest.starts_with("&&") => {
                if before == Before::Nothing || !rest.starts_with("&&[") {
                    return Err(unknown(
                        "`&&` without a class behind it",
                        "write `&&[…]`, or `\\&` for the character",
                    ));
                }
                (Before::Other, 2)
            }
            '~' if rest.starts_with("~~") => {
                return Err(
                    "`~~` is another thing in Hugging Face's engine: write `\\~` for the character".into()
                );
            }
            '-' => hyphen(rest, before)?,
            '\\' => match escape(rest)? {
                (Piece::Place, length) => {
                    return Err(format!("`{}` is no character, so no class has it", &rest[..length]));
                }
                (Piece::Set, length) => (Before::Other, length),
                (_, length) => (Before::Char, length),
            },
            _ => (Before::Char, char.len_utf8()),
        };
        if let Some(last) = open.last_mut() {
            *last = after;
        }
        at += length;
    }
    Err("`[` is not closed: write `\\[` for the character".into())
}

/// A hyphen in a class: the character at either end of it, else that of a range, which is read with its end.
fn hyphen(rest: &str, before: Before) -> Result<(Before, usize), String> {
    let wrong = || unknown("`-` where no range can be", "write `\\-` for the character");
    let Some(next) = rest[1..].chars().next() else { return Ok((Before::Other, 1)) };
    match (before, next) {
        (_, '-' | '[' | '&' | '~') => Err(wrong()),
        (_, ']') | (Before::Nothing, _) => Ok((Before::Other, 1)),
        (Before::Char, '\\') => match escape(&rest[1..])? {
            (Piece::Named | Piece::Punctuation, length) => Ok((Before::Other, 1 + length)),
            _ => Err(wrong()),
        },
        (Before::Char, _) => Ok((Before::Other, 1 + next.len_utf8())),
        (Before::Other, _) => Err(wrong()),
    }
}

fn posix(rest: &str) -> String {
    let end = rest.find(":]").map_or(2, |end| end + 2);
    let name = &rest[..end];
    format!(
        r"`{name}` has other characters in Hugging Face's engine: write `\p{{L}}` for letters, `\p{{N}}` for digits, `\s` for blanks"
    )
}
