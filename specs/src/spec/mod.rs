//! The spec language: from YAML text to a [`ResolvedSpec`] with nothing optional, or every error at once.
//!
//! ```text
//! bytes ─parse─▶ Node tree ─include, --set, substitute, matrix─▶ Node tree ─decode─▶ as written ─resolve─▶ ResolvedSpec
//! ```
//! Each node of the tree knows its file, line and column, so an error at any stage points at its token. All of it is pure: the world
//! comes in through [`Environment`].

mod codes;
mod diagnostic;
mod environment;
mod load;
mod origin;
mod render;
mod resolved;

pub use codes::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Note};
pub use environment::{Environment, ProcessEnvironment};
pub use load::{load, parse};
pub use origin::Origin;
pub use resolved::{
    ArtifactRef, Budget, CatchUp, DataBody, EvalBody, Judge, JobKind, Overlap, PretrainBody, Reference,
    ResolvedJob, ResolvedJobBody, ResolvedSpec, Resources, RlhfBody, RowsInput, ScalingBody, Schedule,
    SecretRef, Serve, SftBody, SourceGlob, SweepBody, TokenizerBody,
};
