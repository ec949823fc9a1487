//! Diagnostics as SARIF 2.1.0 (OASIS, 2020), for editors and code scanning: one run, the codes as rules, one result for each
//! diagnostic. Columns count characters, as ours do.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::examples::example;
use super::origin::Origin;

/// The log of one validation; no result is a clean spec.
pub(super) fn sarif(diagnostics: &Diagnostics) -> Value {
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cupola",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": Code::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// A code with its help.
fn rule(code: Code) -> Value {
    let (mut text, mut markdown) = (code.advice().to_owned(), code.advice().to_owned());
    if let Some(example) = example(code) {
        let (bad, good) = (example.bad, example.good);
        let _ = write!(text, "\n\nWrong:\n{bad}\nRight:\n{good}");
        let _ = writeln!(markdown, "\n\nWrong:\n```yaml\n{bad}```\nRight:\n```yaml\n{good}```");
    }
    json!({
        "id": code.as_str(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": code.meaning() },
        "fullDescription": { "text": format!("{} {}", code.meaning(), code.advice()) },
        "help": { "text": text, "markdown": markdown },
        "defaultConfiguration": { "level": "error" },
    })
}

/// One diagnostic.
fn result(d: &Diagnostic) -> Value {
    let index = Code::ALL.iter().position(|code| *code == d.code);
    let mut result = json!({
        "ruleId": d.code.as_str(),
        "ruleIndex": index,
        "level": "error",
        "message": { "text": d.summary() },
        "locations": [location(&d.origin, d.length, Some(&d.source))],
    });
    if !d.notes.is_empty() {
        let related = d.notes.iter().enumerate().map(|(index, note)| {
            let mut related = location(&note.origin, 1, None);
            related["id"] = json!(index + 1);
            related["message"] = json!({ "text": note.message });
            related
        });
        result["relatedLocations"] = related.collect();
    }
    result
}

/// A place in a file, or a value of the command line.
fn location(origin: &Origin, length: u32, source: Option<&String>) -> Value {
    if origin.file.starts_with("--set ") {
        return json!({ "logicalLocations": [{ "fullyQualifiedName": origin.file, "kind": "member" }] });
    }
    let mut region = json!({
        "startLine": origin.line,
        "startColumn": origin.column,
        "endLine": origin.line,
        "endColumn": origin.column + length,
    });
    if let Some(source) = source.filter(|source| !source.is_empty()) {
        region["snippet"] = json!({ "text": source });
    }
    json!({ "physicalLocation": { "artifactLocation": { "uri": uri(&origin.file) }, "region": region } })
}

/// A path as a URI reference: what RFC 3986 reserves is percent-encoded, an absolute path is a `file` URI.
fn uri(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("specs/a b.yaml"), "specs/a%20b.yaml");
        assert_eq!(uri("/tmp/größe.yaml"), "file:///tmp/gr%C3%B6%C3%9Fe.yaml");
        assert_eq!(uri("c:d#e.yaml"), "c%3Ad%23e.yaml");
    }
}
