//! Moderation over the routes: the model is random, so what it says is made sure by `structured_outputs`, one token for each byte.

use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Reply, chat, with, write_model};

const LISTS: &str = "refusal: Not here.\n\
    block_lists:\n  - {category: weapons, phrases: [pipe bomb], scope: both}\n  - {category: slurs, phrases: [darn], action: log}\n";

/// A server with these rules; what the rules name lies beside them in `folder`.
fn fixture_of(folder: &Path, rules: &str) -> Fixture {
    let file = folder.join("moderation.yaml");
    std::fs::write(&file, rules).unwrap();
    Fixture::with(|config| {
        config.moderation_file = Some(file);
        config.context = 400;
    })
}

/// Asks for an answer that is exactly this.
fn saying(text: &str) -> Value {
    with(&chat("Speak"), &json!({"structured_outputs": {"choice": [text]}, "max_tokens": 300}))
}

fn streamed(request: &Value) -> Value {
    with(request, &json!({"stream": true}))
}

fn content(reply: &Reply) -> String {
    let choice = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    reply.chunks().iter().filter_map(choice).collect()
}

fn findings(page: &str, category: &str, scope: &str, action: &str) -> u64 {
    let name =
        format!("cupola_moderation_total{{category=\"{category}\",scope=\"{scope}\",action=\"{action}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_refused_prompt_makes_no_token_on_any_route() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixture_of(folder.path(), LISTS);
    let request = chat("How is a PIPE\u{a0}bomb made?");
    let answer = fixture.post("/v1/chat/completions", &request).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"], &answer["usage"]["completion_tokens"]),
        (&json!("Not here."), &json!("content_filter"), &json!(0))
    );
    let stream = fixture.post("/v1/chat/completions", &streamed(&request)).await;
    assert_eq!(content(&stream), "Not here.");
    assert_eq!(stream.chunks().last().unwrap()["choices"][0]["finish_reason"], "content_filter");

    // Of several prompts the others are answered.
    let several =
        json!({"model": "tiny", "prompt": ["pipe bomb", "tea"], "n": 2, "max_tokens": 3, "ignore_eos": true});
    let answer = fixture.post("/v1/completions", &several).await.json();
    let finishes: Vec<&str> =
        answer["choices"].as_array().unwrap().iter().map(|c| c["finish_reason"].as_str().unwrap()).collect();
    assert_eq!(finishes, ["content_filter", "content_filter", "length", "length"]);
    assert_eq!(answer["choices"][0]["text"], "Not here.");
    // Token ids are a text too.
    let ids: Vec<u32> = b"a pipe bomb".iter().map(|&byte| u32::from(byte) + 4).collect();
    let answer = fixture.post("/v1/completions", &json!({"model": "tiny", "prompt": ids})).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");

    let response = json!({"model": "tiny", "input": "pipe bomb", "max_output_tokens": 9});
    let answer = fixture.post("/v1/responses", &response).await.json();
    assert_eq!(
        (
            &answer["status"],
            &answer["incomplete_details"]["reason"],
            &answer["output"][0]["content"][0]["text"]
        ),
        (&json!("incomplete"), &json!("content_filter"), &json!("Not here."))
    );
    let page = fixture.get("/metrics").await.text;
    assert_eq!(findings(&page, "weapons", "prompt", "refuse"), 5, "{page}");
    assert!(page.contains("finished_reason=\"content_filter\"} 6"), "{page}");
}

#[tokio::test]
async fn what_an_answer_must_not_say_is_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixture_of(folder.path(), LISTS);
    let request = with(&saying("First a pipe bomb, darn."), &json!({"logprobs": true}));
    let whole = fixture.post("/v1/chat/completions", &request).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["content"], "First a \n\nNot here.");
    assert_eq!(choice["finish_reason"], "content_filter");
    let tokens: String = choice["logprobs"]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, "First a ", "nor do the tokens say it");
    let stream = fixture.post("/v1/chat/completions", &streamed(&request)).await;
    assert_eq!(content(&stream), "First a \n\nNot here.");
    assert!(!stream.text.contains("\"p\""), "{}", stream.text);

    let completion = json!({"model": "tiny", "prompt": "x", "structured_outputs": {"choice": ["a pipe bomb"]}, "max_tokens": 20});
    let answer = fixture.post("/v1/completions", &completion).await.json();
    assert_eq!(answer["choices"][0]["text"], "a \n\nNot here.");
    let chunks = fixture.post("/v1/completions", &streamed(&completion)).await.chunks();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "a \n\nNot here.");

    // The escapes of JSON are read: its client will.
    let schema = json!({"type": "json_schema", "name": "a", "schema": {"const": {"q": "pipe bomb"}}});
    let response =
        json!({"model": "tiny", "input": "x", "text": {"format": schema}, "max_output_tokens": 60});
    let answer = fixture.post("/v1/responses", &response).await.json();
    assert_eq!(answer["incomplete_details"]["reason"], "content_filter", "{answer}");
    assert!(!answer["output"].to_string().contains("pi"), "{answer}");
}

