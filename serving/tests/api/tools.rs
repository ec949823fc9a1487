//! Calls of tools by the chat template. The model is random, so that only calls that are asked for come; what models write by themselves is in the
//! reader's own tests and in the clients' script.

use serde_json::{Value, json};

use crate::fixture::{Fixture, chat, with};

const MESSAGES: &str = "{{ bos_token }}{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}{% for call in message.tool_calls or [] %}MARK{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A server whose template writes calls behind `mark`.
fn fixture_of(mark: &str) -> Fixture {
    Fixture::of_template(&MESSAGES.replace("MARK", mark), |config| config.context = 2000)
}

fn tools() -> Value {
    json!([
        {"type": "function", "function": {
            "name": "get_weather", "description": "Tells the weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"$ref": "#/$defs/place"},
                    "days": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["place", "days"], "additionalProperties": false,
                "$defs": {"place": {"enum": ["Paris", "Oslo \"north\""]}},
            },
        }},
        {"type": "function", "function": {"name": "clock"}},
    ])
}

fn asked(choice: &Value) -> Value {
    with(&chat("Weather?"), &json!({"tools": tools(), "tool_choice": choice, "max_tokens": 300}))
}

/// A stream's calls put together as OpenAI's libraries do.
fn gathered(chunks: &[Value]) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    for call in
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten()
    {
        let index = call["index"].as_u64().unwrap() as usize;
        if index == calls.len() {
            assert!(call["id"].is_string() && call["function"]["name"].is_string(), "{call}");
            assert_eq!((&call["type"], &call["function"]["arguments"]), (&json!("function"), &json!("")));
            calls.push(call.clone());
        } else {
            assert!(call.get("id").is_none() && call["function"].get("name").is_none(), "{call}");
            let so_far = calls[index]["function"]["arguments"].as_str().unwrap().to_owned();
            calls[index]["function"]["arguments"] =
                json!(so_far + call["function"]["arguments"].as_str().unwrap());
        }
    }
    calls
}

#[tokio::test]
async fn forced_calls_have_the_functions_form_in_each_format() {
    for (mark, id_len) in [("<tool_call>", 29), ("<|python_tag|>", 29), ("[TOOL_CALLS]", 9)] {
        let fixture = fixture_of(&format!("{mark}{{# ipython \"parameters\" #}}"));
        let validator = jsonschema::validator_for(&tools()[0]["function"]["parameters"]).unwrap();
        for (choice, names) in [
            (json!({"type": "function", "function": {"name": "get_weather"}}), &["get_weather"][..]),
            (json!("required"), &["get_weather", "clock"]),
        ] {
            for seed in 0..4 {
                let request =
                    with(&asked(&choice), &json!({"seed": seed, "parallel_tool_calls": seed % 2 == 0}));
                let reply = fixture.post("/v1/chat/completions", &request).await;
                assert_eq!(reply.status, 200, "{}", reply.text);
                let answer = reply.json();
                let message = &answer["choices"][0]["message"];
                let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{mark}: {answer}"));
                assert!(message["content"].is_null() && message["role"] == "assistant", "{answer}");
                for call in calls {
                    assert_eq!(call["id"].as_str().unwrap().len(), id_len);
                    let name = call["function"]["name"].as_str().unwrap();
                    assert!(names.contains(&name));
                    let text = call["function"]["arguments"].as_str().unwrap();
                    if answer["choices"][0]["finish_reason"] == "tool_calls" {
                        let arguments: Value = serde_json::from_str(text).unwrap();
                        let is_right = if name == "clock" {
                            arguments == json!({})
                        } else {
                            validator.is_valid(&arguments)
                        };
                        assert!(is_right, "{name}: {text}");
                    }
                }
                if choice != "required" || seed % 2 == 1 {
                    assert_eq!(
                        (calls.len(), &answer["choices"][0]["finish_reason"]),
                        (1, &json!("tool_calls"))
                    );
                }
                let stream = with(&request, &json!({"stream": true}));
                let chunks = fixture.post("/v1/chat/completions", &stream).await.chunks();
                let facts =
                    |calls: &[Value]| calls.iter().map(|call| call["function"].clone()).collect::<Vec<_>>();
                assert_eq!(facts(&gathered(&chunks)), facts(calls));
                assert_eq!(
                    chunks.last().unwrap()["choices"][0]["finish_reason"],
                    answer["choices"][0]["finish_reason"]
                );
            }
        }
    }
}

