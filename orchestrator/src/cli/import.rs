//! `cupola import`.

use std::path::{Path, PathBuf};

use clap::Args;
use cupola_specs::artifact::MANIFEST_FILE;

use super::export::{read_manifest, verify};
use super::{CliError, Global, Outcome};
use crate::report::format;
use crate::state::{CommittedArtifact, Fact, State};
use crate::store::{Store, StoredArtifact};

/// Arguments of `cupola import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A folder that `cupola export` or `cupola run --out` wrote.
    pub folder: PathBuf,
}

/// Brings an exported artifact into the store, each file checked against its manifest.
pub(super) fn run(args: &ImportArgs, global: &Global) -> Result<Outcome, CliError> {
    let folder = &args.folder;
    if !folder.join(MANIFEST_FILE).is_file() {
        return Err(without_manifest(folder));
    }
    let source = StoredArtifact { path: folder.clone(), manifest: read_manifest(folder)? };
    verify(global, &source)?;
    let dir = global.state_dir();
    let mut state = State::open(&dir, "import")?;
    state.record(vec![global.acted("")])?;
    let manifest = source.manifest;
    let staging = dir.staging().join(format!("import-{}", std::process::id()));
    for name in manifest.files.keys() {
        let to = staging.join(name);
        let parent = to.parent().unwrap_or(&staging);
        let copied = std::fs::create_dir_all(parent).and_then(|()| std::fs::copy(folder.join(name), &to));
        copied.map_err(|source| CliError::Io { path: to, source })?;
    }
    let stored = Store::new(&dir).commit(&staging, manifest)?;
    let manifest = &stored.manifest;
    if !state.projection().artifacts().contains_key(&manifest.fingerprint) {
        state.record(vec![Fact::ArtifactCommitted(Box::new(CommittedArtifact {
            run: manifest.run.clone(),
            step: manifest.step.clone(),
            token: String::new(),
            fingerprint: manifest.fingerprint.clone(),
            kind: manifest.kind.clone(),
            path: Path::new("store").join(&manifest.kind).join(&manifest.fingerprint),
            size_bytes: stored.size_bytes(),
            summary: manifest.summary.clone(),
        }))])?;
    }
    if global.json {
        println!("{}", serde_json::json!({ "kind": manifest.kind, "fingerprint": manifest.fingerprint }));
    } else {
        let print = format::fingerprint(&manifest.fingerprint);
        println!("{} {print} ({}) is in the store", manifest.kind, manifest.step);
    }
    Ok(Outcome::Done)
}

/// A folder of another maker has no identity to store it under; a spec can name it as it is.
fn without_manifest(folder: &Path) -> CliError {
    let is_model = folder.join("config.json").is_file();
    let what =
        if is_model { "a Hugging Face model folder that Cupola did not write" } else { "not an artifact" };
    let hint = if is_model {
        format!(
            "name it in a spec instead: `model: {{ path: {} }}`; it is identified by its content",
            folder.display()
        )
    } else {
        "give a folder that `cupola export` or `cupola run --out` wrote".to_owned()
    };
    CliError::input(format!("{} has no {MANIFEST_FILE}: it is {what}", folder.display()), hint)
}
