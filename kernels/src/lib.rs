//! Cupola's contact with libtorch and the allocator where `unsafe` cannot be avoided. No other crate has any.
//!
//! * [`tune_allocator`]: keeps the memory of activations in the process between training steps.
//! * [`map_file`]: a file as memory, for token shards.
//! * [`decode`]: products, attention and norms of the decoder on a CPU. [`cuda_decode`]: the same on a CUDA device.
//! * [`load_cuda`]: loads libtorch's CUDA half where there is one, so that one binary serves CPU and GPU.
//!
//! What libtorch has and tch does not is reached through a C++ shim (`shim/`), which catches every exception; Rust owns the loop around it:
//!
//! * [`fused_adamw`], [`fused_sgd`] and the `foreach_` operations: an optimiser's step in few calls.
//! * [`rng_state`], [`set_rng_state`]: the generators, for exact checkpoints.
//! * [`Autocast`]: bfloat16 in a scope, on the CPU too.
//! * [`Function`], [`apply`]: operations with a gradient of their own. [`recompute`]: activation checkpointing. [`on_gradient`]: a gradient
//!   that is ready.
//! * [`Collective`]: ranks, by [`Gloo`], [`Nccl`] or [`Alone`].
//! * [`set_deterministic`], [`set_float32_matmul`]: what decides the bits. [`cuda_memory`] and its like: what telemetry tells.
//! * [`tensor_bytes`]: how much memory a piece of work holds in tensors.
#![allow(
    unsafe_code,
    reason = "mallopt, mmap, dlopen, libtorch's C++ and vector instructions have no safe form"
)]

mod allocator;
mod autocast;
mod collective;
mod cuda;
pub mod cuda_decode;
pub mod decode;
mod determinism;
mod device;
mod error;
mod foreach;
mod function;
mod fused;
mod gradient_hook;
mod mapping;
mod recompute;
mod rng;
#[cfg(test)]
mod samples;
mod shim;
mod tensor_bytes;

pub use allocator::{release_freed_memory, tune_allocator};
pub use autocast::Autocast;
pub use collective::{Alone, Collective, Gloo, NCCL_ENVIRONMENT, Nccl, ReduceOp, Rendezvous, Work};
pub use cuda::{CudaLibrary, load_cuda};
pub use determinism::{
    DETERMINISTIC_ENVIRONMENT, Float32Matmul, float32_matmul, is_deterministic, set_deterministic,
    set_float32_matmul,
};
pub use device::{CudaMemory, cuda_memory, cuda_name, reset_cuda_peak, synchronize_cuda};
pub use error::KernelError;
pub use foreach::{
    Accumulate, foreach_copy_, foreach_lerp_, foreach_norm, foreach_scale_, foreach_scale_by_, foreach_zero_,
};
pub use function::{Backward, Forward, Function, apply};
pub use fused::{AdamW, AdamWLists, Sgd, fused_adamw, fused_sgd};
pub use gradient_hook::{GradientHook, on_gradient};
pub use mapping::map_file;
pub use recompute::{Randomness, recompute};
pub use rng::{rng_state, set_rng_state};
pub use tensor_bytes::{TensorBytes, tensor_bytes};
