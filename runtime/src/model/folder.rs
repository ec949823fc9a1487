//! A Hugging Face model folder: `config.json`, weights in one safetensors file or in shards with an index, `generation_config.json`.
//!
//! Weights are read from memory-mapped files, one tensor at a time, into fp32 masters. A tensor is looked for by its name, and where a file
//! was saved from the body of the class alone, by its name without the body's prefix. Buffers that are no weights are passed over by name;
//! any other tensor that no layer asks for is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use cupola_specs::artifact::MANIFEST_FILE;
use cupola_specs::job::{ModelShape, ModelType};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{ModelError, Parameter, SaveFacts, config_json};
use crate::job::write_durably;

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const HEAD: &str = "lm_head.weight";
/// Bytes of weights in a file, as transformers shards them.
const SHARD_BYTES: u64 = 5_000_000_000;

/// The number format of saved weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightKind {
    /// As they are trained.
    Fp32,
    /// Half as large; rounded to the nearest.
    Bf16,
}

impl WeightKind {
    /// `config.json`'s word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fp32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    fn kind(self) -> (Kind, Dtype) {
        match self {
            Self::Fp32 => (Kind::Float, Dtype::F32),
            Self::Bf16 => (Kind::BFloat16, Dtype::BF16),
        }
    }
}

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveForm {
    /// Number format.
    pub kind: WeightKind,
    /// Bytes beyond which weights are split over several files; one tensor is never split.
    pub shard_bytes: u64,
}

impl Default for SaveForm {
    fn default() -> Self {
        Self { kind: WeightKind::Fp32, shard_bytes: SHARD_BYTES }
    }
}

/// The shape and vocabulary that a folder's config says.
pub(super) fn read_config(folder: &Path) -> Result<(ModelShape, i64), ModelError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|error| ModelError::io(&path, error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| ModelError::format(&path, error.to_string()))?;
    config_json::from_json(&path, &value)
}

/// A mapped file of weights.
struct Shard {
    path: PathBuf,
    bytes: Mmap,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, ModelError> {
        let file = File::open(&path).map_err(|error| ModelError::io(&path, error))?;
        if file.metadata().is_ok_and(|facts| facts.len() == 0) {
            return Err(ModelError::BrokenShard { path, message: "it is empty".into() });
        }
        let bytes = cupola_kernels::map_file(&file).map_err(|error| ModelError::io(&path, error))?;
        Ok(Self { path, bytes })
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, ModelError> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|error| ModelError::BrokenShard { path: self.path.clone(), message: error.to_string() })
    }
}

/// The weights files of a folder, mapped.
pub(super) struct Shards {
    named: PathBuf,
    shards: Vec<Shard>,
}

impl Shards {
    /// One file where there is one, else what the index names.
    pub(super) fn open(folder: &Path) -> Result<Self, ModelError> {
        let (single, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if single.is_file() {
            return Ok(Self { named: single.clone(), shards: vec![Shard::open(single)?] });
        }
        if !index.is_file() {
            let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].map(|name| folder.join(name));
            return Err(match pickle.into_iter().find(|path| path.is_file()) {
                Some(path) => ModelError::Pickle { path },
                None => ModelError::NoWeights { path: folder.to_path_buf() },
            });
        }
        let text = std::fs::read(&index).map_err(|error| ModelError::io(&index, error))?;
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| ModelError::format(&index, error.to_string()))?;
        let map = value["weight_map"].as_object();
        let map = map.ok_or_else(|| ModelError::format(&index, "no weight_map of tensors and files"))?;
        let files: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
        let open = |file: &str| {
            let path = folder.join(file);
            let is_plain = Path::new(file).file_name().is_some_and(|name| name == file);
            if !is_plain || !path.is_file() {
                return Err(ModelError::MissingShard { index: index.clone(), file: file.to_owned() });
            }
            Shard::open(path)
        };
        let shards = files.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { named: index.clone(), shards })
    }

    /// The tensors of all files by name.
    pub(super) fn weights(&self, shape: &ModelShape) -> Result<Weights<'_>, ModelError> {
        let mut found = BTreeMap::new();
        for shard in &self.shards {
            for (name, view) in shard.tensors()?.tensors() {
                found.insert(name, (shard.path.as_path(), view));
            }
        }
        let is_gpt2 = shape.model_type == ModelType::Gpt2;
        let prefix = if is_gpt2 { "transformer." } else { "model." };
        let has_prefix = found.keys().any(|name| name.starts_with(prefix));
        found.retain(|name, _| !is_buffer(name));
        Ok(Weights {
            named: &self.named,
            found,
            prefix: if has_prefix { "" } else { prefix },
            is_tied: shape.tie_word_embeddings,
        })
    }
}

