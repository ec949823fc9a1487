//! Which rank of a step this process is: told by torchrun's environment where it is there, else the first one of a step that starts the
//! others itself.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cupola_specs::contract::JobFile;

use super::JobError;

/// The host at which the ranks that a worker starts itself meet.
const LOCAL: &str = "127.0.0.1";
/// A time-out of 0.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// A rank's place among the others of its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0; the first one alone writes events, states and output.
    pub rank: usize,
    /// How many there are.
    pub world_size: usize,
    /// Its number on this machine: the CUDA device that it takes.
    pub local_rank: usize,
    /// How many there are on this machine.
    pub local_world_size: usize,
    /// Host of the store at which they meet.
    pub host: String,
    /// Port of the store.
    pub port: u16,
    /// Whether the first rank serves the store; not where torchrun's agent does.
    pub serves: bool,
    /// How long a rank waits for the others.
    pub timeout: Duration,
}

impl Place {
    /// The only rank.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            world_size: 1,
            local_rank: 0,
            local_world_size: 1,
            host: LOCAL.to_owned(),
            port: 0,
            serves: true,
            timeout: WEEK,
        }
    }

    /// The place of this process by the job and the environment, and whether it starts the other ranks itself.
    ///
    /// # Errors
    /// An environment that names another number of ranks than the job, or is not whole.
    pub(super) fn of(
        job: &JobFile,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, bool), JobError> {
        let world_size = job.parallel.data.max(1) as usize;
        let timeout = match job.parallel.timeout_secs {
            secs if secs > 0.0 => Duration::from_secs_f64(secs),
            _ => WEEK,
        };
        let alone = Self { timeout, ..Self::alone() };
        if world_size == 1 {
            return Ok((alone, false));
        }
        if variable("RANK").is_none() || variable("WORLD_SIZE").is_none() {
            let place = Self { world_size, local_world_size: world_size, port: free_port()?, ..alone };
            return Ok((place, true));
        }
        let number = |name: &str, default: Option<usize>| match variable(name) {
            Some(text) => text.parse().map_err(|_| wrong(format!("{name} is {text:?}, and no number"))),
            None => default.ok_or_else(|| wrong(format!("RANK is there and {name} is not"))),
        };
        let (rank, given) = (number("RANK", None)?, number("WORLD_SIZE", None)?);
        if given != world_size || rank >= world_size {
            return Err(wrong(format!(
                "the job has {world_size} ranks, and the environment says rank {rank} of {given}"
            )));
        }
        let port = number("MASTER_PORT", None)?;
        let place = Self {
            rank,
            world_size,
            local_rank: number("LOCAL_RANK", Some(rank))?,
            local_world_size: number("LOCAL_WORLD_SIZE", Some(world_size))?.max(1),
            host: variable("MASTER_ADDR")
                .ok_or_else(|| wrong("RANK is there and MASTER_ADDR is not".into()))?,
            port: u16::try_from(port).map_err(|_| wrong(format!("MASTER_PORT is {port}")))?,
            serves: variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() != Some("True"),
            timeout,
        };
        Ok((place, false))
    }

    /// Whether this is the first rank.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// The environment of another rank that this one starts.
    pub(super) fn environment(&self, rank: usize) -> Vec<(&'static str, String)> {
        vec![
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", self.world_size.to_string()),
            ("LOCAL_RANK", rank.to_string()),
            ("LOCAL_WORLD_SIZE", self.local_world_size.to_string()),
            ("MASTER_ADDR", self.host.clone()),
            ("MASTER_PORT", self.port.to_string()),
        ]
    }

    /// The job as this rank carries it out: with its share of the threads, and, but for the first, with a stream of events and an output
    /// folder of its own that nobody commits.
    pub(super) fn take(&self, job: &mut JobFile) {
        job.threads = (job.threads / self.local_world_size as u32).max(1);
        if !self.is_first() {
            job.staging = beside(&job.events, self.rank, "staging");
            job.events = beside(&job.events, self.rank, "events.jsonl");
        }
    }
}

/// A rank's own file or folder in the attempt's folder.
pub(super) fn beside(events: &Path, rank: usize, what: &str) -> PathBuf {
    events.with_file_name(format!("rank-{rank}.{what}"))
}

fn wrong(message: String) -> JobError {
    JobError::Ranks { message }
}

/// A port that was free a moment ago. Where somebody takes it meanwhile, the ranks do not meet, and the step is tried again.
fn free_port() -> Result<u16, JobError> {
    let listener = TcpListener::bind((LOCAL, 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| JobError::io(LOCAL, error))
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::ParallelParams;

    use super::*;
    use crate::job::StepError;
    use crate::job::sample::job_in;

    fn job(data: u32) -> JobFile {
        let parallel = ParallelParams { data, zero: 0, timeout_secs: 3.0 };
        JobFile { threads: 5, parallel, ..job_in(Path::new("/a")) }
    }

    fn place(data: u32, environment: &[(&str, &str)]) -> Result<(Place, bool), JobError> {
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Place::of(&job(data), &variable)
    }

    #[test]
    fn a_step_with_ranks_starts_them_unless_somebody_did() {
        let (first, starts) = place(3, &[]).unwrap();
        assert_eq!((first.rank, first.world_size, starts), (0, 3, true));
        assert_eq!(first.timeout, Duration::from_secs(3));
        let told = first.environment(2);
        let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (third, starts) = place(3, &told).unwrap();
        assert_eq!(third, Place { rank: 2, local_rank: 2, ..first });
        assert!(!starts);
        let mut own = job(3);
        third.take(&mut own);
        assert_eq!((own.threads, own.events.to_str()), (1, Some("/a/rank-2.events.jsonl")));
        assert_eq!(own.staging.to_str(), Some("/a/rank-2.staging"));
    }

    #[test]
    fn a_step_of_one_rank_asks_no_environment_and_another_number_of_ranks_is_refused() {
        let torchrun = [("RANK", "1"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "29500")];
        let (alone, starts) = place(1, &torchrun).unwrap();
        assert_eq!((alone.rank, alone.world_size, starts), (0, 1, false));
        let error = place(2, &torchrun).unwrap_err();
        assert_eq!(error.facts().code, "ranks");
        assert!(error.to_string().contains("2 ranks, and the environment says rank 1 of 4"), "{error}");
        assert_eq!(place(4, &torchrun).unwrap().0.local_rank, 1);
        assert!(place(4, &torchrun[..3]).unwrap_err().to_string().contains("MASTER_PORT"));
    }
}
