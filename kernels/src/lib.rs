//! Cupola's contact with libtorch and the allocator where `unsafe` cannot be avoided. No other crate has any.
//!
//! * [`tune_allocator`]: keeps the memory of activations in the process between training steps.
//! * [`map_file`]: a file as memory, for token shards.
//! * [`CudaDriver`]: the name of a CUDA device, and how much of its memory is taken.
//! * [`load_cuda`]: loads libtorch's CUDA half where there is one, so that one binary serves CPU and GPU.
#![allow(unsafe_code, reason = "mallopt, mmap and dlopen have no safe form")]

mod allocator;
mod cuda;
mod device;
mod mapping;

pub use allocator::tune_allocator;
pub use cuda::{CudaLibrary, load_cuda};
pub use device::CudaDriver;
pub use mapping::map_file;
