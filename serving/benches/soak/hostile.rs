//! Requests that nobody means well. Each is a request as bytes; the answer must be an error object, or whole.

use serde_json::{Value, json};

use crate::fixture::{wire_get, wire_post, with};

const CHAT: &str = "/v1/chat/completions";

/// An attack's name, and what makes its request.
type Attack = (&'static str, fn() -> Vec<u8>);

/// All of them.
pub(crate) const ALL: [Attack; 18] = [
    ("attack: invalid UTF-8", || {
        raw(b"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", None)
    }),
    ("attack: 100 MB that stall", || raw(&[b' '; 60_000], Some(100 << 20))),
    ("attack: 100 MB, all of them", || raw(&vec![b' '; 100 << 20], None)),
    ("attack: 30 MB without a length", || chunked(30 << 20)),
    ("attack: deep JSON", || raw(&[b'['; 200_000], None)),
    ("attack: deep field", || asked(&json!({"messages": deep(100)}))),
    ("attack: huge n", || asked(&json!({"n": 1_000_000_000u64}))),
    ("attack: negative number", || asked(&json!({"max_tokens": -1}))),
    ("attack: NaN", || raw(b"{\"model\":\"tiny\",\"messages\":[],\"temperature\":NaN}", None)),
    ("attack: 1e999", || {
        raw(b"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"temperature\":1e999}", None)
    }),
    ("attack: regex bomb", || {
        schema(&json!({"type": "string", "pattern": "^(((((a{1,999}){1,999}){1,999}){1,999}){1,999})+$"}))
    }),
    ("attack: schema bomb", || schema(&bomb(12))),
    ("attack: schema that is itself", || schema(&json!({"$ref": "#"}))),
    ("attack: template injection", || {
        let content = "{{ messages.__class__ }}{% for x in range(1000000000) %}{% endfor %}<|im_end|>";
        asked(&json!({"messages": [{"role": "user", "content": content}]}))
    }),
    ("attack: path as model", || asked(&json!({"model": "../../../etc/passwd"}))),
    ("attack: path in path", || wire_get("/v1/models/..%2f..%2f..%2fetc%2fpasswd")),
    ("attack: token beyond", || {
        wire_post("/v1/completions", &json!({"model": "tiny", "prompt": [4_294_967_295u64]}))
    }),
    ("attack: thousand stops", || asked(&json!({"stop": vec!["x"; 1000]}))),
];

/// A chat with fields of its own.
fn asked(fields: &Value) -> Vec<u8> {
    let base = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8});
    wire_post(CHAT, &with(&base, fields))
}

fn schema(schema: &Value) -> Vec<u8> {
    let form = json!({"name": "bomb", "strict": true, "schema": schema});
    asked(&json!({"response_format": {"type": "json_schema", "json_schema": form}}))
}

/// A body that need not be JSON, and need not be as long as it says.
fn raw(body: &[u8], length: Option<usize>) -> Vec<u8> {
    let length = length.unwrap_or(body.len());
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A body in chunks of a megabyte, that does not say how long it is.
fn chunked(length: usize) -> Vec<u8> {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    [head.as_bytes(), &chunk.repeat(length >> 20), b"0\r\n\r\n"].concat()
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!([]), |inner, _| json!([inner]))
}

/// As many alternatives as two to the power of the levels.
fn bomb(levels: usize) -> Value {
    (0..levels).fold(json!({"type": "string"}), |inner, _| {
        json!({"anyOf": [{"type": "object", "properties": {"a": inner.clone()}, "required": ["a"], "additionalProperties": false},
                         {"type": "array", "items": inner}]})
    })
}
