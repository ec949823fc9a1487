//! The way of one worker process: job file, threads, step, last word, exit code.

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cupola_kernels::{CudaLibrary, Float32Matmul};
use cupola_specs::contract::{ErrorClass, Failure, JobFile};
use cupola_specs::job::{Device, StepKind};

use super::dispatch::run_step;
use super::inspect::{self, View};
use super::others::{Others, die_with_the_first, explain};
use super::{EventWriter, JobError, Place, StepContext, Summary, failure_of, sync_tree};
use crate::pretrain::handover::{self, Engine};

const USAGE: &str = "usage: cupola-worker JOB_FILE
       cupola-worker encode FOLDER < texts.jsonl
       cupola-worker logits FOLDER < ids.jsonl
       cupola-worker convert FOLDER OUT fp32|bf16 BYTES
       cupola-worker seal FOLDER
       cupola-worker gguf FOLDER OUT fp32|bf16|q8_0|q4_0
       cupola-worker quality FOLDER WRITTEN TEXT
       cupola-worker handover JOB_FILE megatron|torchtitan OUT
       cupola-worker rates cpu|cuda fp32|bf16 THREADS
       cupola-worker trial < training.json

Runs one step of a Cupola plan; `cupola apply` starts it. A step with several ranks starts them itself, unless RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT (torchrun) say which of them this process is. `encode` and `logits` show what a tokenizer or a model says, for
comparison with other software; `convert` writes a model with weights of that format, in files of up to so many bytes; `seal` checks a model by its
parity seal; `gguf` writes it for llama.cpp; `quality` measures bits per byte of a model and of what was written of it; `handover` writes a
pretrain step's data and run for that engine; `rates` measures how fast this machine does the parts of a training step, and `trial` how
fast it does a few passes of one training, for plans.";

/// Version of the job file that this worker reads.
const JOB_VERSION: u32 = 1;

/// How long the other ranks, whose part is done, are waited for at the end.
const OTHERS_END: Duration = Duration::from_secs(10);

/// Stack of a pool thread: source code nests as deep as its authors like.
const STACK_BYTES: usize = 32 << 20;

/// Runs `cupola-worker JOB_FILE`. Exit code 0: done; 2: the user's input is wrong; 1: any other failure.
pub fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let view = match arguments.first().and_then(|first| first.to_str()) {
        Some("encode") => Some(View::Encode),
        Some("logits") => Some(View::Logits),
        _ => None,
    };
    let failure = match (view, arguments.as_slice()) {
        (Some(view), [_, folder]) => inspect::run(view, folder).map_err(|error| failure_of(&error)),
        (None, [word, from, to, kind, bytes]) if word.as_os_str() == "convert" => {
            let words = [kind, bytes].map(|word| word.to_str().unwrap_or_default());
            inspect::convert(from, to, words).map_err(|error| failure_of(&error))
        }
        (None, [word, from, to, kind]) if word.as_os_str() == "gguf" => {
            inspect::gguf(from, to, kind.to_str().unwrap_or_default()).map_err(|error| failure_of(&error))
        }
        (None, [word, folder]) if word.as_os_str() == "seal" => {
            inspect::check_seal(folder).map_err(|error| failure_of(&error))
        }
        (None, [word, before, after, text]) if word.as_os_str() == "quality" => {
            inspect::quality(before, after, text).map_err(|error| failure_of(&error))
        }
        (None, [word, job, engine, out]) if word.as_os_str() == "handover" => {
            hand_over(job, engine.to_str().unwrap_or_default(), out)
        }
        (None, [word, device, precision, threads]) if word.as_os_str() == "rates" => {
            let words = [device, precision, threads].map(|word| word.to_str().unwrap_or_default());
            inspect::rates(words).map_err(|error| failure_of(&error))
        }
        (None, [word]) if word.as_os_str() == "trial" => inspect::trial().map_err(|error| failure_of(&error)),
        (None, [path]) => run_file(path),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Err(failure) = failure else { return ExitCode::SUCCESS };
    eprintln!("{} ({:?}): {}", failure.code, failure.class, failure.message);
    if !failure.hint.is_empty() {
        eprintln!("hint: {}", failure.hint);
    }
    ExitCode::from(if failure.class == ErrorClass::User { 2 } else { 1 })
}

