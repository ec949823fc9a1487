//! Answers that must have a form.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Fixture, chat, with};

/// Whether a text is what was asked for.
type Check<'a> = &'a dyn Fn(&str) -> bool;

/// Likes what closes: quotes, brackets and the end of the turn.
fn closing() -> Value {
    // Token 4 + byte is that byte; 2 is <|im_end|>.
    json!({"38": 4, "97": 4, "129": 4, "2": 8})
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2},
        },
        "required": ["name", "count", "tags"],
        "additionalProperties": false,
    })
}

fn named(schema: &Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": true}})
}

#[tokio::test]
async fn answers_that_stop_have_the_schemas_form_whole_and_streamed() {
    let fixture = Fixture::new();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut ended = 0;
    for seed in 0..8 {
        let request = with(
            &chat("A thing."),
            &json!({"response_format": named(&schema()), "seed": seed, "max_tokens": 120, "logit_bias": closing(), "n": 2}),
        );
        let whole = fixture.post("/v1/chat/completions", &request).await;
        assert_eq!(whole.status, 200, "{}", whole.text);
        let whole = whole.json();
        let chunks =
            fixture.post("/v1/chat/completions", &with(&request, &json!({"stream": true}))).await.chunks();
        for choice in whole["choices"].as_array().unwrap() {
            let text = choice["message"]["content"].as_str().unwrap();
            let parts = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0])
                .filter(|part| part["index"] == choice["index"]);
            let streamed: String = parts.filter_map(|part| part["delta"]["content"].as_str()).collect();
            assert_eq!(streamed, text);
            if choice["finish_reason"] == "stop" {
                ended += 1;
                let value: Value = serde_json::from_str(text).unwrap();
                assert!(validator.is_valid(&value), "{text}");
                let order: Vec<&String> = value.as_object().unwrap().keys().collect();
                assert_eq!(order, ["name", "count", "tags"], "the schema's order");
            }
        }
    }
    assert!(ended > 8, "{ended} of 16 ended");
}

#[tokio::test]
async fn each_kind_of_form_is_kept_on_both_routes() {
    let fixture = Fixture::new();
    let chat = with(&chat("Go"), &json!({"max_tokens": 100, "logit_bias": closing()}));
    let text =
        json!({"model": "tiny", "prompt": "Go", "max_tokens": 100, "seed": 3, "logit_bias": closing()});
    let is_object = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    let cases: [(Value, Check<'_>); 6] = [
        (json!({"response_format": {"type": "json_object"}}), &is_object),
        (json!({"structured_outputs": {"json_object": true}}), &is_object),
        (json!({"structured_outputs": {"json": "{\"enum\": [17]}"}}), &|text| text == "17"),
        (json!({"structured_outputs": {"regex": "[ab]{3}-[0-9]"}}), &|text| {
            text.len() == 5 && &text[3..4] == "-"
        }),
        (json!({"structured_outputs": {"choice": ["red \"wine\"", "blau\n"]}}), &|text| {
            ["red \"wine\"", "blau\n"].contains(&text)
        }),
        (json!({"structured_outputs": {"grammar": "start: \"<\" /[0-9]/ \">\""}}), &|text| {
            text.starts_with('<') && text.ends_with('>')
        }),
    ];
    for (form, is_right) in &cases {
        for (route, base) in [("/v1/chat/completions", &chat), ("/v1/completions", &text)] {
            let reply = fixture.post(route, &with(base, form)).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let answer = reply.json();
            let choice = &answer["choices"][0];
            let text = choice["text"].as_str().or(choice["message"]["content"].as_str()).unwrap();
            assert!(choice["finish_reason"] == "length" || is_right(text), "{form}: {text}");
            assert!(
                form.get("response_format").is_some() || choice["finish_reason"] == "stop" || text.len() > 90,
                "{text}"
            );
        }
    }
    let free = fixture
        .post("/v1/chat/completions", &with(&chat, &json!({"response_format": {"type": "text"}})))
        .await;
    let without = fixture.post("/v1/chat/completions", &chat).await.json();
    assert_eq!(free.json()["choices"], without["choices"]);
    assert_eq!(free.status, 200);
}

#[tokio::test]
async fn forms_that_cannot_be_carried_out_are_named() {
    let fixture = Fixture::new();
    let of = |schema: Value| json!({"response_format": named(&schema)});
    let cases = [
        (json!({"response_format": "json"}), "response_format", "object"),
        (json!({"response_format": {"type": "yaml"}}), "response_format", "yaml"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format", "json_schema"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
            "response_format",
            "name",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}}),
            "response_format",
            "letters",
        ),
        (json!({"response_format": {"type": "json_object", "schema": {}}}), "response_format", "schema"),
        (of(json!({"type": "array", "uniqueItems": true})), "response_format", "uniqueItems"),
        (of(json!({"not": {"type": "string"}})), "response_format", "not"),
        (of(json!({"$ref": "https://example.com/schema"})), "response_format", "example.com"),
        (of(json!({"type": "string", "pattern": "a("})), "response_format", "regex"),
        (json!({"structured_outputs": {}}), "structured_outputs", "one of"),
        (json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}), "structured_outputs", "one of"),
        (json!({"structured_outputs": {"choice": []}}), "structured_outputs", "choice"),
        (json!({"structured_outputs": {"json": "{"}}), "structured_outputs", "text of a schema"),
        (json!({"structured_outputs": {"grammar": "start: missing"}}), "structured_outputs", "missing"),
        (json!({"structured_outputs": {"colour": "red"}}), "structured_outputs", "colour"),
        (
            json!({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}),
            "structured_outputs",
            "one of them",
        ),
        (json!({"response_format": {"type": "json_object"}, "stop": "x"}), "stop", "response_format"),
        (
            json!({"response_format": {"type": "json_object"}, "ignore_eos": true}),
            "ignore_eos",
            "response_format",
        ),
        (json!({"guided_json": {"type": "object"}}), "guided_json", "response_format"),
        (json!({"grammar": "root ::= \"a\""}), "grammar", "Lark"),
    ];
    for (change, param, word) in cases {
        let reply = fixture.post("/v1/chat/completions", &with(&chat("Hi"), &change)).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &json!(param)), "{change}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(word), "{change}: {error}");
    }
}

