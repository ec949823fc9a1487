//! Kernels of the decoder on a CPU: products with packed weights, attention over keys and values in blocks, norms and activations.
//!
//! Each kernel is there for the instructions that a processor may have ([`Instructions`]), and chosen at run time. Within a set of instructions
//! a row's bits depend on the row alone: not on the rows beside it, nor on the number of threads. Int8 and int4 sum whole numbers, and fp32 fuses
//! each multiplication with its addition, so that these have the same bits in every set; bf16 is rounded otherwise by each.
#![allow(
    clippy::needless_range_loop,
    reason = "a lane, a row and a half are indices of several arrays at once"
)]
#![allow(
    clippy::cast_ptr_alignment,
    reason = "all memory begins at a cache line, and every row and panel within it at a multiple"
)]

mod instructions;
mod memory;
mod pool;

mod elementwise;
mod inputs;
mod logits;
mod low_rank;
mod matrix;

#[cfg(target_arch = "x86_64")]
mod narrow;
mod plain;
mod product;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod wide;

mod attention;

#[cfg(test)]
mod tests;

pub use attention::{BLOCK_TOKENS, KvBlocks, KvSizes, MOST_DIM, Place, Projected, narrowed, widen};
pub use elementwise::{Activation, gate, layer_norm, rms_norm, rotate, softcap};
pub use inputs::Inputs;
pub use instructions::Instructions;
pub use logits::{logit_peak, sum_of_weights, weight_of};
pub use low_rank::{Additions, LowRank};
pub use matrix::{Matrix, Order, WeightFormat};
pub use pool::Pool;
pub use product::Sink;
