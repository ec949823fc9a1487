//! The spec language: from YAML text to a [`ResolvedSpec`] with nothing optional, or every error at once.
//!
//! ```text
//! bytes ─yaml─▶ Node tree ─include, --set, ${…}, matrix─▶ Node tree ─decode─▶ as written ─resolve─▶ ResolvedSpec
//! ```
//! Each node of the tree knows its file, line and column, so an error at any stage points at its token. All of it is pure: the world
//! comes in through [`Environment`].

pub(crate) mod closed;
mod codes;
pub(crate) mod decode;
mod diagnostic;
mod document;
mod environment;
mod examples;
mod explain;
mod github;
mod graph;
mod include;
pub(crate) mod jobs;
pub(crate) mod lineage;
pub(crate) mod list;
mod load;
mod matrix;
mod origin;
mod overrides;
mod quantity;
mod recover;
pub(crate) mod reference;
mod render;
mod resolve;
mod resolved;
mod resolver;
mod sarif;
mod schedule;
mod schema;
mod secret;
mod serve;
pub(crate) mod session;
mod substitute;
mod syntax;
mod telemetry;
mod template;
mod text;
pub(crate) mod tree;
pub(crate) mod units;
mod unsupported;
pub(crate) mod wanted;
pub(crate) mod words;
pub(crate) mod written;
mod yaml;

pub use codes::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Format, Note};
pub use environment::{Environment, ProcessEnvironment};
pub use examples::{Example, GROUND, example};
pub use explain::{Explanation, Overview, explain, explained_paths, overview};
pub use load::{load, parse};
pub use origin::{Origin, Origins};
pub use resolved::{
    ArtifactRef, Budget, DataBody, EvalBody, JobKind, Judge, PretrainBody, Reference, ResolvedJob,
    ResolvedJobBody, ResolvedSpec, Resources, RlhfBody, RowsInput, ScalingBody, SecretRef, Serve, SftBody,
    SourceGlob, SweepBody, TokenizerBody,
};
pub use schedule::{CatchUp, Overlap, Schedule, Webhook};
pub use schema::schema;
pub use serve::{Approval, ServedEval, gate_names};
pub use telemetry::{CurveFolder, Telemetry};
pub use template::Template;
