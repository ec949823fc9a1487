//! From a folder to a model that can answer: loaded, its seal checked, its engine's thread started.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use cupola_runtime::generate::AdapterId;
use cupola_runtime::generate::{NoCudaDevice, first_cuda_device};
use cupola_runtime::model::Network;
use cupola_runtime::seal::{self, SealError, SealReport, Tolerance};
use cupola_specs::contract::AdapterSource;
use cupola_specs::job::{Device, Family, Precision};

use crate::adapter::{ReadAdapter, ServedAdapter};
use crate::decoder::{ServedEngine, decoder_of, engine_of, format_of, runs_by_cpu_kernels};
use crate::engine_thread::EngineHandle;
use crate::metrics::{EngineMeter, Metrics, ModelMetrics};
use crate::model_folder::ServedModel;
use crate::speculation::drafter_of;
use crate::{ModelSource, ServeConfig, ServeError};

/// A model in memory with its engine. When it is gone, and the last answer with it, the engine's thread ends and gives the memory back.
pub(crate) struct Loaded {
    pub(crate) source: ModelSource,
    pub(crate) model: Arc<ServedModel>,
    pub(crate) adapters: Vec<Arc<ServedAdapter>>,
    pub(crate) engine: EngineHandle,
    pub(crate) meter: Arc<ModelMetrics>,
}

/// Loads models by the settings of the server.
pub(crate) struct Loader {
    config: ServeConfig,
    metrics: Arc<Metrics>,
    device: tch::Device,
    precision: Precision,
    /// Tokens that answers have, prompt included, where that is known to be less than a context.
    text_tokens: Option<usize>,
}

impl Loader {
    /// # Errors
    /// A CUDA device is asked for and there is none.
    pub(crate) fn new(config: &ServeConfig, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let device = find_device(config.device)?;
        Ok(Self {
            config: config.clone(),
            metrics,
            device,
            precision: resolve(config.precision, device),
            text_tokens: None,
        })
    }

    /// For models that read texts of so many tokens: memory is taken for those, and for one whole context.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn for_texts(
        config: &ServeConfig,
        metrics: Arc<Metrics>,
        tokens: usize,
    ) -> Result<Self, ServeError> {
        Ok(Self { text_tokens: Some(tokens), ..Self::new(config, metrics)? })
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Loads a model. It takes as long as reading its weights; nothing that is served notices, but for the processor's time.
    pub(crate) fn load(&self, source: &ModelSource) -> Result<Loaded, ServeError> {
        let (config, precision) = (&self.config, self.precision);
        let (mut model, network) = ServedModel::load(source, config.context, (self.device, precision))?;
        let mut adapters = self.adapters(&model, &network)?;
        let threads = num_threads(config.threads, model.total_params);
        tch::set_num_threads(threads as i32);
        let on = (self.device, precision);
        let vocab_size = network.vocab_size() as usize;
        let config = &self.config_of(&network, model.context);
        let decoder = decoder_of(network, config, (model.context, threads), on, &adapters)?;
        let drafter = drafter_of(config, (&model, vocab_size), threads, on)?;
        let mut engine = engine_of(decoder, config, drafter)?;
        model.format = format_of(config.quantization, precision);
        model.seal = check_seal(Some(&source.path), &model, None, &mut engine)?;
        for ReadAdapter { served, artifact, .. } in &mut adapters {
            served.seal = check_seal(artifact.as_deref(), &model, Some(served), &mut engine)?;
        }
        let meter = self.metrics.of_model(&model.name);
        let engine_meter = EngineMeter::new(Arc::clone(&meter), self.metrics.engines(), engine.stats());
        let num_places = config.max_slots + config.max_queue;
        let engine = EngineHandle::start(engine, num_places, engine_meter)?;
        let adapters = adapters.into_iter().map(|adapter| Arc::new(adapter.served)).collect();
        Ok(Loaded { source: source.clone(), model: Arc::new(model), adapters, engine, meter })
    }

    /// The settings for a network with this context.
    fn config_of(&self, network: &Network, context: usize) -> ServeConfig {
        let mut config = self.config.clone();
        if let Some(tokens) = self.text_tokens.filter(|_| network.shape().family == Family::Transformer) {
            config.cache_tokens = (config.max_slots * tokens.min(context)).max(context);
        }
        config
    }

    /// Reads the adapters of a model.
    fn adapters(&self, model: &ServedModel, network: &Network) -> Result<Vec<ReadAdapter>, ServeError> {
        let name = &model.name;
        if self.config.adapters.iter().any(|adapter| adapter.name == *name) {
            return Err(ServeError::TwoModels { name: name.clone() });
        }
        let is_own = |adapter: &&AdapterSource| adapter.model.as_ref().is_none_or(|model| model == name);
        let own: Vec<&AdapterSource> = self.config.adapters.iter().filter(is_own).collect();
        if let Some(adapter) = own.first().filter(|_| !runs_by_cpu_kernels(network, self.device)) {
            return Err(ServeError::Setting {
                field: "adapter",
                got: format!("{} of {name}", adapter.name),
                expected: "none beside this model: only transformers on a CPU run with adapters",
            });
        }
        own.into_iter()
            .zip(0..)
            .map(|(source, id)| ReadAdapter::read(source, AdapterId(id), model, network))
            .collect()
    }

    /// Settles beside which of these models each adapter stands: where one is served, beside that, whatever takes its name over.
    pub(crate) fn settle_adapters(&mut self, sources: &[ModelSource]) -> Result<(), ServeError> {
        let adapters = &mut self.config.adapters;
        for (at, adapter) in adapters.iter().enumerate() {
            if adapters[..at].iter().any(|other| other.name == adapter.name) {
                return Err(ServeError::TwoModels { name: adapter.name.clone() });
            }
        }
        for adapter in adapters.iter_mut().filter(|adapter| adapter.model.is_none()) {
            match sources {
                [only] => adapter.model.clone_from(&only.name),
                _ => {
                    return Err(ServeError::Setting {
                        field: "adapter",
                        got: adapter.name.clone(),
                        expected: "NAME=DIR@MODEL, since several models are served",
                    });
                }
            }
        }
        Ok(())
    }

    /// Refuses an adapter of a model that is not there.
    pub(crate) fn check_adapters(&self, models: &[Arc<Loaded>]) -> Result<(), ServeError> {
        let is_homeless = |adapter: &&AdapterSource| {
            adapter.model.as_ref().is_some_and(|name| models.iter().all(|loaded| loaded.model.name != *name))
        };
        match self.config.adapters.iter().find(is_homeless) {
            None => Ok(()),
            Some(adapter) => Err(ServeError::Setting {
                field: "adapter",
                got: format!("{} of {}", adapter.name, adapter.model.as_deref().unwrap_or_default()),
                expected: "the name of a model that is served, behind the @",
            }),
        }
    }
}