/// Buffers that older versions of transformers saved beside the weights.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|end| name.ends_with(end))
}

/// Tensors that wait to be asked for.
pub(super) struct Weights<'a> {
    named: &'a Path,
    found: BTreeMap<String, (&'a Path, TensorView<'a>)>,
    prefix: &'static str,
    is_tied: bool,
}

impl Weights<'_> {
    /// The tensor of a name and a shape, as an fp32 leaf; nobody may ask for it again.
    pub(super) fn take(&mut self, name: &str, size: &[i64], device: Device) -> Result<Tensor, ModelError> {
        let short = name.strip_prefix(self.prefix).unwrap_or(name);
        let own = self.found.remove(short);
        // Of tied embeddings a file may hold either one, or both.
        let is_embedding = [".embed_tokens.weight", ".wte.weight"].iter().any(|end| name.ends_with(end));
        let head = if self.is_tied && is_embedding { self.found.remove(HEAD) } else { None };
        let Some((path, view)) = own.as_ref().or(head.as_ref()) else {
            return Err(ModelError::MissingTensor { path: self.named.to_path_buf(), name: name.to_owned() });
        };
        let tensor = read_tensor(path, short, size, view)?;
        if let (Some(_), Some((path, view))) = (&own, &head)
            && !read_tensor(path, HEAD, size, view)?.equal(&tensor)
        {
            let (path, name, other) = (path.to_path_buf(), short.to_owned(), HEAD.to_owned());
            return Err(ModelError::Untied { path, name, other });
        }
        Ok(tensor.to_device(device).set_requires_grad(true))
    }

    /// An error where a tensor is left that nobody asked for.
    pub(super) fn finish(self) -> Result<(), ModelError> {
        match self.found.into_iter().next() {
            Some((name, (path, _))) => Err(ModelError::ExtraTensor { path: path.to_path_buf(), name }),
            None => Ok(()),
        }
    }
}

/// The tensors of one file by name, of the sizes that `size_of` says, in fp32; a tensor without a size is an error.
pub(super) fn read_all(
    path: PathBuf,
    size_of: impl Fn(&str) -> Option<Vec<i64>>,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let shard = Shard::open(path)?;
    let views: BTreeMap<String, TensorView> = shard.tensors()?.tensors().into_iter().collect();
    let mut found = BTreeMap::new();
    for (name, view) in views {
        let Some(size) = size_of(&name) else {
            return Err(ModelError::ExtraTensor { path: shard.path.clone(), name });
        };
        found.insert(name.clone(), read_tensor(&shard.path, &name, &size, &view)?);
    }
    Ok(found)
}

/// The names of the tensors of one file.
pub(super) fn tensor_names(path: PathBuf) -> Result<Vec<String>, ModelError> {
    let shard = Shard::open(path)?;
    let names = shard.tensors()?.names().into_iter().map(str::to_owned).collect();
    Ok(names)
}

fn read_tensor(path: &Path, name: &str, size: &[i64], view: &TensorView) -> Result<Tensor, ModelError> {
    let got: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    if got != size {
        let (path, name, expected) = (path.to_path_buf(), name.to_owned(), size.to_vec());
        return Err(ModelError::TensorShape { path, name, expected, got });
    }
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        other => {
            return Err(ModelError::format(
                path,
                format!("tensor {name}: expected F32, F16 or BF16, got {other:?}"),
            ));
        }
    };
    Ok(Tensor::f_from_data_size(view.data(), size, kind)?.to_kind(Kind::Float))
}

/// Writes the config, the generation config and the weights.
pub(super) fn write(
    folder: &Path,
    (shape, vocab_size): (&ModelShape, i64),
    parameters: &[Parameter],
    facts: &SaveFacts,
    form: &SaveForm,
) -> Result<(), ModelError> {
    write_config(folder, (shape, vocab_size), facts, form.kind)?;
    let generation = json!({
        "bos_token_id": facts.bos_token_id,
        "eos_token_id": facts.stop_token_ids,
        "pad_token_id": facts.pad_token_id,
    });
    put(folder, GENERATION, format!("{generation:#}\n").as_bytes())?;
    write_weights(folder, parameters, form)
}

/// Writes the config.
pub(super) fn write_config(
    folder: &Path,
    (shape, vocab_size): (&ModelShape, i64),
    facts: &SaveFacts,
    kind: WeightKind,
) -> Result<(), ModelError> {
    let config = config_json::to_json(shape, vocab_size, facts, kind);
    put(folder, CONFIG, format!("{config:#}\n").as_bytes())
}

