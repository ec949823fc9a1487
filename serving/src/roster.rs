//! Which models are served, by name. A request takes the one that its name means at that moment, and keeps it; a model that takes a name over
//! is loaded and checked before anybody sees it, so that no request fails for the change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::adapter::ServedAdapter;
use crate::loaded::{Loaded, Loader};
use crate::served_file::read_served;
use crate::{ModelSource, ServeConfig, ServeError};

/// The models of a server; never none.
pub(crate) struct Roster {
    now: RwLock<Arc<[Arc<Loaded>]>>,
    loader: Loader,
    /// The file that says which models are served, where one is followed.
    follow: Option<PathBuf>,
    keeps_replaced: bool,
    /// Changes come one after the other; what they leave behind is theirs.
    change: Mutex<Change>,
    /// Why the models are not those of the file.
    trouble: Mutex<Option<String>>,
}

/// What a change leaves for the next one.
#[derive(Default)]
struct Change {
    /// Models that were replaced and are kept: one for each name.
    replaced: Vec<Arc<Loaded>>,
}

impl Roster {
    /// Loads the models of the command line, or of the file that is followed.
    pub(crate) fn load(mut loader: Loader, config: &ServeConfig) -> Result<Self, ServeError> {
        let sources = match &config.follow {
            Some(file) => read_served(file)?,
            None => config.models.clone(),
        };
        loader.settle_adapters(&sources)?;
        let mut models: Vec<Arc<Loaded>> = Vec::new();
        for source in &sources {
            let loaded = loader.load(source)?;
            if models.iter().any(|other| other.model.name == loaded.model.name) {
                return Err(ServeError::TwoModels { name: loaded.model.name.clone() });
            }
            models.push(Arc::new(loaded));
        }
        loader.check_adapters(&models)?;
        Ok(Self {
            now: RwLock::new(models.into()),
            loader,
            follow: config.follow.clone(),
            keeps_replaced: config.keep_replaced,
            change: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    /// All of them, in the order in which they were named.
    pub(crate) fn all(&self) -> Arc<[Arc<Loaded>]> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first.
    pub(crate) fn first(&self) -> Arc<Loaded> {
        Arc::clone(&self.all()[0])
    }

    /// The one of a name, or the one beside which the adapter of that name stands.
    pub(crate) fn find(&self, name: &str) -> Option<(Arc<Loaded>, Option<Arc<ServedAdapter>>)> {
        let all = self.all();
        if let Some(loaded) = all.iter().find(|loaded| loaded.model.name == name) {
            return Some((Arc::clone(loaded), None));
        }
        all.iter().find_map(|loaded| {
            let adapter = loaded.adapters.iter().find(|adapter| adapter.name == name)?;
            Some((Arc::clone(loaded), Some(Arc::clone(adapter))))
        })
    }

    /// The file that is followed.
    pub(crate) fn follows(&self) -> Option<&PathBuf> {
        self.follow.as_ref()
    }

    /// Why the models are not those of the file; none where they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the models those of the file. What can't be loaded leaves its name with the model that has it, and the others change all the same.
    /// Blocks for as long as loading takes.
    pub(crate) fn catch_up(&self) {
        let Some(file) = &self.follow else { return };
        let mut change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut troubles = Vec::new();
        match read_served(file) {
            Ok(sources) => self.change_to(&sources, &mut change, &mut troubles),
            Err(error) => troubles.push(format!("{error}; the models stay as they are")),
        }
        for trouble in &troubles {
            tracing::error!("{trouble}");
        }
        let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn change_to(&self, sources: &[ModelSource], change: &mut Change, troubles: &mut Vec<String>) {
        let before = self.all();
        let mut after: Vec<Arc<Loaded>> = Vec::new();
        for source in sources {
            let holder = before.iter().find(|loaded| loaded.source.name == source.name);
            if let Some(holder) = holder.filter(|holder| holder.source == *source) {
                after.push(Arc::clone(holder));
                continue;
            }
            match self.bring(source, change) {
                Ok(loaded) => {
                    let (model, fingerprint) = (&loaded.model.name, &loaded.model.fingerprint);
                    let was = holder.map_or("", |holder| &holder.model.fingerprint);
                    tracing::info!(model, fingerprint, was, "a promoted model is served from now on");
                    self.loader.metrics().swaps().count(true);
                    after.push(loaded);
                }
                Err(error) => {
                    self.loader.metrics().swaps().count(false);
                    let name = source.name.as_deref().unwrap_or_default();
                    let stays = match holder {
                        Some(holder) => format!("{} goes on answering", short(&holder.model.fingerprint)),
                        None => "nothing answers to that name".to_owned(),
                    };
                    let hint = error.hint();
                    troubles.push(format!("'{name}' could not be changed, {stays}: {error} ({hint})"));
                    after.extend(holder.map(Arc::clone));
                }
            }
            // One name after the other: whoever is ready does not wait for the rest.
            let rest =
                before.iter().filter(|old| !after.iter().any(|new| new.source.name == old.source.name));
            self.show(after.iter().chain(rest).map(Arc::clone).collect());
        }
        if after.is_empty() {
            troubles
                .push("the file names no model that can be served: the models stay as they are".to_owned());
            return;
        }
        if self.keeps_replaced {
            let gone = before.iter().filter(|old| !after.iter().any(|new| Arc::ptr_eq(old, new)));
            for old in gone {
                change.replaced.retain(|kept| kept.source.name != old.source.name);
                change.replaced.push(Arc::clone(old));
            }
        }
        self.show(after);
    }

    fn show(&self, models: Vec<Arc<Loaded>>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = models.into();
    }

    /// The model of a source: one that was kept, else from its folder.
    fn bring(&self, source: &ModelSource, change: &mut Change) -> Result<Arc<Loaded>, ServeError> {
        match change.replaced.iter().position(|kept| kept.source == *source) {
            Some(at) => Ok(change.replaced.swap_remove(at)),
            None => self.loader.load(source).map(Arc::new),
        }
    }
}

/// The start of a fingerprint.
fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or("the model before it")
}
