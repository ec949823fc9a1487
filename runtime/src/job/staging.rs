//! Durable files: what a step staged is on the disk before `finished` says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::JobError;

/// Syncs every file and folder below `root`, and `root` itself.
pub fn sync_tree(root: &Path) -> Result<(), JobError> {
    for entry in fs::read_dir(root).map_err(|e| JobError::io(root, e))? {
        let entry = entry.map_err(|e| JobError::io(root, e))?;
        let path = entry.path();
        if entry.file_type().map_err(|e| JobError::io(&path, e))?.is_dir() {
            sync_tree(&path)?;
        } else {
            sync(&path)?;
        }
    }
    sync(root)
}

/// Writes a file whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.
pub fn write_durably(path: &Path, content: &[u8]) -> Result<(), JobError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = folder.join(name);
    let mut file = File::create(&partial).map_err(|e| JobError::io(&partial, e))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| JobError::io(&partial, e))?;
    fs::rename(&partial, path).map_err(|e| JobError::io(path, e))?;
    sync(folder)
}

fn sync(path: &Path) -> Result<(), JobError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| JobError::io(path, e))
}
