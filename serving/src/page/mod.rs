//! The chat page: one self-contained document, made of its three files at the first request.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("chat.html")
        .replace("/* chat.css */", include_str!("chat.css"))
        .replace("/* chat.js */", include_str!("chat.js"))
});

/// Nothing is loaded from elsewhere, and nobody may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(crate) async fn chat_page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE.as_str())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
        assert!(PAGE.contains("EventStream") || PAGE.contains("getReader"), "the script is in it");
        assert!(PAGE.contains("--accent"), "the style is in it");
        for outside in ["src=\"http", "href=\"http", "url(http", "@import", "innerHTML"] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
