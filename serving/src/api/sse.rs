//! Answers as server-sent events: one JSON chunk an event, `[DONE]` at the end.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde_json::{Map, Value, json};

use super::ApiError;
use super::admission::{Admitted, Usage};
use super::respond::Format;
use super::sampling::StreamUsage;
use crate::answer::{Delta, TextAnswer};
use crate::app::App;

/// Streams answers as they come, interleaved. Dropping the stream, as the server does when the client is gone, drops the answers.
pub(crate) fn stream_answers<F: Format>(
    app: &App,
    admitted: Admitted,
    format: F,
    wish: StreamUsage,
) -> Response {
    let usage = Usage::of(&admitted);
    let Admitted { answers, ticket, .. } = admitted;
    let writer = Writer {
        head: app.answer_head(F::ID_PREFIX, F::CHUNK_OBJECT),
        app: app.clone(),
        format,
        wish,
        usage,
        _ticket: ticket,
    };
    let opening: Vec<Event> = (0..answers.len())
        .filter_map(|index| writer.format.opening(index))
        .map(|choice| writer.chunk(&choice))
        .collect();
    let merged = stream::select_all(
        answers.into_iter().enumerate().map(|(index, answer)| Box::pin(updates(index, answer))),
    );
    let body = stream::unfold(Some((merged, writer)), |state| async {
        let (mut merged, mut writer) = state?;
        match merged.next().await {
            Some(update) => match writer.events(update) {
                Ok(events) => Some((events, Some((merged, writer)))),
                Err(error) => Some((vec![data(&error.body())], None)),
            },
            None => Some((writer.closing(), None)),
        }
    });
    let events = stream::iter(vec![opening]).chain(body).flat_map(stream::iter).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// A delta of one answer, and what the answer took by then.
struct Update {
    index: usize,
    delta: Result<Delta, ApiError>,
    took: (u64, u64),
}

fn updates(index: usize, answer: TextAnswer) -> impl Stream<Item = Update> + Send {
    stream::unfold(answer, move |mut answer| async move {
        let delta = answer.next().await?;
        let took = answer.took();
        Some((Update { index, delta, took }, answer))
    })
}

struct Writer<F> {
    head: Map<String, Value>,
    app: App,
    format: F,
    wish: StreamUsage,
    usage: Usage,
    _ticket: crate::engine_thread::Ticket,
}

impl<F: Format> Writer<F> {
    fn events(&mut self, update: Update) -> Result<Vec<Event>, ApiError> {
        let delta = update.delta?;
        self.usage.set(update.index, update.took);
        let chunks = self.format.chunks(&self.app.model, update.index, &delta);
        Ok(chunks.iter().map(|choice| self.chunk(choice)).collect())
    }

    fn chunk(&self, choice: &Value) -> Event {
        let mut chunk = self.head.clone();
        chunk.insert("choices".into(), json!([choice]));
        match self.wish {
            StreamUsage::Never => {}
            StreamUsage::Last => {
                chunk.insert("usage".into(), Value::Null);
            }
            StreamUsage::Each => {
                chunk.insert("usage".into(), self.usage.value());
            }
        }
        data(&Value::Object(chunk))
    }

    fn closing(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.wish != StreamUsage::Never {
            let mut chunk = self.head.clone();
            chunk.insert("choices".into(), json!([]));
            chunk.insert("usage".into(), self.usage.value());
            events.push(data(&Value::Object(chunk)));
        }
        events.push(Event::default().data("[DONE]"));
        events
    }
}

/// JSON text has no line break, so one event carries it.
fn data(value: &Value) -> Event {
    Event::default().data(value.to_string())
}
