//! What goes wrong with schedules.

use cupola_specs::contract::ErrorClass;

/// What goes wrong with schedules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A cron expression that can't be read.
    #[error("schedule `{schedule}`: `{cron}` is no cron expression: {problem}")]
    Cron {
        /// The schedule.
        schedule: String,
        /// What was written.
        cron: String,
        /// Why not.
        problem: String,
    },
    /// A time zone that is not known.
    #[error("schedule `{schedule}`: there is no time zone `{zone}`")]
    Zone {
        /// The schedule.
        schedule: String,
        /// What was written.
        zone: String,
    },
    /// No schedule of this name.
    #[error("there is no schedule `{0}`")]
    Missing(String),
    /// Several schedules of this name.
    #[error("more than one spec has a schedule `{name}`: {ids}")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their full names.
        ids: String,
    },
}

impl ScheduleError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::User
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Cron { .. } => "five fields: minute, hour, day of month, month, day of week",
            Self::Zone { .. } => "an IANA name such as Europe/Berlin or UTC",
            Self::Missing(_) => "`cupola schedule list` names them",
            Self::Ambiguous { .. } => "give the full name, spec.schedule",
        }
    }
}
