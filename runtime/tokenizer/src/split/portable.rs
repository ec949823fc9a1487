//! Which regexes mean the same in the engines here and in Oniguruma, the engine of Hugging Face's library.
//!
//! A regex is written into `tokenizer.json` as it stands. Where Oniguruma splits a text otherwise than the engine that trained, the file gives other ids
//! elsewhere, and nobody is told. So this is a list of what both read alike; anything else is refused, with what to write for it. The version of Unicode that
//! an engine knows is not looked at.

use super::portable_class::{Piece, class, escape, unknown};
use crate::EngineError;

/// Letters that together, without regard to case, are one character too in Oniguruma: `ß`, `ﬀ`, `ﬁ`, `ﬂ`, `ﬅ` and `ﬆ`.
const LIGATURES: [&str; 5] = ["ss", "ff", "fi", "fl", "st"];
/// The groups that both know.
const GROUPS: [(&str, Kind); 7] = [
    ("(?:", Kind::Plain),
    ("(?>", Kind::Plain),
    ("(?i:", Kind::AnyCase),
    ("(?=", Kind::Ahead),
    ("(?!", Kind::Ahead),
    ("(?<=", Kind::Behind),
    ("(?<!", Kind::Behind),
];

/// Refuses regexes that Oniguruma reads otherwise than the engines here, or not at all: `^` and `$` match at every line there, `\w` has other characters,
/// and `{1,3}+` is a run of runs.
///
/// # Errors
/// The first construct that is not known to mean the same, and what to write for it.
pub fn check_portable(patterns: &[String]) -> Result<(), EngineError> {
    for pattern in patterns {
        let mut reader = Reader { pattern, at: 0, groups: vec![Group::new(Kind::Plain)] };
        reader.read().map_err(|message| EngineError::Pattern { pattern: pattern.clone(), message })?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A group, which may capture, and the pattern as a whole.
    Plain,
    /// `(?i:…)`.
    AnyCase,
    /// A look-ahead.
    Ahead,
    /// A look-behind.
    Behind,
}

/// An open group.
#[derive(Debug)]
struct Group {
    kind: Kind,
    /// Whether one of its alternatives may match the empty text.
    may_be_empty: bool,
    /// Whether that holds for the alternative that is being read.
    is_empty_so_far: bool,
    /// The letters of that alternative; a class is `[`.
    letters: String,
}

impl Group {
    fn new(kind: Kind) -> Self {
        Self { kind, may_be_empty: false, is_empty_so_far: true, letters: String::new() }
    }
}

/// What was read, for what may follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// A character, a class, or a group that is never empty.
    Full,
    /// A group that may match the empty text.
    MaybeEmpty,
    /// A place, such as `\A` and a look-ahead.
    Place,
}

