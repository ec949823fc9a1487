//! What the API asks of the engine, as a trait: tests answer with a fake.

use crate::daemon::{ApplyOrder, DaemonError, Engine, Launcher, Ticket, WatchedSchedule};

/// What the API asks of the engine.
pub trait Commands: Send {
    /// Starts `cupola` with these arguments.
    fn launch(&mut self, arguments: Vec<String>) -> Result<Ticket, DaemonError>;
    /// Takes an order; gives its id.
    fn place(&mut self, order: ApplyOrder, now_millis: i64) -> Result<String, DaemonError>;
    /// Takes an order back; false where it has begun, or where there is none.
    fn withdraw(&mut self, id: &str) -> bool;
    /// The exit code of what was started, once it ended.
    fn exit_code(&mut self, ticket: Ticket) -> Result<Option<i32>, DaemonError>;
    /// Pauses a schedule or lets it go on; false where the state folder is busy.
    fn set_paused(&mut self, id: &str, paused: bool, now_millis: i64) -> Result<bool, DaemonError>;
    /// Queues a firing; false where the state folder is busy.
    fn fire(&mut self, id: &str, now_millis: i64) -> Result<bool, DaemonError>;
    /// The schedules that are watched.
    fn schedules(&self) -> Vec<WatchedSchedule>;
}

impl<L: Launcher> Commands for Engine<L> {
    fn launch(&mut self, arguments: Vec<String>) -> Result<Ticket, DaemonError> {
        Self::launch(self, arguments)
    }

    fn place(&mut self, order: ApplyOrder, now_millis: i64) -> Result<String, DaemonError> {
        Self::place(self, order, now_millis)
    }

    fn withdraw(&mut self, id: &str) -> bool {
        Self::withdraw(self, id)
    }

    fn exit_code(&mut self, ticket: Ticket) -> Result<Option<i32>, DaemonError> {
        Self::exit_code(self, ticket)
    }

    fn set_paused(&mut self, id: &str, paused: bool, now_millis: i64) -> Result<bool, DaemonError> {
        Self::set_paused(self, id, paused, now_millis)
    }

    fn fire(&mut self, id: &str, now_millis: i64) -> Result<bool, DaemonError> {
        Self::fire(self, id, now_millis)
    }

    fn schedules(&self) -> Vec<WatchedSchedule> {
        Self::schedules(self).to_vec()
    }
}
