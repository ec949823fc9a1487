//! Diagnostics as text.

use std::fmt::Write as _;

use super::diagnostic::{Diagnostic, Diagnostics};

/// Longest stretch of a source line that is shown, characters.
const LINE_WINDOW: usize = 160;

/// Every error as a block, then a count.
pub(super) fn text(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics.iter() {
        block(&mut out, diagnostic);
        out.push('\n');
    }
    let count = diagnostics.0.len();
    let plural = if count == 1 { "error" } else { "errors" };
    let _ = writeln!(out, "{count} {plural}");
    out
}

/// One error: head line, place, source line with a caret, hints.
fn block(out: &mut String, d: &Diagnostic) {
    let _ = writeln!(out, "error[{}]: {}", d.code.as_str(), d.message);
    let number = d.origin.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(out, "{gutter}--> {}", d.origin);
    if !d.source.is_empty() {
        let (line, caret) = window(&d.source, d.origin.column as usize, d.length as usize);
        let _ = writeln!(out, "{gutter} |\n{number} | {line}\n{gutter} | {caret}");
    }
    if !d.expected.is_empty() {
        let _ = writeln!(out, "{gutter} = expected: {}", d.expected);
    }
    if let Some(suggestion) = &d.suggestion {
        let _ = writeln!(out, "{gutter} = did you mean `{suggestion}`?");
    }
    for note in &d.notes {
        let _ = writeln!(out, "{gutter} = {}: {}", note.origin, note.message);
    }
}

/// The source line and its caret line, cut to [`LINE_WINDOW`] around the token. Tabs and control characters become one space
/// each, so that the caret stands under its token.
fn window(source: &str, column: usize, length: usize) -> (String, String) {
    let chars: Vec<char> = source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let at = column.saturating_sub(1).min(chars.len());
    let start = if at > LINE_WINDOW * 3 / 4 { at - LINE_WINDOW / 2 } else { 0 };
    let end = (start + LINE_WINDOW).min(chars.len());
    let line: String = chars[start..end].iter().collect();
    let width = length.max(1).min((end - at).max(1));
    (line.trim_end().to_owned(), format!("{}{}", " ".repeat(at - start), "^".repeat(width)))
}
