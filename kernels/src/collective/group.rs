//! The operations of [`Collective`] for any backend that can reduce, gather and broadcast flat tensors of one size: shapes, kinds and uneven
//! parts are dealt with here. Uneven parts are padded to the greatest, so that each rank sends the same; what is padded is never read.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::work::{Facts, Pending};
use super::{Collective, ReduceOp, Work};
use crate::KernelError;
use crate::shim::GradMode;

/// How a backend reduces; an average is a sum that is divided afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduction {
    Sum,
    Max,
}

type Begun = Result<Box<dyn Pending>, String>;

/// A backend: flat contiguous tensors, called by one thread at a time.
pub(super) trait Transport: Send + std::fmt::Debug {
    fn device(&self) -> Device;
    /// Reduces in place. `[N]`
    fn all_reduce(&mut self, flat: &Tensor, reduction: Reduction) -> Begun;
    /// Reduces `rows` `[W, N]` and returns where this rank's row will be. `[N]`
    fn reduce_scatter(
        &mut self,
        rows: &Tensor,
        reduction: Reduction,
    ) -> Result<(Box<dyn Pending>, Tensor), String>;
    /// Fills `rows` `[W, N]` with every rank's `own` `[N]`.
    fn all_gather(&mut self, rows: &Tensor, own: &Tensor) -> Begun;
    /// Replaces in place. `[N]`
    fn broadcast(&mut self, flat: &Tensor, root: usize) -> Begun;
}

/// The ranks that a backend connects.
#[derive(Debug)]
pub(super) struct Group<T> {
    transport: Mutex<T>,
    facts: Facts,
    device: Device,
    world_size: usize,
    /// The calls that all ranks were found to agree on.
    agreed: Mutex<HashSet<u64>>,
}

impl<T: Transport> Group<T> {
    pub(super) fn new(transport: T, facts: Facts, world_size: usize) -> Self {
        let device = transport.device();
        Self { transport: Mutex::new(transport), facts, device, world_size, agreed: Mutex::default() }
    }

    fn begin<R>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&mut T) -> Result<R, String>,
    ) -> Result<R, KernelError> {
        self.facts.check(operation)?;
        let started = Instant::now();
        let mut transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut transport).map_err(|message| self.facts.fail(operation, started, message))
    }

    /// Makes sure that every rank calls this operation with these shapes, when it is called so for the first time: a message of another
    /// length than expected would end the process inside of Gloo.
    fn agree<C: Hash + std::fmt::Debug>(&self, operation: &'static str, call: &C) -> Result<(), KernelError> {
        self.facts.check(operation)?;
        let mut hasher = DefaultHasher::new();
        (operation, call).hash(&mut hasher);
        let hash = hasher.finish();
        if self.world_size == 1 || !self.agreed.lock().unwrap_or_else(PoisonError::into_inner).insert(hash) {
            return Ok(());
        }
        // The greatest and, negated, the least of all ranks' numbers: each rank sees whether there are two.
        let own = (hash >> 2) as i64;
        let token = Tensor::f_from_slice(&[own, -own])?.f_to_device(self.device)?;
        let pending = self.begin(operation, |transport| transport.all_reduce(&token, Reduction::Max))?;
        Work::begun(operation, self.facts.clone(), pending, None).wait()?;
        let found = Vec::<i64>::try_from(token.f_to_device(Device::Cpu)?)?;
        if found == [own, -own] {
            return Ok(());
        }
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        let rank = self.facts.rank;
        Self::refuse(
            operation,
            format!("another rank calls another operation or passes other shapes than rank {rank}: {call:?}"),
        )
    }

    fn refuse<R>(operation: &'static str, message: String) -> Result<R, KernelError> {
        Err(KernelError::Invalid { operation, message })
    }

    fn check_device(&self, operation: &'static str, tensors: &[&Tensor]) -> Result<(), KernelError> {
        for tensor in tensors {
            if tensor.device() != self.device {
                let message =
                    format!("a tensor is on {:?}, this group works on {:?}", tensor.device(), self.device);
                return Self::refuse(operation, message);
            }
            if tensor.kind() != tensors[0].kind() {
                let message = format!("tensors of {:?} and of {:?}", tensors[0].kind(), tensor.kind());
                return Self::refuse(operation, message);
            }
        }
        let known = [
            Kind::Uint8,
            Kind::Int8,
            Kind::Int,
            Kind::Int64,
            Kind::Half,
            Kind::BFloat16,
            Kind::Float,
            Kind::Double,
        ];
        match tensors.iter().find(|tensor| !known.contains(&tensor.kind())) {
            None => Ok(()),
            Some(tensor) => Self::refuse(operation, format!("{:?} is not sent between ranks", tensor.kind())),
        }
    }

    /// One tensor for each rank, and this rank's of the same shape as `own`.
    fn check_parts(
        &self,
        operation: &'static str,
        parts: &[Tensor],
        own: &Tensor,
    ) -> Result<(), KernelError> {
        if parts.len() != self.world_size {
            return Self::refuse(operation, format!("{} tensors for {} ranks", parts.len(), self.world_size));
        }
        let expected = parts[self.facts.rank].size();
        if own.size() != expected {
            let message =
                format!("this rank's tensor is {:?}, its place in the list {expected:?}", own.size());
            return Self::refuse(operation, message);
        }
        let mut all = vec![own];
        all.extend(parts);
        self.check_device(operation, &all)
    }
}

