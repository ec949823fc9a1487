//! The store itself: commit, look up, verify, delete.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::{BlobRecord, MANIFEST_FILE, Manifest};
use rayon::prelude::*;
use walkdir::WalkDir;

use super::StoreError;
use crate::state::StateDir;

/// Artifacts below this size are hashed on one core.
const SMALL_BYTES: u64 = 1 << 20;

/// The artifact store of a state folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    trash: PathBuf,
}

/// An artifact as it lies in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredArtifact {
    /// Its folder.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl StoredArtifact {
    /// Bytes of its files.
    pub fn size_bytes(&self) -> u64 {
        self.manifest.files.values().map(|file| file.size_bytes).sum()
    }
}

impl Store {
    /// The store of this state folder.
    pub fn new(dir: &StateDir) -> Self {
        Self { root: dir.store(), trash: dir.staging() }
    }

    /// The folder that holds every artifact, or its parent where none was made yet.
    pub fn root(&self) -> &Path {
        if self.root.is_dir() { &self.root } else { self.root.parent().unwrap_or(&self.root) }
    }

    /// Where the artifact of this kind and fingerprint is or will be.
    pub fn path(&self, kind: &str, fingerprint: &str) -> PathBuf {
        self.root.join(kind).join(fingerprint)
    }

    /// Whether it is there, whole.
    pub fn contains(&self, kind: &str, fingerprint: &str) -> bool {
        self.path(kind, fingerprint).join(MANIFEST_FILE).is_file()
    }

    /// The artifact of this kind and fingerprint.
    pub fn get(&self, kind: &str, fingerprint: &str) -> Result<Option<StoredArtifact>, StoreError> {
        let path = self.path(kind, fingerprint);
        if !path.join(MANIFEST_FILE).is_file() {
            return Ok(None);
        }
        read_manifest(&path).map(|manifest| Some(StoredArtifact { path, manifest }))
    }

    /// Moves a filled staging folder into the store. `manifest` comes without its files. An artifact that is there already stays, and
    /// the staging folder goes.
    pub fn commit(&self, staging: &Path, mut manifest: Manifest) -> Result<StoredArtifact, StoreError> {
        let target = self.path(&manifest.kind, &manifest.fingerprint);
        if target.join(MANIFEST_FILE).is_file() {
            if staging.exists() {
                std::fs::remove_dir_all(staging).map_err(StoreError::io(staging))?;
            }
            let manifest = read_manifest(&target)?;
            return Ok(StoredArtifact { path: target, manifest });
        }
        manifest.files = hash_files(staging)?;
        if manifest.files.is_empty() {
            return Err(StoreError::Empty { path: staging.to_path_buf() });
        }
        write_manifest(staging, &manifest)?;
        let parent = self.root.join(&manifest.kind);
        if !parent.is_dir() {
            std::fs::create_dir_all(&parent).map_err(StoreError::io(&parent))?;
            sync_folder(&self.root)?;
        }
        if target.exists() {
            std::fs::remove_dir_all(&target).map_err(StoreError::io(&target))?;
        }
        std::fs::rename(staging, &target).map_err(StoreError::io(&target))?;
        sync_folder(&parent)?;
        Ok(StoredArtifact { path: target, manifest })
    }

    /// Every artifact, by kind and fingerprint.
    pub fn list(&self) -> Result<Vec<StoredArtifact>, StoreError> {
        let mut found = Vec::new();
        if !self.root.is_dir() {
            return Ok(found);
        }
        for entry in WalkDir::new(&self.root).min_depth(2).max_depth(2).sort_by_file_name() {
            let entry = entry.map_err(|error| walk_error(&self.root, error))?;
            if entry.path().join(MANIFEST_FILE).is_file() {
                let manifest = read_manifest(entry.path())?;
                found.push(StoredArtifact { path: entry.into_path(), manifest });
            }
        }
        Ok(found)
    }

    /// Reads every file of an artifact again and says which differ from the manifest.
    pub fn verify(&self, artifact: &StoredArtifact) -> Result<Vec<String>, StoreError> {
        let files = hash_files(&artifact.path)?;
        let mut problems = Vec::new();
        for (name, record) in &artifact.manifest.files {
            match files.get(name) {
                None => problems.push(format!("{name} is missing")),
                Some(found) if found != record => problems.push(format!("{name} differs from the manifest")),
                Some(_) => {}
            }
        }
        let extra = files.keys().filter(|name| !artifact.manifest.files.contains_key(*name));
        problems.extend(extra.map(|name| format!("{name} is not in the manifest")));
        Ok(problems)
    }

