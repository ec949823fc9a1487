//! Listens, takes up what changes, says so, and stops in good order: `/ready` falls first, then new requests are refused and running answers end, then the
//! connections are closed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::connection::{Certificates, Door};
use crate::watch::follow;
use crate::{Drain, House, Phase, ServeConfig, ServeError, request_trace, router};

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
    house: House,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    address: SocketAddr,
    drain: Drain,
    reload: mpsc::Sender<()>,
    reloads: mpsc::Receiver<()>,
}

impl Server {
    /// Loads the model and listens.
    pub async fn start(config: ServeConfig) -> Result<Self, ServeError> {
        let loading = config.clone();
        let house = tokio::task::spawn_blocking(move || House::load(&loading))
            .await
            .map_err(|error| ServeError::Loading(std::io::Error::other(error)))??;
        Self::listen(house, &config).await
    }

    /// Listens for a model that is loaded.
    pub async fn listen(house: House, config: &ServeConfig) -> Result<Self, ServeError> {
        let acceptor = house.certificates.as_ref().map(Certificates::acceptor).transpose()?;
        let listen_error = |source| ServeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        if !address.ip().is_loopback() && house.keys.now().is_open() {
            tracing::warn!(%address, "listening beyond this machine without an API key");
        }
        let (reload, reloads) = mpsc::channel(1);
        Ok(Self { house, listener, acceptor, address, drain: config.drain.clone(), reload, reloads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https` where it has a certificate, else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.house.certificates.is_some() { "https" } else { "http" }
    }

    /// Each word sent has the server read its files again: the keys, and which models are served.
    pub fn reload(&self) -> mpsc::Sender<()> {
        self.reload.clone()
    }

    /// What it serves.
    pub fn house(&self) -> &House {
        &self.house
    }

    /// Serves until a stop comes, all answers have ended and their spans are sent or given up. Where the stops' sender is dropped it serves for ever.
    pub async fn run(self, stops: mpsc::Receiver<Stop>) {
        let spans = self.house.spans.clone();
        self.serve(stops).await;
        if let Some(spans) = spans {
            let closed = tokio::task::spawn_blocking(move || request_trace::close(&spans)).await;
            closed.unwrap_or_else(|error| tracing::error!(%error, "closing the spans' queue"));
        }
    }

    /// Serves until a stop comes and all answers have ended.
    async fn serve(self, mut stops: mpsc::Receiver<Stop>) {
        let Self { house, listener, acceptor, drain, reloads, .. } = self;
        let watch = AbortOnDrop(tokio::spawn(follow(house.clone(), reloads)));
        let door = Door::new(house.clone(), router(house.clone()), acceptor);
        tokio::select! {
            () = door.open(&listener) => {}
            () = give_notice(&house, drain.notice, &mut stops) => {}
        }
        house.enter(Phase::Draining);
        drop((listener, watch));
        tracing::info!("draining: running answers go on, new requests are refused");
        tokio::select! {
            biased;
            () = door.empty() => return,
            () = tokio::time::sleep(drain.limit) => {
                tracing::warn!(secs = drain.limit.as_secs(), "answers still ran at the end of the drain time");
            }
            _ = next(&mut stops) => tracing::warn!("a second stop: answers that still run are ended"),
        }
        house.enter(Phase::Ending);
        if tokio::time::timeout(FAREWELL, door.empty()).await.is_err() {
            house.enter(Phase::Closed);
            door.empty().await;
        }
    }
}

/// A task that ends with its handle.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for a stop, and then for as long as the notice takes.
async fn give_notice(house: &House, notice: Duration, stops: &mut mpsc::Receiver<Stop>) {
    let stop = next(stops).await;
    house.enter(Phase::Notice);
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
