//! What a step's `run` gets.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cupola_specs::contract::{InputArtifact, JobFile, SourceFile};
use cupola_specs::job::{Device, Precision};

use super::others::Ended;
use super::{EventWriter, JobError, Place};
use crate::telemetry::{Origin, Peak, Sinks, flat_params};

/// A step's own facts, for the manifest: small and flat.
pub type Summary = serde_json::Map<String, serde_json::Value>;

/// The job file with its inputs, the event stream, named seeds and the stop flag.
#[derive(Debug)]
pub struct StepContext {
    job: JobFile,
    events: EventWriter,
    device: tch::Device,
    stop: Arc<AtomicBool>,
    peak: OnceLock<Option<Peak>>,
    place: Place,
    /// How the ranks ended that this process started; none where it started none.
    ended: Option<Arc<Ended>>,
}

impl StepContext {
    /// Opens the event stream and resolves the device. `stop` is raised when the worker is asked to end.
    pub fn new(job: JobFile, stop: Arc<AtomicBool>) -> Result<Self, JobError> {
        Self::at(Place::alone(), job, stop)
    }

    /// The same for one of several ranks.
    pub fn at(place: Place, job: JobFile, stop: Arc<AtomicBool>) -> Result<Self, JobError> {
        let events = EventWriter::open(&job.events)?;
        Self::with_events(job, events, stop, (place, None))
    }

