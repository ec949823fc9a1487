//! The journal as a stream of server-sent events: one event for each record, its number as the event's id.
//!
//! A client that comes back shows the last id that it saw, as browsers do by themselves, and gets what came after it: no record is lost
//! and none comes twice, whatever happened to the connection or to the daemon.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde_json::json;

use super::answers::{Always, Refusal};
use super::{ApiError, ApiState};
use crate::state::{JournalContents, Position, Record, read_journal, read_journal_after};

const POLL: Duration = Duration::from_millis(500);
const LAST_ID: &str = "last-event-id";

/// How far a client's stream is.
struct Reader {
    state: ApiState,
    position: Position,
    waiting: VecDeque<Record>,
}

/// Every record after `Last-Event-ID`, and those that are still to come; without the header, only these.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The last record that the client saw; without it only new ones come")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "Server-sent events: each record of the journal, with its number as the id"),
        (status = 422, body = Refusal, description = "There is no such record"),
        Always,
    )
)]
pub(super) async fn records(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let last = last_id(&headers)?;
    let contents = state.reading(|state| Ok(read_journal(&state.dir().journal())?)).await?;
    let JournalContents { records, position, .. } = contents;
    if let Some(last) = last.filter(|last| *last > position.seq) {
        let message = format!("there is no record {last}: the journal ends with {}", position.seq);
        return Err(ApiError::Invalid(message));
    }
    let last = last.unwrap_or(position.seq);
    let waiting = records.into_iter().filter(|record| record.seq > last).collect();
    let stream = unfold(Reader { state, position, waiting }, |mut reader| async move {
        loop {
            if let Some(record) = reader.waiting.pop_front() {
                return Some((Ok(event(&record)), reader));
            }
            tokio::time::sleep(POLL).await;
            reader.read_on().await.ok()?;
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

impl Reader {
    /// Takes in what the journal has more. An error ends the stream: the client comes back with its last id and is told.
    async fn read_on(&mut self) -> Result<(), ApiError> {
        let from = self.position.clone();
        let more =
            self.state.reading(move |state| Ok(read_journal_after(&state.dir().journal(), &from)?)).await?;
        self.position = more.position;
        self.waiting.extend(more.records);
        Ok(())
    }
}

/// A record as an event, named as its fact.
fn event(record: &Record) -> Event {
    let value = json!(record);
    let name = value["fact"].as_object().and_then(|fact| fact.keys().next().cloned()).unwrap_or_default();
    Event::default().id(record.seq.to_string()).event(name).data(value.to_string())
}

fn last_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(shown) = headers.get(LAST_ID) else { return Ok(None) };
    let number = shown.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || ApiError::Invalid("Last-Event-ID is not the number of a record".to_owned());
    number.map(Some).ok_or_else(wrong)
}
