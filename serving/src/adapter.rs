//! Adapters beside a served model, each under a name of its own.
//!
//! What an adapter stands beside is checked as far as its folder says it: sizes always; the chat template and the tokenizer where they lie beside it;
//! the model's fingerprint where a training left the adapter in its artifact, and that artifact's parity seal, which the model with the adapter
//! has to keep.

use std::path::{Path, PathBuf};

use cupola_runtime::generate::AdapterId;
use cupola_runtime::model::{ADAPTER_FOLDER, Network};
use cupola_runtime::seal::SealReport;
use cupola_runtime::tokenizer::Tokenizer;
use cupola_specs::artifact::{MANIFEST_FILE, Manifest};
use cupola_specs::contract::AdapterSource;

use crate::ServeError;
use crate::model_folder::{ServedModel, check_tokenizer, read_optional};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// The role of the model among the inputs of a training.
const BASE: &str = "model";

/// Facts about an adapter that is served.
#[derive(Debug)]
pub(crate) struct ServedAdapter {
    pub(crate) id: AdapterId,
    /// The name that clients ask for.
    pub(crate) name: String,
    /// blake3 of config and weights.
    pub(crate) hash: String,
    /// Its own parameters.
    pub(crate) num_params: u64,
    /// What the check of its artifact's parity seal found; none where it has none.
    pub(crate) seal: Option<SealReport>,
}

/// An adapter from its folder, not yet with a decoder.
pub(crate) struct ReadAdapter {
    pub(crate) served: ServedAdapter,
    /// Its matrices, in the shape of the model.
    pub(crate) adapted: Network,
    /// The artifact that it lies in, where it lies in one.
    pub(crate) artifact: Option<PathBuf>,
}

impl ReadAdapter {
    /// Reads an adapter of a model.
    pub(crate) fn read(
        source: &AdapterSource,
        id: AdapterId,
        model: &ServedModel,
        network: &Network,
    ) -> Result<Self, ServeError> {
        let given = source.folder.as_path();
        let failed = |message: String| ServeError::Adapter {
            name: source.name.clone(),
            path: given.to_path_buf(),
            message,
        };
        let below = given.join(ADAPTER_FOLDER);
        let folder = if below.join(CONFIG).is_file() { below.as_path() } else { given };
        if !folder.join(CONFIG).is_file() {
            return Err(failed(format!("it has no {CONFIG}")));
        }
        let adapted = Network::adapters_of(folder, network.shape(), network.vocab_size())
            .map_err(|error| failed(error.to_string()))?;
        let mut hasher = blake3::Hasher::new();
        for file in [CONFIG, WEIGHTS] {
            let bytes =
                std::fs::read(folder.join(file)).map_err(|error| failed(format!("{file}: {error}")))?;
            hasher.update(&bytes);
        }
        let artifact = artifact_of(folder);
        for around in [Some(folder), artifact.as_deref()].into_iter().flatten() {
            check_texts(around, model).map_err(failed)?;
        }
        if let Some(artifact) = &artifact {
            check_base(artifact, model).map_err(failed)?;
        }
        let served = ServedAdapter {
            id,
            name: source.name.clone(),
            hash: hasher.finalize().to_hex().to_string(),
            num_params: adapted.adapter_params(),
            seal: None,
        };
        Ok(Self { served, adapted, artifact })
    }
}

/// The model folder that a folder of adapters lies in, as a training leaves it.
fn artifact_of(folder: &Path) -> Option<PathBuf> {
    let whole = folder.canonicalize().ok()?;
    let is_below = whole.file_name().is_some_and(|name| name == ADAPTER_FOLDER);
    let parent = whole.parent().filter(|parent| is_below && parent.join("config.json").is_file())?;
    Some(parent.to_path_buf())
}

/// Refuses an adapter whose tokenizer or chat template is another one than the model's.
fn check_texts(folder: &Path, model: &ServedModel) -> Result<(), String> {
    if !folder.join("tokenizer.json").is_file() {
        return Ok(());
    }
    let own = Tokenizer::load(folder).map_err(|error| error.to_string())?;
    let name = &model.name;
    let (template, of_model) = (own.chat().source(), model.tokenizer.chat().source());
    if !template.is_empty() && template != of_model {
        return Err(format!("its chat template is not that of '{name}': it was trained on other texts"));
    }
    check_tokenizer(&own, model)
}

/// Refuses an adapter that was trained beside another model.
fn check_base(artifact: &Path, model: &ServedModel) -> Result<(), String> {
    let manifest: Option<Manifest> =
        read_optional(&artifact.join(MANIFEST_FILE)).map_err(|error| error.to_string())?;
    let Some(manifest) = manifest else { return Ok(()) };
    let (served, name) = (&model.fingerprint, &model.name);
    if served.is_empty() {
        return Ok(());
    }
    if *served == manifest.fingerprint {
        return Err(format!("'{name}' has this adapter merged: beside it the adapter would count twice"));
    }
    match manifest.inputs.get(BASE) {
        Some(base) if base != served => Err(format!(
            "it was trained beside the model {base:.12}, and '{name}' is {served:.12}: serve that model, or its own"
        )),
        _ => Ok(()),
    }
}
