//! `cupola export`.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use cupola_specs::artifact::{MANIFEST_FILE, Manifest, SEAL_FILE};
use cupola_specs::contract::ErrorClass;
use serde::Deserialize;

use super::handover::hand_over;
use super::model::find_model;
use super::quality::{NO_TEXT, Quality, held_out};
use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::executor::LocalExecutor;
use crate::state::Projection;
use crate::store::{Store, StoredArtifact};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A folder that `transformers` loads.
    Huggingface,
    /// One file for llama.cpp, and a Modelfile for ollama.
    Gguf,
}

/// An engine that trains what is too large for copies of the weights on each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportEngine {
    /// NVIDIA's Megatron-LM: indexed datasets and a command line.
    Megatron,
    /// PyTorch's torchtitan: text, a config and a module of sizes.
    Torchtitan,
}

/// A number format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportDtype {
    /// As they are trained.
    Fp32,
    /// Half as large.
    Bf16,
    /// 8 bits and a scale for each 32 weights: with --format gguf.
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits and a scale for each 32 weights: with --format gguf.
    #[value(name = "q4_0")]
    Q4_0,
}

impl ExportDtype {
    /// The worker's word.
    fn word(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }
}

/// Arguments of `cupola export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A job, a step, or an artifact's fingerprint (its first digits are enough); with --for a pretrain job of the spec.
    pub model: String,
    /// A pretraining's tokens, tokenizer and run for an engine that takes over; it needs not have run.
    #[arg(long = "for", value_enum, value_name = "ENGINE", requires = "spec", conflicts_with_all = ["format", "dtype", "shard_bytes", "adapter", "quality_text"])]
    pub engine: Option<ExportEngine>,
    /// The spec of the pretraining (with --for).
    #[arg(long, value_name = "FILE", requires = "engine")]
    pub spec: Option<PathBuf>,
    /// The format.
    #[arg(long, value_enum, default_value = "huggingface")]
    pub format: ExportFormat,
    /// The number format of a model's weights; another one than the artifact's makes a folder without a manifest. Default of gguf: bf16.
    #[arg(long, value_enum)]
    pub dtype: Option<ExportDtype>,
    /// The most bytes of a file of a model's weights; more are split over several files with an index. Default: 5 GB.
    #[arg(long, value_name = "BYTES")]
    pub shard_bytes: Option<u64>,
    /// Only the adapters of a model that was tuned with `lora`, in PEFT's format.
    #[arg(long, conflicts_with_all = ["dtype", "shard_bytes", "quality_text"])]
    pub adapter: bool,
    /// A text to measure bits per byte on, before and after. Default with --format gguf or --dtype: the held-out side of the corpus that the model was pretrained on.
    #[arg(long, value_name = "FILE")]
    pub quality_text: Option<PathBuf>,
    /// The folder to write; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Copies an artifact out of the store, each file checked against the manifest.
