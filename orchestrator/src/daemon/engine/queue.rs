//! Orders of clients: they start in the order in which they came, one at a time, in turn with firings.

use std::ops::RangeInclusive;
use std::path::Path;

use super::Engine;
use crate::daemon::{ApplyOrder, DaemonError, Launcher, OrderFiles, Surroundings, Ticket};

/// Exit codes with which the program ends by itself.
const OWN_CODES: RangeInclusive<i32> = 0..=3;
const ENDED: &str = "error: the process of this order was ended from outside\nhint: the same command goes on from what is there";
/// What stands for the code of a process that could not be started, or that a signal ended.
const BROKEN: i32 = 1;

/// Orders of clients, with the one that was started.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) files: OrderFiles,
    started: Option<(String, Ticket)>,
}

impl Queue {
    pub(super) fn new(files: OrderFiles) -> Self {
        Self { files, started: None }
    }

    /// Whether the process of an order runs.
    pub(super) fn is_busy(&self) -> bool {
        self.started.is_some()
    }

    /// The order whose turn is next.
    pub(super) fn next(&self) -> Option<ApplyOrder> {
        self.files.waiting().into_iter().next()
    }
}

impl<L: Launcher> Engine<L> {
    /// Takes an order; it starts at once where nothing is before it. Gives its id.
    pub fn place(&mut self, order: ApplyOrder, now_millis: i64) -> Result<String, DaemonError> {
        self.queue.files.forget_outdated(now_millis);
        let id = self.queue.files.place(order, now_millis)?;
        // Whatever else is due is not the client's business: it is said in the log.
        if let Err(error) = self.tick(now_millis) {
            tracing::warn!("schedules: {error}");
        }
        Ok(id)
    }

    /// Takes an order back; false where its process was started already, or where there is none.
    pub fn withdraw(&mut self, id: &str) -> bool {
        let is_started = self.queue.started.as_ref().is_some_and(|(started, _)| started == id);
        !is_started && self.queue.files.withdraw(id)
    }

    /// Notes the end of an order's process.
    pub(super) fn end_order(&mut self) -> Result<(), DaemonError> {
        let Some((id, ticket)) = self.queue.started.clone() else { return Ok(()) };
        let log = self.log();
        let Some(code) = self.launcher.ended(ticket).map_err(DaemonError::io(&log))? else { return Ok(()) };
        self.queue.started = None;
        // A process that came to its end has said so, and a client may have fetched it already. Where another process has the order's run,
        // that one will.
        let is_unsaid = self.queue.files.is_waiting(&id) || !OWN_CODES.contains(&code);
        let is_others = self.queue.files.run(&id).is_some() && self.ledger.holder().is_some();
        if is_unsaid && !is_others {
            if !OWN_CODES.contains(&code) {
                say(&self.queue.files.errors(&id), ENDED);
            }
            self.queue.files.note_end(&id, if OWN_CODES.contains(&code) { code } else { BROKEN })?;
        }
        self.queue.files.withdraw(&id);
        Ok(())
    }

    /// Starts the process of an order.
    pub(super) fn start_order(&mut self, order: &ApplyOrder) -> Result<(), DaemonError> {
        let files = self.queue.files.clone();
        let mut arguments = vec![
            format!("--state={}", self.dir.root().display()),
            format!("--via={}", order.via),
            format!("--order={}", order.id),
        ];
        arguments.extend(order.arguments.iter().cloned());
        let around = Surroundings {
            folder: order.folder.as_deref(),
            environment: &order.environment,
            output: &files.output(&order.id),
            errors: &files.errors(&order.id),
        };
        match self.launcher.start(&arguments, &around) {
            Ok(ticket) => self.queue.started = Some((order.id.clone(), ticket)),
            Err(error) => {
                say(&files.errors(&order.id), &format!("error: the daemon could not start it: {error}"));
                files.note_end(&order.id, BROKEN)?;
            }
        }
        Ok(())
    }
}

/// Adds a line to the errors of an order. Where that fails the exit code still tells.
fn say(errors: &Path, line: &str) {
    let _ = std::fs::File::options().create(true).append(true).open(errors).and_then(|mut file| {
        use std::io::Write;
        writeln!(file, "{line}")
    });
}
