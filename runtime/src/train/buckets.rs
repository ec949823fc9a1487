//! The gradients of all ranks, summed: in buckets, each on its way as soon as backward has filled it ("PyTorch Distributed", Li et al. 2020,
//! arXiv:2006.15704).
//!
//! Backward reaches the last weights first, so buckets are filled in the reverse order of the weights. They leave in one order on every
//! rank, whatever the order in which gradients come. A rank without a micro-batch sends zeros. A loss is divided by what the whole step
//! trains on, so that the sum is the step's gradient.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cupola_kernels::{Collective, GradientHook, KernelError, ReduceOp, Work, on_gradient};
use tch::{Kind, Tensor};

use super::TrainError;
use super::ranks::Ranks;
use crate::model::Parameter;

/// Bytes from which on a bucket is full; few in tests, so that there are several.
const FULL_BYTES: i64 = if cfg!(test) { 4 << 10 } else { 25 << 20 };

/// The buckets of a run.
#[derive(Debug)]
pub(super) struct Buckets {
    state: Arc<Mutex<State>>,
    _hooks: Vec<GradientHook>,
}

#[derive(Debug)]
struct State {
    group: Arc<dyn Collective>,
    buckets: Vec<Bucket>,
    /// Whether the backward that runs is the step's last one here.
    is_last: bool,
    /// How many buckets are on their way.
    sent: usize,
    /// The first error of a hook, which backward would only tell as text.
    error: Option<KernelError>,
}

/// Some weights, and room for their gradients one after the other.
#[derive(Debug)]
struct Bucket {
    /// Places in the list of weights, the weights, and where their gradients start.
    weights: Vec<(usize, Tensor, i64)>,
    flat: Tensor,
    /// Gradients that backward owes.
    missing: usize,
    work: Option<Work>,
}

impl Buckets {
    /// Buckets for these weights; none for a single rank.
    pub(super) fn new(ranks: &Ranks, parameters: &[Parameter]) -> Result<Option<Self>, TrainError> {
        if ranks.is_alone() {
            return Ok(None);
        }
        let buckets = fill(parameters);
        let places: Vec<Vec<usize>> =
            buckets.iter().map(|bucket| bucket.weights.iter().map(|(index, ..)| *index).collect()).collect();
        let state = State { group: Arc::clone(ranks.group()), buckets, is_last: false, sent: 0, error: None };
        let state = Arc::new(Mutex::new(state));
        let mut hooks = Vec::with_capacity(parameters.len());
        for (bucket, indices) in places.into_iter().enumerate() {
            for index in indices {
                let state = Arc::clone(&state);
                let is_ready = move |_: &Tensor| {
                    locked(&state).take_in(bucket);
                    Ok(())
                };
                hooks.push(on_gradient(&parameters[index].tensor, is_ready)?);
            }
        }
        Ok(Some(Self { state, _hooks: hooks }))
    }

    /// The next backward is the step's last one on this rank.
    pub(super) fn expect_last(&self) {
        locked(&self.state).is_last = true;
    }

    /// Sends what is left and waits for the sums.
    pub(super) fn finish(&self) -> Result<(), TrainError> {
        let mut state = locked(&self.state);
        state.is_last = false;
        while state.error.is_none() && state.sent < state.buckets.len() {
            state.send_next();
        }
        state.sent = 0;
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        for bucket in &mut state.buckets {
            bucket.missing = bucket.weights.len();
            if let Some(work) = bucket.work.take() {
                work.wait()?;
            }
        }
        Ok(())
    }

    /// Puts the sums in the place of the gradients, for the weights that have one on any rank.
    pub(super) fn hand_out(&self, has_gradient: &[bool]) -> Result<(), TrainError> {
        // Taken out of the lock, since a first gradient is made by a backward, which calls the hooks.
        let mut parts: Vec<(Tensor, Tensor)> = Vec::new();
        for bucket in &locked(&self.state).buckets {
            for (_, weight, start) in bucket.weights.iter().filter(|(index, ..)| has_gradient[*index]) {
                parts.push((weight.shallow_clone(), bucket.part(weight, *start)));
            }
        }
        for (weight, sum) in parts {
            let mut gradient = weight.grad();
            if gradient.defined() {
                tch::no_grad(|| gradient.f_copy_(&sum))?;
            } else {
                (&weight * &sum).sum(Kind::Float).f_backward()?;
            }
        }
        Ok(())
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Weights in their reverse order, a bucket for as many as fit; those of one kind and device together.
fn fill(parameters: &[Parameter]) -> Vec<Bucket> {
    let mut lists: Vec<Vec<usize>> = Vec::new();
    let mut bytes = i64::MAX;
    let of = |index: usize| (parameters[index].tensor.kind(), parameters[index].tensor.device());
    for index in (0..parameters.len()).rev() {
        let is_other =
            lists.last().and_then(|list| list.last()).is_none_or(|before| of(*before) != of(index));
        if bytes >= FULL_BYTES || is_other {
            lists.push(Vec::new());
            bytes = 0;
        }
        let weight = &parameters[index].tensor;
        bytes += (weight.numel() * weight.kind().elt_size_in_bytes()) as i64;
        if let Some(list) = lists.last_mut() {
            list.push(index);
        }
    }
    lists.into_iter().map(|list| Bucket::of(parameters, &list)).collect()
}

impl Bucket {
    fn of(parameters: &[Parameter], indices: &[usize]) -> Self {
        let mut end = 0;
        let mut weights = Vec::with_capacity(indices.len());
        for &index in indices {
            let weight = parameters[index].tensor.shallow_clone();
            let start = end;
            end += weight.numel() as i64;
            weights.push((index, weight, start));
        }
        let like = &parameters[indices[0]].tensor;
        let flat = Tensor::zeros([end], (like.kind(), like.device()));
        Self { missing: weights.len(), weights, flat, work: None }
    }

    /// The place of a weight's gradient, in its shape.
    fn part(&self, weight: &Tensor, start: i64) -> Tensor {
        self.flat.narrow(0, start, weight.numel() as i64).view_as(weight)
    }

    /// Copies the gradients in, and sends them.
    fn send(&mut self, group: &Arc<dyn Collective>) -> Result<(), KernelError> {
        tch::no_grad(|| {
            for (_, weight, start) in &self.weights {
                let (gradient, mut part) = (weight.grad(), self.part(weight, *start));
                if gradient.defined() {
                    part.f_copy_(&gradient)?;
                } else {
                    let _zeros = part.f_zero_()?;
                }
            }
            Ok::<(), KernelError>(())
        })?;
        self.work = Some(group.all_reduce(&mut self.flat, ReduceOp::Sum)?);
        Ok(())
    }
}

impl State {
    /// A gradient of a bucket is there.
    fn take_in(&mut self, bucket: usize) {
        if !self.is_last {
            return;
        }
        self.buckets[bucket].missing = self.buckets[bucket].missing.saturating_sub(1);
        while self.error.is_none() && self.sent < self.buckets.len() && self.buckets[self.sent].missing == 0 {
            self.send_next();
        }
    }

    fn send_next(&mut self) {
        let group = Arc::clone(&self.group);
        self.error = self.buckets[self.sent].send(&group).err();
        self.sent += 1;
    }
}
