//! Cupola's contact with libtorch and the allocator where `unsafe` cannot be avoided. No other crate has any.
//!
//! * [`tune_allocator`]: keeps the memory of activations in the process between training steps.
//! * [`load_cuda`]: loads libtorch's CUDA half where there is one, so that one binary serves CPU and GPU.
#![allow(unsafe_code, reason = "mallopt and dlopen have no safe form")]

mod allocator;
mod cuda;

pub use allocator::tune_allocator;
pub use cuda::{CudaLibrary, load_cuda};
