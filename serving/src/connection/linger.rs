//! A connection whose request was answered before it was read. Closing it then would reset it, and the answer with it: so the answer's end is said, and
//! what still comes is read and thrown away, for a while.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may be silent that has more to send.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes that are thrown away at a time.
const PART: usize = 64 << 10;

/// Whether a connection's last request has a body that nobody read to its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(super) fn set(&self, is_unread: bool) {
        self.0.store(is_unread, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The socket; shutting it down takes as long as an unread body comes, and no longer than the patience.
pub(super) struct Lingering<S> {
    socket: S,
    unread: Unread,
    patience: Duration,
    parting: Parting,
}

/// How far the end is.
enum Parting {
    Open,
    /// The answer's end is said; when silence and patience end.
    Said {
        silence: Pin<Box<Sleep>>,
        last: Instant,
    },
}

impl<S> Lingering<S> {
    pub(super) fn new(socket: S, unread: Unread, patience: Duration) -> Self {
        Self { socket, unread, patience, parting: Parting::Open }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Parting::Open = this.parting {
            ready!(Pin::new(&mut this.socket).poll_shutdown(context))?;
            let now = Instant::now();
            let silence = Box::pin(tokio::time::sleep(SILENCE.min(this.patience)));
            this.parting = Parting::Said { silence, last: now + this.patience };
        }
        let Parting::Said { silence, last } = &mut this.parting else { return Poll::Ready(Ok(())) };
        if !this.unread.get() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = vec![0; PART];
        loop {
            let mut part = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.socket).poll_read(context, &mut part) {
                // The client is gone, one way or another.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if part.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => silence.as_mut().reset((Instant::now() + SILENCE).min(*last)),
                Poll::Pending => break,
            }
            if Instant::now() >= *last {
                return Poll::Ready(Ok(()));
            }
        }
        silence.as_mut().poll(context).map(Ok)
    }
}
