//! The inference engine that RLHF, eval and serving share: requests in, tokens with log-probabilities out.
//!
//! [`Engine`] batches continuously over the slots of a KV cache: a request enters as soon as a slot is free and leaves when it is
//! done, and no other request waits for it (the idea of Orca, OSDI 2022). What runs when is decided by [`Scheduler`], a pure state
//! machine; the next token is chosen in Rust from fp32 logits by [`Sampler`]. The engine knows token ids only; [`Detokenizer`] makes
//! text of the answers' bytes.
//!
//! Invariants: a prompt is never cut (a request that does not fit is refused by name); a request's random stream depends on its seed
//! and its position alone; log-probabilities are the network's own, as the trainer computes them ([`self_test`]).

mod error;
mod request;

mod cpu_decoder;
mod decoder;
mod sampling;
mod scheduler;

mod batch;
mod engine;
mod self_test;

mod detokenize;

#[cfg(test)]
mod engine_tests;

pub use batch::{generate_all, generate_each};
pub use cpu_decoder::{CpuDecoder, CpuDecoderConfig};
pub use decoder::{AdapterId, Chunk, Decoder, Rows, Wanted};
pub use detokenize::{Detokenizer, Piece};
pub use engine::{BatchShape, Engine, EngineConfig};
pub use error::GenerateError;
pub use request::{Completion, FinishReason, Output, Request, RequestId, ScoredToken};
pub use sampling::{Sampler, Sampling};
pub use scheduler::{Scheduler, StepPlan};
#[cfg(test)]
pub(crate) use self_test::stirred;
pub use self_test::{SelfTestReport, self_test};
