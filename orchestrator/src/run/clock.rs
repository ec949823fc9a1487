//! Time as the driver sees it.

use std::time::Duration;

use crate::state::now_millis;

/// A source of time.
pub trait Clock {
    /// Milliseconds since the Unix epoch.
    fn now_millis(&mut self) -> i64;

    /// Lets time go by.
    fn sleep(&mut self, millis: u64);
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_millis(&mut self) -> i64 {
        now_millis()
    }

    fn sleep(&mut self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}
