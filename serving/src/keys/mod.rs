//! API keys: who may ask, under which name, and how much. Only SHA-256 digests are kept, in memory as in the file.

mod bucket;
mod file;
mod quota;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::ServeError;
use file::Digest;

pub use file::new_key;
pub(crate) use quota::{Exceeded, Quota, Standing};

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    /// The name in the access log.
    pub(crate) name: String,
    /// What is left.
    pub(crate) quota: Quota,
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
            let quota = Quota::new(&entry, now);
            keys.push((digest, Arc::new(Asker { name: entry.name, quota })));
        }
        if let Some(key) = api_key {
            keys.push((
                file::digest(key),
                Arc::new(Asker { name: "api-key".into(), quota: Quota::default() }),
            ));
        }
        let anyone = Arc::new(Asker { name: "-".into(), quota: Quota::default() });
        Ok(Self { keys, anyone, is_open: file.is_none() && api_key.is_none() })
    }

    /// Whether everybody may ask. A file without an entry lets nobody in.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whoever asks where everybody may.
    pub(crate) fn anyone(&self) -> Arc<Asker> {
        Arc::clone(&self.anyone)
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
