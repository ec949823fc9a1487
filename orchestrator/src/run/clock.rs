//! Time as the driver sees it.

use std::time::Instant;

use crate::state::now_millis;

/// A source of time.
pub trait Clock {
    /// Milliseconds since the Unix epoch: what records say. A person or a time server may set it forwards and back.
    fn now_millis(&mut self) -> i64;

    /// Milliseconds that only ever go forwards: what waits, back-off and time-outs are measured by.
    fn steady_millis(&mut self) -> i64;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_millis(&mut self) -> i64 {
        now_millis()
    }

    fn steady_millis(&mut self) -> i64 {
        self.start.elapsed().as_millis() as i64
    }
}
