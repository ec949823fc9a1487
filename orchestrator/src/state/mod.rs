//! State: the journal is the truth, the database its projection, the read model what people see.

mod paths;
mod view;

pub use paths::StateDir;
pub use view::{
    ArtifactView, AttemptView, MetricSeries, ProgressView, RunState, RunView, SampleView, StepState, StepView,
};
