//! Schedules: when jobs of a spec run again by themselves.
//!
//! ```text
//! Schedule (spec) ─Timetable─▶ slots ─orders(due, catch_up, overlap)─▶ Order ─▶ FiringRecord (journal) ─▶ `apply --only JOBS`
//! ```
//! Everything here is a pure function of the spec, the journal's records and the time that it is given. A slot is an instant of the
//! schedule, and `spec.schedule@slot` in UTC is its key: it is recorded before anything runs, so a slot fires once however often the
//! daemon dies and however the system's clock jumps. A jitter delays a firing and is no part of the key. Time zones: a slot that a spring
//! change leaves out fires at the change; one that autumn gives twice fires once.

mod clock;
mod error;
mod orders;
mod record;
mod timetable;

pub use clock::clock_warnings;
pub use error::ScheduleError;
pub use orders::{GRACE_MILLIS, Named, Order, Upcoming, jitter_of, orders, upcoming};
pub use record::{
    FiringRecord, FiringState, ScheduleBook, ScheduleRecord, firing_key, forget_firing, schedule_id,
};
pub use timetable::{Slots, Timetable};

#[cfg(test)]
pub(crate) use timetable::tests;
