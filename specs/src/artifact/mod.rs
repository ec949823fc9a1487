//! What a committed folder holds: the manifest, and the typed files inside that other steps, the report card and people read.

mod corpus;
mod law;
mod manifest;
mod model;
mod preferences;
mod report;
mod seal;
mod tokens;

pub use corpus::{
    ClusterExample, ClusterStatistics, CorpusDocument, CorpusPair, CorpusStatistics, DomainStatistics,
    DroppedDocument, LengthBin, MixtureStatistics, QualityStatistics, RuleExample, RuleStatistics,
    ShardFrame, ShardIndex, ShardRecord, SiteStatistics, SourceStatistics, ToxicityStatistics,
};
pub use law::{Forecast, Interval, LawFile, LawFit, Recommendation, SweepRun};
pub use manifest::{BlobRecord, MANIFEST_FILE, Manifest};
pub use model::{
    BadStep, ChatMessage, CurvePoint, DomainRecord, ForecastScore, FunctionCall, PhaseRecord, ToolCall,
    TrainingRecord,
};
pub use preferences::{PreferencePair, PreferenceStatistics};
pub use report::{EvalReport, EvalSample, ReportRow};
pub use seal::{SEAL_FILE, Seal, SealedPrompt};
pub use tokens::{TokenIndex, TokenShard};
