//! What a running server takes up: another `served.json`, another keys file, another certificate, and SIGHUP, at which all are read whether they changed or not.
//!
//! Files are looked at once a second: that finds a file that was renamed into place, on any file system, and costs two calls.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::House;

/// How often files are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// What tells one state of a file from another.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len(), facts.ino()))
}

/// Follows the files for as long as the server runs. `reload` gives a word for each SIGHUP.
pub(crate) async fn follow(house: House, mut reload: mpsc::Receiver<()>) {
    let look = |house: &House| {
        let files = house.certificates.as_ref().map(|certificates| certificates.files());
        let of_certificate = files.map(|files| (stamp(&files.certificate), stamp(&files.key)));
        (house.roster.follows().map(|path| stamp(path)), house.keys.file().map(stamp), of_certificate)
    };
    let mut seen = look(&house);
    let mut ticks = tokio::time::interval(PERIOD);
    let mut is_open = true;
    loop {
        let is_asked = tokio::select! {
            _ = ticks.tick() => false,
            word = reload.recv(), if is_open => {
                is_open = word.is_some();
                is_open
            }
        };
        let now = look(&house);
        if is_asked || now.1 != seen.1 {
            house.reload_keys();
        }
        if is_asked || now.2 != seen.2 {
            house.reload_certificate();
        }
        if is_asked || now.0 != seen.0 {
            let house = house.clone();
            // Loading blocks; a panic in it must not end the watch.
            if let Err(error) = tokio::task::spawn_blocking(move || house.roster.catch_up()).await {
                tracing::error!(%error, "the change of models broke off; the models stay as they are");
            }
        }
        seen = now;
    }
}

impl House {
    /// Reads the keys file again; a broken one changes nothing.
    fn reload_keys(&self) {
        let result = self.keys.reload();
        match &result {
            Ok(None) => return,
            Ok(Some(keys)) => tracing::info!(keys, "the keys file was read again"),
            Err(error) => tracing::error!(%error, "the keys stay as they were"),
        }
        self.metrics.key_reloads().count(result.is_ok());
    }

    /// Reads the certificate again; a broken one, or one whose key is another's, changes nothing.
    fn reload_certificate(&self) {
        let Some(certificates) = &self.certificates else { return };
        let result = certificates.reload();
        match &result {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
        self.metrics.certificate_reloads().count(result.is_ok());
    }
}