    /// The same with a stream that is open already.
    pub(super) fn with_events(
        job: JobFile,
        events: EventWriter,
        stop: Arc<AtomicBool>,
        (place, ended): (Place, Option<Arc<Ended>>),
    ) -> Result<Self, JobError> {
        let device = match job.device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda if tch::Cuda::is_available() => tch::Device::Cuda(place.local_rank),
            Device::Cuda => return Err(JobError::NoCuda { step: job.step }),
            Device::Auto => tch::Device::cuda_if_available(),
        };
        if place.is_first() {
            let origin = Origin {
                run: job.run.clone(),
                step: job.step.clone(),
                token: job.token.clone(),
                fingerprint: job.fingerprint.clone(),
                params: flat_params(&job.params),
            };
            events.feed(Sinks::new(&job.telemetry, origin));
        }
        Ok(Self { job, events, device, stop, peak: OnceLock::new(), place, ended })
    }

    /// The job file.
    pub fn job(&self) -> &JobFile {
        &self.job
    }

    /// The input of a role; an error that names role and step where there is none.
    pub fn input(&self, role: &str) -> Result<&InputArtifact, JobError> {
        self.optional_input(role).ok_or_else(|| JobError::MissingInput {
            step: self.job.step.clone(),
            role: role.to_owned(),
            got: if self.job.inputs.is_empty() {
                "none".to_owned()
            } else {
                self.job.inputs.keys().cloned().collect::<Vec<_>>().join(", ")
            },
        })
    }

    /// The input of a role, where there is one.
    pub fn optional_input(&self, role: &str) -> Option<&InputArtifact> {
        self.job.inputs.get(role)
    }

    /// Inputs whose role starts with `prefix` (`sweep.`, `model.`), by what follows it; numbers in numeric order, before names.
    pub fn inputs_with_prefix(&self, prefix: &str) -> Vec<(String, &InputArtifact)> {
        let mut found: Vec<(String, &InputArtifact)> = self
            .job
            .inputs
            .iter()
            .filter_map(|(role, input)| role.strip_prefix(prefix).map(|rest| (rest.to_owned(), input)))
            .collect();
        found.sort_by_key(|(name, _)| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        found
    }

    /// The source files with a label, in the list's order.
    pub fn sources(&self, label: &str) -> Result<Vec<SourceFile>, JobError> {
        let path = &self.job.sources;
        if path.as_os_str().is_empty() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(path).map_err(|e| JobError::io(path, e))?;
        let mut files = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let file: SourceFile = serde_json::from_str(line).map_err(|error| JobError::SourceList {
                path: path.clone(),
                line: index + 1,
                message: error.to_string(),
            })?;
            if file.label == label {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Reads a source file and checks that it is what the plan saw.
    pub fn read_source(&self, file: &SourceFile) -> Result<Vec<u8>, JobError> {
        let content = match std::fs::read(&file.path) {
            Ok(content) => content,
            Err(error) => return Err(unread(file, error)),
        };
        check_hash(file, &blake3::hash(&content))?;
        Ok(content)
    }

    /// Checks that a source file is what the plan saw, and gives its path: for what is read bit by bit.
    pub fn verified_source(&self, file: &SourceFile) -> Result<PathBuf, JobError> {
        let mut hasher = blake3::Hasher::new();
        std::fs::File::open(&file.path)
            .and_then(|content| std::io::copy(&mut std::io::BufReader::new(content), &mut hasher))
            .map_err(|error| unread(file, error))?;
        check_hash(file, &hasher.finalize())?;
        Ok(file.path.clone())
    }

    /// The folder that the step fills.
    pub fn staging(&self) -> &Path {
        &self.job.staging
    }

    /// The event stream.
    pub fn events(&self) -> &EventWriter {
        &self.events
    }

    /// The seed of one named random stream: two purposes never share one.
    pub fn seed(&self, purpose: &str) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.job.seed.to_le_bytes()).update(purpose.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }

    /// Where tensors live.
    pub fn tensor_device(&self) -> tch::Device {
        self.device
    }

    /// The peak of the device in the number format of the step: looked up or measured once. None, with a warning, where it can't be.
    pub fn peak(&self, precision: Precision) -> Option<&Peak> {
        let find = || match Peak::find(self.device, precision, self.job.telemetry.peak_flops) {
            Ok(peak) => Some(peak),
            Err(error) => {
                let message =
                    format!("the peak of the device can't be measured, so there is no mfu: {error}");
                self.events.warning("no_peak", message);
                None
            }
        };
        self.peak.get_or_init(find).as_ref()
    }

    /// Which of the step's ranks this process is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The rank that ended before its part was done, in words, as far as this process started it.
    pub fn lost_rank(&self) -> Option<String> {
        self.ended.as_ref().and_then(|ended| ended.lost())
    }

    /// Whether the worker was asked to end (SIGTERM): write a checkpoint and return [`JobError::Cancelled`].
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// [`JobError::Cancelled`] where the worker was asked to end.
    pub fn check_stop(&self) -> Result<(), JobError> {
        if self.stop_requested() { Err(JobError::Cancelled) } else { Ok(()) }
    }
}

/// A source file that is not there is not what the plan saw.
fn unread(file: &SourceFile, error: std::io::Error) -> JobError {
    if error.kind() == std::io::ErrorKind::NotFound {
        changed(file, "no file".into())
    } else {
        JobError::io(&file.path, error)
    }
}

fn check_hash(file: &SourceFile, hash: &blake3::Hash) -> Result<(), JobError> {
    let hash = hash.to_hex();
    if hash.as_str() == file.blake3 { Ok(()) } else { Err(changed(file, hash.to_string())) }
}

fn changed(file: &SourceFile, got: String) -> JobError {
    JobError::SourceChanged { name: file.name.clone(), expected: file.blake3.clone(), got }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cupola_specs::contract::ErrorClass;

    use super::*;
    use crate::job::StepError;
    use crate::job::sample::job_in;

    fn context(dir: &Path) -> StepContext {
        let artifact = |n: u64| InputArtifact {
            kind: "sweep".into(),
            path: dir.join(n.to_string()),
            fingerprint: n.to_string(),
        };
        let inputs = BTreeMap::from([2, 10, 1].map(|n| (format!("sweep.{n}"), artifact(n))));
        let job = JobFile { step: "tokens".into(), inputs, ..job_in(dir) };
        StepContext::new(job, Arc::default()).unwrap()
    }

    #[test]
    fn inputs_are_found_in_numeric_order_and_a_missing_one_names_its_role() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path());
        let order: Vec<String> = ctx.inputs_with_prefix("sweep.").into_iter().map(|(name, _)| name).collect();
        assert_eq!(order, ["1", "2", "10"]);
        let message = ctx.input("corpus").unwrap_err().to_string();
        assert!(message.contains("corpus") && message.contains("tokens"), "{message}");
    }

    #[test]
    fn a_changed_source_is_the_users_error() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path());
        let path = dir.path().join("a.rs");
        std::fs::write(&path, "fn a() {}").unwrap();
        let blake3 = blake3::hash(b"fn a() {}").to_hex().to_string();
        let file = SourceFile { label: "sources.x".into(), path, name: "a.rs".into(), size_bytes: 9, blake3 };
        assert_eq!(ctx.read_source(&file).unwrap(), b"fn a() {}");
        assert_eq!(ctx.verified_source(&file).unwrap(), file.path);
        std::fs::write(&file.path, "fn b() {}").unwrap();
        let facts = ctx.read_source(&file).unwrap_err().facts();
        assert_eq!((facts.class, facts.code.as_ref()), (ErrorClass::User, "source_changed"));
        assert!(matches!(ctx.verified_source(&file), Err(JobError::SourceChanged { .. })));
    }

    #[test]
    fn seeds_differ_by_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path());
        assert_ne!(ctx.seed("order"), ctx.seed("split"));
        assert_eq!(ctx.seed("order"), context(dir.path()).seed("order"));
    }
}
