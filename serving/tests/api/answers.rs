//! What answers and streams look like.

use serde_json::json;

use crate::fixture::{Fixture, chat, with};

#[tokio::test]
async fn a_chat_answer_has_openais_shape() {
    let fixture = Fixture::new();
    let reply = fixture.post("/v1/chat/completions", &chat("Hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    let answer = reply.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "tiny");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["content"].is_string());
    assert!(choice["logprobs"].is_null());
    let usage = &answer["usage"];
    // <|bos|>, then start + "user\nHello" + end + "\n", then start + "assistant\n": one token a byte.
    assert_eq!(usage["prompt_tokens"], 25);
    let generated = usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(choice["finish_reason"], if generated == 24 { "length" } else { "stop" });
    assert_eq!(usage["total_tokens"].as_u64(), Some(25 + generated));
}

#[tokio::test]
async fn a_stream_gives_the_same_text_in_events() {
    let fixture = Fixture::new();
    for extra in
        [json!({}), json!({"temperature": 0}), json!({"logprobs": true, "top_logprobs": 2}), json!({"n": 3})]
    {
        let request = with(&chat("Tell me"), &extra);
        let whole = fixture.post("/v1/chat/completions", &request).await.json();
        let streamed = with(&request, &json!({"stream": true, "stream_options": {"include_usage": true}}));
        let chunks = fixture.post("/v1/chat/completions", &streamed).await.chunks();
        let (usage, chunks) = chunks.split_last().unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"], whole["usage"]);
        for choice in whole["choices"].as_array().unwrap() {
            let parts: Vec<_> = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0])
                .filter(|part| part["index"] == choice["index"])
                .collect();
            assert_eq!(parts[0]["delta"], json!({"role": "assistant", "content": ""}));
            let text: String = parts.iter().filter_map(|part| part["delta"]["content"].as_str()).collect();
            assert_eq!(text, choice["message"]["content"].as_str().unwrap());
            let finishes: Vec<_> =
                parts.iter().map(|part| &part["finish_reason"]).filter(|finish| !finish.is_null()).collect();
            assert_eq!(finishes, [&choice["finish_reason"]]);
            let logprobs: Vec<_> = parts
                .iter()
                .filter_map(|part| part["logprobs"]["content"].as_array())
                .flatten()
                .cloned()
                .collect();
            assert_eq!(logprobs, choice["logprobs"]["content"].as_array().cloned().unwrap_or_default());
        }
        for chunk in chunks {
            assert_eq!((&chunk["object"], &chunk["usage"]), (&json!("chat.completion.chunk"), &json!(null)));
            assert_eq!(chunk["id"], chunks[0]["id"]);
        }
    }
}

#[tokio::test]
async fn each_chunk_tells_the_usage_so_far_where_that_is_asked_for() {
    let fixture = Fixture::new();
    let wish =
        json!({"stream": true, "ignore_eos": true, "stream_options": {"continuous_usage_stats": true}});
    let chunks = fixture.post("/v1/chat/completions", &with(&chat("Go"), &wish)).await.chunks();
    let counts: Vec<u64> =
        chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted() && counts[0] == 0 && counts.last() == Some(&24), "{counts:?}");
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
}

#[tokio::test]
async fn seeds_make_answers_repeatable_and_choices_differ() {
    let fixture = Fixture::new();
    let texts = |value: &serde_json::Value| {
        value["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["message"]["content"].to_string())
            .collect::<Vec<_>>()
    };
    let request = with(&chat("Go"), &json!({"n": 2}));
    let first = texts(&fixture.post("/v1/chat/completions", &request).await.json());
    assert_eq!(first, texts(&fixture.post("/v1/chat/completions", &request).await.json()));
    assert_ne!(first[0], first[1]);
    let other = with(&request, &json!({"seed": 77}));
    assert_ne!(first, texts(&fixture.post("/v1/chat/completions", &other).await.json()));
}

#[tokio::test]
async fn stop_strings_and_logit_bias_are_obeyed() {
    let fixture = Fixture::new();
    // Token 4 + b'a' is "a": a bias of 100 makes every token an "a".
    let biased = with(&chat("x"), &json!({"logit_bias": {"101": 100}, "max_tokens": 6}));
    let answer = fixture.post("/v1/chat/completions", &biased).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "aaaaaa");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let stopped = with(&biased, &json!({"stop": ["zz", "aaaa"], "stream": true}));
    let chunks = fixture.post("/v1/chat/completions", &stopped).await.chunks();
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "");
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    // Token 2 is <|im_end|>: the answer stops at once and is empty.
    let ended = with(&chat("x"), &json!({"logit_bias": {"2": 100}}));
    let answer = fixture.post("/v1/chat/completions", &ended).await.json();
    assert_eq!(
        (&answer["choices"][0]["message"]["content"], &answer["choices"][0]["finish_reason"]),
        (&json!(""), &json!("stop"))
    );
}

