//! Loads what is served: the network, its tokenizer with the chat template, the defaults for sampling, and the lineage.

use std::path::Path;

use cupola_runtime::generate::WeightFormat;
use cupola_runtime::model::Network;
use cupola_runtime::seal::SealReport;
use cupola_runtime::tokenizer::Tokenizer;
use cupola_specs::artifact::{MANIFEST_FILE, Manifest};
use cupola_specs::job::Precision;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::forms::Forms;
use crate::{ModelSource, ServeError};

/// Facts about the served model that every request needs.
#[derive(Debug)]
pub struct ServedModel {
    /// The name that clients ask for.
    pub name: String,
    /// Fingerprint of the model artifact; empty where the folder has no manifest.
    pub fingerprint: String,
    /// Fingerprints of the model's inputs by role.
    pub lineage: Vec<(String, String)>,
    /// When the model was made, seconds since the Unix epoch.
    pub created_secs: i64,
    /// Tokens of prompt and answer together.
    pub context: usize,
    /// Parameters in all.
    pub total_params: u64,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Ids that end an answer.
    pub stop_ids: Vec<u32>,
    /// What a request that says nothing gets.
    pub defaults: SamplingDefaults,
    /// blake3 of `tokenizer.json`, as a promotion notes it; of a GGUF file none.
    pub tokenizer_hash: Option<String>,
    /// blake3 of `chat_template.jinja`, else of `tokenizer_config.json`, as a promotion notes it; of a GGUF file of its template.
    pub template_hash: Option<String>,
    /// How the weights are kept.
    pub format: WeightFormat,
    /// What the check of the parity seal found; none where the model has none.
    pub seal: Option<SealReport>,
    /// Forms that answers may be asked to have.
    pub(crate) forms: Forms,
}

/// Defaults of `generation_config.json`; where it says nothing, OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingDefaults {
    /// Temperature.
    pub temperature: f64,
    /// Nucleus.
    pub top_p: f64,
    /// Likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Repetition penalty; 1 is off.
    pub repetition_penalty: f64,
}

