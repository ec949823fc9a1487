//! Signals of the terminal and of the system, as a count: the first asks running steps to checkpoint and stop, the second detaches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Counts SIGINT and SIGTERM.
#[derive(Debug, Clone, Default)]
pub struct Signals(Arc<AtomicU32>);

impl Signals {
    /// Listens from now on, on a thread of its own. Where that is not possible, signals keep their default effect.
    pub fn listen() -> Self {
        let signals = Self::default();
        let count = Arc::clone(&signals.0);
        let listen = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
                return;
            };
            runtime.block_on(async {
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        };
        // A thread that can't be started leaves the default effect of signals in place.
        let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(listen);
        signals
    }

    /// How many have come.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts one more, as if a signal had come.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