/// Runs the step of a job file.
fn run_file(path: &Path) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    die_with_the_first(&variable).map_err(|error| failure_of(&error))?;
    let mut job = read(path).map_err(|error| failure_of(&error))?;
    let seated = Place::of(&job, &variable).inspect(|(place, _)| place.take(&mut job));
    let events = EventWriter::open(&job.events).and_then(|events| {
        events.started(&job.token)?;
        Ok(events)
    });
    let events = events.map_err(|error| failure_of(&error))?;
    match seated {
        Ok((place, starts)) => run(job, events, (place, starts.then_some(path))),
        Err(error) => {
            let failure = failure_of(&error);
            Err(lost(events.failed(failure.clone()), failure))
        }
    }
}

/// Writes a pretrain step for another engine, and what was written to the standard output.
fn hand_over(path: &Path, engine: &str, out: &Path) -> Result<(), Failure> {
    let Some(engine) = Engine::of(engine) else {
        eprintln!("{USAGE}");
        let (message, hint) = (format!("no engine {engine}"), "megatron or torchtitan".to_owned());
        return Err(Failure { class: ErrorClass::User, code: "usage".to_owned(), message, hint });
    };
    let ctx = read(path).and_then(|job| StepContext::new(job, Arc::new(AtomicBool::new(false))));
    let ctx = ctx.map_err(|error| failure_of(&error))?;
    let report = handover::write(&ctx, engine, out).map_err(|error| failure_of(&error))?;
    let text = serde_json::to_string(&report).map_err(|error| {
        failure_of(&JobError::io("standard output", std::io::Error::other(error.to_string())))
    })?;
    println!("{text}");
    Ok(())
}

fn read(path: &Path) -> Result<JobFile, JobError> {
    let wrong = |message: String| JobError::JobFile { path: path.to_path_buf(), message };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let job: JobFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if job.version != JOB_VERSION {
        return Err(wrong(format!("version {}, expected {JOB_VERSION}", job.version)));
    }
    Ok(job)
}

/// Runs the step to its last word, which is in the stream when this returns. Where the job file is given, the other ranks are started.
fn run(job: JobFile, events: EventWriter, (place, starts): (Place, Option<&Path>)) -> Result<(), Failure> {
    let (events_path, ranks) = (job.events.clone(), place.world_size);
    let mut others = None;
    let prepared = prepare(&job, &events).and_then(|stop| {
        if let Some(job_file) = starts {
            let shared = (job.threads, Arc::clone(&stop));
            others = Some(Others::start(&place, job_file, &events_path, shared)?);
        }
        let ended = others.as_ref().map(Others::ended);
        StepContext::with_events(job, events, stop, (place, ended))
    });
    let ctx = match prepared {
        Ok(ctx) => ctx,
        Err(error) => {
            let failure = failure_of(&error);
            let told = EventWriter::open(&events_path).and_then(|events| events.failed(failure.clone()));
            return Err(lost(told, failure));
        }
    };
    // The context is only read after a panic, to say that it happened.
    let outcome = catch_unwind(AssertUnwindSafe(|| run_step(&ctx)))
        .unwrap_or_else(|panic| Err(panic_failure(panic.as_ref())))
        .and_then(|summary| {
            if let Some(others) = &others {
                others.settle(OTHERS_END);
            }
            finish(&ctx, summary).map_err(|error| failure_of(&error))
        });
    match outcome {
        Ok(()) => Ok(()),
        Err(failure) if failure.code == Failure::PART_DONE && !ctx.place().is_first() => Ok(()),
        Err(failure) => {
            let ended = others.as_ref().map(Others::ended);
            let failure = if ctx.place().is_first() {
                explain(failure, &events_path, ranks, ended.as_deref())
            } else {
                failure
            };
            let told = ctx.events().failed(failure.clone());
            Err(lost(told, failure))
        }
    }
}

