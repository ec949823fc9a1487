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
    /// Bytes of text that were measured.
    bytes: u64,
    /// Bytes of text that there are.
    of_bytes: u64,
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
            return Err(unmeasured(after, worker_failed(&output)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| CliError::Other {
            message: format!("what the worker measured does not parse: {error}"),
            hint: "`cupola doctor` checks the worker".to_owned(),
            class: ErrorClass::Bug,
        })
    }

    /// The lines of the export's report.
    pub(super) fn lines(&self, text: &Path) -> String {
        let Self { bytes, of_bytes, tokens, before, after } = self;
        // In the order of their bits.
        let formats = ["fp32", "bf16", "int8", "int4"];
        let after: Vec<String> = formats
            .iter()
            .filter_map(|format| after.get(*format).map(|bits| format!("{bits:.4} in {format}")))
            .collect();
        format!(
            "bits per byte ({bytes} of {of_bytes} bytes of {}, {tokens} tokens): {before:.4} before, in fp32\nof what was written, as `cupola serve` runs it: {}",
            text.display(),
            after.join(", ")
        )
    }
}

/// The worker's error, with what was done before it.
fn unmeasured(written: &Path, error: CliError) -> CliError {
    match error {
        CliError::Other { message, hint, class } => {
            let message = format!(
                "{} is written, but its bits per byte can't be measured: {message}",
                written.display()
            );
            CliError::Other { message, hint, class }
        }
        other => other,
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
    use cupola_specs::artifact::MANIFEST_FILE;
    use cupola_specs::job::{FitMethod, FitParams, FitTarget, StepParams};

    use super::*;
    use crate::state::{CommittedArtifact, Fact, Record, StateDir};

    fn manifest(kind: &str, fingerprint: &str, inputs: &[(&str, &str)]) -> Manifest {
        let methods = vec![FitMethod::Envelope];
        let target = FitTarget::Flops { flops: 1.0 };
        Manifest {
            version: 1,
            kind: kind.into(),
            fingerprint: fingerprint.into(),
            step: "s".into(),
            run: "r".into(),
            code_version: 1,
            cupola_version: "0".into(),
            params: StepParams::Fit(FitParams { methods, target, inference_tokens: 0.0 }),
            seed: 1,
            inputs: inputs.iter().map(|&(role, print)| (role.to_owned(), print.to_owned())).collect(),
            sources_hash: String::new(),
            files: BTreeMap::new(),
            summary: serde_json::Map::new(),
            created_millis: 0,
        }
    }

    /// Commits an artifact that has nothing but its manifest.
    fn commit(projection: &mut Projection, state: &Path, manifest: &Manifest) {
        let path = PathBuf::from(&manifest.fingerprint);
        std::fs::create_dir_all(state.join(&path)).unwrap();
        std::fs::write(state.join(&path).join(MANIFEST_FILE), serde_json::to_vec(manifest).unwrap()).unwrap();
        let committed = CommittedArtifact {
            run: "r".into(),
            step: "s".into(),
            token: String::new(),
            fingerprint: manifest.fingerprint.clone(),
            kind: manifest.kind.clone(),
            path,
            size_bytes: 0,
            summary: serde_json::Map::new(),
        };
        let fact = Fact::ArtifactCommitted(Box::new(committed));
        projection.apply(&Record { seq: 1, at_millis: 0, fact, offset: 0 });
    }

    #[test]
    fn the_held_out_text_is_that_of_the_pretraining_however_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        let mut projection = Projection::new(&StateDir::new(state));
        let tuned = manifest("model", "tuned", &[("data.0", "chats"), ("model", "base")]);
        for manifest in [
            manifest("corpus", "books", &[]),
            manifest("corpus", "chats", &[]),
            manifest("tokenizer", "vocab", &[("corpus", "books")]),
            manifest("tokens", "tokens", &[("corpus", "books"), ("tokenizer", "vocab")]),
            manifest("model", "base", &[("tokens", "tokens"), ("tokenizer", "vocab")]),
            tuned.clone(),
        ] {
            commit(&mut projection, state, &manifest);
        }
        std::fs::create_dir_all(state.join("chats/validation")).unwrap();
        std::fs::write(state.join("chats/validation/00000.jsonl.zst"), "").unwrap();
        assert_eq!(held_out(&projection, &tuned), None);
        std::fs::create_dir_all(state.join("books/validation")).unwrap();
        assert_eq!(held_out(&projection, &tuned), None);
        std::fs::write(state.join("books/validation/00000.jsonl.zst"), "").unwrap();
        assert_eq!(held_out(&projection, &tuned), Some(state.join("books")));
        let gone = Fact::ArtifactDeleted { fingerprint: "books".into() };
        projection.apply(&Record { seq: 2, at_millis: 0, fact: gone, offset: 0 });
        assert_eq!(held_out(&projection, &tuned), None);
    }

    #[test]
    fn what_can_not_be_measured_is_told_to_be_written() {
        let refused = CliError::Other { message: "no".into(), hint: "h".into(), class: ErrorClass::User };
        let told = unmeasured(Path::new("out"), refused).to_string();
        assert_eq!(told, "out is written, but its bits per byte can't be measured: no");
    }

    #[test]
    fn the_report_has_the_formats_in_the_order_of_their_bits() {
        let text = r#"{"bytes":100,"of_bytes":250,"tokens":40,"before":1.25,"after":{"bf16":1.2501,"fp32":1.25,"int4":1.375,"int8":1.2625}}"#;
        let quality: Quality = serde_json::from_str(text).unwrap();
        assert_eq!(
            quality.lines(Path::new("a.txt")),
            "bits per byte (100 of 250 bytes of a.txt, 40 tokens): 1.2500 before, in fp32\n\
             of what was written, as `cupola serve` runs it: 1.2500 in fp32, 1.2501 in bf16, 1.2625 in int8, 1.3750 in int4"
        );
    }
}
