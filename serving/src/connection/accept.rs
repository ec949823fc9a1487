//! The accept loop. Each connection has a task of its own, which ends with it; a connection over the caps is told so and closed.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::census::{Census, Full, Seat};
use super::stream::ReadByClient;
use crate::api::ApiError;
use crate::app::House;
use crate::config::ConnectionLimits;
use crate::phase::{Phase, PhaseWatch};

/// Most bytes of a request's head: its line and headers together.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Connections that are told at the same time that they are too many; more are closed without a word.
const MAX_TOLD: usize = 64;
/// How long a refused client may take to read why.
const TOLD_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of descriptors or memory: they come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
pub(crate) struct Door {
    house: House,
    router: Router,
    limits: ConnectionLimits,
    census: Arc<Census>,
    told: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(house: House, router: Router) -> Self {
        let limits = house.connections.clone();
        let census = Census::new(limits.max, limits.max_per_address, Arc::clone(&house.metrics));
        Self { house, router, limits, census, told: Arc::new(Semaphore::new(MAX_TOLD)) }
    }

    /// Takes connections until it is dropped.
    pub(crate) async fn open(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => self.welcome(socket, peer.ip()),
                Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "accept"),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Ready when no connection is open.
    pub(crate) async fn empty(&self) {
        self.census.empty().await;
    }

    fn welcome(&self, socket: TcpStream, address: IpAddr) {
        if let Err(error) = tune(&socket, self.limits.tcp_keepalive) {
            tracing::debug!(%error, "socket options");
        }
        match self.census.enter(address) {
            Ok(seat) => {
                let socket = ReadByClient::new(socket, self.limits.write_timeout);
                let connection = self
                    .http()
                    .serve_connection(TokioIo::new(socket), TowerToHyperService::new(self.router.clone()));
                tokio::spawn(converse(connection, self.house.phases.watch(), seat));
            }
            Err(full) => {
                self.house.metrics.count_connection_refused();
                if let Ok(permit) = Arc::clone(&self.told).try_acquire_owned() {
                    tokio::spawn(refuse(socket, full, permit));
                }
            }
        }
    }

    fn http(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        builder
    }
}

type Connection = http1::Connection<TokioIo<ReadByClient>, TowerToHyperService<Router>>;

/// Serves one connection. While the server drains, it closes behind the answer that runs.
async fn converse(connection: Connection, mut phases: PhaseWatch, _seat: Seat) {
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = phases.reach(Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = phases.reach(Phase::Closed) => return,
            }
        }
    };
    if let Err(error) = result {
        // A client that is gone, too slow or does not speak HTTP.
        tracing::debug!(%error, "connection");
    }
}

/// Says why the connection is not taken, and closes it.
async fn refuse(mut socket: TcpStream, full: Full, _permit: OwnedSemaphorePermit) {
    let error = match full {
        Full::Server => ApiError::too_many_connections(),
        Full::Address => ApiError::too_many_connections_of_address(),
    };
    let told = async {
        socket.write_all(&error.to_wire()).await?;
        socket.shutdown().await?;
        // Closing before the request is read would reset the connection, and the answer with it.
        let mut unread = [0; 4096];
        while socket.read(&mut unread).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    match tokio::time::timeout(TOLD_PATIENCE, told).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "refused connection"),
    }
}

/// A token's event goes out at once, and a peer that vanished is found.
fn tune(socket: &TcpStream, keepalive: Duration) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    if keepalive.is_zero() {
        return Ok(());
    }
    let probes = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / 4).with_retries(4);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

/// Whether only the connection that was to be accepted failed.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
