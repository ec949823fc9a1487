//! Schedules: when jobs of a spec run again by themselves.
//!
//! ```text
//! Schedule (spec) ─Timetable─▶ slots ─orders(due, catch_up, overlap)─▶ Order ─▶ FiringRecord (journal) ─▶ `apply --only JOBS`
//! ```
//! Everything here is a pure function of the spec, the journal's records and the time that it is given. A slot is an instant of the
//! schedule, and `spec.schedule@slot` in UTC is its key: it is recorded before anything runs, so a slot fires once however often the
//! daemon dies. Time zones: a slot that a spring change leaves out fires at the change; one that autumn gives twice fires once.

mod error;
mod orders;
mod record;
mod timetable;

pub use error::ScheduleError;
pub use orders::{GRACE_MILLIS, Order, orders};
pub use record::{FiringRecord, FiringState, ScheduleBook, ScheduleRecord, firing_key, schedule_id};
pub use timetable::Timetable;