/// The fields of `generation_config.json` that matter here.
#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<usize>,
    repetition_penalty: Option<f64>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl ServedModel {
    /// Loads the folder: the facts, and the network for the engine's thread.
    pub fn load(
        source: &ModelSource,
        context_limit: usize,
        (device, precision): (tch::Device, Precision),
    ) -> Result<(Self, Network), ServeError> {
        let dir = source.path.as_path();
        let not_a_model = |message: String| ServeError::ModelFolder { path: dir.to_path_buf(), message };
        let is_gguf =
            dir.is_file() && dir.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
        if !dir.is_dir() && !is_gguf {
            return Err(not_a_model("there is no such folder, and no such GGUF file".into()));
        }
        let tokenizer = Tokenizer::load(dir).map_err(|error| not_a_model(error.to_string()))?;
        let network = Network::load(dir, device)
            .and_then(|network| network.frozen(precision))
            .map_err(|error| not_a_model(error.to_string()))?;
        let vocab_size = network.vocab_size() as usize;
        if tokenizer.vocab_size() > vocab_size {
            return Err(ServeError::Vocabulary { tokenizer: tokenizer.vocab_size(), network: vocab_size });
        }
        // A GGUF file has neither beside it.
        let manifest: Option<Manifest> =
            if is_gguf { None } else { read_optional(&dir.join(MANIFEST_FILE))? };
        let generation: Option<GenerationConfig> =
            if is_gguf { None } else { read_optional(&dir.join("generation_config.json"))? };
        let generation = generation.unwrap_or_default();
        let folder_name = if is_gguf { dir.file_stem() } else { dir.file_name() }
            .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        let name = source.name.clone().or_else(|| manifest.as_ref().map(|manifest| manifest.step.clone()));
        // A folder from outside was promoted under a hash of its content, whatever its manifest says.
        let made = manifest.as_ref().map(|manifest| manifest.fingerprint.clone());
        let fingerprint = source.fingerprint.clone().or(made).unwrap_or_default();
        let template = tokenizer.chat().source();
        let of_template = is_gguf && !template.is_empty();
        let served = Self {
            name: name.unwrap_or(folder_name),
            fingerprint,
            lineage: manifest.as_ref().map(|m| m.inputs.clone().into_iter().collect()).unwrap_or_default(),
            created_secs: manifest.as_ref().map_or(0, |manifest| manifest.created_millis / 1000),
            context: context(context_limit, network.shape().max_position_embeddings as usize)?,
            total_params: network.total_params(),
            stop_ids: stop_ids(&tokenizer, generation.eos_token_id.as_ref()),
            defaults: generation.defaults(),
            tokenizer_hash: hash_of(dir, manifest.as_ref(), &["tokenizer.json"]),
            template_hash: hash_of(dir, manifest.as_ref(), &["chat_template.jinja", "tokenizer_config.json"])
                .or_else(|| of_template.then(|| blake3::hash(template.as_bytes()).to_hex().to_string())),
            format: WeightFormat::Fp32,
            seal: None,
            forms: Forms::new(vocab_size),
            tokenizer,
        };
        Ok((served, network))
    }

    /// A token's own bytes; a special token's spelling. Rows of the embedding beyond the tokenizer have none.
    pub fn token_bytes(&self, token: u32) -> Vec<u8> {
        if token as usize >= self.tokenizer.vocab_size() {
            Vec::new()
        } else {
            self.tokenizer.decode_bytes(&[token])
        }
    }

    /// The bytes that a token adds to a text; a special token adds none.
    pub fn text_bytes(&self, token: u32) -> Vec<u8> {
        if self.tokenizer.is_special(token) { Vec::new() } else { self.token_bytes(token) }
    }

    /// The text of ids, without special tokens.
    pub fn text(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.text_bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `cupola-` and the start of the fingerprint: which weights answered.
    pub fn system_fingerprint(&self) -> Option<String> {
        (!self.fingerprint.is_empty()).then(|| format!("cupola-{:.12}", self.fingerprint))
    }
}

impl GenerationConfig {
    fn defaults(&self) -> SamplingDefaults {
        let temperature = if self.do_sample == Some(false) { None } else { self.temperature };
        SamplingDefaults {
            temperature: temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
        }
    }
}

/// blake3 of the first of these files that is there: the manifest's word for it, else of its bytes.
fn hash_of(dir: &Path, manifest: Option<&Manifest>, names: &[&str]) -> Option<String> {
    let recorded = |name: &&str| manifest?.files.get(*name).map(|file| file.blake3.clone());
    let read = |name: &&str| std::fs::read(dir.join(name)).ok();
    names
        .iter()
        .find_map(|name| recorded(name).or_else(|| Some(blake3::hash(&read(name)?).to_hex().to_string())))
}

fn context(asked: usize, limit: usize) -> Result<usize, ServeError> {
    match asked {
        0 => Ok(limit),
        asked if asked <= limit => Ok(asked),
        asked => Err(ServeError::Setting {
            field: "context",
            got: asked.to_string(),
            expected: "at most the model's max_position_embeddings",
        }),
    }
}

/// Refuses a tokenizer whose tokens are not the model's.
pub(crate) fn check_tokenizer(tokenizer: &Tokenizer, model: &ServedModel) -> Result<(), String> {
    let of_model = &model.tokenizer;
    let is_same = tokenizer.vocab_size() == of_model.vocab_size()
        && tokenizer.added_tokens() == of_model.added_tokens()
        && tokenizer.encode(PROBE) == of_model.encode(PROBE);
    if is_same { Ok(()) } else { Err(format!("its tokenizer is not that of '{}'", model.name)) }
}

/// A text whose tokens tell vocabularies apart.
const PROBE: &str = "The quick brown fox, 1234567890 times: naïve façade, Straße, 東京, привет! def f(x):\n\treturn x**2  # ok";

fn stop_ids(tokenizer: &Tokenizer, eos: Option<&OneOrMany>) -> Vec<u32> {
    let mut ids = tokenizer.chat().stop_ids();
    match eos {
        Some(OneOrMany::One(id)) => ids.push(*id),
        Some(OneOrMany::Many(more)) => ids.extend(more),
        None => {}
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Reads a JSON file; none where it is not there, an error where it does not parse.
pub(crate) fn read_optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ServeError> {
    let failed = |message: String| ServeError::ModelFolder { path: path.to_path_buf(), message };
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}