#[tokio::test]
async fn what_is_logged_or_near_a_phrase_passes_whole() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixture_of(folder.path(), LISTS);
    for text in ["darn pipe bombs", "Darn", "pipe", "a pipe bom"] {
        let request = saying(text);
        let whole = fixture.post("/v1/chat/completions", &request).await.json();
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        assert_eq!(content(&fixture.post("/v1/chat/completions", &streamed(&request)).await), text);
    }
    let page = fixture.get("/metrics").await.text;
    // Twice each, and twice for each text: as it is, and as JSON.
    assert_eq!(findings(&page, "slurs", "answer", "log"), 8, "{page}");
    // Without rules for it nothing is changed: the same request, the same bytes.
    let plain = Fixture::with(|config| config.context = 400);
    for seed in 0..6 {
        let request =
            with(&chat("Tell me"), &json!({"seed": seed, "logprobs": true, "n": 2, "max_tokens": 60}));
        let choices = |reply: &Value| reply["choices"].clone();
        let moderated = choices(&fixture.post("/v1/chat/completions", &request).await.json());
        assert_eq!(moderated, choices(&plain.post("/v1/chat/completions", &request).await.json()));
    }
}

#[tokio::test]
async fn calls_of_tools_are_looked_through() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moderation.yaml");
    std::fs::write(&file, LISTS).unwrap();
    let template = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}{% for message in messages %}{{ message.content }}\
        {% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}{% endfor %}\n{% endfor %}";
    let fixture = Fixture::of_template(template, |config| {
        config.moderation_file = Some(file);
        config.context = 2000;
    });
    let tool = |word: &str| {
        json!([{"type": "function", "function": {"name": "find", "parameters": {
            "type": "object", "properties": {"what": {"const": word}}, "required": ["what"], "additionalProperties": false,
        }}}])
    };
    let asking = |tools: Value| {
        with(&chat("Find"), &json!({"tools": tools, "tool_choice": "required", "max_tokens": 200}))
    };
    let answer = fixture.post("/v1/chat/completions", &asking(tool("tea"))).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{answer}");
    // A tool's description is part of the prompt.
    let answer = fixture.post("/v1/chat/completions", &asking(tool("a pipe bomb"))).await.json();
    assert_eq!(
        (&answer["choices"][0]["finish_reason"], &answer["usage"]["completion_tokens"]),
        (&json!("content_filter"), &json!(0))
    );
    // So are the arguments of earlier calls, whose escapes are read.
    let earlier = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{\"what\": \"pipe\\u0020bomb\"}"}}
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "y"},
    ]});
    let answer = fixture.post("/v1/chat/completions", &with(&chat(""), &earlier)).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter", "{answer}");

    // What the model calls with, where only answers are looked through.
    std::fs::write(folder.path().join("moderation.yaml"), LISTS.replace("both", "answer")).unwrap();
    let fixture = Fixture::of_template(template, |config| {
        config.moderation_file = Some(folder.path().join("moderation.yaml"));
        config.context = 2000;
    });
    let request = asking(tool("a pipe bomb"));
    let whole = fixture.post("/v1/chat/completions", &request).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "content_filter", "{whole}");
    let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert!(arguments.starts_with('{') && arguments.ends_with("\"a "), "{arguments}");
    assert!(choice["message"]["content"].as_str().unwrap().ends_with("Not here."), "{whole}");
    let stream = fixture.post("/v1/chat/completions", &streamed(&request)).await;
    let told: String = stream
        .chunks()
        .iter()
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(told, arguments);
}

/// Rules of a classifier whose model gives its two labels the shares that the seed happens to make; `threshold` decides.
fn classifier(threshold: f64, scope: &str, action: &str) -> String {
    format!(
        "window_chars: 16\nclassifiers:\n  - category: judged\n    model: judge\n    template: '{{text}}?'\n    \
         labels: {{hit: [y, Y], miss: [n]}}\n    threshold: {threshold}\n    scope: {scope}\n    action: {action}\n"
    )
}

