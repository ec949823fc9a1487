//! Where things lie in a state folder.

use std::path::{Path, PathBuf};

/// A state folder: `.cupola` by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// A state folder at `root`, made absolute so that workers can run anywhere.
    pub fn new(root: &Path) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()) }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the folder without it, as the journal keeps paths: a folder may be moved.
    pub fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    /// The journal: the truth.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The database: the journal's fast projection.
    pub fn database(&self) -> PathBuf {
        self.root.join("db")
    }

    /// The projection at one place of the journal; missing for short ones.
    pub fn snapshot(&self) -> PathBuf {
        self.root.join("snapshot")
    }

    /// The file that is given up when the disk is full.
    pub fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// The lock file with the holder's pid and host.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Requests of other processes to the one that holds the lock.
    pub fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// What the daemon was asked to apply and has not begun, and how what it was asked ended.
    pub fn orders(&self) -> PathBuf {
        self.root.join("orders")
    }

    /// Which models are served, for a server that runs.
    pub fn served(&self) -> PathBuf {
        self.root.join("served.json")
    }

    /// The artifact store.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Folders that running steps fill.
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Hashes of local files by path, size and times.
    pub fn file_hashes(&self) -> PathBuf {
        self.root.join("file-hashes")
    }

    /// Everything of one run: attempts, the spec as it was, the report card.
    pub fn run(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(run)
    }

    /// The folder of one attempt.
    pub fn attempt(&self, run: &str, step: &str, fingerprint: &str, number: u32) -> PathBuf {
        self.run(run).join(format!("{}.attempt-{number}", step_folder(step, fingerprint)))
    }

    /// The curves of one step of a run.
    pub fn curves(&self, run: &str, step: &str, fingerprint: &str) -> PathBuf {
        self.run(run).join("telemetry").join(step_folder(step, fingerprint))
    }

    /// Checkpoints of a step, by fingerprint: any later run resumes from them.
    pub fn checkpoints(&self, fingerprint: &str) -> PathBuf {
        self.root.join("steps").join(fingerprint).join("checkpoints")
    }

    /// The folder of everything that belongs to a step whatever the run.
    pub fn step(&self, fingerprint: &str) -> PathBuf {
        self.root.join("steps").join(fingerprint)
    }
}

/// A folder name for a step: its name with only plain characters, and the start of its fingerprint.
fn step_folder(step: &str, fingerprint: &str) -> String {
    let plain: String = step
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    format!("{plain}-{}", fingerprint.get(..8).unwrap_or(fingerprint))
}