pub(super) fn run(args: &ExportArgs, global: &Global) -> Result<Outcome, CliError> {
    if let (Some(engine), Some(spec)) = (args.engine, &args.spec) {
        return hand_over(args, (engine, spec), global);
    }
    if args.format == ExportFormat::Gguf && (args.adapter || args.shard_bytes.is_some()) {
        let message = "--format gguf writes one file of the whole model";
        return Err(CliError::input(message, "leave out --adapter and --shard-bytes"));
    }
    let projection = projection(global)?;
    let folder = source_folder(&projection, &args.model)?;
    let manifest = read_manifest(&folder)?;
    let artifact = StoredArtifact { path: folder.clone(), manifest };
    verify(global, &artifact)?;
    if let Some(text) = &args.quality_text {
        std::fs::File::open(text).map_err(io(text))?;
        check_is_model(&artifact, args)?;
    }
    let has_adapter = artifact.manifest.files.keys().any(|name| name.starts_with(ADAPTER_PREFIX));
    if args.adapter && !has_adapter {
        let message = format!("{} has no adapters: it was not tuned with `lora`", artifact.manifest.step);
        return Err(CliError::input(message, "leave out --adapter"));
    }
    prepare_target(&args.out)?;
    if args.adapter {
        return export_adapter(args, &artifact, global);
    }
    if args.format == ExportFormat::Gguf || args.dtype.is_some() || args.shard_bytes.is_some() {
        return convert(args, &artifact, &projection, global);
    }
    if lacks_seal(&artifact) && !global.json {
        eprintln!("{} was made before parity seals: the copy has none", artifact.manifest.step);
    }
    let names = artifact.manifest.files.keys().map(String::as_str).chain([MANIFEST_FILE]);
    for name in names {
        let to = args.out.join(name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(io(parent))?;
        }
        std::fs::copy(folder.join(name), &to).map_err(io(&to))?;
    }
    let copied = StoredArtifact { path: args.out.clone(), manifest: artifact.manifest };
    verify(global, &copied)?;
    let files = copied.manifest.files.len();
    let measured = measure((&folder, &args.out), args.quality_text.as_deref())?;
    if global.json {
        let fingerprint = &copied.manifest.fingerprint;
        println!(
            "{}",
            serde_json::json!({ "out": args.out, "files": files, "fingerprint": fingerprint, "bits_per_byte": measured })
        );
    } else {
        println!("wrote {} ({files} files, each checked) to {}", copied.manifest.step, args.out.display());
        // A copy has every bit: what it costs is only told where it was asked for.
        if let (Some(quality), Some(text)) = (measured, &args.quality_text) {
            println!("{}", quality.lines(text));
        }
    }
    Ok(Outcome::Done)
}

/// Whether a model lacks its parity seal.
fn lacks_seal(artifact: &StoredArtifact) -> bool {
    artifact.manifest.kind == "model" && !artifact.manifest.files.contains_key(SEAL_FILE)
}

/// Where a model's adapters lie.
const ADAPTER_PREFIX: &str = "adapter/";

/// Copies the adapters alone.
fn export_adapter(
    args: &ExportArgs,
    artifact: &StoredArtifact,
    global: &Global,
) -> Result<Outcome, CliError> {
    for name in artifact.manifest.files.keys() {
        if let Some(short) = name.strip_prefix(ADAPTER_PREFIX) {
            let to = args.out.join(short);
            std::fs::copy(artifact.path.join(name), &to).map_err(io(&to))?;
        }
    }
    if global.json {
        println!("{}", serde_json::json!({ "out": args.out, "fingerprint": artifact.manifest.fingerprint }));
    } else {
        println!("wrote the adapters of {} to {}", artifact.manifest.step, args.out.display());
    }
    Ok(Outcome::Done)
}

/// Bytes of a file of weights where none are given, as transformers has them.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Bits per byte before and after, where there is a text.
fn measure((before, after): (&Path, &Path), text: Option<&Path>) -> Result<Option<Quality>, CliError> {
    let Some(text) = text else { return Ok(None) };
    Quality::measure(&LocalExecutor::worker_of_this_program()?, (before, after), text).map(Some)
}

fn check_is_model(artifact: &StoredArtifact, args: &ExportArgs) -> Result<(), CliError> {
    let kind = &artifact.manifest.kind;
    if kind == "model" {
        return Ok(());
    }
    let message = format!(
        "--format gguf, --dtype, --shard-bytes and --quality-text are for models, and {} is a {kind}",
        args.model
    );
    Err(CliError::input(message, "leave them out"))
}

