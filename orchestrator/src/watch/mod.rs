//! Live progress of a run, for people who look on.
//!
//! * `apply` shows bars on a terminal and plain lines elsewhere: [`Display`].
//! * `watch` follows a run from outside, without its lock: [`Follower`] reads on, [`show_page`] is a page on a terminal, [`Changes`] are
//!   lines for people without one and objects for programs.
//!
//! The words are pure functions of the read model ([`mod@line`]); the rest decides when and where they are shown.

mod display;
mod line;

mod error;
mod follow;
mod forecast;

mod changes;

mod draw;
mod page;
mod row;
mod terminal;

pub use changes::{Change, Changed, Changes};
pub use display::{Display, DisplayMode};
pub use error::WatchError;
pub use follow::Follower;
pub use forecast::{Forecast, Past};
pub use line::{
    ended_line, eta_secs, event_line, event_text, progress_text, running_line, sparkline, telling,
};
pub use terminal::show_page;

#[cfg(test)]
mod tests;
