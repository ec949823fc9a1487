//! A run as a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde_json::{Value, json};

use super::answers::{Always, Refusal, RunBrief};
use super::{ApiError, ApiState};
use crate::state::{RunView, StepView, holder};

const POLL: Duration = Duration::from_millis(500);

/// Event `run` whenever the run changed; event `end` when it came to its end or nobody drives it, and then the stream ends.
#[utoipa::path(
    get,
    path = "/runs/{run}/events",
    tag = "runs",
    params(("run" = String, Path, description = "The run's id, or `latest`")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "Server-sent events: `run` whenever it changed, then `end`"),
        (status = 404, body = Refusal, description = "There is no such run"),
        Always,
    )
)]
pub(super) async fn events(
    State(state): State<ApiState>,
    Path(run): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let view = state.reading(move |state| state.run(&run)).await?;
    let stream = unfold((state, view.id, None::<Value>, false), |(state, id, shown, over)| async move {
        if over {
            return None;
        }
        loop {
            let wanted = id.clone();
            let now =
                state.reading(move |state| Ok((state.run(&wanted)?, holder(state.dir()).is_some()))).await;
            let Ok((view, driven)) = now else { return None };
            let value = snapshot(&view);
            let over = view.state.is_final() || !driven;
            if over || shown.as_ref() != Some(&value) {
                let name = if over { "end" } else { "run" };
                let event = Event::default().event(name).data(value.to_string());
                return Some((Ok(event), (state, id, Some(value), over)));
            }
            tokio::time::sleep(POLL).await;
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn snapshot(run: &RunView) -> Value {
    let mut value = json!(RunBrief::of(run));
    value["steps"] = run.steps.iter().map(brief_step).collect();
    value
}

fn brief_step(step: &StepView) -> Value {
    let latest = |name: &str| step.metrics.get(name).and_then(|series| series.last);
    json!({
        "name": step.name, "state": step.state, "progress": step.progress, "loss": latest("loss"),
        "validation_loss": latest("validation_loss"), "error": step.error,
    })
}