/// Writes a model in another form: the worker's work, since this program has no tensors.
fn convert(
    args: &ExportArgs,
    artifact: &StoredArtifact,
    projection: &Projection,
    global: &Global,
) -> Result<Outcome, CliError> {
    check_is_model(artifact, args)?;
    let is_gguf = args.format == ExportFormat::Gguf;
    let dtype = args.dtype.unwrap_or(if is_gguf { ExportDtype::Bf16 } else { ExportDtype::Fp32 });
    if !is_gguf && matches!(dtype, ExportDtype::Q8_0 | ExportDtype::Q4_0) {
        let message = format!("--dtype {} is a format of GGUF files", dtype.word());
        return Err(CliError::input(message, "add --format gguf"));
    }
    let (dtype, bytes) = (dtype.word(), args.shard_bytes.unwrap_or(SHARD_BYTES).to_string());
    let worker = LocalExecutor::worker_of_this_program()?;
    let mut command = Command::new(&worker);
    command.arg(if is_gguf { "gguf" } else { "convert" }).arg(&artifact.path).arg(&args.out).arg(dtype);
    if !is_gguf {
        command.arg(&bytes);
    }
    let output = command.output().map_err(io(&worker))?;
    if !output.status.success() {
        return Err(worker_failed(&output));
    }
    let written: Option<GgufWritten> = is_gguf
        .then(|| serde_json::from_slice(&output.stdout))
        .transpose()
        .map_err(|error| CliError::Other {
            message: format!("what the worker wrote does not parse: {error}"),
            hint: "`cupola doctor` checks the worker".to_owned(),
            class: ErrorClass::Bug,
        })?;
    let text = args.quality_text.clone().or_else(|| held_out(projection, &artifact.manifest));
    let written_model = if is_gguf { args.out.join("model.gguf") } else { args.out.clone() };
    let measured = measure((&artifact.path, &written_model), text.as_deref())?;
    if global.json {
        let rounding = written.map(|written| written.rounding);
        println!(
            "{}",
            serde_json::json!({ "out": args.out, "dtype": dtype, "rounding": rounding, "bits_per_byte": measured })
        );
    } else {
        println!("wrote {} in {dtype} to {}", artifact.manifest.step, args.out.display());
        if let Some(GgufWritten { rounding, has_template }) = written {
            println!("rounding of the weights: {:.3} % of them (root mean square)", 100.0 * rounding);
            let template = if has_template { "says what the chat template says" } else { "has no template" };
            println!("the Modelfile for ollama {template}");
        }
        match (measured, text) {
            (Some(quality), Some(text)) => println!("{}", quality.lines(&text)),
            _ => println!("{NO_TEXT}"),
        }
    }
    Ok(Outcome::Done)
}

/// What the worker says of a GGUF file.
#[derive(Deserialize)]
struct GgufWritten {
    rounding: f64,
    has_template: bool,
}

/// A worker's error as the command's.
pub(super) fn worker_failed(output: &std::process::Output) -> CliError {
    CliError::Other {
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        hint: String::new(),
        class: if output.status.code() == Some(2) { ErrorClass::User } else { ErrorClass::Bug },
    }
}

fn source_folder(projection: &Projection, name: &str) -> Result<PathBuf, CliError> {
    let of_print = |print: &String| name.len() >= 6 && print.starts_with(name);
    if let Some(artifact) = projection.artifacts().values().find(|artifact| of_print(&artifact.fingerprint)) {
        return Ok(artifact.path.clone());
    }
    let steps = projection.runs().iter().rev().flat_map(|run| run.steps.iter().rev());
    let mut named = steps.filter(|step| step.name == name && step.state.is_done());
    let artifact = named.find_map(|step| projection.artifacts().get(&step.fingerprint));
    match artifact {
        Some(artifact) => Ok(artifact.path.clone()),
        None => find_model(projection, Some(name)).map(|model| model.folder),
    }
}

/// The manifest of an artifact's folder.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, CliError> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = std::fs::read(&path).map_err(io(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        CliError::input(format!("{} is no manifest of this version: {error}", path.display()), "")
    })
}

/// An error where a file of the artifact is not what the manifest says.
pub(super) fn verify(global: &Global, artifact: &StoredArtifact) -> Result<(), CliError> {
    let problems = Store::new(&global.state_dir()).verify(artifact)?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(CliError::Other {
        message: format!("{}: {}", artifact.path.display(), problems.join("; ")),
        hint: "the files were changed after they were made; make them again".to_owned(),
        class: ErrorClass::User,
    })
}

pub(super) fn prepare_target(out: &Path) -> Result<(), CliError> {
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(CliError::input(
            format!("{} is not empty", out.display()),
            "give a new folder with --out",
        ));
    }
    std::fs::create_dir_all(out).map_err(io(out))
}

pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CliError + '_ {
    move |source| CliError::Io { path: path.to_path_buf(), source }
}