impl<T: Transport> Collective for Group<T> {
    fn rank(&self) -> usize {
        self.facts.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce(&self, tensor: &mut Tensor, op: ReduceOp) -> Result<Work, KernelError> {
        let operation = "all_reduce";
        self.check_device(operation, &[tensor])?;
        let (reduction, divisor) = split(operation, op, tensor.kind(), self.world_size)?;
        self.agree(operation, &(op, tensor.kind(), tensor.size()))?;
        if tensor.numel() == 0 {
            return Ok(Work::done(operation));
        }
        let _unrecorded = GradMode::set(false);
        let flat = flat_of(tensor)?; // [N]
        let pending = self.begin(operation, |transport| transport.all_reduce(&flat, reduction))?;
        let mut target = tensor.shallow_clone();
        let finish = Box::new(move || {
            let mut flat = flat;
            divide(&mut flat, divisor)?;
            put(&mut target, &flat)
        });
        Ok(Work::begun(operation, self.facts.clone(), pending, Some(finish)))
    }

    fn reduce_scatter(
        &self,
        output: &mut Tensor,
        inputs: &[Tensor],
        op: ReduceOp,
    ) -> Result<Work, KernelError> {
        let operation = "reduce_scatter";
        self.check_parts(operation, inputs, output)?;
        let (reduction, divisor) = split(operation, op, output.kind(), self.world_size)?;
        self.agree(operation, &(op, output.kind(), sizes_of(inputs)))?;
        let widest = widest(inputs);
        if widest == 0 {
            return Ok(Work::done(operation));
        }
        let _unrecorded = GradMode::set(false);
        let rows = Tensor::f_zeros([self.world_size as i64, widest], (output.kind(), self.device))?; // [W, N]
        for (rank, input) in inputs.iter().enumerate() {
            let mut row = rows.f_select(0, rank as i64)?.f_narrow(0, 0, input.numel() as i64)?;
            row.f_copy_(&input.f_reshape(-1i64)?)?;
        }
        let (pending, row) = self.begin(operation, |transport| transport.reduce_scatter(&rows, reduction))?;
        let mut target = output.shallow_clone();
        let finish = Box::new(move || {
            let mut row = row.f_narrow(0, 0, target.numel() as i64)?;
            divide(&mut row, divisor)?;
            put(&mut target, &row)
        });
        Ok(Work::begun(operation, self.facts.clone(), pending, Some(finish)))
    }

    fn all_gather(&self, outputs: &mut [Tensor], input: &Tensor) -> Result<Work, KernelError> {
        let operation = "all_gather";
        self.check_parts(operation, outputs, input)?;
        self.agree(operation, &(input.kind(), sizes_of(outputs)))?;
        let widest = widest(outputs);
        if widest == 0 {
            return Ok(Work::done(operation));
        }
        let _unrecorded = GradMode::set(false);
        let rows = Tensor::f_zeros([self.world_size as i64, widest], (input.kind(), self.device))?; // [W, N]
        let own = Tensor::f_zeros([widest], (input.kind(), self.device))?; // [N]
        own.f_narrow(0, 0, input.numel() as i64)?.f_copy_(&input.f_reshape(-1i64)?)?;
        let pending = self.begin(operation, |transport| transport.all_gather(&rows, &own))?;
        let mut targets: Vec<Tensor> = outputs.iter().map(Tensor::shallow_clone).collect();
        let finish = Box::new(move || {
            for (rank, target) in targets.iter_mut().enumerate() {
                let row = rows.f_select(0, rank as i64)?.f_narrow(0, 0, target.numel() as i64)?;
                put(target, &row)?;
            }
            Ok(())
        });
        Ok(Work::begun(operation, self.facts.clone(), pending, Some(finish)))
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<Work, KernelError> {
        let operation = "broadcast";
        self.check_device(operation, &[tensor])?;
        if root >= self.world_size {
            return Self::refuse(operation, format!("root {root} is no rank of {}", self.world_size));
        }
        self.agree(operation, &(root, tensor.kind(), tensor.size()))?;
        if tensor.numel() == 0 {
            return Ok(Work::done(operation));
        }
        let _unrecorded = GradMode::set(false);
        let flat = flat_of(tensor)?; // [N]
        let pending = self.begin(operation, |transport| transport.broadcast(&flat, root))?;
        let mut target = tensor.shallow_clone();
        let finish = Box::new(move || put(&mut target, &flat));
        Ok(Work::begun(operation, self.facts.clone(), pending, Some(finish)))
    }

    fn barrier(&self) -> Result<(), KernelError> {
        let operation = "barrier";
        let token = Tensor::f_zeros([1], (Kind::Int64, self.device))?;
        let pending = self.begin(operation, |transport| transport.all_reduce(&token, Reduction::Sum))?;
        Work::begun(operation, self.facts.clone(), pending, None).wait()
    }
}

/// What the backend does, and what the sum is divided by.
pub(super) fn split(
    operation: &'static str,
    op: ReduceOp,
    kind: Kind,
    world_size: usize,
) -> Result<(Reduction, Option<f64>), KernelError> {
    let floating = matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double);
    match op {
        ReduceOp::Sum => Ok((Reduction::Sum, None)),
        ReduceOp::Max => Ok((Reduction::Max, None)),
        ReduceOp::Avg if floating => Ok((Reduction::Sum, Some(world_size as f64))),
        ReduceOp::Avg => {
            let message = format!("an average of {kind:?} is no {kind:?}");
            Err(KernelError::Invalid { operation, message })
        }
    }
}

/// The elements in order: the tensor's own memory where they lie so, otherwise a copy.
fn flat_of(tensor: &Tensor) -> Result<Tensor, KernelError> {
    Ok(tensor.f_detach()?.f_contiguous()?.f_view(-1i64)?)
}

fn sizes_of(tensors: &[Tensor]) -> Vec<Vec<i64>> {
    tensors.iter().map(Tensor::size).collect()
}

fn widest(tensors: &[Tensor]) -> i64 {
    tensors.iter().map(|tensor| tensor.numel() as i64).max().unwrap_or(0)
}

fn divide(tensor: &mut Tensor, divisor: Option<f64>) -> Result<(), KernelError> {
    if let Some(divisor) = divisor {
        let _divided = tensor.f_div_scalar_(divisor)?;
    }
    Ok(())
}

/// Writes elements in order into a tensor, unless they are its own memory.
fn put(target: &mut Tensor, flat: &Tensor) -> Result<(), KernelError> {
    if target.data_ptr() != flat.data_ptr() || !target.is_contiguous() {
        target.f_detach()?.f_copy_(&flat.f_view(target.size().as_slice())?)?;
    }
    Ok(())
}

/// Implements [`Collective`] for a public type by the group that it wraps.
macro_rules! through {
    ($type:ty) => {
        impl Collective for $type {
            fn rank(&self) -> usize {
                self.0.rank()
            }

            fn world_size(&self) -> usize {
                self.0.world_size()
            }

            fn all_reduce(&self, tensor: &mut Tensor, op: ReduceOp) -> Result<Work, KernelError> {
                self.0.all_reduce(tensor, op)
            }

            fn reduce_scatter(
                &self,
                output: &mut Tensor,
                inputs: &[Tensor],
                op: ReduceOp,
            ) -> Result<Work, KernelError> {
                self.0.reduce_scatter(output, inputs, op)
            }

            fn all_gather(&self, outputs: &mut [Tensor], input: &Tensor) -> Result<Work, KernelError> {
                self.0.all_gather(outputs, input)
            }

            fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<Work, KernelError> {
                self.0.broadcast(tensor, root)
            }

            fn barrier(&self) -> Result<(), KernelError> {
                self.0.barrier()
            }
        }
    };
}

pub(super) use through;