fn finish(ctx: &StepContext, mut summary: Summary) -> Result<(), JobError> {
    let ranks = ctx.place().world_size;
    if ranks > 1 {
        summary.insert("ranks".to_owned(), ranks.into());
    }
    sync_tree(ctx.staging())?;
    ctx.events().finished(summary)
}

/// A failure that could not be written to the stream says so on the error output.
fn lost(told: Result<(), JobError>, failure: Failure) -> Failure {
    if let Err(error) = told {
        eprintln!("the event stream did not take the failure: {error}");
    }
    failure
}

/// Sets what belongs to the process: panic hook, stop flag, threads, allocator, CUDA.
fn prepare(job: &JobFile, events: &EventWriter) -> Result<Arc<AtomicBool>, JobError> {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}\n{}", Backtrace::force_capture());
    }));
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .map_err(|error| JobError::io("SIGTERM", error))?;
    if !matches!(job.params.kind(), StepKind::Data | StepKind::Tokenizer | StepKind::Tokens | StepKind::Fit) {
        prepare_tensors(events);
        set_deterministic(job)?;
    }
    let threads = job.threads.max(1);
    tch::set_num_interop_threads(1);
    tch::set_num_threads(threads as i32);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads as usize)
        .stack_size(STACK_BYTES)
        .build_global()
        .map_err(|error| JobError::Threads { threads, message: error.to_string() })?;
    std::fs::create_dir_all(&job.staging).map_err(|error| JobError::io(&job.staging, error))?;
    Ok(stop)
}

/// Has operations on CUDA take their deterministic form where the job asks for it. On the CPU, with a number of threads that stays, they have
/// no other.
fn set_deterministic(job: &JobFile) -> Result<(), JobError> {
    if job.device != Device::Cuda || !job.deterministic {
        return Ok(());
    }
    cupola_kernels::set_deterministic(true)
        .map_err(|error| JobError::NotDeterministic { step: job.step.clone(), message: error.to_string() })
}

/// Sets what only steps with tensors need.
fn prepare_tensors(events: &EventWriter) {
    if !cupola_kernels::tune_allocator() {
        events.warning(
            "allocator",
            "the allocator took no settings: training gives memory back at each step, and is slower",
        );
    }
    if let CudaLibrary::Broken(message) = cupola_kernels::load_cuda() {
        events.warning(
            "cuda_library",
            format!("libtorch_cuda.so does not load, so no CUDA device is seen: {message}"),
        );
    }
    // cuDNN would make products of LSTMs in TF32 unasked, and MFU is a share of the format that counts.
    if let Err(error) = cupola_kernels::set_float32_matmul(Float32Matmul::Full) {
        events.warning("float32_matmul", format!("fp32 products may be made in TF32: {error}"));
    }
}

/// What a panic says: the tensor library reports lack of memory this way, and that is no bug.
fn panic_failure(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned());
    // libtorch's errors carry its C++ stack, with escaped line ends where a result was unwrapped.
    let message = message.split("\\nException raised from").next().unwrap_or_default();
    let first_lines = message.lines().take(4).collect::<Vec<_>>().join("\n");
    if ["out of memory", "can't allocate memory"].iter().any(|words| message.contains(words)) {
        let hint = "lower `batch.micro_batch` or `context.length`".to_owned();
        return Failure {
            class: ErrorClass::Transient,
            code: "out_of_memory".into(),
            message: first_lines,
            hint,
        };
    }
    let hint = "the backtrace is in the attempt's stderr.log".to_owned();
    Failure { class: ErrorClass::Bug, code: "panic".into(), message: first_lines, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::StepError;

    #[test]
    fn a_panic_is_a_bug_unless_memory_ran_out() {
        let bug: Box<dyn Any + Send> = Box::new("index out of bounds");
        let memory: Box<dyn Any + Send> = Box::new("CUDA out of memory. Tried to allocate".to_owned());
        assert_eq!(panic_failure(bug.as_ref()).class, ErrorClass::Bug);
        assert_eq!(panic_failure(memory.as_ref()).code, "out_of_memory");
    }

    #[test]
    fn a_job_file_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.json");
        std::fs::write(&path, "{\"version\": 9}").unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.facts().code, "job_file");
    }
}
