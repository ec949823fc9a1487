//! The OpenAPI document: what may be asked, and what is answered. Handlers read fields one by one and write values, so these types are the
//! document's own; tests hold the answers against them.

mod answers;
mod requests;
mod responses;

use serde_json::{Value, json};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

pub(super) use answers::{
    ChatCompletion, ChatCompletionChunk, Completion, EmbeddingList, ErrorAnswer, LifeSign, Model, ModelList,
    Readiness, Refused,
};
pub(super) use requests::{ChatRequest, CompletionRequest, EmbeddingRequest};
pub(super) use responses::{ResponseAnswer, ResponseEvent, ResponsesRequest};

use answers::HeadFields;
use requests::{FormFields, IgnoredFields, SamplingFields, SharedFields};

/// What the document says of itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cupola's serving API",
        description = "OpenAI's API around one model. A parameter that is not carried out is refused by name; `null` counts as absent."
    ),
    security(("key" = [])),
    paths(super::models::get_model),
    components(schemas(HeadFields, SamplingFields, SharedFields, FormFields, IgnoredFields)),
    modifiers(&Key)
)]
pub(crate) struct Document;

/// The scheme of the key.
struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("A key of the server's, where it has any.".to_owned());
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// Parts, and the schemas that have their fields among their own. As `allOf` they could not close a schema against unknown fields.
const PARTS: [(&str, &[&str]); 5] = [
    ("HeadFields", &["ChatCompletion", "ChatCompletionChunk", "Completion"]),
    ("SamplingFields", &["ChatRequest", "CompletionRequest", "ResponsesRequest"]),
    ("SharedFields", &["ChatRequest", "CompletionRequest"]),
    ("FormFields", &["ChatRequest", "CompletionRequest"]),
    ("IgnoredFields", &["ChatRequest", "CompletionRequest"]),
];

/// The document with each part in its place.
pub(crate) fn whole(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = json!(document);
    let schemas = &mut document["components"]["schemas"];
    for (part, wholes) in PARTS {
        let part = schemas.as_object_mut().and_then(|schemas| schemas.remove(part)).unwrap_or_default();
        for whole in wholes {
            let whole = &mut schemas[whole];
            for (name, property) in part["properties"].as_object().into_iter().flatten() {
                whole["properties"][name] = property.clone();
            }
            if let (Some(own), Some(more)) = (whole["required"].as_array_mut(), part["required"].as_array()) {
                own.extend(more.iter().cloned());
            }
        }
    }
    document
}

/// The document of a server: requests name one of the models that it serves.
pub(crate) fn serving(mut document: Value, models: &[String]) -> Value {
    for (name, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        if name.ends_with("Request") {
            schema["properties"]["model"]["enum"] = json!(models);
        }
    }
    document
}
