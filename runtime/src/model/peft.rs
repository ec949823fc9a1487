//! Adapters as Hugging Face's PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` loads
//! onto the model that was adapted.
//!
//! What is read may be PEFT's own: LoRA beside whole modules of every layer. Whatever else its config can say (other ranks for some modules, biases
//! or whole modules that train along, another decomposition) is refused by the field's name, since the network would be another one.

use std::collections::BTreeSet;
use std::path::Path;

use cupola_specs::job::{AdapterParams, LoraConfig, LoraTarget, ModelShape};
use serde_json::{Value, json};
use tch::Tensor;

use super::layers::Layout;
use super::lora::{Adapters, Module, TARGETS, wanted, words};
use super::{ModelError, Network, ParamGroup, Parameter, WeightKind, folder};

/// The folder of the adapters beside the merged weights.
pub const ADAPTER_FOLDER: &str = "adapter";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before a module's name.
const PREFIX: &str = "base_model.model";

impl Network {
    /// Writes the adapters, where there are some, into `adapter/` of a folder. A `score` head `[1, C]` that trained with them goes in too, as a
    /// sequence classifier's.
    pub fn save_adapter(&self, folder: &Path, score: Option<&Tensor>) -> Result<(), ModelError> {
        let Some(adapters) = &self.adapters else { return Ok(()) };
        let folder = folder.join(ADAPTER_FOLDER);
        std::fs::create_dir_all(&folder).map_err(|error| ModelError::io(&folder, error))?;
        let config = config(adapters, score.is_some());
        folder::put(&folder, CONFIG, format!("{config:#}\n").as_bytes())?;
        let own = adapters.parameters().iter().map(Parameter::handle);
        let score = score.map(|score| Parameter {
            name: "score.weight".into(),
            tensor: score.shallow_clone(),
            group: ParamGroup::Head,
        });
        let named: Vec<Parameter> = own
            .chain(score)
            .map(|parameter| Parameter { name: format!("{PREFIX}.{}", parameter.name), ..parameter })
            .collect();
        let bytes = folder::to_safetensors(&named.iter().collect::<Vec<_>>(), WeightKind::Fp32)?;
        folder::put(&folder, WEIGHTS, &bytes)
    }
}

impl Network {
    /// The adapters of a folder, its own or those below it ([`ADAPTER_FOLDER`]), for networks of these sizes: beside no weights, so that they take
    /// the adapters' memory alone. It can't be run.
    ///
    /// # Errors
    /// As [`Network::adapt_from`].
    pub fn adapters_of(folder: &Path, shape: &ModelShape, vocab_size: i64) -> Result<Self, ModelError> {
        let mut outline = Self::outline(shape, vocab_size)?;
        outline.adapt_from(folder, &AdapterParams::default())?;
        Ok(outline)
    }

