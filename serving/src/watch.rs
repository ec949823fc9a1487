//! What a running server takes up: another `served.json`, another keys file, another certificate, other rules of moderation, and SIGHUP, at which all are
//! read whether they changed or not.
//!
//! Files are looked at twice a second: that finds a file that was renamed into place, on any file system, and costs a call for each.
//!
//! Beside that, what requests left in the heap goes back to the system once nothing has run for a while.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::House;
use crate::moderation::Rulebook;

/// How often files are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// How long nothing runs before the heap's free pages are given back. Work that comes again soon finds them as they are.
const IDLE: Duration = Duration::from_secs(5);

/// What tells one state of a file from another; none where it is not there.
pub(crate) type Stamp = Option<(SystemTime, u64, u64)>;

/// The state of a file.
pub(crate) fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len(), facts.ino()))
}

/// Follows the files for as long as the server runs. `reload` gives a word for each SIGHUP.
pub(crate) async fn follow(house: House, mut reload: mpsc::Receiver<()>) {
    let mut seen = Stamps::of(&house);
    let mut rest = Rest::default();
    let mut ticks = tokio::time::interval(PERIOD);
    let mut is_open = true;
    let (mut models_due, mut rules_due) = (false, false);
    let mut loading: Option<JoinHandle<()>> = None;
    loop {
        let is_asked = tokio::select! {
            _ = ticks.tick() => false,
            word = reload.recv(), if is_open => {
                is_open = word.is_some();
                is_open
            }
        };
        rest.look(&house);
        let now = Stamps::of(&house);
        if is_asked || now.keys != seen.keys {
            house.reload_keys();
        }
        if is_asked || now.certificate != seen.certificate {
            house.reload_certificate();
        }
        models_due |= is_asked || now.served != seen.served;
        rules_due |= is_asked || house.moderation.as_ref().is_some_and(Rulebook::has_changed);
        // Loading takes as long as it takes: keys and certificates do not wait for it.
        if loading.as_ref().is_none_or(JoinHandle::is_finished) {
            if let Some(Err(error)) = join(loading.take()).await {
                tracing::error!(%error, "the change broke off; models and rules stay as they are");
            }
            if models_due || rules_due {
                let house = house.clone();
                let (models, rules) = (std::mem::take(&mut models_due), std::mem::take(&mut rules_due));
                loading = Some(tokio::task::spawn_blocking(move || {
                    if rules {
                        house.reload_rules();
                    }
                    if models {
                        house.roster.catch_up();
                    }
                }));
            }
        }
        seen = now;
    }
}

/// When work last ended, as far as the heap is concerned.
#[derive(Default)]
struct Rest {
    /// The ends of the models' last steps.
    ends: Vec<u64>,
    /// Since when they are the same; none where the heap was given back since.
    since: Option<Instant>,
}

impl Rest {
    /// Gives the heap's free pages back once, when nothing has run for [`IDLE`] after something had.
    fn look(&mut self, house: &House) {
        let models = house.roster.all();
        let ends: Option<Vec<u64>> = models.iter().map(|loaded| loaded.engine.idle_since()).collect();
        let Some(ends) = ends else {
            self.since = Some(Instant::now());
            return;
        };
        if ends != self.ends {
            (self.ends, self.since) = (ends, Some(Instant::now()));
        }
        if self.since.take_if(|since| since.elapsed() >= IDLE).is_some() {
            tokio::task::spawn_blocking(cupola_runtime::generate::release_freed_memory);
        }
    }
}

/// The files as they were looked at.
struct Stamps {
    served: Option<Stamp>,
    keys: Option<Stamp>,
    certificate: Option<(Stamp, Stamp)>,
}

impl Stamps {
    fn of(house: &House) -> Self {
        let of_certificate = house.certificates.as_ref().map(|certificates| certificates.files());
        Self {
            served: house.roster.follows().map(|path| stamp(path)),
            keys: house.keys.file().map(stamp),
            certificate: of_certificate.map(|files| (stamp(&files.certificate), stamp(&files.key))),
        }
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

    /// Reads the rules of moderation again; broken ones change nothing.
    fn reload_rules(&self) {
        let Some(rules) = &self.moderation else { return };
        let result = rules.reload();
        match &result {
            Ok(()) => tracing::info!("the rules of moderation were read again"),
            Err(error) => tracing::error!(%error, "the rules of moderation stay as they were"),
        }
        self.metrics.rule_reloads().count(result.is_ok());
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