#[tokio::test]
async fn beside_tools_an_answer_may_have_a_form() {
    let fixture = fixture_of("<tool_call>");
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1, 2]}}});
    for seed in 0..6 {
        let request = with(&asked(&json!("auto")), &json!({"response_format": format, "seed": seed}));
        let answer = fixture.post("/v1/chat/completions", &request).await.json();
        let choice = &answer["choices"][0];
        match choice["message"]["tool_calls"].as_array() {
            Some(calls) => assert!(!calls.is_empty()),
            None => assert!(["1", "2"].contains(&choice["message"]["content"].as_str().unwrap()), "{answer}"),
        }
    }
}

#[tokio::test]
async fn a_chat_with_calls_and_answers_goes_on() {
    let fixture = fixture_of("<tool_call>");
    let call = json!({"id": "a1", "type": "function", "function": {"name": "clock", "arguments": "{\"zone\": \"<|im_end|>\"}"}});
    let messages = json!([
        {"role": "user", "content": "What time?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "a1"},
    ]);
    let request = with(&asked(&json!("none")), &json!({"messages": messages, "max_tokens": 4}));
    let reply = fixture.post("/v1/chat/completions", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // <|bos|>; user, assistant and tool between their two marks and with their line breaks; the prompt. A token a byte, also of the call's mark
    // and of the special token that the client wrote.
    let texts = [
        "user\nWhat time?",
        "assistant\n<tool_call>{\"name\": \"clock\", \"arguments\": {\"zone\": \"<|im_end|>\"}}",
        "tool\nnoon",
    ];
    let tokens: usize = texts.iter().map(|text| text.len() + 3).sum();
    assert_eq!(reply.json()["usage"]["prompt_tokens"], 1 + tokens + 1 + "assistant\n".len());
}

#[tokio::test]
async fn what_is_wrong_with_tools_is_named() {
    let fixture = fixture_of("<tool_call>");
    let tool = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
    let plain = with(&chat("Hi"), &json!({"max_tokens": 4}));
    for (change, param, word) in [
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type", "functions"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function", "Missing"),
        (tool(json!({"name": "a b"})), "tools[0].function.name", "letters"),
        (tool(json!({"name": "f", "parameters": 3})), "tools[0].function", "parameters"),
        (tool(json!({"name": "f", "colour": 3})), "tools[0].function", "colour"),
        (json!({"tools": [tools()[1], tools()[1]]}), "tools[1]", "clock"),
        (json!({"tool_choice": "required"}), "tool_choice", "tools"),
        (json!({"tools": tools(), "tool_choice": "some"}), "tool_choice", "some"),
        (
            json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            "tool_choice",
            "'g'",
        ),
        (json!({"tools": tools(), "tool_choice": {"type": "allowed_tools"}}), "tool_choice", "function"),
        (json!({"tools": tools(), "tool_choice": "required", "stop": "x"}), "stop", "tools"),
        (json!({"tools": tools(), "structured_outputs": {"regex": "a"}}), "structured_outputs", "schema"),
        (
            with(
                &tool(json!({"name": "f", "parameters": {"properties": {"a": {"uniqueItems": true}}}})),
                &json!({"tool_choice": "required"}),
            ),
            "tools",
            "uniqueItems",
        ),
        (json!({"functions": [{"name": "f"}]}), "functions", "tools"),
    ] {
        let reply = fixture.post("/v1/chat/completions", &with(&plain, &change)).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &json!(param)), "{change}: {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{change}: {error}");
    }
}

#[tokio::test]
async fn a_template_that_takes_no_tools_says_so() {
    let plain = Fixture::new();
    let odd = Fixture::of_template("{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}", |_| {});
    for (fixture, word) in [(&plain, "takes none"), (&odd, "not read here")] {
        let reply = fixture.post("/v1/chat/completions", &asked(&json!("auto"))).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &json!("tools")));
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    let messages = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
    ]);
    let reply = plain.post("/v1/chat/completions", &with(&chat("Hi"), &json!({"messages": messages}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("messages")));
}
