//! Orders: what is to be applied, how it stands, and taking it back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use cupola_specs::spec::SecretRef;
use serde::{Deserialize, Serialize};

use super::answers::{Always, OrderStage, OrderState, Ordered, Refusal, Withdrawn};
use super::{ApiError, ApiState};
use crate::alert::{ProcessSecrets, Secrets};
use crate::daemon::{ApplyOrder, OrderFiles};
use crate::state::now_millis;

/// The longest text of a process that is answered with, bytes from its end.
const MAX_TEXT: usize = 64 << 10;
/// The commands that lead to an apply.
const VERBS: [&str; 3] = ["apply", "resume", "retry"];

/// What `apply` is asked for. All but the spec is for clients that stand for a person's terminal.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyBody {
    /// The spec's file.
    #[schema(value_type = String)]
    pub spec: PathBuf,
    /// Only these jobs, with what they need.
    #[serde(default)]
    pub only: Vec<String>,
    /// These jobs and all that needs them.
    #[serde(default)]
    pub from: Vec<String>,
    /// Overrides, `KEY=VALUE`.
    #[serde(default)]
    pub set: Vec<String>,
    /// The working folder; the daemon's where none is given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub folder: Option<PathBuf>,
    /// Variables that differ from the daemon's environment; null where one is not set.
    #[serde(default)]
    pub environment: BTreeMap<String, Option<String>>,
    /// Names of secrets that the client has: refused where the daemon lacks one.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Whether the output is JSON.
    #[serde(default)]
    pub json: bool,
    /// The command that led to it, for the audit log: `apply`, `resume` or `retry`.
    #[serde(default)]
    pub verb: String,
}

impl ApplyBody {
    fn order(self) -> Result<ApplyOrder, ApiError> {
        let via = match self.verb.as_str() {
            "" | "apply" => "api".to_owned(),
            verb if VERBS.contains(&verb) => format!("api {verb}"),
            verb => return Err(ApiError::Invalid(format!("`{verb}` is none of {}", VERBS.join(", ")))),
        };
        if let Some(name) = self.environment.keys().find(|name| !is_variable(name)) {
            return Err(ApiError::Invalid(format!("`{name}` is no name of an environment variable")));
        }
        let mut arguments = vec!["apply".to_owned()];
        arguments.extend(self.json.then(|| "--json".to_owned()));
        for (option, values) in [("only", &self.only), ("from", &self.from), ("set", &self.set)] {
            arguments.extend(values.iter().map(|value| format!("--{option}={value}")));
        }
        arguments.extend(["--".to_owned(), self.spec.display().to_string()]);
        let (folder, environment) = (self.folder, self.environment);
        Ok(ApplyOrder { arguments, folder, environment, via, ..ApplyOrder::default() })
    }
}

/// Applies a spec, when its turn comes.
#[utoipa::path(
    post,
    path = "/apply",
    tag = "orders",
    request_body(content = ApplyBody, content_type = "application/json"),
    responses(
        (status = 202, body = Ordered, description = "It starts when nobody holds the state folder and no older order waits"),
        (status = 404, body = Refusal, description = "There is no such spec"),
        (status = 422, body = Refusal, description = "The body is not what it should be"),
        Always,
    )
)]
pub(super) async fn apply(
    State(state): State<ApiState>,
    body: Result<Json<ApplyBody>, axum::extract::rejection::JsonRejection>,
) -> Result<(StatusCode, Json<Ordered>), ApiError> {
    let Json(body) = body.map_err(|error| ApiError::Invalid(error.body_text()))?;
    let spec = body.folder.clone().unwrap_or_default().join(&body.spec);
    if !spec.is_file() {
        return Err(ApiError::Missing { what: "spec", name: body.spec.display().to_string() });
    }
    let is_missing = |name: &&String| ProcessSecrets.find(&SecretRef { name: (*name).clone() }).is_none();
    let missing: Vec<String> = body.secrets.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        return Err(ApiError::Secrets(missing.join(", ")));
    }
    let order = body.order()?;
    let id = state.reading(move |state| Ok(state.commands().place(order, now_millis())?)).await?;
    Ok((StatusCode::ACCEPTED, Json(Ordered { order: id })))
}

/// How an order stands.
#[utoipa::path(
    get,
    path = "/orders/{order}",
    tag = "orders",
    params(("order" = String, Path, description = "What the answer to the apply named")),
    responses(
        (status = 200, body = OrderState, description = "How it stands"),
        (status = 404, body = Refusal, description = "There is no such order"),
        Always,
    )
)]
pub(super) async fn order(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<OrderState>, ApiError> {
    let look = move |state: &ApiState| {
        let files = OrderFiles::new(state.dir());
        let missing = || ApiError::Missing { what: "order", name: id.clone() };
        if !OrderFiles::is_id(&id) {
            return Err(missing());
        }
        // From the last to the first: what happens meanwhile only adds.
        let (is_waiting, run, code) = (files.is_waiting(&id), files.run(&id), files.code(&id));
        let stands = match (code, &run, is_waiting) {
            (Some(_), ..) => OrderStage::Ended,
            (None, Some(_), _) => OrderStage::Running,
            (None, None, true) => OrderStage::Waiting,
            (None, None, false) => return Err(missing()),
        };
        Ok(OrderState {
            state: stands,
            run: run.map(|run| run.run),
            exit_code: code,
            output: text(&files.output(&id)),
            errors: text(&files.errors(&id)),
            order: id,
        })
    };
    state.reading(look).await.map(Json)
}

/// Takes an order back.
#[utoipa::path(
    delete,
    path = "/orders/{order}",
    tag = "orders",
    params(("order" = String, Path, description = "What the answer to the apply named")),
    responses(
        (status = 200, body = Withdrawn, description = "It will not start"),
        (status = 404, body = Refusal, description = "There is no such order"),
        (status = 409, body = Refusal, description = "It has begun"),
        Always,
    )
)]
pub(super) async fn withdraw(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<Withdrawn>, ApiError> {
    let work = move |state: &ApiState| {
        let files = OrderFiles::new(state.dir());
        if !OrderFiles::is_id(&id) {
            return Err(ApiError::Missing { what: "order", name: id });
        }
        if state.commands().withdraw(&id) {
            return Ok(Withdrawn { order: id, done: "withdrawn" });
        }
        let is_known = files.is_waiting(&id) || files.run(&id).is_some() || files.code(&id).is_some();
        Err(if is_known { ApiError::Begun(id) } else { ApiError::Missing { what: "order", name: id } })
    };
    state.reading(work).await.map(Json)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The end of a text file; empty where there is none.
fn text(path: &std::path::Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MAX_TEXT)..]).into_owned()
}
