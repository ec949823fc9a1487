//! Which path goes where.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, CorsLayer};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{REQUEST_ID, check_host, check_key, check_length, observe};
use crate::api::{ApiError, chat, completions, document, embeddings, health, models, responses};
use crate::app::House;
use crate::connection::pace_body;
use crate::page;

/// The routes of the API with their entries in the document: neither is there without the other.
fn described() -> OpenApiRouter<House> {
    OpenApiRouter::with_openapi(document::Document::openapi())
        .routes(routes!(chat::chat_completions))
        .routes(routes!(completions::completions))
        .routes(routes!(responses::responses))
        .routes(routes!(embeddings::embeddings))
        .routes(routes!(models::list_models))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// The OpenAPI document of the serving API.
pub fn openapi() -> Value {
    document::whole(&described().into_openapi())
}

/// The server's routes around its models.
pub fn router(house: House) -> Router {
    let (api, document) = described().split_for_parts();
    let document = document::whole(&document);
    let router = api
        // A name may have slashes, which the document cannot say.
        .route("/v1/models/{*id}", get(models::get_model))
        .route(
            "/openapi.json",
            get(async move |State(house): State<House>| {
                Json(document::serving(document.clone(), &house.names()))
            }),
        )
        .merge(page::routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            ApiError::internal("the server failed on this request").into_response()
        }))
        .layer(DefaultBodyLimit::max(house.limits.body_bytes))
        .layer(from_fn_with_state(house.clone(), check_length))
        .layer(from_fn_with_state(house.clone(), check_key))
        .layer(from_fn_with_state(house.clone(), check_host));
    let router = match cors(&house.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(from_fn_with_state(house.clone(), pace_body))
        .layer(from_fn_with_state(house.clone(), observe))
        .with_state(house)
}

/// What pages may read beside the body: the rest of an answer's headers is the server's own business.
const EXPOSED: [HeaderName; 10] = [
    REQUEST_ID,
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Lets pages of the named origins call the API. Without any, a browser lets only the server's own page do so. Any header passes:
/// OpenAI's library for browsers sends some of its own.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED)
    })
}

async fn unknown_route(method: Method, uri: Uri) -> Response {
    ApiError::unknown_route(method.as_str(), uri.path()).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    ApiError::method_not_allowed(method.as_str(), uri.path()).into_response()
}
