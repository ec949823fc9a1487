//! `/v1/responses`: items, events, and what nothing is stored for.

use serde_json::{Value, json};

use crate::fixture::{Fixture, Reply, with};

const TEMPLATE: &str = "{{ bos_token }}{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn asked(more: &Value) -> Value {
    with(&json!({"model": "tiny", "input": "Hello", "seed": 5, "max_output_tokens": 24}), more)
}

/// The events of a stream, whose names and numbers are right.
fn events(reply: &Reply) -> Vec<Value> {
    let (body, rest) = reply.text.rsplit_once("\n\n").unwrap();
    assert_eq!(rest, "");
    let event = |(number, event): (usize, &str)| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], number);
        data
    };
    body.split("\n\n").enumerate().map(event).collect()
}

/// A response without what differs from one answer to the next.
fn facts(response: &Value) -> Value {
    let mut response = response.clone();
    for field in ["id", "created_at"] {
        response.as_object_mut().unwrap().remove(field).unwrap();
    }
    for item in response["output"].as_array_mut().unwrap() {
        for field in ["id", "call_id"] {
            item.as_object_mut().unwrap().remove(field);
        }
    }
    response
}

#[tokio::test]
async fn an_answer_is_the_chats_with_the_responses_shape() {
    let fixture = Fixture::new();
    let reply = fixture
        .post("/v1/responses", &asked(&json!({"instructions": "Be brief.", "metadata": {"a": "b"}})))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.headers.contains_key("x-ratelimit-limit-requests"));
    let answer = reply.json();
    let chat = json!({
        "model": "tiny", "seed": 5, "max_tokens": 24,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    });
    let chat = fixture.post("/v1/chat/completions", &chat).await.json();
    let text = &chat["choices"][0]["message"]["content"];
    assert_eq!((&answer["object"], &answer["store"]), (&json!("response"), &json!(false)));
    assert_eq!((&answer["instructions"], &answer["metadata"]), (&json!("Be brief."), &json!({"a": "b"})));
    let item = &answer["output"][0];
    assert_eq!(
        (&item["type"], &item["role"], &item["content"][0]["text"]),
        (&json!("message"), &json!("assistant"), text)
    );
    assert_eq!(answer["usage"]["total_tokens"], chat["usage"]["total_tokens"]);
    let is_cut = chat["choices"][0]["finish_reason"] == "length";
    assert_eq!(answer["status"], if is_cut { "incomplete" } else { "completed" });
    assert_eq!(answer["incomplete_details"].is_object(), is_cut);
}

#[tokio::test]
async fn a_stream_tells_each_part_and_ends_with_the_whole() {
    let fixture = Fixture::of_template(TEMPLATE, |config| config.context = 2000);
    let tool = json!({"type": "function", "name": "clock", "strict": true, "parameters": {
        "type": "object", "properties": {"zone": {"enum": ["a", "b"]}}, "required": ["zone"], "additionalProperties": false,
    }});
    let format = json!({"format": {"type": "json_schema", "name": "n", "strict": true, "schema": {"enum": ["red", "blue"]}}});
    for (more, is_call) in [
        (json!({}), false),
        (json!({"text": format}), false),
        (
            json!({"tools": [tool], "tool_choice": {"type": "function", "name": "clock"}, "max_output_tokens": 200}),
            true,
        ),
    ] {
        // The first one fills the cache, so that the others find as much in it.
        fixture.post("/v1/responses", &asked(&more)).await;
        let whole = fixture.post("/v1/responses", &asked(&more)).await.json();
        let reply = fixture.post("/v1/responses", &asked(&with(&more, &json!({"stream": true})))).await;
        let events = events(&reply);
        let last = events.last().unwrap();
        assert_eq!(last["type"], format!("response.{}", whole["status"].as_str().unwrap()));
        assert_eq!(facts(&last["response"]), facts(&whole));
        let named = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
        assert_eq!(
            (events[0]["type"].as_str(), events[1]["type"].as_str()),
            (Some("response.created"), Some("response.in_progress"))
        );
        let (delta, done, field) = if is_call {
            ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments")
        } else {
            ("response.output_text.delta", "response.output_text.done", "text")
        };
        let text: String = named(delta).iter().map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(named(done)[0][field], text);
        let (added, ended) = (named("response.output_item.added"), named("response.output_item.done"));
        assert_eq!((added.len(), ended.len()), (1, 1));
        assert_eq!(ended[0]["item"], last["response"]["output"][0]);
        assert!(named(delta).iter().all(|event| event["item_id"] == added[0]["item"]["id"]));
        if is_call {
            let arguments: Value = serde_json::from_str(&text).unwrap();
            assert!(["a", "b"].contains(&arguments["zone"].as_str().unwrap()), "{text}");
            let call = &last["response"]["output"][0];
            assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("clock")));
            let input = json!([
                {"role": "user", "content": "Time?"}, call,
                {"type": "function_call_output", "call_id": call["call_id"], "output": "noon"},
            ]);
            let next = fixture.post("/v1/responses", &asked(&json!({"input": input, "tools": [tool]}))).await;
            assert_eq!(next.status, 200, "{}", next.text);
        } else if more.get("text").is_some() {
            assert!(["\"red\"", "\"blue\""].contains(&text.as_str()), "{text}");
        }
    }
}

#[tokio::test]
async fn what_is_not_carried_out_is_named() {
    let fixture = Fixture::new();
    for (change, param) in [
        (json!({"store": true}), "store"),
        (json!({"store": {}}), "store"),
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": "c"}), "conversation"),
        (json!({"background": true}), "background"),
        (json!({"include": ["message.output_text.logprobs"]}), "include"),
        (json!({"reasoning": {"effort": "low"}}), "reasoning"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"text": {"verbosity": "low"}}), "text.verbosity"),
        (json!({"text": {"format": {"type": "json_schema", "schema": {}}}}), "text.format"),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"not": {}}}}}),
            "text.format",
        ),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function", "name": "f"}]}), "tools"),
        (json!({"n": 2}), "n"),
        (json!({"messages": []}), "messages"),
        (json!({"input": null}), "input"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"max_output_tokens": 1000}), "input"),
        (json!({"colour": 1}), "colour"),
    ] {
        let reply = fixture.post("/v1/responses", &asked(&change)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["param"]),
            (400, &json!(param)),
            "{change}: {}",
            reply.text
        );
    }
    let nothing = json!({"store": false, "previous_response_id": null, "background": false, "truncation": "disabled", "tools": []});
    assert_eq!(fixture.post("/v1/responses", &asked(&nothing)).await.status, 200);
}
