//! The pages: chat and compare. Each is a document with its style sheets and modules, all in the binary, as they lie in this folder.
//!
//! A browser runs nothing but these modules and asks nobody but this server: the policy allows no inline script, no other origin, and no
//! text that becomes markup.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::ApiError;
use crate::app::House;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Where the documents are.
const DOCUMENTS: [(&str, &str); 2] =
    [("/", include_str!("chat.html")), ("/compare", include_str!("compare.html"))];

/// What the documents load from `/page/NAME`: name, content type, text.
const FILES: [(&str, &str, &str); 17] = [
    ("page.css", CSS, include_str!("page.css")),
    ("chat.css", CSS, include_str!("chat.css")),
    ("compare.css", CSS, include_str!("compare.css")),
    ("mark.svg", SVG, include_str!("mark.svg")),
    ("chat.js", JAVASCRIPT, include_str!("chat.js")),
    ("compare.js", JAVASCRIPT, include_str!("compare.js")),
    ("chat_list.js", JAVASCRIPT, include_str!("chat_list.js")),
    ("conversations.js", JAVASCRIPT, include_str!("conversations.js")),
    ("frame.js", JAVASCRIPT, include_str!("frame.js")),
    ("inline.js", JAVASCRIPT, include_str!("inline.js")),
    ("make.js", JAVASCRIPT, include_str!("make.js")),
    ("markdown.js", JAVASCRIPT, include_str!("markdown.js")),
    ("preferences.js", JAVASCRIPT, include_str!("preferences.js")),
    ("sampling.js", JAVASCRIPT, include_str!("sampling.js")),
    ("storage.js", JAVASCRIPT, include_str!("storage.js")),
    ("stream.js", JAVASCRIPT, include_str!("stream.js")),
    ("turns.js", JAVASCRIPT, include_str!("turns.js")),
];

/// The routes of the pages.
pub(crate) fn routes() -> Router<House> {
    let documents = DOCUMENTS.into_iter().fold(Router::new(), |router, (path, text)| {
        router.route(path, get(move || async move { answer(HTML, text) }))
    });
    documents.route("/page/{name}", get(file))
}

/// Whether a browser opens this path by itself, so that it can ask its user for a key.
pub(crate) fn is_document(path: &str) -> bool {
    DOCUMENTS.iter().any(|(document, _)| *document == path)
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, content_type, text)) => answer(content_type, text),
        None => ApiError::unknown_route("GET", &format!("/page/{name}")).into_response(),
    }
}

fn answer(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // A server of a newer version has other files at the same addresses.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        DOCUMENTS.into_iter().chain(FILES.into_iter().map(|(name, _, text)| (name, text)))
    }

    /// What stands between two marks, each time.
    fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_becomes_markup() {
        let outside = [
            "src=\"http",
            "href=\"http",
            "src=\"//",
            "href=\"//",
            "url(",
            "@import",
            "fetch(\"http",
            "import(",
            "WebSocket",
            "EventSource",
        ];
        let markup = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "eval(",
            "new Function",
            "srcdoc",
        ];
        for (name, text) in all() {
            for word in outside.into_iter().chain(markup) {
                assert!(!text.contains(word), "{name} has {word}");
            }
            // The one address is the name of a format.
            let addresses: Vec<&str> = between(text, "://", "\"").collect();
            let is_name = |address: &&str| *address == "www.w3.org/2000/svg";
            let is_pattern = text.contains("https?:");
            assert!(is_pattern || addresses.iter().all(is_name), "{name} names {addresses:?}");
        }
    }

    #[test]
    fn documents_hold_no_script_and_no_style_of_their_own() {
        for (path, text) in DOCUMENTS {
            for word in [" style=", "<style", "javascript:", " onclick=", " onload=", "<script>"] {
                assert!(!text.contains(word), "{path} has {word}");
            }
            assert_eq!(text.matches("<script").count(), 1, "{path}");
            assert_eq!(text.matches("<script type=\"module\" src=\"/page/").count(), 1, "{path}");
        }
    }

    #[test]
    fn what_is_loaded_is_there_and_what_is_there_is_loaded() {
        let mut loaded = BTreeSet::new();
        for (name, text) in all() {
            loaded.extend(between(text, "\"/page/", "\"").map(str::to_owned));
            loaded.extend(between(text, "from \"./", "\"").map(str::to_owned));
            assert!(!text.contains("from \"/") && !text.contains("from '"), "{name} imports by another form");
        }
        let there: BTreeSet<String> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(loaded, there);
        for (name, content_type, _) in FILES {
            let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
            let expected = match ending {
                Some("css") => CSS,
                Some("svg") => SVG,
                _ => JAVASCRIPT,
            };
            assert_eq!(content_type, expected, "{name}");
        }
    }
}