/// Writes a loaded folder's model in another form: its weights and its config anew, its tokens' ids and every other file as they are.
pub(super) fn convert(
    from: &Path,
    to: &Path,
    (shape, vocab_size): (&ModelShape, i64),
    parameters: &[Parameter],
    form: &SaveForm,
) -> Result<(), ModelError> {
    let path = from.join(CONFIG);
    let text = std::fs::read(&path).map_err(|error| ModelError::io(&path, error))?;
    let before: Value =
        serde_json::from_slice(&text).map_err(|error| ModelError::format(&path, error.to_string()))?;
    let nobody = SaveFacts { bos_token_id: 0, stop_token_ids: Vec::new(), pad_token_id: 0 };
    let mut config = config_json::to_json(shape, vocab_size, &nobody, form.kind);
    for id in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        config[id] = before[id].clone();
    }
    std::fs::create_dir_all(to).map_err(|error| ModelError::io(to, error))?;
    for entry in std::fs::read_dir(from).map_err(|error| ModelError::io(from, error))? {
        let path = entry.map_err(|error| ModelError::io(from, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_weights = name.starts_with("model") && (name.ends_with(".safetensors") || name == INDEX);
        if path.is_file() && !is_weights && name != CONFIG && name != MANIFEST_FILE {
            let target = to.join(name);
            std::fs::copy(&path, &target).map_err(|error| ModelError::io(&target, error))?;
        }
    }
    put(to, CONFIG, format!("{config:#}\n").as_bytes())?;
    write_weights(to, parameters, form)
}

/// Writes a file of a folder durably.
pub(super) fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let path = folder.join(name);
    write_durably(&path, bytes).map_err(|error| ModelError::format(&path, error.to_string()))
}

/// One file, or shards and their index.
fn write_weights(folder: &Path, parameters: &[Parameter], form: &SaveForm) -> Result<(), ModelError> {
    let files = split(parameters, form);
    if let [whole] = files.as_slice() {
        return put(folder, WEIGHTS, &to_safetensors(whole, form.kind)?);
    }
    let mut map = serde_json::Map::new();
    for (at, shard) in files.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", at + 1, files.len());
        put(folder, &name, &to_safetensors(shard, form.kind)?)?;
        map.extend(shard.iter().map(|parameter| (parameter.name.clone(), name.as_str().into())));
    }
    let total: u64 = parameters.iter().map(|parameter| size_bytes(parameter, form.kind)).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    put(folder, INDEX, format!("{index:#}\n").as_bytes())
}

fn size_bytes(parameter: &Parameter, kind: WeightKind) -> u64 {
    (parameter.tensor.numel() * kind.kind().0.elt_size_in_bytes()) as u64
}

/// The parameters file by file: each as full as the limit lets it be, in order.
fn split<'a>(parameters: &'a [Parameter], form: &SaveForm) -> Vec<Vec<&'a Parameter>> {
    let mut files: Vec<Vec<&Parameter>> = vec![Vec::new()];
    let mut held = 0;
    for parameter in parameters {
        let size = size_bytes(parameter, form.kind);
        if held > 0 && held + size > form.shard_bytes {
            files.push(Vec::new());
            held = 0;
        }
        held += size;
        if let Some(file) = files.last_mut() {
            file.push(parameter);
        }
    }
    files
}

/// Weights as a safetensors file.
pub(super) fn to_safetensors(parameters: &[&Parameter], kind: WeightKind) -> Result<Vec<u8>, ModelError> {
    let (kind, dtype) = kind.kind();
    let mut buffers = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let shape: Vec<usize> = parameter.tensor.size().iter().map(|&size| size as usize).collect();
        let flat = parameter.tensor.detach().to_device(Device::Cpu).to_kind(kind).contiguous().view([-1]);
        let mut bytes = vec![0; flat.numel() * kind.elt_size_in_bytes()];
        flat.f_copy_data_u8(&mut bytes, flat.numel())?;
        buffers.push((parameter.name.as_str(), shape, bytes));
    }
    let broken =
        |error: safetensors::SafeTensorError| ModelError::format(Path::new(WEIGHTS), error.to_string());
    let mut views = Vec::with_capacity(buffers.len());
    for (name, shape, bytes) in &buffers {
        views.push((*name, TensorView::new(dtype, shape.clone(), bytes).map_err(broken)?));
    }
    serialize(views, Some(HashMap::from([("format".to_owned(), "pt".to_owned())]))).map_err(broken)
}
