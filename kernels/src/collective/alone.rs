//! A world of one rank: each operation is its own result.

use tch::Tensor;

use super::group::split;
use super::{Collective, ReduceOp, Work};
use crate::KernelError;
use crate::shim::GradMode;

/// A world of one rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce(&self, tensor: &mut Tensor, op: ReduceOp) -> Result<Work, KernelError> {
        split("all_reduce", op, tensor.kind(), 1)?;
        Ok(Work::done("all_reduce"))
    }

    fn reduce_scatter(
        &self,
        output: &mut Tensor,
        inputs: &[Tensor],
        _: ReduceOp,
    ) -> Result<Work, KernelError> {
        let [input] = inputs else { return Err(not_one("reduce_scatter", inputs.len())) };
        copy("reduce_scatter", output, input)
    }

    fn all_gather(&self, outputs: &mut [Tensor], input: &Tensor) -> Result<Work, KernelError> {
        let count = outputs.len();
        let [output] = outputs else { return Err(not_one("all_gather", count)) };
        copy("all_gather", output, input)
    }

    fn broadcast(&self, _: &mut Tensor, root: usize) -> Result<Work, KernelError> {
        if root != 0 {
            let message = format!("root {root} is no rank of 1");
            return Err(KernelError::Invalid { operation: "broadcast", message });
        }
        Ok(Work::done("broadcast"))
    }

    fn barrier(&self) -> Result<(), KernelError> {
        Ok(())
    }
}

fn copy(operation: &'static str, output: &mut Tensor, input: &Tensor) -> Result<Work, KernelError> {
    if output.size() != input.size() {
        let message = format!("the output is {:?}, the input {:?}", output.size(), input.size());
        return Err(KernelError::Invalid { operation, message });
    }
    let _unrecorded = GradMode::set(false);
    output.f_detach()?.f_copy_(input)?;
    Ok(Work::done(operation))
}

fn not_one(operation: &'static str, count: usize) -> KernelError {
    KernelError::Invalid { operation, message: format!("{count} tensors for 1 rank") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn every_operation_is_its_own_result() {
        let input = samples::wave(&[2, 3], 1);
        let mut tensor = input.copy();
        Alone.all_reduce(&mut tensor, ReduceOp::Avg).unwrap().wait().unwrap();
        Alone.broadcast(&mut tensor, 0).unwrap().wait().unwrap();
        assert_eq!(tensor, input);
        let mut output = [input.zeros_like()];
        Alone.all_gather(&mut output, &input).unwrap().wait().unwrap();
        assert_eq!(output[0], input);
        let mut shard = input.zeros_like();
        Alone.reduce_scatter(&mut shard, &[input.shallow_clone()], ReduceOp::Sum).unwrap().wait().unwrap();
        assert_eq!(shard, input);
        Alone.barrier().unwrap();
        assert!(Alone.broadcast(&mut tensor, 1).is_err());
        assert!(Alone.all_gather(&mut [], &input).is_err());
    }
}
