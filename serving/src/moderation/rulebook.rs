//! The rules of a running server: their file, and the lists beside it, may be read again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::Moderation;
use crate::metrics::Metrics;
use crate::watch::{Stamp, stamp};
use crate::{ServeConfig, ServeError};

/// The rules now, and where they come from.
pub(crate) struct Rulebook {
    now: RwLock<Arc<Moderation>>,
    /// The files as they were when the rules were read, or could not be.
    seen: Mutex<Vec<(PathBuf, Stamp)>>,
    path: PathBuf,
    config: ServeConfig,
    metrics: Arc<Metrics>,
}

impl Rulebook {
    /// The rules of the server's file; none where it has no file.
    ///
    /// # Errors
    /// As for [`Moderation::load`].
    pub(crate) fn load(config: &ServeConfig, metrics: &Arc<Metrics>) -> Result<Option<Self>, ServeError> {
        let Some(path) = &config.moderation_file else { return Ok(None) };
        let now = Moderation::load(path, config, metrics)?;
        let (path, config, metrics) = (path.clone(), config.clone(), Arc::clone(metrics));
        let seen = Mutex::new(now.files.clone());
        Ok(Some(Self { now: RwLock::new(Arc::new(now)), seen, path, config, metrics }))
    }

    /// The rules now. A request keeps those that it began with.
    pub(crate) fn now(&self) -> Arc<Moderation> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a file is another than when it was last read.
    pub(crate) fn has_changed(&self) -> bool {
        self.seen().iter().any(|(path, known)| stamp(path) != *known)
    }

    /// Reads the rules again, and loads their classifiers: blocks for as long as that takes, and both stand in memory then.
    ///
    /// # Errors
    /// As for [`Moderation::load`]; the rules are then those from before.
    pub(crate) fn reload(&self) -> Result<(), ServeError> {
        for (path, known) in &mut *self.seen() {
            *known = stamp(path);
        }
        let next = Moderation::load(&self.path, &self.config, &self.metrics)?;
        self.seen().clone_from(&next.files);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Vec<(PathBuf, Stamp)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
