//! Where a run begins, the same on every rank.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::TrainError;
use super::checkpoint::{Checkpoints, Progress};
use super::ranks::Ranks;
use super::setback::Setbacks;

/// How far a run is, and what it has left out.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Course {
    pub(super) progress: Progress,
    pub(super) setbacks: Setbacks,
}

impl Course {
    /// Loads the newest whole state, on the first rank, and tells every rank where the run begins.
    pub(super) fn begin(
        ranks: &Ranks,
        folder: &Path,
        checkpoints: Option<&Checkpoints<'_>>,
        state: &[(String, Tensor)],
    ) -> Result<Self, TrainError> {
        let read = ranks.only_first(|| {
            let noted = Setbacks::read(folder)?;
            let restored = checkpoints.map(|checkpoints| checkpoints.restore(state, &noted)).transpose()?;
            let restored = restored.flatten();
            let setbacks = noted.resume(restored.as_ref());
            Ok(Self { progress: restored.unwrap_or_else(Progress::start), setbacks })
        })?;
        let broken = |error: serde_json::Error| TrainError::Refused(format!("where the run begins: {error}"));
        match read {
            Some(course) if ranks.is_alone() => Ok(course),
            Some(course) => {
                ranks.text_of_first(serde_json::to_string(&course).map_err(broken)?)?;
                Ok(course)
            }
            None => serde_json::from_str(&ranks.text_of_first(String::new())?).map_err(broken),
        }
    }
}
