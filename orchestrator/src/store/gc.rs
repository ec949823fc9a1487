//! What may be deleted: nothing that a run which counts needs, nor anything that it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use walkdir::WalkDir;

use super::{Store, StoreError};
use crate::promote::PromotionBook;
use crate::state::Projection;

/// One thing that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GcItem {
    /// `artifact`, `checkpoints` or `staging`.
    pub what: &'static str,
    /// The artifact's kind; empty for other things.
    pub kind: String,
    /// The fingerprint, or the folder's name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Bytes in it.
    pub size_bytes: u64,
}

/// What may go and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GcPlan {
    /// What may go.
    pub items: Vec<GcItem>,
    /// Artifacts that stay.
    pub kept_artifacts: usize,
}

/// Lists what may go. Kept are: everything of runs that have not ended, of the newest `keep_runs` runs of each spec, what is served, what
/// a rollback goes back to and what awaits approval, what is marked by a note of the topic `keep`, and all that those were made from.
pub fn plan_gc(projection: &Projection, store: &Store, keep_runs: usize) -> Result<GcPlan, StoreError> {
    let artifacts = store.list()?;
    let mut needed = needed_fingerprints(projection, keep_runs);
    let inputs: BTreeMap<&str, Vec<&str>> = artifacts
        .iter()
        .map(|a| (a.manifest.fingerprint.as_str(), a.manifest.inputs.values().map(String::as_str).collect()))
        .collect();
    let mut open: Vec<String> = needed.iter().cloned().collect();
    while let Some(fingerprint) = open.pop() {
        for input in inputs.get(fingerprint.as_str()).into_iter().flatten() {
            if needed.insert((*input).to_owned()) {
                open.push((*input).to_owned());
            }
        }
    }
    let mut plan = GcPlan { items: Vec::new(), kept_artifacts: 0 };
    for artifact in &artifacts {
        let fingerprint = &artifact.manifest.fingerprint;
        if needed.contains(fingerprint) {
            plan.kept_artifacts += 1;
            continue;
        }
        plan.items.push(GcItem {
            what: "artifact",
            kind: artifact.manifest.kind.clone(),
            name: fingerprint.clone(),
            path: artifact.path.clone(),
            size_bytes: artifact.size_bytes(),
        });
    }
    let dir = projection.dir();
    for (what, folder) in [("checkpoints", dir.root().join("steps")), ("staging", dir.staging())] {
        for path in folders_in(&folder) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let fingerprint = name.split('.').next().unwrap_or_default();
            let committed = projection.artifacts().contains_key(fingerprint);
            if committed || !needed.contains(fingerprint) {
                let size_bytes = folder_bytes(&path);
                plan.items.push(GcItem { what, kind: String::new(), name, path, size_bytes });
            }
        }
    }
    Ok(plan)
}

fn needed_fingerprints(projection: &Projection, keep_runs: usize) -> BTreeSet<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for run in projection.runs().iter().rev() {
        let count = seen.entry(run.spec_name.as_str()).or_insert(0);
        *count += 1;
        if *count <= keep_runs || !run.state.is_final() {
            needed.extend(run.steps.iter().map(|step| step.fingerprint.clone()));
        }
    }
    needed.extend(PromotionBook::of(projection).needed());
    needed.extend(projection.notes("keep").map(|(fingerprint, _)| fingerprint.clone()));
    needed
}

fn folders_in(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}