/// The server's threads must go on while bombs are looked at, and keep nothing of them.
#[tokio::test]
async fn bombs_are_refused_while_others_are_answered() {
    let fixture = Fixture::new();
    let wide: Vec<Value> =
        (0..10).map(|at| json!({"properties": {(format!("p{at}")): {"type": "string"}}})).collect();
    let cross: Vec<Value> = (0..10).map(|_| json!({"anyOf": wide})).collect();
    let many: Vec<String> = (0..40_000).map(|at| format!("value {at}")).collect();
    let bombs = [
        json!({"response_format": named(&json!({"allOf": cross}))}),
        json!({"response_format": named(&json!({"enum": many}))}),
        json!({"structured_outputs": {"regex": "((a{1,1000}){1,1000}){1,1000}"}}),
        json!({"structured_outputs": {"regex": format!(".*a{}", ".{0,200}".repeat(200))}}),
        json!({"response_format": named(&json!({"type": "string", "pattern": "(x+x+)+y.{500,1000}[^z]{900}"}))}),
        json!({"structured_outputs": {"grammar": "start: start start | \"a\" | \"\"\n"}}),
    ];
    let before = resident_mib();
    let begun = Instant::now();
    let mut pending = Vec::new();
    for round in 0..8 {
        for bomb in &bombs {
            let request = with(&chat("Hi"), &with(bomb, &json!({"seed": round, "max_tokens": 8})));
            pending.push(fixture.send(crate::fixture::post("/v1/chat/completions", &request)));
        }
    }
    let plain = async {
        let begun = Instant::now();
        let reply = fixture.post("/v1/chat/completions", &chat("Hi")).await;
        (reply.status, begun.elapsed())
    };
    let (replies, (status, waited)) = tokio::join!(futures::future::join_all(pending), plain);
    for (at, reply) in replies.iter().enumerate() {
        let bomb = &bombs[at % bombs.len()];
        let error = &reply.json()["error"];
        assert!([200, 400].contains(&reply.status.as_u16()), "{:.80}: {}", bomb.to_string(), reply.text);
        assert!(reply.status == 200 || error["message"].is_string(), "{error}");
        if at < bombs.len() {
            println!("{:.80}: {} {error}", bomb.to_string(), reply.status);
        }
    }
    // The others are grammars that the engine follows as far as its limits let it.
    for bomb in 0..2 {
        assert!(replies.iter().skip(bomb).step_by(bombs.len()).all(|reply| reply.status == 400), "{bomb}");
    }
    let grown = resident_mib().saturating_sub(before);
    println!(
        "{} bombs in {:?}, {grown} MiB more; beside them an answer took {waited:?}",
        replies.len(),
        begun.elapsed()
    );
    assert!(status == 200 && waited < Duration::from_secs(5), "{status} after {waited:?}");
    assert!(grown < 400, "{grown} MiB");
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
