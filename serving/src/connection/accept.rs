//! The accept loop. Each connection has a task of its own, which ends with it; a connection over the caps is told so and closed.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::census::{Census, Full, Seat};
use super::linger::{Lingering, Unread};
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
    /// Where the server has a certificate.
    acceptor: Option<TlsAcceptor>,
}

impl Door {
    pub(crate) fn new(house: House, router: Router, acceptor: Option<TlsAcceptor>) -> Self {
        let limits = house.connections.clone();
        let census = Census::new(limits.max, limits.max_per_address, Arc::clone(&house.metrics));
        Self { house, router, limits, census, told: Arc::new(Semaphore::new(MAX_TOLD)), acceptor }
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
                let talk = Talk {
                    http: self.http(),
                    router: self.router.clone(),
                    phases: self.house.phases.watch(),
                    patience: self.limits.header_timeout,
                };
                match self.acceptor.clone() {
                    None => tokio::spawn(talk.converse(socket, seat)),
                    Some(acceptor) => tokio::spawn(talk.greet(acceptor, socket, seat)),
                };
            }
            Err(full) => {
                self.house.metrics.count_connection_refused();
                if let Ok(permit) = Arc::clone(&self.told).try_acquire_owned() {
                    tokio::spawn(refuse(socket, self.acceptor.clone(), full, permit));
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

/// What one connection needs.
struct Talk {
    http: http1::Builder,
    router: Router,
    phases: PhaseWatch,
    /// How long a handshake may take, and an unread body once it is answered.
    patience: Duration,
}

impl Talk {
    /// Serves a connection behind its handshake, which has as long as a header has.
    async fn greet(mut self, acceptor: TlsAcceptor, socket: ReadByClient, seat: Seat) {
        let greeting = tokio::select! {
            greeting = tokio::time::timeout(self.patience, acceptor.accept(socket)) => greeting,
            () = self.phases.reach(Phase::Draining) => return,
        };
        match greeting {
            Ok(Ok(socket)) => self.converse(socket, seat).await,
            Ok(Err(error)) => tracing::debug!(%error, "handshake"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
    }

    /// Serves one connection. While the server drains, it closes behind the answer that runs.
    async fn converse<S>(self, socket: S, _seat: Seat)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { http, router, mut phases, patience } = self;
        let unread = Unread::default();
        let socket = Lingering::new(socket, unread.clone(), patience);
        let service = OfConnection { inner: TowerToHyperService::new(router), unread };
        let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
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
}

/// The router for one connection: its requests know whether the body before theirs was read.
struct OfConnection {
    inner: TowerToHyperService<Router>,
    unread: Unread,
}

impl Service<Request<Incoming>> for OfConnection {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.unread.clone());
        self.inner.call(request)
    }
}

/// Says why the connection is not taken, and closes it.
async fn refuse(socket: TcpStream, acceptor: Option<TlsAcceptor>, full: Full, _permit: OwnedSemaphorePermit) {
    let error = match full {
        Full::Server => ApiError::too_many_connections(),
        Full::Address => ApiError::too_many_connections_of_address(),
    };
    let told = async {
        match acceptor {
            None => tell(socket, &error).await,
            Some(acceptor) => tell(acceptor.accept(socket).await?, &error).await,
        }
    };
    match tokio::time::timeout(TOLD_PATIENCE, told).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "refused connection"),
    }
}

async fn tell<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, error: &ApiError) -> std::io::Result<()> {
    // Clients take an answer that comes before they asked for none.
    let mut unread = [0; 4096];
    if socket.read(&mut unread).await? == 0 {
        return Ok(());
    }
    socket.write_all(&error.to_wire()).await?;
    socket.shutdown().await?;
    // Closing before the request is read would reset the connection, and the answer with it.
    while socket.read(&mut unread).await? > 0 {}
    Ok(())
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
