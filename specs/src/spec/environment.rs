//! What parsing reads of the world, as a trait: tests parse with a fake world, and nothing here touches the disk by itself.

use std::io;
use std::path::{Path, PathBuf};

/// Environment variables, the home folder, and files.
pub trait Environment {
    /// The variable's value; none where it is not set.
    fn variable(&self, name: &str) -> Option<String>;
    /// The home folder, for `~`.
    fn home(&self) -> Option<PathBuf>;
    /// The file's bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The process's own environment and disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}
