//! What a server was told: which run it is there, and through which step. The file lies beside the step's checkpoints, so that another
//! attempt goes on with the same run.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::TelemetryError;

/// Where one server stands with one series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// A name that no other run has, drawn before the server hears of it.
    pub(super) key: String,
    /// The server's own name of the run, once it has one.
    pub(super) run: Option<String>,
    /// Lines that the server has.
    pub(super) lines: u64,
    /// The newest step that it has; what comes again up to there is not sent.
    pub(super) sent_through: Option<u64>,
    #[serde(skip)]
    path: PathBuf,
}

impl Position {
    /// Reads a position, or draws a new one and writes it down.
    pub(super) fn open(folder: &Path, server: &str, series: &str) -> Result<Self, TelemetryError> {
        let path = folder.join(format!("{server}-{}.json", if series.is_empty() { "all" } else { series }));
        let known = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        if let Some(known) = known {
            return Ok(Self { path, ..known });
        }
        std::fs::create_dir_all(folder).map_err(TelemetryError::io(folder))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let drawn = format!("{}\0{}\0{}", path.display(), since.as_nanos(), std::process::id());
        let key = blake3::hash(drawn.as_bytes()).to_hex()[..16].to_owned();
        let position = Self { key, run: None, lines: 0, sent_through: None, path };
        position.save()?;
        Ok(position)
    }

    /// Writes it down, whole or not at all.
    pub(super) fn save(&self) -> Result<(), TelemetryError> {
        let partial = self.path.with_extension("partial");
        let text = serde_json::to_vec(self).unwrap_or_default();
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, &self.path))
            .map_err(TelemetryError::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_finds_what_was_written_down_and_another_series_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Position::open(folder.path(), "mlflow", "").unwrap();
        first.run = Some("r".into());
        first.sent_through = Some(7);
        first.save().unwrap();
        assert_eq!(Position::open(folder.path(), "mlflow", "").unwrap(), first);
        assert_ne!(Position::open(folder.path(), "mlflow", "run-1").unwrap().key, first.key);
    }
}
