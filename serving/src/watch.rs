//! What a running server takes up: another `served.json`, another keys file, another certificate, and SIGHUP, at which all are read whether they changed or not.
//!
//! Files are looked at twice a second: that finds a file that was renamed into place, on any file system, and costs a call for each.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

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
    let mut is_due = false;
    let mut loading: Option<JoinHandle<()>> = None;
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
        is_due |= is_asked || now.0 != seen.0;
        // Loading takes as long as it takes: keys and certificates do not wait for it.
        if loading.as_ref().is_none_or(JoinHandle::is_finished) {
            if let Some(Err(error)) = join(loading.take()).await {
                tracing::error!(%error, "the change of models broke off; the models stay as they are");
            }
            if std::mem::take(&mut is_due) {
                let house = house.clone();
                loading = Some(tokio::task::spawn_blocking(move || house.roster.catch_up()));
            }
        }
        seen = now;
    }
}

async fn join(task: Option<JoinHandle<()>>) -> Option<Result<(), JoinError>> {
    Some(task?.await)
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
