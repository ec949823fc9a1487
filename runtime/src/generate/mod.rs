//! The inference engine that RLHF, eval and serving share: requests in, tokens with log-probabilities out.
//!
//! [`Engine`] batches continuously over the blocks of a KV cache: a request enters as soon as its blocks are free and leaves when it is
//! done, and no other request waits for it (the idea of Orca, OSDI 2022). What runs when, over which blocks, is decided by [`Scheduler`], a
//! pure state machine around a [`BlockPool`]; a [`Decoder`] runs it; the next token is chosen in Rust from fp32 logits by [`Sampler`]. The engine
//! knows token ids only; [`Detokenizer`] makes text of the answers' bytes.
//!
//! Invariants: a prompt is never cut (a request that does not fit is refused by name); a request's random stream depends on its seed
//! and its position alone; what was found in the cache, guessed, or run again after a pre-emption changes no answer; log-probabilities are
//! the network's own, as the trainer computes them ([`self_test`]).

mod error;
mod request;

mod cpu_decoder;
mod cuda_decoder;
mod decoder;
mod device;
mod torch_decoder;
mod transformer_parts;

mod constraint;
mod sampling;

mod blocks;
mod pacing;
mod scheduler;
mod speculation;

mod batch;
mod engine;
mod self_test;

mod detokenize;

#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod speculation_tests;

pub use batch::{generate_all, generate_each};
pub use blocks::{BlockCounts, BlockPool, CacheSpace, ContentId};
pub use constraint::{AllowedTokens, Constraint, Grammar, GrammarCompiler, TokenMask, Word};
pub use cpu_decoder::{CpuDecoder, CpuDecoderConfig};
pub use cuda_decoder::{CudaDecoder, CudaDecoderConfig};
pub use cupola_kernels::decode::{BLOCK_TOKENS, WeightFormat};
pub use cupola_kernels::release_freed_memory;
pub use decoder::{AdapterId, Chunk, Decoder, Positions, Rows, Wanted};
pub use detokenize::{Detokenizer, Piece};
pub use device::{NoCudaDevice, first_cuda_device};
pub use engine::{Engine, EngineConfig};
pub use error::GenerateError;
pub use pacing::Paced;
pub use request::{Completion, EngineStats, FinishReason, Output, Pooling, Request, RequestId, ScoredToken};
pub use sampling::{Sampler, Sampling};
pub use scheduler::{Arrival, PlannedPart, Prompts, ScheduleCounts, Scheduler, StepLimits, StepPlan};
#[cfg(test)]
pub(crate) use self_test::stirred;
pub use self_test::{SelfTestReport, self_test};
pub use speculation::{DraftModel, Drafter, Guess, PromptLookup};
pub use torch_decoder::{BatchShape, TorchConfig, TorchDecoder};
