//! Adapters as Hugging Face's PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` loads
//! onto the model that was adapted.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tch::Tensor;

use super::layers::Layout;
use super::lora::Adapters;
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
