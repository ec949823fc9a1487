//! The pages as a browser gets them: what is at which address, of which type, and under which policy.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};

use crate::fixture::Fixture;

const DOCUMENTS: [&str; 2] = ["/", "/compare"];

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}

#[tokio::test]
async fn all_that_a_page_needs_is_served_with_its_type_under_the_policy() {
    let fixture = Fixture::new();
    let mut asked = BTreeSet::new();
    let mut open: Vec<String> = DOCUMENTS.map(str::to_owned).to_vec();
    while let Some(path) = open.pop() {
        if !asked.insert(path.clone()) {
            continue;
        }
        let reply = fixture.get(&path).await;
        assert_eq!(reply.status, 200, "{path}");
        let expected = match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(reply.headers[header::CONTENT_TYPE], expected, "{path}");
        assert_eq!(reply.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        let policy = reply.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for directive in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]
        {
            assert!(policy.split("; ").any(|given| given == directive), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
        open.extend(between(&reply.text, "\"/page/", "\"").map(|name| format!("/page/{name}")));
        open.extend(between(&reply.text, "from \"./", "\"").map(|name| format!("/page/{name}")));
    }
    assert!(asked.len() > 10, "{asked:?}");
}

#[tokio::test]
async fn what_is_no_page_is_an_error_object() {
    let fixture = Fixture::new();
    for path in ["/page/none.js", "/page/", "/page/..%2Fmod.rs", "/page/mod.rs"] {
        let reply = fixture.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.json()["error"]["code"], "unknown_url", "{path}");
    }
    let post = Request::post("/compare").body(Body::empty()).unwrap();
    assert_eq!(fixture.send(post).await.status, 405);
}

#[tokio::test]
async fn a_browser_is_asked_for_the_key_by_the_documents_alone() {
    let fixture = Fixture::with(|config| config.api_key = Some("sesame".into()));
    for path in DOCUMENTS {
        let reply = fixture.get(path).await;
        assert_eq!(reply.status, 401, "{path}");
        assert!(reply.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "), "{path}");
    }
    let file = fixture.get("/page/chat.js").await;
    assert_eq!(
        (file.status.as_u16(), &file.headers[header::WWW_AUTHENTICATE]),
        (401, &"Bearer".parse().unwrap())
    );
}
