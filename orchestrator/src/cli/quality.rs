//! What an export costs a model: its bits per byte before and after, as the worker measures them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use cupola_specs::artifact::Manifest;
use cupola_specs::contract::ErrorClass;
use serde::{Deserialize, Serialize};

use super::CliError;
use super::export::{io, read_manifest, worker_failed};
use crate::state::Projection;

/// Bits per byte of one text.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Quality {
    /// Bytes of text.
    bytes: u64,
    /// Tokens that were predicted.
    tokens: u64,
    /// Of the model as it was trained, in fp32.
    before: f64,
    /// Of what was written, by the format of weights that answers.
    after: BTreeMap<String, f64>,
}

impl Quality {
    /// Has the worker measure a model and what was written of it.
    pub(super) fn measure(
        worker: &Path,
        (before, after): (&Path, &Path),
        text: &Path,
    ) -> Result<Self, CliError> {
        let output =
            Command::new(worker).arg("quality").args([before, after, text]).output().map_err(io(worker))?;
        if !output.status.success() {
            return Err(worker_failed(&output));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| CliError::Other {
            message: format!("what the worker measured does not parse: {error}"),
            hint: "`cupola doctor` checks the worker".to_owned(),
            class: ErrorClass::Bug,
        })
    }

    /// The lines of the export's report.
    pub(super) fn lines(&self, text: &Path) -> String {
        let Self { bytes, tokens, before, after } = self;
        // In the order of their bits.
        let formats = ["fp32", "bf16", "int8", "int4"];
        let after: Vec<String> = formats
            .iter()
            .filter_map(|format| after.get(*format).map(|bits| format!("{bits:.4} in {format}")))
            .collect();
        format!(
            "bits per byte ({bytes} bytes, {tokens} tokens of {}): {before:.4} before, in fp32\nof what was written, as `cupola serve` runs it: {}",
            text.display(),
            after.join(", ")
        )
    }
}

/// What is said where nothing can be measured.
pub(super) const NO_TEXT: &str = "bits per byte were not measured: this model's lineage has no held-out text here; name one with --quality-text FILE";

/// The corpus whose held-out side the model's lineage keeps from training: that of the nearest tokens.
pub(super) fn held_out(projection: &Projection, model: &Manifest) -> Option<PathBuf> {
    let mut next: VecDeque<String> = model.inputs.values().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(fingerprint) = next.pop_front() {
        let Some(artifact) = projection.artifacts().get(&fingerprint) else { continue };
        if !seen.insert(fingerprint) {
            continue;
        }
        // What was cleared away has no lineage to follow.
        let Ok(manifest) = read_manifest(&artifact.path) else { continue };
        if manifest.kind == "tokens" {
            let corpus = manifest.inputs.get("corpus").and_then(|print| projection.artifacts().get(print));
            let held_out = corpus.map(|corpus| &corpus.path).filter(|path| has_held_out(path));
            if let Some(path) = held_out {
                return Some(path.clone());
            }
        }
        next.extend(manifest.inputs.into_values());
    }
    None
}

fn has_held_out(corpus: &Path) -> bool {
    corpus.join("validation").read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_formats_in_the_order_of_their_bits() {
        let text = r#"{"bytes":100,"tokens":40,"before":1.25,"after":{"bf16":1.2501,"fp32":1.25,"int4":1.375,"int8":1.2625}}"#;
        let quality: Quality = serde_json::from_str(text).unwrap();
        assert_eq!(
            quality.lines(Path::new("a.txt")),
            "bits per byte (100 bytes, 40 tokens of a.txt): 1.2500 before, in fp32\n\
             of what was written, as `cupola serve` runs it: 1.2500 in fp32, 1.2501 in bf16, 1.2625 in int8, 1.3750 in int4"
        );
    }
}