    /// Freezes every weight and puts the adapters of a folder beside them, its own or that below it ([`ADAPTER_FOLDER`]): training goes on from
    /// there.
    ///
    /// # Errors
    /// Adapters that do not fit this network, are not what `params` says, or are of another form than LoRA beside whole modules.
    pub fn adapt_from(&mut self, folder: &Path, params: &AdapterParams) -> Result<(), ModelError> {
        let below = folder.join(ADAPTER_FOLDER);
        let folder = if below.join(CONFIG).is_file() { below } else { folder.to_path_buf() };
        let (path, weights) = (folder.join(CONFIG), folder.join(WEIGHTS));
        if !weights.is_file() && folder.join("adapter_model.bin").is_file() {
            return Err(ModelError::Pickle { path: folder.join("adapter_model.bin") });
        }
        let text = std::fs::read(&path).map_err(|error| ModelError::io(&path, error))?;
        let config: Value =
            serde_json::from_slice(&text).map_err(|error| ModelError::format(&path, error.to_string()))?;
        check_form(&path, &config)?;
        let names = folder::tensor_names(weights.clone())?;
        let adapted: BTreeSet<&str> = names.iter().filter_map(|name| module_of(name)).collect();
        let targets = targets_of(&path, &adapted, &self.modules_mut())?;
        check_names(&path, &config, &adapted)?;
        let config = LoraConfig {
            rank: field(&path, &config, "r", Value::as_u64)?,
            alpha: field(&path, &config, "lora_alpha", Value::as_f64)?,
            use_rslora: config["use_rslora"].as_bool().unwrap_or(false),
            targets,
            dropout: params.dropout,
        };
        check_params(&path, &config, params, &self.modules_mut())?;
        self.adapt(&config, 0)?;
        let trained = self.trainable();
        let size_of = |name: &str| {
            let short = name.strip_prefix(PREFIX)?.strip_prefix('.')?;
            trained.iter().find(|parameter| parameter.name == short).map(|parameter| parameter.tensor.size())
        };
        let saved = folder::read_all(weights.clone(), size_of)?;
        for mut parameter in self.trainable() {
            let name = format!("{PREFIX}.{}", parameter.name);
            let Some(tensor) = saved.get(&name) else {
                return Err(ModelError::MissingTensor { path: weights, name });
            };
            tch::no_grad(|| parameter.tensor.f_copy_(tensor))?;
        }
        if let Some(adapters) = &mut self.adapters {
            adapters.is_fresh = false;
        }
        Ok(())
    }
}

/// The module that a tensor of the file belongs to, of an A or a B.
fn module_of(name: &str) -> Option<&str> {
    let name = name.strip_prefix(PREFIX)?.strip_prefix('.')?;
    name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight"))
}

