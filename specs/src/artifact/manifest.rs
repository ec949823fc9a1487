//! The manifest: identity, lineage and the hash of each file. It is written last; a folder without one is not an artifact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::StepParams;

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "manifest.json";

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    pub version: u32,
    /// Artifact kind.
    pub kind: String,
    /// The fingerprint that names the folder.
    pub fingerprint: String,
    /// The step that made it.
    pub step: String,
    /// The run that made it.
    pub run: String,
    /// Code version of the step's kind.
    pub code_version: u32,
    /// Version of Cupola.
    pub cupola_version: String,
    /// The step's resolved parameters.
    pub params: StepParams,
    /// The step's seed.
    pub seed: u64,
    /// Fingerprints of the inputs by role.
    pub inputs: BTreeMap<String, String>,
    /// Hash over the local files that the step read; empty where it read none.
    pub sources_hash: String,
    /// Every file of the artifact but this one, by path.
    pub files: BTreeMap<String, BlobRecord>,
    /// The step's own facts (`finished` event).
    pub summary: serde_json::Map<String, serde_json::Value>,
    /// Milliseconds since the Unix epoch.
    pub created_millis: i64,
}

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// Length.
    pub size_bytes: u64,
    /// blake3, as hex.
    pub blake3: String,
}
