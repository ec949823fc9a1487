//! From a folder to a model that can answer: loaded, its seal checked, its engine's thread started.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use cupola_runtime::generate::WeightFormat;
use cupola_runtime::seal::{self, SealError, SealReport, Tolerance};
use cupola_specs::contract::Quantization;
use cupola_specs::job::Precision;

use crate::decoder::{ServedEngine, engine_of};
use crate::engine_thread::EngineHandle;
use crate::metrics::{EngineMeter, Metrics, ModelMetrics};
use crate::model_folder::ServedModel;
use crate::{ModelSource, ServeConfig, ServeError};

/// A model in memory with its engine. When it is gone, and the last answer with it, the engine's thread ends and gives the memory back.
pub(crate) struct Loaded {
    pub(crate) source: ModelSource,
    pub(crate) model: Arc<ServedModel>,
    pub(crate) engine: EngineHandle,
    pub(crate) meter: Arc<ModelMetrics>,
}

/// Loads models by the settings of the server.
pub(crate) struct Loader {
    config: ServeConfig,
    metrics: Arc<Metrics>,
    device: tch::Device,
    precision: Precision,
}

impl Loader {
    pub(crate) fn new(config: &ServeConfig, metrics: Arc<Metrics>) -> Self {
        let device = tch::Device::cuda_if_available();
        Self { config: config.clone(), metrics, device, precision: resolve(config.precision, device) }
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Loads a model. It takes as long as reading its weights; nothing that is served notices, but for the processor's time.
    pub(crate) fn load(&self, source: &ModelSource) -> Result<Loaded, ServeError> {
        let (config, precision) = (&self.config, self.precision);
        let (mut model, network) = ServedModel::load(source, config.context, (self.device, precision))?;
        let threads = num_threads(config.threads, model.total_params);
        tch::set_num_threads(threads as i32);
        let mut engine = engine_of(network, config, (model.context, threads), (self.device, precision))?;
        model.format = format_of(config.quantization, precision);
        model.seal = check_seal(&source.path, &model, &mut engine)?;
        let meter = self.metrics.of_model(&model.name);
        let engine_meter = EngineMeter::new(Arc::clone(&meter), self.metrics.engines(), engine.stats());
        let num_places = config.max_slots + config.max_queue;
        let engine = EngineHandle::start(engine, num_places, engine_meter)?;
        Ok(Loaded { source: source.clone(), model: Arc::new(model), engine, meter })
    }
}

/// Checks the seal with the very engine that will serve; a model without one is served, and its operator told.
fn check_seal(
    path: &Path,
    model: &ServedModel,
    engine: &mut ServedEngine,
) -> Result<Option<SealReport>, ServeError> {
    let broken = |source: SealError| ServeError::Seal { path: path.to_path_buf(), source: Box::new(source) };
    let Some(sealed) = seal::read(path).map_err(broken)? else {
        tracing::warn!(
            model = model.name,
            "no parity seal: served without a check against what it answered when it was made"
        );
        return Ok(None);
    };
    let tolerance = Tolerance::of(model.format);
    let report = seal::check_engine(&sealed, &model.tokenizer, engine, tolerance).map_err(broken)?;
    let SealReport { tokens, mean, largest } = report;
    tracing::info!(
        model = model.name,
        format = tolerance.format,
        tokens,
        mean,
        largest,
        "the parity seal holds"
    );
    Ok(Some(report))
}

/// The format of the weights that answer.
fn format_of(quantization: Quantization, precision: Precision) -> WeightFormat {
    match (quantization, precision) {
        (Quantization::Int8, _) => WeightFormat::Int8,
        (Quantization::Int4, _) => WeightFormat::Int4,
        (Quantization::None, Precision::Bf16) => WeightFormat::Bf16,
        (Quantization::None, _) => WeightFormat::Fp32,
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
