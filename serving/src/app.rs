//! What every handler shares: the server's state, and the model that a request is about.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::FromRef;
use cupola_runtime::generate::Request;
use serde_json::{Map, Value, json};

use crate::adapter::ServedAdapter;
use crate::api::{ApiError, random_u64};
use crate::config::{ConnectionLimits, RequestLimits};
use crate::connection::Certificates;
use crate::engine_thread::{Answer, EngineHandle};
use crate::keys::Keys;
use crate::loaded::{Loaded, Loader};
use crate::metrics::{Metrics, ModelMetrics};
use crate::model_folder::ServedModel;
use crate::moderation::Rulebook;
use crate::phase::{Phase, Phases};
use crate::roster::Roster;
use crate::{ServeConfig, ServeError};

/// A server's state; cheap to clone.
#[derive(Clone)]
pub struct House(Arc<Shared>);

/// The one set of facts behind every [`House`].
pub struct Shared {
    pub(crate) roster: Roster,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) keys: Keys,
    pub(crate) moderation: Option<Rulebook>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) limits: RequestLimits,
    pub(crate) connections: ConnectionLimits,
    pub(crate) max_slots: usize,
    pub(crate) is_loopback: bool,
    pub(crate) phases: Phases,
}

impl Deref for House {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl House {
    /// Loads the models and starts their engines.
    pub fn load(config: &ServeConfig) -> Result<Self, ServeError> {
        config.check()?;
        let keys = Keys::load(config.keys_file.as_deref(), config.api_key.as_deref())?;
        let certificates = config.tls.as_ref().map(Certificates::load).transpose()?.map(Arc::new);
        let metrics = Arc::new(Metrics::default());
        // Before the models, whose needs decide on the tensor library's threads.
        let moderation = Rulebook::load(config, &metrics)?;
        let roster = Roster::load(Loader::new(config, Arc::clone(&metrics))?, config)?;
        Ok(Self(Arc::new(Shared {
            roster,
            metrics,
            keys,
            moderation,
            certificates,
            cors_origins: config.cors_origins.clone(),
            limits: config.limits.clone(),
            connections: config.connections.clone(),
            max_slots: config.max_slots,
            is_loopback: config.listen.ip().is_loopback(),
            phases: Phases::default(),
        })))
    }

    /// The model that is served first: of a request that names none, and of what is not about one.
    pub fn app(&self) -> App {
        App::of(self, &self.roster.first(), None)
    }

    /// Names and fingerprints of the models, in words.
    pub fn models(&self) -> String {
        let word = |model: &ServedModel| {
            let fingerprint = if model.fingerprint.is_empty() { "unknown" } else { &model.fingerprint };
            format!("{} (fingerprint {fingerprint})", model.name)
        };
        self.roster.all().iter().map(|loaded| word(&loaded.model)).collect::<Vec<_>>().join(", ")
    }

    /// The names of the models and of their adapters.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.roster.all();
        let of_models = all.iter().map(|loaded| loaded.model.name.clone());
        let of_adapters = all.iter().flat_map(|loaded| &loaded.adapters).map(|adapter| adapter.name.clone());
        of_models.chain(of_adapters).collect()
    }

    /// The model of a name, or that of the adapter of this name, with it.
    pub(crate) fn find(&self, name: &str) -> Option<App> {
        self.roster.find(name).map(|(loaded, adapter)| App::of(self, &loaded, adapter))
    }

    /// Goes on to a phase of stopping.
    pub fn enter(&self, phase: Phase) {
        self.phases.enter(phase);
    }
}

/// One model as a request sees it: the same to the request's end, whatever takes its name over meanwhile. Cheap to clone.
#[derive(Clone)]
pub struct App {
    house: House,
    pub(crate) model: Arc<ServedModel>,
    adapter: Option<Arc<ServedAdapter>>,
    pub(crate) engine: EngineHandle,
    pub(crate) meter: Arc<ModelMetrics>,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.house
    }
}

impl FromRef<House> for App {
    fn from_ref(house: &House) -> Self {
        house.app()
    }
}

impl App {
    fn of(house: &House, loaded: &Loaded, adapter: Option<Arc<ServedAdapter>>) -> Self {
        Self {
            house: house.clone(),
            model: Arc::clone(&loaded.model),
            adapter,
            engine: loaded.engine.clone(),
            meter: Arc::clone(&loaded.meter),
        }
    }

    /// The same server with the model of a name.
    pub(crate) fn find(&self, name: &str) -> Result<Self, ApiError> {
        self.house.find(name).ok_or_else(|| ApiError::model_not_found(name, &self.house.names()))
    }

    /// The served model.
    pub fn model(&self) -> &ServedModel {
        &self.model
    }

    /// The name that was asked for: the model's, or its adapter's.
    pub(crate) fn name(&self) -> &str {
        self.adapter.as_ref().map_or(&self.model.name, |adapter| &adapter.name)
    }

    /// Which weights answer: the model's word for it, and the start of the adapter's hash.
    fn system_fingerprint(&self) -> Option<String> {
        let of_model = self.model.system_fingerprint();
        match &self.adapter {
            None => of_model,
            Some(adapter) => {
                let of_model = of_model.unwrap_or_else(|| "cupola".into());
                Some(format!("{of_model}-{:.12}", adapter.hash))
            }
        }
    }

    /// Sends a request to the engine, with the adapter that was asked for.
    pub(crate) fn submit(&self, request: Request) -> Answer {
        let adapter = self.adapter.as_ref().map(|adapter| adapter.id);
        self.engine.submit(Request { adapter, ..request })
    }

    /// When the line that is there now is worked off: each answer that ends makes room for one.
    pub(crate) fn time_of_line(&self) -> Duration {
        let held = self.engine.num_places() - self.engine.free_places();
        let line = held.saturating_sub(self.max_slots).max(1) as f64;
        let mean = self.meter.mean_slot_secs().unwrap_or(1.0);
        Duration::from_secs_f64((line * mean / self.max_slots as f64).clamp(0.05, 60.0))
    }

    /// The fields that every answer and chunk begins with.
    pub(crate) fn answer_head(&self, id_prefix: &str, object: &str) -> Map<String, Value> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let mut head = Map::new();
        head.insert("id".into(), json!(format!("{id_prefix}-{:016x}{:016x}", random_u64(), random_u64())));
        head.insert("object".into(), json!(object));
        head.insert("created".into(), json!(created));
        head.insert("model".into(), json!(self.name()));
        head.insert("system_fingerprint".into(), json!(self.system_fingerprint()));
        head
    }
}
