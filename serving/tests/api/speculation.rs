//! Guesses change no answer, greedy or seeded, alone or in traffic; wrong settings are refused by name.

use cupola_serving::{House, ServeConfig};
use cupola_specs::contract::Speculation;
use serde_json::{Value, json};

use crate::fixture::{Fixture, chat, with, write_lstm, write_model};

const CHAT: &str = "/v1/chat/completions";

/// Requests of every kind: greedy, seeded, penalised, in a form, with several answers.
fn requests() -> Vec<Value> {
    let song = "row row row your boat, row row row your boat, row row row your boat, row row";
    let base = with(&chat(song), &json!({"max_tokens": 60, "logprobs": true, "ignore_eos": true}));
    let of = |more: Value| with(&base, &more);
    vec![
        of(json!({"temperature": 0})),
        of(json!({"seed": 11})),
        of(json!({"seed": 12, "temperature": 0.4, "top_k": 3, "n": 2})),
        of(json!({"temperature": 0, "frequency_penalty": 0.6})),
        of(json!({"seed": 13, "temperature": 0.2, "repetition_penalty": 1.1})),
        with(
            &chat(song),
            &json!({"max_tokens": 60, "temperature": 0, "structured_outputs": {"regex": "(la ){3,9}lu"}}),
        ),
    ]
}

async fn choices(fixture: &Fixture, request: &Value) -> String {
    let reply = fixture.post(CHAT, request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["choices"].to_string()
}

/// Guesses that were checked, and those that were right.
async fn counts(fixture: &Fixture) -> [u64; 2] {
    let page = fixture.get("/metrics").await.text;
    ["num_draft_tokens", "num_accepted_tokens"].map(|name| {
        let start = format!("vllm:spec_decode_{name}_total{{");
        let line = page.lines().find(|line| line.starts_with(&start)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_guesses_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("same"), 3);
    write_model(&folder.path().join("other"), 8);
    let draft = |name: &str| Speculation::Draft { folder: folder.path().join(name), tokens: 4 };
    let plain = Fixture::new();
    let mut wanted = Vec::new();
    for request in requests() {
        wanted.push(choices(&plain, &request).await);
    }
    assert_eq!(counts(&plain).await, [0, 0]);
    for (speculation, least) in
        [(Speculation::PromptLookup { tokens: 7 }, 20), (draft("same"), 90), (draft("other"), 0)]
    {
        let fixture = Fixture::with(|config| {
            config.max_slots = 6;
            config.speculation = Some(speculation.clone());
        });
        for (request, wanted) in requests().iter().zip(&wanted) {
            assert_eq!(choices(&fixture, request).await, *wanted, "{speculation:?}: {request}");
        }
        let all = requests();
        let together = futures::future::join_all(all.iter().map(|request| choices(&fixture, request))).await;
        assert_eq!(together, wanted, "{speculation:?}, all at once");
        let [drafted, accepted] = counts(&fixture).await;
        println!("{speculation:?}: {accepted} of {drafted} guesses were right");
        assert!(
            drafted > 20 && 100 * accepted >= least * drafted,
            "{speculation:?}: {accepted} of {drafted}"
        );
    }
}

#[test]
fn a_draft_that_does_not_fit_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (base, lstm, other) =
        (folder.path().join("base"), folder.path().join("lstm"), folder.path().join("other"));
    write_model(&base, 3);
    write_lstm(&lstm);
    write_model(&other, 4);
    let file = other.join("tokenizer.json");
    let text = std::fs::read_to_string(&file).unwrap().replace("<|pad|>", "<|pat|>");
    std::fs::write(&file, text).unwrap();
    let refused = |model: &std::path::Path, speculation: Speculation| {
        let mut config = ServeConfig::new(model.to_path_buf());
        (config.threads, config.context, config.speculation) = (1, 160, Some(speculation));
        match House::load(&config) {
            Err(error) => error.to_string(),
            Ok(house) => panic!("served {}", house.models()),
        }
    };
    let draft = |folder: &std::path::Path| Speculation::Draft { folder: folder.to_path_buf(), tokens: 4 };
    assert!(refused(&base, draft(&folder.path().join("none"))).contains("none"));
    assert!(refused(&base, draft(&lstm)).contains("running state"));
    let message = refused(&base, draft(&other));
    assert!(message.contains("tokenizer"), "{message}");
    let message = refused(&lstm, Speculation::PromptLookup { tokens: 4 });
    assert!(message.contains("running state"), "{message}");
}
