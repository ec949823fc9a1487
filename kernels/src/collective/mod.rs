//! Ranks: processes that compute one step together and talk through collective operations.
//!
//! Every rank of a group calls the same operations in the same order with tensors of fitting shapes. An operation begins at once and returns
//! a [`Work`], so that communication overlaps with what follows; its result is there after [`Work::wait`]. Nothing waits for longer than the
//! group's time-out: where another rank is dead, silent or somewhere else, the operation and each later one of the group fail with an error
//! that says rank, operation and seconds, and is transient. A call that the group has not seen before begins with a check that all ranks make
//! the same one: ranks that disagree are told so, and the group goes on.
//!
//! * [`Gloo`]: between CPUs, through c10d ("PyTorch Distributed", Li et al., 2020, arXiv 2006.15704).
//! * [`Nccl`]: between NVIDIA GPUs.
//! * [`Alone`]: a world of one.

mod alone;
mod gloo;
mod group;
mod nccl;
mod rendezvous;
mod store;
mod work;

use tch::Tensor;

use crate::KernelError;

pub use alone::Alone;
pub use gloo::Gloo;
pub use nccl::{NCCL_ENVIRONMENT, Nccl};
pub use rendezvous::Rendezvous;
pub use work::Work;

/// How the values of the ranks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Their sum, in the tensor's kind.
    Sum,
    /// Their sum divided by the number of ranks; floating kinds only.
    Avg,
    /// The greatest.
    Max,
}

/// The operations between the ranks of a group.
///
/// Shapes may differ between ranks where an operation says so. A tensor need not be contiguous. All of it is outside of autograd. Tensors
/// that an operation reads or writes are left alone until its [`Work`] was waited for.
pub trait Collective: Send + Sync + std::fmt::Debug {
    /// This process's number, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// Replaces `tensor` by the reduction of all ranks' tensors. The same bits on every rank.
    ///
    /// # Shapes
    /// The same on every rank.
    ///
    /// # Errors
    /// Another rank's failure, or a tensor that does not fit.
    fn all_reduce(&self, tensor: &mut Tensor, op: ReduceOp) -> Result<Work, KernelError>;

    /// Reduces part `r` of every rank's `inputs` to rank `r`'s `output`.
    ///
    /// # Shapes
    /// One input for each rank, of any shapes that are the same on every rank (uneven parts and empty ones too); `output` has the shape of
    /// `inputs[rank]`.
    ///
    /// # Errors
    /// Another rank's failure, or tensors that do not fit.
    fn reduce_scatter(
        &self,
        output: &mut Tensor,
        inputs: &[Tensor],
        op: ReduceOp,
    ) -> Result<Work, KernelError>;

    /// Copies rank `r`'s `input` to `outputs[r]` of every rank.
    ///
    /// # Shapes
    /// One output for each rank, of the shape of that rank's input (uneven and empty ones too).
    ///
    /// # Errors
    /// Another rank's failure, or tensors that do not fit.
    fn all_gather(&self, outputs: &mut [Tensor], input: &Tensor) -> Result<Work, KernelError>;

    /// Replaces `tensor` by that of rank `root`.
    ///
    /// # Shapes
    /// The same on every rank.
    ///
    /// # Errors
    /// Another rank's failure, or a root that is no rank.
    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<Work, KernelError>;

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// Another rank's failure.
    fn barrier(&self) -> Result<(), KernelError>;
}
