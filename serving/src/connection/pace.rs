//! Bodies must come at a least rate: after a time of grace, all that came must be that many bytes for each second since.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::linger::Unread;
use crate::app::House;

/// The body came too slowly.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the request's body came too slowly")]
pub(crate) struct TooSlow;

impl TooSlow {
    /// Whether it is what an error comes from: whoever reads a body wraps its errors.
    pub(crate) fn is_reason_of(error: &(dyn Error + 'static)) -> bool {
        let mut reason = Some(error);
        while let Some(error) = reason {
            if error.is::<Self>() {
                return true;
            }
            reason = error.source();
        }
        false
    }
}

/// Times the request's body.
pub(crate) async fn pace_body(State(house): State<House>, request: Request, next: Next) -> Response {
    let limits = &house.connections;
    let (grace, rate) = (limits.body_grace, limits.min_body_bytes_per_sec);
    let unread = request.extensions().get::<Unread>().cloned().unwrap_or_default();
    next.run(request.map(|body| Body::new(PacedBody::new(body, unread, grace, rate)))).await
}

struct PacedBody {
    inner: Body,
    unread: Unread,
    has_ended: bool,
    started: Instant,
    grace: Duration,
    rate: usize,
    received_bytes: u64,
    due: Pin<Box<Sleep>>,
}

impl PacedBody {
    fn new(inner: Body, unread: Unread, grace: Duration, rate: usize) -> Self {
        let started = Instant::now();
        let due = Box::pin(tokio::time::sleep_until(started + grace));
        Self { inner, unread, has_ended: false, started, grace, rate, received_bytes: 0, due }
    }

    /// When more must be there.
    fn next_due(&self) -> Instant {
        let earned = Duration::from_secs_f64(self.received_bytes as f64 / self.rate as f64);
        self.started + self.grace + earned
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.has_ended |= frame.is_none();
            if let Some(Ok(frame)) = &frame {
                self.received_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.rate == 0 {
            return Poll::Pending;
        }
        let due = self.next_due();
        if self.due.deadline() < due {
            self.due.as_mut().reset(due);
        }
        ready!(self.due.as_mut().poll(context));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for PacedBody {
    fn drop(&mut self) {
        self.unread.set(!self.has_ended && !self.inner.is_end_stream());
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    /// Reads a body that gives `bytes` each 100 ms, ten times.
    async fn read(bytes: usize, rate: usize) -> Result<usize, axum::Error> {
        let parts = futures::stream::iter(0..10).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, std::io::Error>(vec![b' '; bytes])
        });
        let paced =
            PacedBody::new(Body::from_stream(parts), Unread::default(), Duration::from_millis(200), rate);
        axum::body::to_bytes(Body::new(paced), usize::MAX).await.map(|bytes| bytes.len())
    }

    #[tokio::test]
    async fn a_body_below_the_rate_ends_and_one_above_it_does_not() {
        assert_eq!(read(100, 400).await.unwrap(), 1000);
        let error = read(100, 4000).await.unwrap_err();
        assert!(TooSlow::is_reason_of(&error), "{error:?}");
        assert_eq!(read(1, 0).await.unwrap(), 10, "0 asks for no rate");
    }
}