struct Reader<'p> {
    pattern: &'p str,
    at: usize,
    groups: Vec<Group>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(char) = self.rest().chars().next() {
            let atom = match char {
                '^' | '$' => {
                    return Err(
                        r"`^` and `$` match at every line in Hugging Face's engine: write `\A` and `\z`"
                            .into(),
                    );
                }
                '|' => {
                    self.end_alternative();
                    self.at += 1;
                    continue;
                }
                '(' => {
                    self.open()?;
                    continue;
                }
                ')' => self.close()?,
                '[' => self.class()?,
                '\\' => self.escape()?,
                '.' => self.one(char, '[')?,
                '*' | '+' | '?' | '{' => {
                    return Err(format!(
                        "`{char}` repeats nothing, or what is repeated already: write `\\{char}` for the character"
                    ));
                }
                ']' | '}' => {
                    return Err(format!("`{char}` closes nothing: write `\\{char}` for the character"));
                }
                _ => self.one(char, char)?,
            };
            self.quantifier(atom)?;
        }
        if self.groups.len() > 1 {
            return Err("`(` is not closed".into());
        }
        self.end_alternative();
        if self.groups.iter().any(|group| group.may_be_empty) {
            return Err("it matches the empty text, which splits between any two characters in Hugging Face's engine: `+` for `*` asks for one character".into());
        }
        Ok(())
    }

    fn rest(&self) -> &str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    /// The group that is being read: the last one.
    fn kind(&self) -> Kind {
        self.groups.last().map_or(Kind::Plain, |group| group.kind)
    }

    fn open(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let known = GROUPS.iter().find(|(text, _)| rest.starts_with(text));
        let (length, kind) = match known {
            Some((text, kind)) => (text.len(), *kind),
            None if rest.starts_with("(?") => return Err(unknown_group(rest)),
            None => (1, Kind::Plain),
        };
        let outside = self.kind();
        if matches!(outside, Kind::AnyCase | Kind::Behind) {
            let around = if outside == Kind::AnyCase { "(?i:…)" } else { "a look-behind" };
            let what = format!("`{}` in {around}", &rest[..length]);
            return Err(unknown(&what, "write it without a group"));
        }
        self.at += length;
        self.groups.push(Group::new(kind));
        Ok(())
    }

    fn close(&mut self) -> Result<Atom, String> {
        self.end_alternative();
        let group = self.groups.pop().filter(|_| !self.groups.is_empty());
        let group = group.ok_or("`)` closes no group: write `\\)` for the character")?;
        self.at += 1;
        Ok(match group.kind {
            Kind::Ahead | Kind::Behind => Atom::Place,
            _ if group.may_be_empty => Atom::MaybeEmpty,
            _ => Atom::Full,
        })
    }

    fn end_alternative(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.may_be_empty |= group.is_empty_so_far;
            group.is_empty_so_far = true;
            group.letters.clear();
        }
    }

    fn class(&mut self) -> Result<Atom, String> {
        let length = class(self.rest())?;
        let text = &self.rest()[..length];
        if self.kind() == Kind::AnyCase
            && !text[1..length - 1].chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
        {
            return Err(unknown(
                &format!("`{text}` in (?i:…)"),
                "write letters and digits of ASCII, or it outside of the group",
            ));
        }
        self.at += length;
        self.letter('[')?;
        Ok(Atom::Full)
    }

    fn escape(&mut self) -> Result<Atom, String> {
        let (piece, length) = escape(self.rest())?;
        let text = &self.rest()[..length];
        if self.kind() == Kind::AnyCase && !matches!(piece, Piece::Punctuation) {
            return Err(unknown(&format!("`{text}` in (?i:…)"), "write it outside of the group"));
        }
        self.at += length;
        Ok(if piece == Piece::Place { Atom::Place } else { Atom::Full })
    }

    /// One character of the pattern that is one of the text.
    fn one(&mut self, char: char, letter: char) -> Result<Atom, String> {
        let is_cased = char.is_alphabetic() && !char.is_ascii();
        if self.kind() == Kind::AnyCase && (is_cased || char == '.') {
            return Err(unknown(
                &format!("`{char}` in (?i:…)"),
                "write it outside of the group, in both cases",
            ));
        }
        self.at += char.len_utf8();
        self.letter(letter)?;
        Ok(Atom::Full)
    }

    /// Letters in a row without regard to case.
    fn letter(&mut self, letter: char) -> Result<(), String> {
        let Some(group) = self.groups.last_mut().filter(|group| group.kind == Kind::AnyCase) else {
            return Ok(());
        };
        group.letters.push(letter.to_ascii_lowercase());
        let beside_class = group.letters.len() > 1 && group.letters.contains('[');
        if beside_class {
            return Err(unknown(
                "a class beside other characters in (?i:…)",
                "write `[sS][tT]` without (?i:…)",
            ));
        }
        match LIGATURES.iter().find(|pair| group.letters.ends_with(**pair)) {
            Some(pair) => Err(format!(
                "`{pair}` in (?i:…) is one character too in Hugging Face's engine (ß, ﬁ, ﬆ): write `[sS][tT]` without (?i:…)"
            )),
            None => Ok(()),
        }
    }

    /// What says how often.
    fn quantifier(&mut self, atom: Atom) -> Result<(), String> {
        let rest = self.rest();
        let length = match rest.chars().next() {
            Some('*' | '+' | '?') => 1,
            Some('{') => 1 + rest.find('}').ok_or("`{` is not closed: write `\\{` for the character")?,
            _ => 0,
        };
        let text = rest[..length].to_owned();
        let may_be_none = match text.as_str() {
            "" => atom != Atom::Full,
            "*" | "?" => true,
            "+" => false,
            _ => least(&text)? == 0,
        };
        let mode = rest[length..].chars().next().filter(|mode| length > 0 && matches!(mode, '?' | '+'));
        if length > 0 {
            if atom == Atom::Place || (atom == Atom::MaybeEmpty && text != "?") {
                let what = format!("`{text}` behind what may be empty");
                return Err(unknown(&what, "leave it out"));
            }
            if matches!(self.kind(), Kind::AnyCase | Kind::Behind) {
                let what = format!("`{text}` in (?i:…) or a look-behind");
                return Err(unknown(&what, "write it outside of the group"));
            }
            match mode {
                Some('+') if text.starts_with('{') => {
                    return Err(format!(
                        "`{text}+` is another thing in Hugging Face's engine: leave out the `+`"
                    ));
                }
                Some('?') if text.starts_with('{') && !text.contains(',') => {
                    return Err(format!(
                        "`{text}?` is another thing in Hugging Face's engine: leave out the `?`"
                    ));
                }
                _ => {}
            }
        }
        self.at += length + mode.map_or(0, char::len_utf8);
        if let Some(group) = self.groups.last_mut() {
            group.is_empty_so_far &= may_be_none;
        }
        Ok(())
    }
}

/// How often at least: of `{2}`, `{2,}` and `{2,3}`.
fn least(text: &str) -> Result<u32, String> {
    let numbers = text.trim_start_matches('{').trim_end_matches('}');
    let (least, most) = numbers.split_once(',').unwrap_or((numbers, ""));
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten()
    };
    match number(least) {
        Some(least) if most.is_empty() || number(most).is_some_and(|most| most >= least) => Ok(least),
        _ => Err(unknown(&format!("`{text}`"), "write `{0,3}`, or `\\{` for the character")),
    }
}

fn unknown_group(rest: &str) -> String {
    let flags = rest[2..].chars().take_while(|char| char.is_ascii_alphabetic() || *char == '-').count();
    match rest.as_bytes().get(2 + flags) {
        Some(b')' | b':') if flags > 0 => {
            let text = &rest[..=2 + flags];
            let hint = "write `(?i:…)` around what has any case; other flags have no form that both know";
            format!(
                "`{text}` is another flag, or set for another part of the pattern, in Hugging Face's engine: {hint}"
            )
        }
        _ => {
            let text: String = rest.chars().take(4).collect();
            unknown(&format!("`{text}`"), "write `(…)`, `(?:…)` or a look-ahead `(?=…)`, `(?!…)`")
        }
    }
}
