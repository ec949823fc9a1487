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

/// What a file is called that is not whole yet.
pub(crate) const PARTIAL: &str = "partial";

/// Writes a file whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.
pub fn write_durably(path: &Path, content: &[u8]) -> Result<(), JobError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(PARTIAL);
    let partial = path.with_file_name(name);
    write_through(&partial, |file| file.write_all(content))?;
    rename_durably(&partial, path)
}

/// Writes a file that is on the disk when this returns.
pub(crate) fn write_through(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), JobError> {
    let mut file = File::create(path).map_err(|e| JobError::io(path, e))?;
    write(&mut file).and_then(|()| file.sync_all()).map_err(|e| JobError::io(path, e))
}

/// Gives a file its name for good.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> Result<(), JobError> {
    fs::rename(from, to).map_err(|e| JobError::io(to, e))?;
    sync(to.parent().unwrap_or(Path::new(".")))
}

fn sync(path: &Path) -> Result<(), JobError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| JobError::io(path, e))
}
