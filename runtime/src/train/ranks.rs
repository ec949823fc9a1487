//! The ranks of a run: what they tell each other, so that all of them take the same decisions.
//!
//! Numbers are gathered from every rank and put together in the order of ranks, the same way on each: whatever the transport does, no two
//! ranks disagree on a loss, on a bad step or on when a state is saved.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use cupola_kernels::{Alone, Collective, Gloo, KernelError, Nccl, ReduceOp, Rendezvous};
use tch::{Device, Kind, Tensor};

use super::TrainError;
use crate::job::{JobError, StepContext};

/// How often a rank that others wait for says that it works: at most.
const BEAT: Duration = Duration::from_secs(10);
/// How often a rank that joins looks whether another one is lost already.
const LOOK: Duration = Duration::from_millis(50);

/// The ranks of a run, seen from one of them.
#[derive(Debug, Clone)]
pub(super) struct Ranks {
    group: Arc<dyn Collective>,
    device: Device,
    beat: Duration,
}

/// How the work of the first rank stands, for those that wait.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    Works = 0,
    Done = 1,
    Cancelled = 2,
    Failed = 3,
}

fn connect(rendezvous: &Rendezvous, device: Device) -> Result<Arc<dyn Collective>, KernelError> {
    Ok(match device {
        Device::Cuda(index) => Arc::new(Nccl::join(rendezvous, index)?),
        _ => Arc::new(Gloo::join(rendezvous)?),
    })
}

impl Ranks {
    /// Meets the other ranks of the step.
    pub(super) fn join(ctx: &StepContext) -> Result<Self, TrainError> {
        let (place, device) = (ctx.place(), ctx.tensor_device());
        let beat = BEAT.min(place.timeout / 4);
        if place.world_size == 1 {
            return Ok(Self { group: Arc::new(Alone), device, beat });
        }
        let job = ctx.job();
        let rendezvous = Rendezvous {
            host: place.host.clone(),
            port: place.port,
            rank: place.rank,
            world_size: place.world_size,
            run: format!("{}/{}/{}", job.run, job.fingerprint, job.token),
            serve: place.serves,
            timeout: place.timeout,
        };
        let (sender, joined) = channel();
        std::thread::spawn(move || {
            let _nobody_waits = sender.send(connect(&rendezvous, device));
        });
        loop {
            match joined.recv_timeout(LOOK) {
                Ok(group) => return Ok(Self { group: group?, device, beat }),
                Err(RecvTimeoutError::Timeout) => {
                    // The one that is left to join dies with the process.
                    if let Some(how) = ctx.lost_rank() {
                        return Err(TrainError::RankLost(format!("{how} before all had met")));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TrainError::RankLost("joining the other ranks panicked".to_owned()));
                }
            }
        }
    }

    /// This rank's number.
    pub(super) fn rank(&self) -> usize {
        self.group.rank()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.group.world_size()
    }

    /// Whether there is but one.
    pub(super) fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// Whether this is the one that writes.
    pub(super) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The operations between them.
    pub(super) fn group(&self) -> &Arc<dyn Collective> {
        &self.group
    }

    /// This rank's share of some micro-batches: the first ranks have one more where they do not come out even.
    pub(super) fn share(&self, micro_batches: u64) -> Range<u64> {
        let (rank, count) = (self.rank() as u64, self.count() as u64);
        let (each, more) = (micro_batches / count, micro_batches % count);
        let start = rank * each + rank.min(more);
        start..start + each + u64::from(rank < more)
    }

    /// As many numbers of every rank, in the order of ranks.
    pub(super) fn gather(&self, numbers: &[f64]) -> Result<Vec<Vec<f64>>, TrainError> {
        if self.is_alone() {
            return Ok(vec![numbers.to_vec()]);
        }
        let own = Tensor::f_from_slice(numbers)?.f_to_device(self.device)?;
        let mut all: Vec<Tensor> = (0..self.count()).map(|_| own.zeros_like()).collect();
        self.group.all_gather(&mut all, &own)?.wait()?;
        Ok(all.iter().map(Vec::<f64>::try_from).collect::<Result<_, _>>()?)
    }

