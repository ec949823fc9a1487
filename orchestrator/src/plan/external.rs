//! Artifacts from outside: exported folders and Hugging Face models, identified by their content.

use std::path::{Path, PathBuf};

use cupola_specs::artifact::{MANIFEST_FILE, Manifest};
use cupola_specs::spec::SourceGlob;

use super::{FileHashes, PlanError, collect_files};

/// The file by which a folder of PEFT's is known.
const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Hash over names and contents of every file of the folder but its manifest.
pub fn folder_hash(folder: &Path, hashes: &mut FileHashes) -> Result<String, PlanError> {
    let pattern = globset::escape(&folder.to_string_lossy());
    let glob = SourceGlob { label: String::new(), patterns: vec![format!("{pattern}/**/*")] };
    let files = collect_files(&[glob], hashes)?;
    let mut hasher = blake3::Hasher::new_derive_key("cupola external artifact v1");
    for file in files.iter().filter(|file| file.name != MANIFEST_FILE) {
        hasher.update(file.name.as_bytes()).update(b"\0").update(file.blake3.as_bytes()).update(b"\n");
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The kind of an outside artifact: what its manifest says, else what its role asks for.
pub fn external_kind(folder: &Path, role: &str) -> String {
    let manifest = std::fs::read(folder.join(MANIFEST_FILE)).ok();
    let manifest: Option<Manifest> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    manifest.map_or_else(|| kind_of_role(role).to_owned(), |manifest| manifest.kind)
}

/// Refuses a folder that can't be what its role asks for.
pub fn check_kind(folder: &Path, role: &str) -> Result<(), PlanError> {
    let wanted = kind_of_role(role);
    let artifact = |problem: String| PlanError::Artifact { path: folder.to_path_buf(), problem };
    if !folder.is_dir() {
        return Err(artifact("there is no such folder".to_owned()));
    }
    if wanted == "adapter" {
        let is_there = ["", "adapter"].iter().any(|below| folder.join(below).join(ADAPTER_CONFIG).is_file());
        let problem =
            format!("`{role}` takes adapters in PEFT's format, and this folder has no {ADAPTER_CONFIG}");
        return if is_there { Ok(()) } else { Err(artifact(problem)) };
    }
    if folder.join(MANIFEST_FILE).is_file() {
        let kind = external_kind(folder, role);
        // A model's folder carries its tokenizer.
        return if kind == wanted || (wanted, kind.as_str()) == ("tokenizer", "model") {
            Ok(())
        } else {
            Err(artifact(format!("it is a {kind}, and `{role}` takes a {wanted}")))
        };
    }
    let needed = match wanted {
        "model" | "reward_model" => "config.json",
        "tokenizer" => "tokenizer.json",
        _ => MANIFEST_FILE,
    };
    if folder.join(needed).is_file() || wanted == "tokenizer" && has_ranks(folder) {
        Ok(())
    } else {
        Err(artifact(format!("`{role}` takes a {wanted}, and this folder has no {needed}")))
    }
}

/// Whether a tokenizer lies here as a `.tiktoken` file.
fn has_ranks(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|ending| ending == "tiktoken"))
}

/// The folder as a job file names it.
pub fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf())
}

fn kind_of_role(role: &str) -> &'static str {
    match role.split('.').next().unwrap_or(role) {
        "tokenizer" => "tokenizer",
        "tokens" => "tokens",
        "sweep" => "sweep",
        "law" => "law",
        "model" | "policy" => "model",
        "adapter" => "adapter",
        "reward_model" => "reward_model",
        "preferences" => "preferences",
        _ => "corpus",
    }
}
