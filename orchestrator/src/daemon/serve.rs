//! The daemon's process: a thread that ticks, and the control API beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use super::alerts::deliver;
use super::files::{remove_daemon_file, token, write_daemon_file};
use super::{DaemonError, DaemonFile, Engine, ProcessLauncher, WatchedSpecs, read_daemon_file};
use crate::api::{ApiState, router};
use crate::run::Signals;
use crate::state::{StateDir, now_millis, read_state};

const TICK: Duration = Duration::from_millis(500);

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// Specs whose schedules it fires; where none is given, those of the runs in the state folder, as they begin.
    pub specs: Vec<PathBuf>,
    /// Where the control API listens; on loopback.
    pub listen: SocketAddr,
}

/// Runs until SIGINT or SIGTERM. `ready` is told the address and the token.
pub fn run_daemon(
    dir: &StateDir,
    options: &DaemonOptions,
    ready: &dyn Fn(SocketAddr, &str, &[String]),
) -> Result<(), DaemonError> {
    if !options.listen.ip().is_loopback() {
        return Err(DaemonError::NotLoopback(options.listen));
    }
    refuse_second(dir)?;
    std::fs::create_dir_all(dir.root()).map_err(DaemonError::io(dir.root()))?;
    let program = PathBuf::from("/proc/self/exe");
    let launcher = ProcessLauncher::new().map_err(DaemonError::io(&program))?;
    let (specs, mut problems) = WatchedSpecs::open(&options.specs, &read_state(dir)?);
    problems.extend(specs.hook_warnings(&[]));
    let engine = Arc::new(Mutex::new(Engine::new(dir, specs, launcher)));
    let token = token(dir)?;
    let signals = Signals::listen();
    let outbox = deliver(&engine, &signals);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::io(&program))?;
    let served = runtime.block_on(async {
        let taken = |source| DaemonError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let file = DaemonFile {
            pid: std::process::id(),
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since_millis: now_millis(),
        };
        write_daemon_file(dir, &file)?;
        ready(address, &token, &problems);
        let ticking = tokio::task::spawn_blocking({
            let (engine, signals) = (Arc::clone(&engine), signals.clone());
            move || tick_until(&engine, &signals)
        });
        let app = router(ApiState::new(dir, engine, &token));
        let stopped = signals.clone();
        let stop = async move {
            while stopped.count() == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        // Streams of events have no end of their own: the server ends with the signal, not with its last connection.
        tokio::select! {
            served = axum::serve(listener, app).into_future() => served.map_err(taken)?,
            () = stop => {}
        }
        // A tick that panicked has said so on standard error.
        let _ = ticking.await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    // A delivery that is not over is made again by the next daemon.
    outbox.wait(Duration::from_secs(1));
    remove_daemon_file(dir);
    served
}

fn tick_until(engine: &Mutex<Engine<ProcessLauncher>>, signals: &Signals) {
    while signals.count() == 0 {
        {
            let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
            let ticked = engine.refresh().and_then(|problems| {
                for problem in problems {
                    tracing::warn!("{problem}");
                }
                engine.tick(now_millis())
            });
            if let Err(error) = ticked {
                tracing::warn!("schedules: {error}");
            }
        }
        std::thread::sleep(TICK);
    }
}

fn refuse_second(dir: &StateDir) -> Result<(), DaemonError> {
    let Some(file) = read_daemon_file(dir) else { return Ok(()) };
    if file.is_alive() && file.pid != std::process::id() && answers(file.address) {
        return Err(DaemonError::Running { pid: file.pid, address: file.address });
    }
    Ok(())
}

/// Whether somebody listens there: a process id alone may have been given to another program.
fn answers(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}
