//! What follows from a failure: another try, another try that is different, a wait, or the end of the step.

use cupola_specs::contract::{ErrorClass, Failure};

use super::backoff::delay_millis;
use super::board::{Phase, Stopping};
use super::{Command, Scheduler};
use crate::state::{RunState, StepMove};

/// How often a training step may go back to before a setback: what the language allows it.
const MOST_RETURNS: u32 = 64;
impl Scheduler {
    pub(super) fn fail(
        &mut self,
        step: usize,
        failure: Failure,
        (advanced, stopping): (bool, Option<Stopping>),
        now: i64,
        commands: &mut Vec<Command>,
    ) {
        match stopping {
            Some(Stopping::Pause) => {
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
                return;
            }
            Some(Stopping::Cancel) => {
                self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                return;
            }
            Some(Stopping::Timeout) | None => {}
        }
        if failure.is_storage_full() {
            self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
            self.await_room(step, commands);
            return;
        }
        let failure = if stopping == Some(Stopping::Timeout) { self.timed_out(step) } else { failure };
        let progress = &mut self.board.progress[step];
        // With less memory, or from before a setback on, it is another try, not the same one again.
        let changes = if failure.is_out_of_memory() && progress.halvings < self.board.nodes[step].halvings {
            progress.halvings += 1;
            true
        } else if failure.is_return() && progress.returns < MOST_RETURNS {
            progress.returns += 1;
            true
        } else {
            progress.failures = if advanced { 1 } else { progress.failures + 1 };
            false
        };
        let again = changes || progress.failures <= self.board.nodes[step].retries;
        if failure.class == ErrorClass::Transient && again {
            let until = now + delay_millis(&self.board.nodes[step].fingerprint, progress.failures.max(1));
            self.move_step(
                step,
                Phase::Backoff { until },
                StepMove::Backoff { until_millis: until },
                commands,
            );
        } else {
            self.move_step(step, Phase::Failed, StepMove::Failed { failure }, commands);
        }
    }

    /// An output that found no room in the store is whole: it waits and is moved there later.
    pub(super) fn fail_commit(
        &mut self,
        step: usize,
        failure: Failure,
        now: i64,
        commands: &mut Vec<Command>,
    ) {
        let goes_on = matches!(self.mode, RunState::Running | RunState::Paused);
        if failure.is_storage_full() && goes_on {
            self.uncommitted.insert(step);
            self.await_room(step, commands);
        } else {
            self.fail(step, failure, (false, None), now, commands);
        }
    }

    /// Nothing starts until there is room on the disk; what lives goes on as long as it can.
    fn await_room(&mut self, step: usize, commands: &mut Vec<Command>) {
        match self.mode {
            RunState::Running => {
                self.mode = RunState::Paused;
                self.awaits_room = true;
                commands.extend([Command::MoveRun(RunState::Paused), Command::AwaitRoom(step)]);
            }
            RunState::Paused if self.awaits_room => commands.push(Command::AwaitRoom(step)),
            _ => {}
        }
    }

    fn timed_out(&self, step: usize) -> Failure {
        Failure {
            class: ErrorClass::Transient,
            code: "timeout".to_owned(),
            message: format!(
                "the attempt took longer than {} s",
                self.board.nodes[step].timeout_millis / 1000
            ),
            hint: "raise the job's `timeout`".to_owned(),
        }
    }
}