/// A field of the config that has to be there.
fn field<T>(
    path: &Path,
    config: &Value,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<T, ModelError> {
    read(&config[name]).ok_or_else(|| wrong_form(path, config, name, "a number"))
}

fn wrong_form(path: &Path, config: &Value, field: &str, expected: &'static str) -> ModelError {
    let got = config[field].to_string();
    ModelError::AdapterForm { path: path.to_path_buf(), field: field.to_owned(), expected, got }
}

/// Fields of PEFT's that say nothing about the network, or nothing that the tensors don't.
const HARMLESS: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Refuses what PEFT's config can say beyond LoRA beside whole modules, in this version of PEFT's or a later one.
fn check_form(path: &Path, config: &Value) -> Result<(), ModelError> {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let fields = config.as_object().ok_or_else(|| ModelError::format(path, "no JSON object"))?;
    if config["peft_type"] != "LORA" {
        return Err(wrong_form(path, config, "peft_type", "LORA"));
    }
    for (name, value) in fields {
        let (is_right, expected) = match name.as_str() {
            "peft_type" => (true, ""),
            "bias" => (matches!(value.as_str(), None | Some("none")), "none"),
            // Other starts change the weights of the model too.
            "init_lora_weights" => (
                !value.is_string() || value == "gaussian" || value == "eva",
                "a start that leaves the model alone",
            ),
            name if HARMLESS.contains(&name) => (true, ""),
            _ => (is_empty(value), "nothing of it"),
        };
        if !is_right {
            return Err(wrong_form(path, config, name, expected));
        }
    }
    Ok(())
}

/// The targets that the adapted modules are: each in every layer, or in none.
fn targets_of(
    path: &Path,
    adapted: &BTreeSet<&str>,
    modules: &[Module],
) -> Result<Vec<LoraTarget>, ModelError> {
    let mismatch = |expected: String, got: String| ModelError::AdapterMismatch {
        path: path.to_path_buf(),
        field: "targets",
        expected,
        got,
    };
    let mut targets = Vec::new();
    for target in TARGETS {
        let of_target = || modules.iter().filter(|(targets, _)| targets.contains(&target));
        let count = of_target().filter(|(_, module)| adapted.contains(module.name())).count();
        if count > 0 && count < of_target().count() {
            let expected = format!("`{}` in each of {} layers", target.as_str(), of_target().count());
            return Err(mismatch(expected, format!("in {count}")));
        }
        if count > 0 {
            targets.push(target);
        }
    }
    let known: BTreeSet<&str> = modules.iter().map(|(_, module)| module.name()).collect();
    if let Some(other) = adapted.iter().find(|module| !known.contains(**module)) {
        let names: Vec<&str> = known.into_iter().take(3).collect();
        return Err(mismatch(
            format!("modules of this model, such as {}", names.join(", ")),
            (*other).to_owned(),
        ));
    }
    if targets.is_empty() {
        return Err(mismatch("at least one module of this model".to_owned(), "none".to_owned()));
    }
    Ok(targets)
}

/// The config's `target_modules` and the file's modules say the same, where the former is a list of names.
fn check_names(path: &Path, config: &Value, adapted: &BTreeSet<&str>) -> Result<(), ModelError> {
    let Some(names) = config["target_modules"].as_array() else { return Ok(()) };
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    let is_of = |module: &str, name: &str| {
        module == name || module.strip_suffix(name).is_some_and(|before| before.ends_with('.'))
    };
    let idle = names.iter().find(|name| !adapted.iter().any(|module| is_of(module, name)));
    let extra = adapted.iter().find(|module| !names.iter().any(|name| is_of(module, name)));
    match idle.or(extra) {
        None => Ok(()),
        Some(module) => Err(ModelError::AdapterMismatch {
            path: path.to_path_buf(),
            field: "targets",
            expected: "the same modules in adapter_config.json and in the weights".to_owned(),
            got: format!("`{module}` in one of them alone"),
        }),
    }
}

/// What the step says of the adapters is what they are.
fn check_params(
    path: &Path,
    found: &LoraConfig,
    params: &AdapterParams,
    modules: &[Module],
) -> Result<(), ModelError> {
    let wrong = |field: &'static str, expected: String, got: String| {
        Err(ModelError::AdapterMismatch { path: path.to_path_buf(), field, expected, got })
    };
    if let Some(rank) = params.rank.filter(|rank| *rank != found.rank) {
        return wrong("rank", rank.to_string(), found.rank.to_string());
    }
    if let Some(alpha) = params.alpha.filter(|alpha| alpha.to_bits() != found.alpha.to_bits()) {
        return wrong("alpha", alpha.to_string(), found.alpha.to_string());
    }
    if let Some(is) = params.use_rslora.filter(|is| *is != found.use_rslora) {
        return wrong("use_rslora", is.to_string(), found.use_rslora.to_string());
    }
    if let Some(targets) = &params.targets {
        let mut expected = wanted(&LoraConfig { targets: targets.clone(), ..found.clone() }, modules)?;
        expected.sort_unstable();
        if expected != found.targets {
            return wrong("targets", words(&expected), words(&found.targets));
        }
    }
    Ok(())
}

fn config(adapters: &Adapters, has_score: bool) -> Value {
    let params = adapters.params();
    // Below the number of the layer: GPT-2 has a `c_proj` in each of its two parts.
    let below = |module: &str| {
        let parts: Vec<&str> = module.split('.').collect();
        let layer = parts.iter().position(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        parts[layer.map_or(0, |at| at + 1)..].join(".")
    };
    let targets: BTreeSet<String> = adapters.modules().map(|(module, _)| below(module)).collect();
    let has_conv = adapters.modules().any(|(_, layout)| layout == Layout::InOut);
    // PEFT's alpha is a whole number as a rule.
    let alpha = if params.alpha.fract() == 0.0 { json!(params.alpha as u64) } else { json!(params.alpha) };
    json!({
        "base_model_name_or_path": null,
        "bias": "none",
        "fan_in_fan_out": has_conv,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "lora_dropout": params.dropout,
        "modules_to_save": has_score.then_some(["score"]),
        "peft_type": "LORA",
        "r": params.rank,
        "target_modules": targets,
        "task_type": if has_score { "SEQ_CLS" } else { "CAUSAL_LM" },
        "use_rslora": params.use_rslora,
    })
}
