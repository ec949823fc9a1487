//! Alerts: who is told that a firing of a schedule failed, or that its report is worse than the one before it.
//!
//! ```text
//! FiringRecord ─tell─▶ AlertRecord (journal: intent) ─Outbox─▶ POST, signed ─▶ DeliveryRecord (journal: outcome), again until it is taken
//! ```
//! * What is told ([`Alert`]) is a pure function of the firing, the journal and the two reports. [`compare`] holds each metric against its
//!   counterpart by their intervals, [`first_changed`] finds the step of the lineage that began to differ.
//! * An alert is in the journal before it is sent, and before the end of its firing is: a firing that ended has its alert. The id rests on
//!   `spec.schedule@slot` and the kind, so there is one alert of a kind for a firing however often the daemon dies.
//! * A delivery is at least once: what was sent and could not be recorded is sent again, with the same id. The [`Outbox`] tries for about a
//!   day, and takes the clock, the sender and the journal as arguments.
//! * A webhook's URL and key are secrets. Records hold their names; their values are read from the environment of the process that
//!   delivers and go nowhere else ([`SecretText`]).
//!
//! Each POST is signed as Standard Webhooks 1.0.0 has it.

mod error;

mod message;

mod compare;
mod lineage;
mod questions;
mod reports;

mod record;
mod tell;

mod secret;
mod sign;

mod policy;
mod sender;

mod outbox;

pub use compare::{Comparison, Obstacles, compare, holm};
pub use error::AlertError;
pub use lineage::{ChangedStep, first_changed, lineage_of};
pub use message::{
    Alert, AlertKind, ChangedAncestor, FailedStep, Measured, MetricChange, NotCompared, ReportChange,
    ReportId,
};
pub use outbox::{Desk, Outbox, Parcel, test_alert};
pub use policy::{MOST_TRIES, Next, next_step};
pub use questions::obstacles;
pub use record::{
    AlertBook, AlertRecord, AlertState, ComparedReport, ComparisonRecord, DeliveryRecord, alert_id, alert_key,
};
pub use secret::{ProcessSecrets, SecretText, Secrets, secret_warnings};
pub use sender::{Answer, HttpSender, Post, SendError, Sender};
pub use sign::{SigningError, signature};
pub use tell::{Told, tell};
