//! Runs from files: a JSON object a line, `{"weights": {"code": 0.4, "prose": 0.6}, "loss": 3.1}`. What else is in it is not looked at.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{MixtureError, ProxyRuns};

/// One line.
#[derive(Deserialize)]
struct Run {
    weights: BTreeMap<String, f64>,
    loss: f64,
}

impl ProxyRuns {
    /// A table without a run.
    pub fn new(domains: Vec<String>) -> Self {
        Self { domains, mixtures: Vec::new(), losses: Vec::new() }
    }

    /// Adds the runs of a file. A domain that a run does not name has no share in it; lines of blanks are passed over.
    ///
    /// # Errors
    /// A line that is no run, or that names a domain which is none of the table's.
    pub fn add_lines(&mut self, file: &str, content: &[u8]) -> Result<(), MixtureError> {
        for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let wrong = |message: String| MixtureError::Line { file: file.to_owned(), line: at + 1, message };
            let run: Run = serde_json::from_slice(line).map_err(|error| {
                wrong(format!("no run ({error}); expected {{\"weights\": {{…}}, \"loss\": …}}"))
            })?;
            if let Some(name) = run.weights.keys().find(|name| !self.domains.contains(name)) {
                let known = self.domains.join(", ");
                return Err(wrong(format!("the corpus has no domain {name:?} (domains: {known})")));
            }
            let share = |name: &String| run.weights.get(name).copied().unwrap_or(0.0);
            self.mixtures.push(self.domains.iter().map(share).collect());
            self.losses.push(run.loss);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ProxyRuns {
        ProxyRuns::new(vec!["code".into(), "prose".into()])
    }

    #[test]
    fn a_line_is_a_run_and_what_it_does_not_name_has_no_share() {
        let mut runs = table();
        let text = "{\"loss\": 3, \"weights\": {\"prose\": 1.0}, \"seed\": 7}\r\n\n {\"weights\": {\"prose\": 1, \"code\": 3}, \"loss\": 2.5}";
        runs.add_lines("a.jsonl", text.as_bytes()).unwrap();
        assert_eq!(runs.mixtures, [vec![0.0, 1.0], vec![3.0, 1.0]]);
        assert_eq!(runs.losses, [3.0, 2.5]);
    }

    #[test]
    fn what_is_no_run_is_named_by_file_and_line() {
        let told = |text: &[u8]| table().add_lines("a.jsonl", text).unwrap_err().to_string();
        assert!(
            told(b"\n{}").starts_with("a.jsonl, line 2: no run (missing field `weights`"),
            "{}",
            told(b"\n{}")
        );
        assert!(told(b"{\"weights\": {\"code\": 1}, \"loss\": 1e999}").contains("number out of range"));
        assert!(told(b"\xff\xfe").starts_with("a.jsonl, line 1: no run"));
        let other = told(b"{\"weights\": {\"cod\": 1}, \"loss\": 1}");
        assert_eq!(other, "a.jsonl, line 1: the corpus has no domain \"cod\" (domains: code, prose)");
    }
}
