//! Kernels of the decoder on a CUDA device: products with weights, attention over keys and values in blocks, norms and rotations.
//!
//! They are CUDA C++ (`kernels/cuda/`), compiled by NVRTC for the device and the network at hand, and launched through the driver, so that the
//! binary links no CUDA. Their memory is libtorch's: tensors on the device. A pass of few rows is recorded once for each size and replayed
//! as a CUDA graph; on Hopper a kernel begins while the one before it ends, and reads its weights meanwhile.
//!
//! A row's bits depend on the row alone, not on the rows beside it nor on how many there are: sums are cut and added in one order, whichever
//! kernel makes them.
//!
//! Without a device the same source runs on the processor, thread by thread ([`compile_emulated`]): slow, for tests.

mod batch;
mod compiler;
mod driver;
mod emulator;
mod operations;
mod program;
#[cfg(test)]
mod tests;
mod weights;

pub use batch::{BLOCK_TOKENS, Batch, Limits, Stretch};
pub use compiler::{KernelShape, compile_with, kernel_source};
pub use emulator::compile_emulated;
pub use operations::{Attend, Embed, Heads, NormRows, Product, Sink, TurnHeads, ValueEmbedding};
pub use program::{Graph, Program};
pub use weights::Packed;
