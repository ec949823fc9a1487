//! API keys: who may ask, under which name, and how much. Only SHA-256 digests are kept, in memory as in the file.

mod bucket;
mod file;
mod quota;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::ServeError;
use file::{Digest, KeyEntry};

pub use file::new_key;
pub(crate) use quota::{Exceeded, Quota, Standing};

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    /// The name in the access log.
    pub(crate) name: String,
    /// What is left.
    pub(crate) quota: Quota,
    /// Its entry in the file, where it has one.
    entry: Option<KeyEntry>,
}

impl Asker {
    fn of_file(entry: KeyEntry, now: Instant) -> Self {
        Self { name: entry.name.clone(), quota: Quota::new(&entry, now), entry: Some(entry) }
    }

    fn without_limits(name: &str) -> Self {
        Self { name: name.into(), quota: Quota::default(), entry: None }
    }
}

/// Who has the key of the command line.
const API_KEY: &str = "api-key";
/// Whoever asks where there are no keys.
const ANYONE: &str = "-";

/// The keys of a running server: the file may be read again.
#[derive(Debug)]
pub(crate) struct Keys {
    ring: RwLock<Arc<KeyRing>>,
    file: Option<PathBuf>,
}

impl Keys {
    /// The keys of a file, and the one key without limits, named `api-key`. Where neither is given everybody may ask.
    pub(crate) fn load(file: Option<&Path>, api_key: Option<&str>) -> Result<Self, ServeError> {
        let ring = KeyRing::load(file, api_key)?;
        Ok(Self { ring: RwLock::new(Arc::new(ring)), file: file.map(Path::to_path_buf) })
    }

    /// The keys now.
    pub(crate) fn now(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The file, where there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file again and gives how many keys it has; none where there is no file. A key whose name and limits stayed keeps what it has left.
    ///
    /// # Errors
    /// A file that can't be used; the keys are then those from before.
    pub(crate) fn reload(&self) -> Result<Option<usize>, ServeError> {
        let Some(path) = &self.file else { return Ok(None) };
        let entries = file::read(path)?;
        let count = entries.len();
        let next = self.now().with(entries);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(Some(count))
    }
}

/// Everybody who may ask.
#[derive(Debug)]
pub(crate) struct KeyRing {
    keys: Vec<(Digest, Arc<Asker>)>,
    /// Who asks where there are no keys.
    anyone: Arc<Asker>,
    is_open: bool,
}

impl KeyRing {
    /// The keys of a file, and the one key without limits, named `api-key`. Where neither is given everybody may ask.
    pub(crate) fn load(file: Option<&Path>, api_key: Option<&str>) -> Result<Self, ServeError> {
        let now = Instant::now();
        let mut keys = Vec::new();
        for (digest, entry) in file.map(file::read).transpose()?.unwrap_or_default() {
            keys.push((digest, Arc::new(Asker::of_file(entry, now))));
        }
        if let Some(key) = api_key {
            keys.push((file::digest(key), Arc::new(Asker::without_limits(API_KEY))));
        }
        let anyone = Arc::new(Asker::without_limits(ANYONE));
        Ok(Self { keys, anyone, is_open: file.is_none() && api_key.is_none() })
    }

    /// The same with other entries of the file.
    fn with(&self, entries: Vec<(Digest, KeyEntry)>) -> Self {
        let now = Instant::now();
        let mut keys: Vec<(Digest, Arc<Asker>)> = Vec::new();
        for (digest, entry) in entries {
            let known = self.keys.iter().map(|(_, asker)| asker);
            let same =
                known.clone().find(|asker| asker.entry.as_ref().is_some_and(|old| old.has_limits_of(&entry)));
            keys.push((digest, same.map_or_else(|| Arc::new(Asker::of_file(entry, now)), Arc::clone)));
        }
        keys.extend(self.keys.iter().filter(|(_, asker)| asker.entry.is_none()).cloned());
        Self { keys, anyone: Arc::clone(&self.anyone), is_open: self.is_open }
    }

    /// Whether everybody may ask. A file without an entry lets nobody in.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whoever asks where everybody may.
    pub(crate) fn anyone(&self) -> Arc<Asker> {
        Arc::clone(&self.anyone)
    }

    /// Whether this asker may know what is served: everybody where there are no keys, else who sent one.
    pub(crate) fn trusts(&self, asker: &Arc<Asker>) -> bool {
        self.is_open || !Arc::ptr_eq(asker, &self.anyone)
    }

    /// Whose key it is. The time does not depend on how much of which digest is the same.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<Asker>> {
        let given = file::digest(key);
        let mut found = u64::MAX;
        for (at, (digest, _)) in self.keys.iter().enumerate() {
            let is_same: Choice = digest.ct_eq(&given);
            found.conditional_assign(&(at as u64), is_same);
        }
        self.keys.get(found as usize).map(|(_, asker)| Arc::clone(asker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_must_be_equal_to_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let (alice, bob) = (new_key(&path, "alice").unwrap(), new_key(&path, "bob").unwrap());
        let ring = KeyRing::load(Some(&path), Some("secret")).unwrap();
        let name = |key: &str| ring.find(key).map(|asker| asker.name.clone());
        assert_eq!(name(&alice).as_deref(), Some("alice"));
        assert_eq!(name(&bob).as_deref(), Some("bob"));
        assert_eq!(name("secret").as_deref(), Some("api-key"));
        for wrong in ["", "secre", "secret2", "Secret", &alice[1..]] {
            assert!(ring.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_empty_file_lets_nobody_in_and_no_file_everybody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ring = KeyRing::load(Some(file.path()), None).unwrap();
        assert!(!ring.is_open() && ring.find("").is_none());
        assert!(KeyRing::load(None, None).unwrap().is_open());
        assert!(KeyRing::load(Some(Path::new("/nonexistent/keys")), None).is_err());
    }
}
