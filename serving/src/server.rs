//! Listens, says so, and stops in good order: `/ready` falls first, then new requests are refused and running answers end, then the
//! connections are closed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::connection::Door;
use crate::{App, Drain, Phase, ServeConfig, ServeError, router};

/// A wish that the server stops. A second one, whichever it is, ends what still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// After the notice: others must first learn that they should go elsewhere.
    WithNotice,
    /// Without it.
    AtOnce,
}

/// How long answers that were ended may take to say so.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that listens.
pub struct Server {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
    drain: Drain,
}

impl Server {
    /// Loads the model and listens.
    pub async fn start(config: ServeConfig) -> Result<Self, ServeError> {
        let loading = config.clone();
        let app = tokio::task::spawn_blocking(move || App::load(&loading))
            .await
            .map_err(|error| ServeError::Loading(std::io::Error::other(error)))??;
        Self::listen(app, &config).await
    }

    /// Listens for a model that is loaded.
    pub async fn listen(app: App, config: &ServeConfig) -> Result<Self, ServeError> {
        let listen_error = |source| ServeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        if !address.ip().is_loopback() && app.keys.is_open() {
            tracing::warn!(%address, "listening beyond this machine without an API key");
        }
        Ok(Self { app, listener, address, drain: config.drain.clone() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves until a stop comes and all answers have ended. Where the stops' sender is dropped it serves for ever.
    pub async fn run(self, mut stops: mpsc::Receiver<Stop>) {
        let Self { app, listener, drain, .. } = self;
        let door = Door::new(app.clone(), router(app.clone()));
        tokio::select! {
            () = door.open(&listener) => {}
            () = give_notice(&app, drain.notice, &mut stops) => {}
        }
        app.enter(Phase::Draining);
        drop(listener);
        tracing::info!("draining: running answers go on, new requests are refused");
        tokio::select! {
            biased;
            () = door.empty() => return,
            () = tokio::time::sleep(drain.limit) => {
                tracing::warn!(secs = drain.limit.as_secs(), "answers still ran at the end of the drain time");
            }
            _ = next(&mut stops) => tracing::warn!("a second stop: answers that still run are ended"),
        }
        app.enter(Phase::Ending);
        if tokio::time::timeout(FAREWELL, door.empty()).await.is_err() {
            app.enter(Phase::Closed);
            door.empty().await;
        }
    }
}

/// Waits for a stop, and then for as long as the notice takes.
async fn give_notice(app: &App, notice: Duration, stops: &mut mpsc::Receiver<Stop>) {
    let stop = next(stops).await;
    app.enter(Phase::Notice);
    if stop == Stop::WithNotice && !notice.is_zero() {
        tracing::info!(secs = notice.as_secs(), "stopping: no longer ready, requests are still taken");
        tokio::select! {
            () = tokio::time::sleep(notice) => {}
            _ = next(stops) => {}
        }
    }
}

async fn next(stops: &mut mpsc::Receiver<Stop>) -> Stop {
    match stops.recv().await {
        Some(stop) => stop,
        None => std::future::pending().await,
    }
}