    /// For each flag, whether any rank raised it.
    pub(super) fn any<const N: usize>(&self, flags: [bool; N]) -> Result<[bool; N], TrainError> {
        let all = self.gather(&flags.map(|flag| f64::from(u8::from(flag))))?;
        let mut raised = [false; N];
        for (at, flag) in raised.iter_mut().enumerate() {
            *flag = all.iter().any(|of_rank| of_rank[at] != 0.0);
        }
        Ok(raised)
    }

    /// The first rank's number.
    pub(super) fn number_of_first(&self, number: f64) -> Result<f64, TrainError> {
        if self.is_alone() {
            return Ok(number);
        }
        let mut told = Tensor::f_from_slice(&[number])?.f_to_device(self.device)?;
        self.broadcast(&mut told, 0)?;
        Ok(told.f_double_value(&[0])?)
    }

    /// The first rank's text; what the others pass counts for nothing.
    pub(super) fn text_of_first(&self, text: String) -> Result<String, TrainError> {
        if self.is_alone() {
            return Ok(text);
        }
        let length = self.number_of_first(text.len() as f64)? as i64;
        let mut bytes = if self.is_first() {
            Tensor::f_from_slice(text.as_bytes())?.f_to_device(self.device)?
        } else {
            Tensor::f_zeros([length], (Kind::Uint8, self.device))?
        };
        self.broadcast(&mut bytes, 0)?;
        let bytes = Vec::<u8>::try_from(&bytes.f_to_device(Device::Cpu)?)?;
        String::from_utf8(bytes)
            .map_err(|error| TrainError::Refused(format!("the first rank's word: {error}")))
    }

    /// Replaces a tensor by that of a rank.
    pub(super) fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), TrainError> {
        if !self.is_alone() {
            self.group.broadcast(tensor, root)?.wait()?;
        }
        Ok(())
    }

    /// Waits for all.
    pub(super) fn barrier(&self) -> Result<(), TrainError> {
        Ok(self.group.barrier()?)
    }

    /// Has the first rank do some work, however long it takes, and the others wait: it says that it is at work more often than their
    /// time-out. Gives its result to the first, and to all an error where it failed.
    pub(super) fn only_first<T>(
        &self,
        work: impl FnOnce() -> Result<T, TrainError>,
    ) -> Result<Option<T>, TrainError> {
        if self.is_alone() {
            return work().map(Some);
        }
        if !self.is_first() {
            return self.wait_for_first();
        }
        std::thread::scope(|scope| {
            let (end, ended) = channel();
            let teller = scope.spawn(move || self.tell(&ended));
            let result = work();
            let standing = match &result {
                Ok(_) => Standing::Done,
                Err(error) if error.is_cancelled() => Standing::Cancelled,
                Err(_) => Standing::Failed,
            };
            let _lost = end.send(standing);
            let told = teller.join().unwrap_or_else(|_| {
                Err(TrainError::RankLost("telling the other ranks of the work panicked".to_owned()))
            });
            let result = result?;
            told.map(|()| Some(result))
        })
    }

    /// Says how the work stands until it ended. Without a word of its end it failed: it panicked.
    fn tell(&self, ended: &Receiver<Standing>) -> Result<(), TrainError> {
        loop {
            let standing = match ended.recv_timeout(self.beat) {
                Ok(standing) => standing,
                Err(RecvTimeoutError::Timeout) => Standing::Works,
                Err(RecvTimeoutError::Disconnected) => Standing::Failed,
            };
            self.hear(standing)?;
            if standing != Standing::Works {
                return Ok(());
            }
        }
    }

    fn wait_for_first<T>(&self) -> Result<Option<T>, TrainError> {
        loop {
            match self.hear(Standing::Works)? {
                standing if standing == Standing::Works as i64 => {}
                standing if standing == Standing::Done as i64 => return Ok(None),
                standing if standing == Standing::Cancelled as i64 => return Err(JobError::Cancelled.into()),
                _ => return Err(TrainError::RankLost("the first rank failed".to_owned())),
            }
        }
    }

    /// What the first rank says, the others saying nothing.
    fn hear(&self, standing: Standing) -> Result<i64, TrainError> {
        let mut told = Tensor::f_from_slice(&[standing as i64])?.f_to_device(self.device)?;
        self.group.all_reduce(&mut told, ReduceOp::Max)?.wait()?;
        Ok(told.f_int64_value(&[0])?)
    }
}