/// Checks a folder's seal with the very engine that will serve, and the adapter that stands beside the model; what has none is served, and its
/// operator told.
fn check_seal(
    path: Option<&Path>,
    model: &ServedModel,
    adapter: Option<&ServedAdapter>,
    engine: &mut ServedEngine,
) -> Result<Option<SealReport>, ServeError> {
    let name = adapter.map_or(&model.name, |adapter| &adapter.name);
    let broken = |source: SealError| ServeError::Seal {
        path: path.unwrap_or(Path::new("")).to_path_buf(),
        source: Box::new(source),
    };
    let sealed = path.map(seal::read).transpose().map_err(broken)?.flatten();
    let Some(sealed) = sealed else {
        tracing::warn!(
            model = name,
            "no parity seal: served without a check against what it answered when it was made"
        );
        return Ok(None);
    };
    let tolerance = Tolerance::of(model.format);
    let on = (engine, adapter.map(|adapter| adapter.id));
    let report = seal::check_engine(&sealed, &model.tokenizer, on, tolerance).map_err(broken)?;
    let SealReport { tokens, mean, largest } = report;
    tracing::info!(model = name, format = tolerance.format, tokens, mean, largest, "the parity seal holds");
    Ok(Some(report))
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

/// Where networks run.
fn find_device(asked: Device) -> Result<tch::Device, ServeError> {
    if asked == Device::Cpu {
        return Ok(tch::Device::Cpu);
    }
    let missing = match first_cuda_device() {
        Ok(device) => return Ok(device),
        Err(missing) => missing,
    };
    if asked == Device::Cuda {
        return Err(ServeError::NoCuda(missing.to_string()));
    }
    if let NoCudaDevice::Broken(_) = missing {
        tracing::warn!("{missing}; networks run on the CPU");
    }
    Ok(tch::Device::Cpu)
}

/// `auto`: bf16 on a GPU, fp32 on the CPU, where a chat's few rows gain nothing from bf16.
fn resolve(precision: Precision, device: tch::Device) -> Precision {
    match precision {
        Precision::Auto if device.is_cuda() => Precision::Bf16,
        Precision::Auto => Precision::Fp32,
        given => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cuda_device_that_is_not_there_is_an_error_that_says_why() {
        assert_eq!(find_device(Device::Cpu).unwrap(), tch::Device::Cpu);
        if first_cuda_device().is_ok() {
            println!("skipped: there is a CUDA device");
            return;
        }
        let error = find_device(Device::Cuda).unwrap_err();
        assert!(error.to_string().starts_with("--device cuda: "), "{error}");
        assert_eq!(error.hint(), "`--device cpu` runs on the CPU");
        assert_eq!(find_device(Device::Auto).unwrap(), tch::Device::Cpu);
    }
}
