//! Diagnostics as text.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

use super::diagnostic::{Diagnostic, Diagnostics};

/// Longest stretch of a source line that is shown, characters.
const LINE_WINDOW: usize = 160;
/// Most errors that are shown to people; the rest are counted, and machines get all.
pub(super) const MAX_SHOWN: usize = 100;

/// Every error as a block, then a count.
pub(super) fn text(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics.iter().take(MAX_SHOWN) {
        block(&mut out, diagnostic);
        out.push('\n');
    }
    let rest = more(diagnostics).map_or_else(String::new, |more| format!("; {more}"));
    let _ = writeln!(out, "{}{rest}", diagnostics.count());
    out
}

/// `1 error`, `2 errors`.
pub(super) fn count(errors: usize) -> String {
    format!("{errors} {}", if errors == 1 { "error" } else { "errors" })
}

/// How many more there are than are shown, and how to see them.
pub(super) fn more(diagnostics: &Diagnostics) -> Option<String> {
    let more = diagnostics.0.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0)?;
    Some(format!("{more} more than these: --json lists all"))
}

/// One error: head line, place, source line with a caret, hints.
fn block(out: &mut String, d: &Diagnostic) {
    let _ = writeln!(out, "error[{}]: {}", d.code.as_str(), printable(&d.message));
    let number = d.origin.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(out, "{gutter}--> {}", d.origin);
    if !d.source.is_empty() {
        let (line, caret) = window(d);
        let _ = writeln!(out, "{gutter} |\n{number} | {line}\n{gutter} | {caret}");
    }
    if !d.expected.is_empty() {
        let _ = writeln!(out, "{gutter} = expected: {}", printable(&d.expected));
    }
    if let Some(suggestion) = &d.suggestion {
        let _ = writeln!(out, "{gutter} = did you mean `{}`?", printable(suggestion));
    }
    for note in &d.notes {
        let _ = writeln!(out, "{gutter} = {}: {}", note.origin, printable(&note.message));
    }
}

/// The source line and its caret line, cut to [`LINE_WINDOW`] around the token, with `…` where something is cut off.
/// Characters as wide as two are counted so: the caret stands under its token.
fn window(d: &Diagnostic) -> (String, String) {
    let chars: Vec<char> = d.source.chars().map(shown).collect();
    let at = (d.origin.column.saturating_sub(d.source_column) as usize).min(chars.len());
    let start = if at > LINE_WINDOW * 3 / 4 { at - LINE_WINDOW / 2 } else { 0 };
    let end = (start + LINE_WINDOW).min(chars.len());
    let before = if start > 0 || d.source_column > 1 { "…" } else { "" };
    let after = if end < chars.len() { "…" } else { "" };
    let width = |part: &[char]| part.iter().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    let token_end = (at + d.length.max(1) as usize).min(end);
    let line: String = chars[start..end].iter().collect();
    let caret = format!(
        "{}{}",
        " ".repeat(width(&chars[start..at]) + before.chars().count()),
        "^".repeat(width(&chars[at..token_end]).max(1))
    );
    (format!("{before}{line}{after}").trim_end().to_owned(), caret)
}

/// A message without what a terminal would carry out.
fn printable(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// A character as it is shown: a tab or control character as one space, one that turns the direction of the text as a sign.
fn shown(c: char) -> char {
    match c {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::spec::{ProcessEnvironment, parse};

    /// What stands above the carets of the error about `suitess`.
    fn above_the_caret(text: &str) -> String {
        let errors =
            parse(Path::new("a.yaml"), text.as_bytes(), &[], &ProcessEnvironment).unwrap_err().to_text();
        let block = errors.split("\n\n").find(|block| block.contains("no key `suitess`")).unwrap();
        let lines: Vec<&str> = block.lines().collect();
        let caret = lines.iter().position(|line| line.trim_end().ends_with('^')).unwrap();
        let (from, to) = (lines[caret].find('^').unwrap(), lines[caret].len());
        let mut column = 0;
        let mut under = |c: char| {
            let place = column;
            column += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            place
        };
        lines[caret - 1].chars().filter(|c| (from..to).contains(&under(*c))).collect()
    }

    #[test]
    fn the_caret_stands_under_its_token_on_long_lines_and_behind_wide_characters() {
        let spec = |description: &str| {
            format!(
                "cupola: v1\nname: x\njobs:\n  a: {{ kind: eval, models: [{{ path: m }}], description: \"{description}\", suitess: [] }}\n"
            )
        };
        for description in ["short", &"y".repeat(300), &"y".repeat(5_000), "日本語", &"語".repeat(400)] {
            assert_eq!(above_the_caret(&spec(description)), "suitess", "{} bytes", description.len());
        }
    }

    #[test]
    fn of_very_many_errors_the_first_are_shown_and_all_are_counted() {
        use std::fmt::Write as _;
        let mut text = String::from("cupola: v1\nname: x\njobs:\n");
        for job in 0..500 {
            let _ = writeln!(text, "  j{job}: {{ kind: evall }}");
        }
        let errors = parse(Path::new("a.yaml"), text.as_bytes(), &[], &ProcessEnvironment).unwrap_err();
        let shown = errors.to_text();
        assert_eq!(shown.matches("error[").count(), 100);
        assert!(shown.ends_with(&format!(
            "{} errors; {} more than these: --json lists all\n",
            errors.0.len(),
            errors.0.len() - 100
        )));
    }
}