#[tokio::test]
async fn completions_echo_score_and_take_ids() {
    let fixture = Fixture::new();
    let request = json!({"model": "tiny", "prompt": "ab", "max_tokens": 3, "temperature": 0, "echo": true, "logprobs": 2});
    let answer = fixture.post("/v1/completions", &request).await.json();
    let choice = &answer["choices"][0];
    let lists = &choice["logprobs"];
    assert_eq!(answer["object"], "text_completion");
    assert!(choice["text"].as_str().unwrap().starts_with("ab"));
    let tokens = lists["tokens"].as_array().unwrap();
    // The beginning-of-text token, the prompt's two bytes and the new tokens.
    assert_eq!(
        (tokens[0].as_str(), tokens[1].as_str(), tokens[2].as_str()),
        (Some("<|bos|>"), Some("a"), Some("b"))
    );
    assert!(lists["token_logprobs"][0].is_null());
    assert!(
        lists["token_logprobs"].as_array().unwrap()[1..].iter().all(|value| value.as_f64().unwrap() < 0.0)
    );
    assert_eq!(lists["text_offset"].as_array().unwrap()[..3], [json!(0), json!(0), json!(1)]);
    // Scoring alone, by ids: the same prompt has the same scores.
    let scored =
        json!({"model": "tiny", "prompt": [0, 101, 102], "max_tokens": 0, "echo": true, "logprobs": 1});
    let scored = fixture.post("/v1/completions", &scored).await.json();
    assert_eq!(scored["choices"][0]["text"], "ab");
    assert_eq!(scored["usage"]["completion_tokens"], 0);
    for place in 1..3 {
        assert_eq!(scored["choices"][0]["logprobs"]["token_logprobs"][place], lists["token_logprobs"][place]);
    }
    // A stop token is no text, but it has a score: one entry for each token that was made. Token 2 is <|im_end|>.
    let ended = json!({"model": "tiny", "prompt": [0, 101], "max_tokens": 1, "echo": true, "logprobs": 1, "logit_bias": {"2": 100}});
    let ended = fixture.post("/v1/completions", &ended).await.json();
    assert_eq!(ended["choices"][0]["logprobs"]["tokens"], json!(["<|bos|>", "a", "<|im_end|>"]));
    assert_eq!(ended["choices"][0]["text"], "a");
    // A token that is no whole character is told by its bytes, and each by its own.
    let halves = json!({"model": "tiny", "prompt": [0, 4 + 0xe2, 4 + 0xc3], "max_tokens": 0, "echo": true, "logprobs": 0});
    let halves = fixture.post("/v1/completions", &halves).await.json();
    assert_eq!(halves["choices"][0]["logprobs"]["tokens"], json!(["<|bos|>", "bytes:\\xe2", "bytes:\\xc3"]));
    // Several prompts, and a stream of them.
    let several = json!({"model": "tiny", "prompt": ["a", "bc"], "max_tokens": 4, "seed": 1, "n": 2});
    let whole = fixture.post("/v1/completions", &several).await.json();
    assert_eq!(whole["choices"].as_array().unwrap().len(), 4);
    assert_eq!(whole["usage"]["prompt_tokens"], 5);
    let chunks = fixture.post("/v1/completions", &with(&several, &json!({"stream": true}))).await.chunks();
    for choice in whole["choices"].as_array().unwrap() {
        let parts =
            chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|part| part["index"] == choice["index"]);
        let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
        assert_eq!(text, choice["text"].as_str().unwrap());
    }
}

#[tokio::test]
async fn the_other_routes_answer() {
    let fixture = Fixture::new();
    let models = fixture.get("/v1/models").await.json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("tiny")));
    assert_eq!(models["data"][0]["max_model_len"], 160);
    assert_eq!(fixture.get("/v1/models/tiny").await.json()["id"], "tiny");
    assert_eq!(fixture.get("/health").await.status, 200);
    assert_eq!(fixture.get("/ready").await.status, 200);
    fixture.post("/v1/chat/completions", &chat("Hi")).await;
    let metrics = fixture.get("/metrics").await.text;
    assert!(
        metrics.contains("cupola_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("vllm:time_to_first_token_seconds_count{model_name=\"tiny\"} 1"), "{metrics}");
    let page = fixture.get("/").await;
    assert!(page.text.starts_with("<!doctype html>"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("connect-src 'self'"));
}

#[tokio::test]
async fn what_of_a_prompt_was_in_the_cache_is_told_on_every_route() {
    let fixture = Fixture::new();
    let long = "A prompt that is longer than the thirty-two tokens of a block.";
    let chat = chat(long);
    let first = fixture.post("/v1/chat/completions", &chat).await.json();
    assert_eq!(first["usage"]["prompt_tokens_details"], json!({"cached_tokens": 0}));
    let again = fixture.post("/v1/chat/completions", &chat).await.json();
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= 32 && cached.is_multiple_of(32), "{again}");
    assert_eq!(again["choices"], first["choices"]);
    let wish = json!({"stream": true, "stream_options": {"include_usage": true}, "n": 2});
    let chunks = fixture.post("/v1/chat/completions", &with(&chat, &wish)).await.chunks();
    assert_eq!(
        chunks.last().unwrap()["usage"]["prompt_tokens_details"]["cached_tokens"],
        cached,
        "a prompt counts once"
    );
    let response = json!({"model": "tiny", "input": long, "max_output_tokens": 4});
    let answer = fixture.post("/v1/responses", &response).await.json();
    assert_eq!(answer["usage"]["input_tokens_details"]["cached_tokens"], cached);
    let completion = json!({"model": "tiny", "prompt": long, "max_tokens": 2});
    fixture.post("/v1/completions", &completion).await;
    let answer = fixture.post("/v1/completions", &completion).await.json();
    assert!(answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() >= 32, "{answer}");
}
