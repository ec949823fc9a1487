//! Models that change while requests run, and several models at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cupola_serving::{ModelSource, ServeConfig};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fixture::{Fixture, Live, chat, read_to_end, wire_get, wire_post, with, write_model};

const CHAT: &str = "/v1/chat/completions";

/// A state folder with models and the file that says which is served.
struct StateFolder(tempfile::TempDir);

impl StateFolder {
    /// With models of these names, each with weights of its own.
    fn new(models: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (seed, name) in (11..).zip(models) {
            write_model(&folder.model(name), seed);
        }
        folder
    }

    fn model(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("served.json")
    }

    /// Says that `tiny` is this model from now on, as the orchestrator does it: by a rename.
    fn promote(&self, name: &str) {
        self.promote_folder(&self.model(name), name);
    }

    fn promote_folder(&self, folder: &Path, fingerprint: &str) {
        let model = json!({"spec": "s", "name": "tiny", "folder": folder, "fingerprint": fingerprint, "tokenizer": "",
                           "template": "", "promotion": "p", "promoted_millis": 0});
        self.write(&json!({"version": 1, "models": [model]}).to_string());
    }

    fn write(&self, text: &str) {
        let draft = self.0.path().join("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.file()).unwrap();
    }

    fn follow(&self) -> impl FnOnce(&mut ServeConfig) {
        let file = self.file();
        |config| (config.models, config.follow) = (Vec::new(), Some(file))
    }
}

async fn get(live: &Live, path: &str) -> String {
    live.exchange(&wire_get(path)).await
}

/// The JSON of a whole response on the wire.
fn json_of(seen: &str) -> Value {
    let body = seen.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

/// Waits until the server says that it is this model which answers.
async fn wait_for(live: &Live, fingerprint: &str) {
    let started = Instant::now();
    loop {
        let ready = json_of(&get(live, "/ready").await);
        if ready["models"][0]["fingerprint"] == fingerprint && ready["trouble"].is_null() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{fingerprint} does not come: {ready}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wait_for_line(live: &Live, line: &str) {
    let started = Instant::now();
    loop {
        let page = get(live, "/metrics").await;
        if page.lines().any(|seen| seen == line) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "no {line:?} in\n{page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks over a connection of its own and gives model and text of the answer, which must be whole.
async fn ask(address: std::net::SocketAddr, body: &Value) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = String::from_utf8(wire_post(CHAT, body)).unwrap();
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    socket.write_all(request.as_bytes()).await.unwrap();
    let seen = read_to_end(&mut socket).await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    if body["stream"] != true {
        let answer = json_of(&seen);
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        return (answer["system_fingerprint"].as_str().unwrap().to_owned(), text);
    }
    assert!(seen.contains("data: [DONE]"), "{seen}");
    let (mut model, mut text) = (String::new(), String::new());
    for line in seen.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        let of_chunk = chunk["system_fingerprint"].as_str().unwrap();
        assert!(model.is_empty() || model == of_chunk, "one answer, one model: {seen}");
        of_chunk.clone_into(&mut model);
        text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or("");
    }
    (model, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_swaps_under_load_fail_no_request_and_give_the_memory_back() {
    let folder = StateFolder::new(&["model-a", "model-b"]);
    folder.promote("model-a");
    let fixture = Fixture::with(folder.follow());
    let live = fixture.listen().await;
    let address = live.address;
    let request = with(&chat("Which are you?"), &json!({"max_tokens": 40, "ignore_eos": true}));
    let first = ask(address, &request).await;
    assert_eq!(first.0, "cupola-model-a");
    folder.promote("model-b");
    wait_for(&live, "model-b").await;
    let second = ask(address, &request).await;
    assert!(second.0 == "cupola-model-b" && second.1 != first.1);
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (stop, asked, request) = (Arc::clone(&stop), Arc::clone(&asked), request.clone());
            let known = [first.clone(), second.clone()];
            tokio::spawn(async move {
                let request = with(&request, &json!({"stream": client % 2 == 0}));
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(address, &request).await;
                    assert!(known.contains(&answer), "{answer:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for swap in 0..20 {
        let name = ["model-a", "model-b"][swap % 2];
        folder.promote(name);
        live.reload.send(()).await.unwrap();
        wait_for(&live, name).await;
        assert_eq!(
            ask(address, &request).await.0,
            format!("cupola-{name}"),
            "from now on the new one answers"
        );
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let asked = asked.load(Ordering::Relaxed);
    println!("20 swaps under the load of 8 clients: {asked} requests, none failed");
    assert!(asked > 40, "{asked} requests are no load");
    wait_for_line(&live, "cupola_engines 1").await;
    wait_for_line(&live, "vllm:num_requests_running{model_name=\"tiny\"} 0").await;
    wait_for_line(&live, "vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0").await;
    wait_for_line(&live, "cupola_kv_cache_blocks{model_name=\"tiny\"} 20").await;
    wait_for_line(&live, "cupola_model_swaps_total{result=\"done\"} 21").await;
    wait_for_line(&live, "cupola_model_swaps_total{result=\"failed\"} 0").await;
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_leaves_the_old_one_and_is_told() {
    let folder = StateFolder::new(&["model-a", "model-b"]);
    folder.promote("model-a");
    let fixture = Fixture::with(folder.follow());
    let live = fixture.listen().await;
    let sealed_for_another = folder.model("model-c");
    write_model(&sealed_for_another, 12);
    std::fs::copy(folder.model("model-a").join("seal.json"), sealed_for_another.join("seal.json")).unwrap();
    let broken: [(&dyn Fn(), &str); 4] = [
        (&|| folder.promote("model-c"), "parity seal, golden prompt"),
        (&|| folder.promote("model-d"), "no such folder"),
        (&|| folder.write("{\"version\": 1, \"mod"), "served.json"),
        (&|| folder.write("{\"version\": 1, \"models\": []}"), "no model is promoted"),
    ];
    for (break_it, word) in broken {
        break_it();
        live.reload.send(()).await.unwrap();
        let started = Instant::now();
        loop {
            let seen = get(&live, "/ready").await;
            assert!(seen.starts_with("HTTP/1.1 200"), "the old model answers: {seen}");
            if json_of(&seen)["trouble"].as_str().is_some_and(|trouble| trouble.contains(word)) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "no {word:?} in {seen}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(ask(live.address, &chat("Hi")).await.0, "cupola-model-a");
    }
    wait_for_line(&live, "cupola_engines 1").await;
    // The file is followed without a word too.
    folder.promote("model-b");
    wait_for(&live, "model-b").await;
    assert_eq!(ask(live.address, &chat("Hi")).await.0, "cupola-model-b");
}

#[tokio::test]
async fn a_replaced_model_that_is_kept_comes_back_without_its_folder() {
    let folder = StateFolder::new(&["model-a", "model-b"]);
    folder.promote("model-a");
    let follow = folder.follow();
    let fixture = Fixture::with(|config| {
        follow(config);
        config.keep_replaced = true;
    });
    let live = fixture.listen().await;
    for name in ["model-b", "model-a", "model-b"] {
        folder.promote(name);
        live.reload.send(()).await.unwrap();
        wait_for(&live, name).await;
        if name == "model-b" && folder.model("model-a").exists() {
            std::fs::remove_dir_all(folder.model("model-a")).unwrap();
        }
        wait_for_line(&live, "cupola_engines 2").await;
    }
}

#[tokio::test]
async fn several_models_answer_by_their_names() {
    let folder = StateFolder::new(&["model-a", "model-b"]);
    let sources = ["model-a", "model-b"].map(|name| ModelSource {
        name: Some(format!("group/{name}")),
        fingerprint: Some(name.to_owned()),
        ..folder.model(name).into()
    });
    let fixture = Fixture::with(|config| config.models = sources.to_vec());
    let listed = fixture.get("/v1/models").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let mut texts = Vec::new();
    for (at, name) in ["group/model-a", "group/model-b"].into_iter().enumerate() {
        let one = fixture.get(&format!("/v1/models/{name}")).await.json();
        assert_eq!(one, listed["data"][at]);
        assert_eq!(one["id"], name);
        assert_eq!(one["weight_format"], "fp32");
        assert!(
            one["parity"]["tokens"].as_u64().unwrap() > 200
                && one["parity"]["largest_difference"].as_f64().unwrap() < 1e-3
        );
        for hash in ["tokenizer_hash", "chat_template_hash"] {
            assert_eq!(one[hash].as_str().unwrap().len(), 64, "{one}");
        }
        let answer = fixture.post(CHAT, &with(&chat("Hi"), &json!({"model": name}))).await.json();
        assert_eq!(answer["model"], name);
        texts.push(answer["choices"][0]["message"]["content"].clone());
    }
    assert_ne!(texts[0], texts[1]);
    let unknown = fixture.post(CHAT, &chat("Hi")).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text.contains("group/model-a', 'group/model-b"), "{}", unknown.text);
}
