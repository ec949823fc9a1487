//! What every handler shares.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cupola_specs::job::Precision;
use serde_json::{Map, Value, json};

use crate::api::random_u64;
use crate::config::{ConnectionLimits, RequestLimits};
use crate::decoder::engine_of;
use crate::engine_thread::EngineHandle;
use crate::keys::KeyRing;
use crate::metrics::Metrics;
use crate::model_folder::ServedModel;
use crate::phase::{Phase, Phases};
use crate::{ServeConfig, ServeError};

/// A served model with its engine; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// The one set of facts behind every [`App`].
pub struct Shared {
    pub(crate) model: Arc<ServedModel>,
    pub(crate) engine: EngineHandle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) keys: KeyRing,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) limits: RequestLimits,
    pub(crate) connections: ConnectionLimits,
    pub(crate) max_slots: usize,
    pub(crate) is_loopback: bool,
    pub(crate) phases: Phases,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Loads the model and starts the engine's thread.
    pub fn load(config: &ServeConfig) -> Result<Self, ServeError> {
        config.check()?;
        let keys = KeyRing::load(config.keys_file.as_deref(), config.api_key.as_deref())?;
        let device = tch::Device::cuda_if_available();
        let precision = resolve(config.precision, device);
        let (model, network) = ServedModel::load(config, device, precision)?;
        let threads = num_threads(config.threads, model.total_params);
        tch::set_num_threads(threads as i32);
        let metrics = Arc::new(Metrics::default());
        let engine = engine_of(network, config, (model.context, threads), (device, precision))?;
        let num_places = config.max_slots + config.max_queue;
        let engine = EngineHandle::start(engine, num_places, Arc::clone(&metrics))?;
        Ok(Self(Arc::new(Shared {
            model: Arc::new(model),
            engine,
            metrics,
            keys,
            cors_origins: config.cors_origins.clone(),
            limits: config.limits.clone(),
            connections: config.connections.clone(),
            max_slots: config.max_slots,
            is_loopback: config.listen.ip().is_loopback(),
            phases: Phases::default(),
        })))
    }

    /// The served model.
    pub fn model(&self) -> &ServedModel {
        &self.model
    }

    /// Goes on to a phase of stopping.
    pub fn enter(&self, phase: Phase) {
        self.phases.enter(phase);
    }
}

impl Shared {
    /// When the line that is there now is worked off: each answer that ends makes room for one.
    pub(crate) fn time_of_line(&self) -> Duration {
        let held = self.engine.num_places() - self.engine.free_places();
        let line = held.saturating_sub(self.max_slots).max(1) as f64;
        let mean = self.metrics.mean_slot_secs().unwrap_or(1.0);
        Duration::from_secs_f64((line * mean / self.max_slots as f64).clamp(0.05, 60.0))
    }

    /// The fields that every answer and chunk begins with.
    pub(crate) fn answer_head(&self, id_prefix: &str, object: &str) -> Map<String, Value> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let mut head = Map::new();
        head.insert("id".into(), json!(format!("{id_prefix}-{:016x}{:016x}", random_u64(), random_u64())));
        head.insert("object".into(), json!(object));
        head.insert("created".into(), json!(created));
        head.insert("model".into(), json!(self.model.name));
        head.insert("system_fingerprint".into(), json!(self.model.system_fingerprint()));
        head
    }
}

/// A small network's products take less time than waking a second thread for them; on a busy machine that wait is many times longer.
const SMALL_PARAMS: u64 = 30_000_000;

/// Threads as asked for; otherwise one for a small network, and all cores for others.
fn num_threads(asked: usize, total_params: u64) -> usize {
    match asked {
        0 if total_params < SMALL_PARAMS => 1,
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        asked => asked,
    }
}

/// `auto`: bf16 on a GPU, fp32 on the CPU, where a chat's few rows gain nothing from bf16.
fn resolve(precision: Precision, device: tch::Device) -> Precision {
    match precision {
        Precision::Auto if device.is_cuda() => Precision::Bf16,
        Precision::Auto => Precision::Fp32,
        given => given,
    }
}
