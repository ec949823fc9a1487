//! How far the server is on its way out. It only goes forward.

use tokio::sync::watch;

/// The phases of a server, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is taken.
    Serving,
    /// `/ready` says no, so that a load balancer looks elsewhere; everything is still taken.
    Notice,
    /// Running answers go on, nothing new is taken, connections close behind their answers.
    Draining,
    /// Answers that still run end with an error.
    Ending,
    /// Connections that are still open are cut.
    Closed,
}

/// The server's phase, for those who wait for the next one.
#[derive(Debug)]
pub(crate) struct Phases(watch::Sender<Phase>);

impl Default for Phases {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Phases {
    /// The phase now.
    pub(crate) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Goes on to a phase; an earlier one changes nothing.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let is_later = phase > *now;
            if is_later {
                *now = phase;
            }
            is_later
        });
    }

    /// A view that can wait.
    pub(crate) fn watch(&self) -> PhaseWatch {
        PhaseWatch(self.0.subscribe())
    }
}

/// Waits for phases.
#[derive(Debug, Clone)]
pub(crate) struct PhaseWatch(watch::Receiver<Phase>);

impl PhaseWatch {
    /// Ready once the phase or a later one is there; never where the server is gone without it.
    pub(crate) async fn reach(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let phases = Phases::default();
        let mut watch = phases.watch();
        phases.enter(Phase::Draining);
        phases.enter(Phase::Notice);
        assert_eq!(phases.now(), Phase::Draining);
        watch.reach(Phase::Notice).await;
        watch.reach(Phase::Draining).await;
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(5), watch.reach(Phase::Ending))
                .await
                .is_err()
        );
    }
}
