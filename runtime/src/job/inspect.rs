//! Looks into an artifact for other software: token ids and logits, as JSON; a model in another form.
//!
//! * `cupola-worker encode FOLDER`: reads `{"text": …}` lines, writes `{"text", "ids", "chat", "chat_text"}` lines.
//! * `cupola-worker logits FOLDER`: reads `{"ids": […]}` lines, writes `{"logits": [[…]]}` lines, in fp32 on the CPU.
//! * `cupola-worker convert FOLDER OUT fp32|bf16 BYTES`: writes a model folder with weights of a format, in files of up to so many bytes.
//! * `cupola-worker seal FOLDER`: checks a model by its parity seal, and writes `{"tokens", "mean", "largest"}`, or `null` without a seal.
//! * `cupola-worker gguf FOLDER OUT fp32|bf16|q8_0|q4_0`: writes a model for llama.cpp and ollama, and says what was written.
//! * `cupola-worker quality FOLDER WRITTEN TEXT`: writes a model's bits per byte before and after an export, TEXT being a file or a corpus.
//! * `cupola-worker rates cpu|cuda fp32|bf16 THREADS`: writes how fast this machine does the parts of a training step.
//! * `cupola-worker trial`: reads a training's sizes, runs a few passes of it, writes what they took.

use std::io::{BufRead, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use cupola_specs::artifact::ChatMessage;
use cupola_specs::contract::Trial;
use cupola_specs::job::Precision;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::trial::try_training;
use super::{ErrorFacts, JobError, StepError, llama_cpp, quality};
use crate::data::DataError;
use crate::generate::GenerateError;
use crate::model::{ModelError, Network, RowLayout, SaveForm, WeightKind};
use crate::seal::{self, SealError, SealReport};
use crate::telemetry::measure_rates;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::train::TrainError;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Token ids of texts.
    Encode,
    /// Scores of token ids.
    Logits,
}