    /// Deletes an artifact: it leaves the store at once by a rename, its files after that.
    pub fn delete(&self, kind: &str, fingerprint: &str) -> Result<(), StoreError> {
        let path = self.path(kind, fingerprint);
        if !path.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.trash).map_err(StoreError::io(&self.trash))?;
        let trash = self.trash.join(format!("deleted-{fingerprint}"));
        if trash.exists() {
            std::fs::remove_dir_all(&trash).map_err(StoreError::io(&trash))?;
        }
        std::fs::rename(&path, &trash).map_err(StoreError::io(&path))?;
        std::fs::remove_dir_all(&trash).map_err(StoreError::io(&trash))
    }
}

/// Hash and length of every file below a folder but its manifest, by path with `/`.
fn hash_files(folder: &Path) -> Result<BTreeMap<String, BlobRecord>, StoreError> {
    let mut paths = Vec::new();
    let mut size_bytes = 0;
    for entry in WalkDir::new(folder).follow_links(true) {
        let entry = entry.map_err(|error| walk_error(folder, error))?;
        if entry.file_type().is_file() {
            size_bytes += entry.metadata().map_err(|error| walk_error(folder, error))?.len();
            paths.push(entry.into_path());
        } else if entry.depth() > 0 {
            sync_folder(entry.path())?;
        }
    }
    let hash = |path: &PathBuf| hash_file(folder, path);
    // Waking the other cores costs more than a small artifact.
    let hashed: Vec<(String, BlobRecord)> = if size_bytes < SMALL_BYTES {
        paths.iter().map(hash).collect::<Result<_, StoreError>>()?
    } else {
        paths.par_iter().map(hash).collect::<Result<_, StoreError>>()?
    };
    Ok(hashed.into_iter().filter(|(name, _)| name != MANIFEST_FILE).collect())
}

/// Hash and length of one file, which is durable then.
fn hash_file(folder: &Path, path: &Path) -> Result<(String, BlobRecord), StoreError> {
    let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(StoreError::io(path))?;
    file.sync_data().map_err(StoreError::io(path))?;
    hasher.update_reader(&file).map_err(StoreError::io(path))?;
    Ok((name, BlobRecord { size_bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() }))
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let path = folder.join(MANIFEST_FILE);
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| StoreError::Manifest { path: path.clone(), problem: error.to_string() })?;
    let mut file = File::create(&path).map_err(StoreError::io(&path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(StoreError::io(&path))?;
    sync_folder(folder)
}

fn read_manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = std::fs::read(&path).map_err(StoreError::io(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| StoreError::Manifest { path, problem: error.to_string() })
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::io(folder))
}

fn walk_error(folder: &Path, error: walkdir::Error) -> StoreError {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links"));
    StoreError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cupola_specs::job::{FitMethod, FitParams, FitTarget, StepParams};

    pub(crate) fn manifest(fingerprint: &str) -> Manifest {
        Manifest {
            version: 1,
            kind: "law".into(),
            fingerprint: fingerprint.into(),
            step: "law/fit".into(),
            run: "r".into(),
            code_version: 1,
            cupola_version: "0".into(),
            params: StepParams::Fit(FitParams {
                methods: vec![FitMethod::Envelope],
                target: FitTarget::Flops { flops: 1.0 },
                inference_tokens: 0.0,
            }),
            seed: 1,
            inputs: BTreeMap::new(),
            sources_hash: String::new(),
            files: BTreeMap::new(),
            summary: serde_json::Map::new(),
            created_millis: 0,
        }
    }

    #[test]
    fn an_artifact_is_committed_verified_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let store = Store::new(&dir);
        let staging = dir.staging().join("a");
        std::fs::create_dir_all(staging.join("train")).unwrap();
        assert!(matches!(store.commit(&staging, manifest("ff")), Err(StoreError::Empty { .. })));
        std::fs::write(staging.join("train/x.bin"), b"abc").unwrap();
        assert!(!store.contains("law", "ff"));
        let artifact = store.commit(&staging, manifest("ff")).unwrap();
        assert!(store.contains("law", "ff") && !staging.exists());
        assert_eq!(artifact.size_bytes(), 3);
        assert_eq!(store.verify(&artifact).unwrap(), Vec::<String>::new());
        std::fs::write(artifact.path.join("train/x.bin"), b"abd").unwrap();
        assert_eq!(store.verify(&artifact).unwrap(), ["train/x.bin differs from the manifest"]);
        store.delete("law", "ff").unwrap();
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn a_second_commit_of_a_fingerprint_keeps_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let store = Store::new(&dir);
        for (name, text) in [("a", "one"), ("b", "two")] {
            let staging = dir.staging().join(name);
            std::fs::create_dir_all(&staging).unwrap();
            std::fs::write(staging.join("x"), text).unwrap();
            store.commit(&staging, manifest("ff")).unwrap();
            assert!(!staging.exists());
        }
        assert_eq!(std::fs::read(store.path("law", "ff").join("x")).unwrap(), b"one");
    }
}