#[tokio::test]
async fn a_classifier_judges_windows_before_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("judge"), 9);
    let text = "One window is sixteen characters, and this is more than two.";
    let request = saying(text);
    // All labels are about as likely, of three two are hits: a threshold below is always met, one above never.
    let strict = fixture_of(folder.path(), &classifier(0.01, "answer", "refuse"));
    let answer = strict.post("/v1/chat/completions", &request).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "I can't help with that.", "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(
        content(&strict.post("/v1/chat/completions", &streamed(&request)).await),
        "I can't help with that."
    );
    let lenient = fixture_of(folder.path(), &classifier(0.99, "both", "refuse"));
    let stream = lenient.post("/v1/chat/completions", &streamed(&request)).await;
    assert_eq!(content(&stream), text);
    let parts: Vec<usize> = stream
        .chunks()
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::len))
        .filter(|length| *length > 0)
        .collect();
    assert_eq!(parts, [16, 16, 16, 12], "text goes out in windows");
    let page = lenient.get("/metrics").await.text;
    assert_eq!(findings(&page, "judged", "answer", "refuse"), 0);
    assert!(page.contains("model_name=\"moderation/judged\""), "{page}");

    let prompts = fixture_of(folder.path(), &classifier(0.01, "prompt", "refuse"));
    let answer = prompts.post("/v1/chat/completions", &chat("anything")).await.json();
    assert_eq!(answer["usage"]["completion_tokens"], 0, "{answer}");
    // What is only logged waits for nothing.
    let logged = fixture_of(folder.path(), &classifier(0.01, "answer", "log"));
    let stream = logged.post("/v1/chat/completions", &streamed(&request)).await;
    assert_eq!(content(&stream), text);
    assert!(stream.chunks().len() > 50);
    let started = std::time::Instant::now();
    while findings(&logged.get("/metrics").await.text, "judged", "answer", "log") < 4 {
        assert!(started.elapsed().as_secs() < 20, "{}", logged.get("/metrics").await.text);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_classifiers_score_is_the_share_of_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("judge"), 9);
    // The same model, asked the same by the API: the chances of `y`, `Y` and `n` behind "text?".
    let peer = Fixture::with(|config| config.models[0].path = folder.path().join("judge"));
    let ids: Vec<u32> = std::iter::once(0).chain(b"Hello?".iter().map(|&byte| u32::from(byte) + 4)).collect();
    let mut chances = Vec::new();
    for label in *b"yYn" {
        let ids: Vec<u32> = ids.iter().copied().chain([u32::from(label) + 4]).collect();
        let scored = json!({"model": "tiny", "prompt": ids, "max_tokens": 0, "echo": true, "logprobs": 0});
        let answer = peer.post("/v1/completions", &scored).await.json();
        let logprobs = answer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap().clone();
        chances.push(logprobs.last().unwrap().as_f64().unwrap().exp());
    }
    let share = (chances[0] + chances[1]) / chances.iter().sum::<f64>();
    for (threshold, finish) in [(share - 1e-3, "content_filter"), (share + 1e-3, "length")] {
        let fixture = fixture_of(folder.path(), &classifier(threshold, "prompt", "refuse"));
        let request = with(&chat("Hello"), &json!({"ignore_eos": true}));
        let answer = fixture.post("/v1/chat/completions", &request).await.json();
        assert_eq!(answer["choices"][0]["finish_reason"], finish, "threshold {threshold}, share {share}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_read_again_when_a_file_of_theirs_changes_and_broken_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "pipe bomb\n").unwrap();
    let rules = "block_lists: [{category: weapons, files: [list.txt]}]\n";
    let fixture = fixture_of(folder.path(), rules);
    let live = fixture.listen().await;
    let [done, failed] =
        ["done", "failed"].map(|result| format!("cupola_moderation_reloads_total{{result=\"{result}\"}}"));
    let is_refused = async |text: &str| {
        let request = with(&chat(text), &json!({"max_tokens": 4}));
        let answer = fixture.post("/v1/chat/completions", &request).await.json();
        answer["choices"][0]["finish_reason"] == "content_filter"
    };
    assert!(is_refused("a pipe bomb").await && !is_refused("nerve agents").await);
    std::fs::write(&list, "nerve agents\n").unwrap();
    fixture.wait_for(&done, 1).await;
    assert!(!is_refused("a pipe bomb").await && is_refused("nerve agents").await);
    let file = folder.path().join("moderation.yaml");
    std::fs::write(&file, rules.replace("files", "file")).unwrap();
    fixture.wait_for(&failed, 1).await;
    assert!(is_refused("nerve agents").await, "broken rules change nothing");
    // Rules with another list: the list is followed from then on, the old one no more.
    let other = folder.path().join("other.txt");
    std::fs::write(&other, "tea\n").unwrap();
    std::fs::write(&file, rules.replace("list.txt", "other.txt")).unwrap();
    fixture.wait_for(&done, 2).await;
    assert!(!is_refused("nerve agents").await && is_refused("tea").await);
    std::fs::write(&other, "coffee\n").unwrap();
    fixture.wait_for(&done, 3).await;
    assert!(!is_refused("tea").await && is_refused("coffee").await);
    live.reload.send(()).await.unwrap();
    fixture.wait_for(&done, 4).await;
    assert_eq!(fixture.number(&failed).await, 1);
}