/// An error of a look.
#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    /// A line of the input is no request.
    #[error("standard input, line {line}: {message}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A word of the command line.
    #[error("expected {expected}, got {got}")]
    Word {
        /// What would be right.
        expected: &'static str,
        /// The word.
        got: String,
    },
    /// A stream broke.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The tokenizer's error.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The network's error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The seal's error.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A corpus' error.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine's error.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Nothing to measure a model on.
    #[error("{path} has no text to measure the model on")]
    NoText {
        /// A file, or a corpus.
        path: PathBuf,
    },
    /// The error of a trial.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl StepError for InspectError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Line { .. } => ErrorFacts::user("inspect", "give one JSON object a line"),
            Self::Word { .. } => ErrorFacts::user("inspect", "`cupola-worker` alone prints its usage"),
            Self::Job(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Train(error) => error.facts(),
            Self::Seal(error) => error.facts(),
            Self::Data(error) => error.facts(),
            Self::Generate(error) => error.facts(),
            Self::NoText { .. } => ErrorFacts::user("inspect", "name a file of text with --quality-text"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

#[derive(Serialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
    chat: Vec<ChatMessage>,
    chat_text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    ids: Vec<i64>,
}

#[derive(Serialize)]
struct Scored {
    logits: Vec<Vec<f32>>,
}

/// Answers every line of the standard input.
pub(super) fn run(view: View, folder: &Path) -> Result<(), InspectError> {
    match view {
        View::Encode => {
            let tokenizer = Tokenizer::load(folder)?;
            answer_lines(|request: Text| {
                let chat = vec![ChatMessage::new("user", &request.text)];
                let chat_text = tokenizer.chat().render(&chat, &[], true)?;
                Ok(Encoded { ids: tokenizer.encode(&request.text), text: request.text, chat, chat_text })
            })
        }
        View::Logits => {
            let network = Network::load(folder, Device::Cpu)?;
            answer_lines(|request: Ids| {
                let _guard = tch::no_grad_guard();
                let tokens = Tensor::f_from_slice(&request.ids).map_err(ModelError::from)?.unsqueeze(0); // [1, T]
                let hidden = network.hidden(&tokens, &RowLayout::Causal, Precision::Fp32); // [1, T, C]
                let logits = network.logits(&hidden).squeeze_dim(0).to_kind(Kind::Float); // [T, V]
                Ok(Scored { logits: Vec::<Vec<f32>>::try_from(&logits).map_err(ModelError::from)? })
            })
        }
    }
}

/// Writes the model of a folder into another, `words` being the number format and the bytes of a file.
pub(super) fn convert(from: &Path, to: &Path, words: [&str; 2]) -> Result<(), InspectError> {
    let kind = match words[0] {
        "fp32" => WeightKind::Fp32,
        "bf16" => WeightKind::Bf16,
        other => return Err(InspectError::Word { expected: "fp32 or bf16", got: other.to_owned() }),
    };
    let shard_bytes = words[1]
        .parse()
        .map_err(|_| InspectError::Word { expected: "a whole number of bytes", got: words[1].to_owned() })?;
    Network::convert(from, to, &SaveForm { kind, shard_bytes })?;
    // Of what was written: rounded weights say something else.
    Ok(seal::write(to, &Network::load(to, Device::Cpu)?, &Tokenizer::load(to)?)?)
}

/// Checks the model of a folder by its seal, by the training forward, and writes what was found.
pub(super) fn check_seal(folder: &Path) -> Result<(), InspectError> {
    let Some(sealed) = seal::read(folder)? else { return write_json(&None::<SealReport>) };
    let (network, tokenizer) = (Network::load(folder, Device::Cpu)?, Tokenizer::load(folder)?);
    write_json(&seal::check_network(&sealed, &tokenizer, &network)?)
}

/// Writes the model of a folder for llama.cpp and ollama, and what was written.
pub(super) fn gguf(from: &Path, to: &Path, word: &str) -> Result<(), InspectError> {
    write_json(&llama_cpp::write(from, to, word)?)
}

/// Writes what [`quality::measure`] found.
pub(super) fn quality(before: &Path, after: &Path, text: &Path) -> Result<(), InspectError> {
    settle(std::thread::available_parallelism().map_or(1, |threads| threads.get() as i32));
    write_json(&quality::measure(before, after, text)?)
}

/// Writes what [`measure_rates`] measures, `words` being device, number format and threads.
pub(super) fn rates(words: [&str; 3]) -> Result<(), InspectError> {
    let wrong = |expected, got: &str| InspectError::Word { expected, got: got.to_owned() };
    let device = match words[0] {
        "cpu" => Device::Cpu,
        "cuda" => Device::Cuda(0),
        other => return Err(wrong("cpu or cuda", other)),
    };
    let precision = match words[1] {
        "fp32" => Precision::Fp32,
        "bf16" => Precision::Bf16,
        other => return Err(wrong("fp32 or bf16", other)),
    };
    let threads = words[2].parse::<i32>().ok().filter(|threads| *threads > 0);
    let threads = threads.ok_or_else(|| wrong("a number of threads", words[2]))?;
    settle(threads);
    write_json(&measure_rates(device, precision).map_err(ModelError::from)?)
}

/// Writes what [`try_training`] takes of the training on the standard input.
pub(super) fn trial() -> Result<(), InspectError> {
    let mut text = String::new();
    stdin().lock().read_to_string(&mut text).map_err(|error| JobError::io("standard input", error))?;
    let trial: Trial = serde_json::from_str(&text)
        .map_err(|error| InspectError::Line { line: error.line(), message: error.to_string() })?;
    settle(i32::try_from(trial.threads).unwrap_or(1).max(1));
    write_json(&try_training(&trial)?)
}

/// Makes this process compute as a step's worker does.
fn settle(threads: i32) {
    cupola_kernels::tune_allocator();
    cupola_kernels::load_cuda();
    tch::set_num_interop_threads(1);
    tch::set_num_threads(threads);
}

fn write_json(value: &impl Serialize) -> Result<(), InspectError> {
    let failed = |error| JobError::io("standard output", error);
    let text = serde_json::to_string(value).map_err(|error| failed(error.into()))?;
    Ok(writeln!(stdout(), "{text}").map_err(failed)?)
}

fn answer_lines<Q: for<'de> Deserialize<'de>, A: Serialize>(
    answer: impl Fn(Q) -> Result<A, InspectError>,
) -> Result<(), InspectError> {
    let mut output = stdout().lock();
    for (index, line) in stdin().lock().lines().enumerate() {
        let wrong = |message: String| InspectError::Line { line: index + 1, message };
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let request = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let text = serde_json::to_string(&answer(request)?).map_err(|error| wrong(error.to_string()))?;
        writeln!(output, "{text}").map_err(|error| JobError::io("standard output", error))?;
    }
    Ok(())
}
