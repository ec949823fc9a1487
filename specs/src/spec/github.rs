//! Diagnostics as workflow commands of GitHub Actions, one a line: `::error file=…,line=…,col=…,endColumn=…,title=E0201::message`.

use std::fmt::Write as _;

use super::diagnostic::Diagnostics;
use super::render::{MAX_SHOWN, more};

/// The first diagnostics as commands, and how many more there are.
pub(super) fn github(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    for d in diagnostics.iter().take(MAX_SHOWN) {
        let place = if d.origin.file.starts_with("--set ") {
            String::new()
        } else {
            format!(
                "file={},line={},col={},endColumn={},",
                property(&d.origin.file),
                d.origin.line,
                d.origin.column,
                d.origin.column + d.length
            )
        };
        let mut message = d.summary();
        for note in &d.notes {
            let _ = write!(message, "\n{}: {}", note.origin, note.message);
        }
        let _ = writeln!(out, "::error {place}title={}::{}", d.code.as_str(), data(&message));
    }
    if let Some(more) = more(diagnostics) {
        let _ = writeln!(out, "::error title=cupola::{}", data(&more));
    }
    out
}

/// A message: `%` and line breaks are escaped, other control characters become a sign.
fn data(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => out.push_str("%25"),
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The value of a property: `:` and `,` besides.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_command_is_escaped() {
        assert_eq!(data("100%\r\nnext: a, b"), "100%25%0D%0Anext: a, b");
        assert_eq!(property("a,b:c%.yaml"), "a%2Cb%3Ac%25.yaml");
        assert_eq!(data("\u{1b}[31m"), "\u{fffd}[31m");
    }
}
