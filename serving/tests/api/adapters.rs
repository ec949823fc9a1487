//! Adapters beside a model, each asked for by a name of its own.

use std::path::Path;

use cupola_runtime::model::{ADAPTER_FOLDER, Network, SaveFacts};
use cupola_runtime::seal;
use cupola_runtime::tokenizer::Tokenizer;
use cupola_serving::{House, ModelSource, ServeConfig, ServeError};
use cupola_specs::contract::{AdapterSource, Quantization};
use cupola_specs::job::{LoraConfig, LoraTarget, Precision};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::fixture::{Fixture, chat, with, write_lstm, write_model};

const CHAT: &str = "/v1/chat/completions";

/// Tunes the model of a folder at random, and leaves behind what a training does: the merged model, its seal, and the adapter below it.
fn tune(model: &Path, to: &Path, seed: u64) {
    let mut network = Network::load(model, Device::Cpu).unwrap();
    let params = LoraConfig {
        rank: 4,
        alpha: 8.0,
        use_rslora: false,
        targets: vec![LoraTarget::AllLinear],
        dropout: 0.0,
    };
    network.adapt(&params, seed).unwrap();
    for (at, mut parameter) in network.trainable().into_iter().enumerate() {
        let count = parameter.tensor.numel() as i64;
        let waves =
            Tensor::arange(count, (Kind::Float, Device::Cpu)) * 12.9898 + (seed * 100) as f64 + at as f64;
        let numbers = (waves.sin() * 437.585).sin() * 0.3;
        tch::no_grad(|| parameter.tensor.copy_(&numbers.view_as(&parameter.tensor)));
    }
    std::fs::create_dir_all(to).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model.join(file), to.join(file)).unwrap();
    }
    let facts = SaveFacts { bos_token_id: 0, stop_token_ids: vec![2, 0], pad_token_id: 3 };
    network.save(to, &facts).unwrap();
    network.save_adapter(to, None).unwrap();
    seal::write(to, &network.frozen(Precision::Fp32).unwrap(), &Tokenizer::load(to).unwrap()).unwrap();
}

/// A folder with a model and two tunings of it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("base");
    write_model(&model, 3);
    tune(&model, &folder.path().join("law"), 5);
    tune(&model, &folder.path().join("verse"), 6);
    folder
}

fn adapter(name: &str, folder: &Path, model: Option<&str>) -> AdapterSource {
    AdapterSource { name: name.to_owned(), folder: folder.to_path_buf(), model: model.map(str::to_owned) }
}

fn model(name: &str, folder: &Path) -> ModelSource {
    ModelSource { name: Some(name.to_owned()), ..folder.to_path_buf().into() }
}

/// A server of the model and both adapters: one given by its own folder, the other by its artifact.
fn serve(folder: &Path, change: impl FnOnce(&mut ServeConfig)) -> Fixture {
    Fixture::with(|config| {
        config.models = vec![model("tiny", &folder.join("base"))];
        config.adapters = vec![
            adapter("law", &folder.join("law").join(ADAPTER_FOLDER), None),
            adapter("verse", &folder.join("verse"), Some("tiny")),
        ];
        change(config);
    })
}

/// What a load that must fail says.
fn refused(folder: &Path, change: impl FnOnce(&mut ServeConfig)) -> ServeError {
    let mut config = ServeConfig::new(folder.join("base"));
    (config.threads, config.context) = (1, 160);
    config.models[0].name = Some("tiny".into());
    change(&mut config);
    match House::load(&config) {
        Err(error) => error,
        Ok(house) => panic!("served {}", house.models()),
    }
}

fn ask(name: &str) -> Value {
    with(
        &chat("Tell me of the sea, and of those who sail on it."),
        &json!({"model": name, "temperature": 0, "ignore_eos": true, "logprobs": true}),
    )
}

async fn answer(fixture: &Fixture, name: &str) -> Value {
    let reply = fixture.post(CHAT, &ask(name)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    assert_eq!(answer["model"], name);
    answer
}

/// Log-probabilities and text of an answer, to the byte.
fn said(answer: &Value) -> (String, String) {
    (answer["choices"][0]["message"]["content"].to_string(), answer["choices"][0]["logprobs"].to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_answered_with_its_adapter_as_the_merged_model_would() {
    let folder = folder();
    let served = serve(folder.path(), |_| {});
    let alone = Fixture::with(|config| config.models = vec![model("tiny", &folder.path().join("base"))]);
    assert_eq!(
        said(&answer(&served, "tiny").await),
        said(&answer(&alone, "tiny").await),
        "no adapter, no change"
    );
    let mut texts = Vec::new();
    for name in ["law", "verse"] {
        let merged = Fixture::with(|config| config.models = vec![model(name, &folder.path().join(name))]);
        let (got, wanted) = (answer(&served, name).await, answer(&merged, name).await);
        assert_eq!(got["choices"][0]["message"], wanted["choices"][0]["message"], "{name}");
        let of = |answer: &Value| -> Vec<f64> {
            let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
            tokens.iter().map(|token| token["logprob"].as_f64().unwrap()).collect()
        };
        let far = of(&got).iter().zip(of(&wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!("{name}: log-probabilities {far:.1e} from the merged model's");
        assert!(far < 1e-4, "{name}: {far}");
        assert_ne!(got["system_fingerprint"], answer(&served, "tiny").await["system_fingerprint"]);
        texts.push(said(&got).0);
        // A vector too is the adapter's.
        let embed = json!({"model": name, "input": "the sea"});
        let vector = served.post("/v1/embeddings", &embed).await.json();
        assert_eq!(vector["model"], name);
        let of_model = served.post("/v1/embeddings", &with(&embed, &json!({"model": "tiny"}))).await.json();
        assert_ne!(vector["data"], of_model["data"]);
    }
    assert_ne!(texts[0], texts[1]);
    let unknown = served.post(CHAT, &ask("prose")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adapters_in_one_batch_give_each_its_bytes_and_never_share_a_prefix() {
    let folder = folder();
    let served = serve(folder.path(), |config| config.max_slots = 6);
    let names = ["tiny", "law", "verse"];
    let mut alone = Vec::new();
    for name in names {
        alone.push(said(&answer(&served, name).await));
    }
    let hits = |page: String| -> f64 {
        let line =
            page.lines().find(|line| line.starts_with("vllm:prefix_cache_hits_total{")).unwrap().to_owned();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    let before = hits(served.get("/metrics").await.text);
    assert!(before.abs() < 0.5, "three names asked the same, and nothing was shared: {before}");
    // Twice each at once: the second of a name finds what the first left, and only that.
    let together =
        futures::future::join_all(names.iter().chain(&names).map(|name| answer(&served, name))).await;
    for (at, answer) in together.iter().enumerate() {
        assert_eq!(said(answer), alone[at % 3], "{}", names[at % 3]);
    }
    assert!(hits(served.get("/metrics").await.text) > 0.0, "the same name shares");
}

#[tokio::test]
async fn models_are_listed_with_their_adapters() {
    let folder = folder();
    let served = serve(folder.path(), |_| {});
    let list = served.get("/v1/models").await.json();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["tiny", "law", "verse"]);
    assert_eq!(list["data"][0]["parent"], Value::Null);
    let law = served.get("/v1/models/law").await.json();
    assert_eq!(law, list["data"][1]);
    assert_eq!(law["parent"], "tiny");
    assert_eq!(law["fingerprint"].as_str().unwrap().len(), 64);
    assert_ne!(law["fingerprint"], list["data"][2]["fingerprint"]);
    assert!(law["parameters"].as_u64() > list["data"][0]["parameters"].as_u64());
    let parity = law["parity"]["largest_difference"].as_f64().unwrap();
    assert!(parity < 1e-4, "the artifact's seal is kept by the model with its adapter: {parity}");
}

#[tokio::test]
async fn quantised_models_have_adapters_too() {
    let folder = folder();
    for quantization in [Quantization::Int8, Quantization::Int4] {
        let served = serve(folder.path(), |config| config.quantization = quantization);
        let (law, tiny) = (answer(&served, "law").await, answer(&served, "tiny").await);
        assert_ne!(said(&law), said(&tiny));
    }
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start_by_name() {
    let folder = folder();
    let (root, law) = (folder.path(), folder.path().join("law"));
    let message =
        |adapters: Vec<AdapterSource>| refused(root, |config| config.adapters = adapters).to_string();
    assert!(message(vec![adapter("law", &root.join("base"), None)]).contains("adapter_config.json"));
    assert!(message(vec![adapter("tiny", &law, None)]).contains("the name 'tiny'"));
    assert!(message(vec![adapter("law", &law, None), adapter("law", &law, None)]).contains("the name 'law'"));
    assert!(message(vec![adapter("law", &law, Some("large"))]).contains("law of large"));
    let several = refused(root, |config| {
        config.models.push(model("other", &law));
        config.adapters = vec![adapter("law", &law, None)];
    });
    assert!(several.to_string().contains("@MODEL"), "{several}");
    let lstm = root.join("lstm");
    write_lstm(&lstm);
    let error = refused(root, |config| {
        config.models = vec![model("tiny", &lstm)];
        config.adapters = vec![adapter("law", &law, None)];
    });
    assert!(error.to_string().contains("only transformers"), "{error}");
    let (tokenizer, other) = (law.join("tokenizer_config.json"), law.join("saved.json"));
    std::fs::copy(&tokenizer, &other).unwrap();
    let text = std::fs::read_to_string(&tokenizer).unwrap().replace("<|im_start|>{{", "<|im_start|> {{");
    std::fs::write(&tokenizer, text).unwrap();
    assert!(message(vec![adapter("law", &law, None)]).contains("chat template"));
    std::fs::rename(&other, &tokenizer).unwrap();
    // Another base of the same sizes: what it answers with the adapter is not what was sealed.
    write_model(&root.join("stranger"), 4);
    let stranger = refused(root, |config| {
        config.models = vec![model("tiny", &root.join("stranger"))];
        config.adapters = vec![adapter("law", &law, None)];
    });
    assert!(matches!(stranger, ServeError::Seal { .. }), "{stranger}");
    // The merged model with its own adapter.
    let twice = refused(root, |config| {
        config.models = vec![model("tiny", &law)];
        config.adapters = vec![adapter("law", &law, None)];
    });
    assert!(matches!(twice, ServeError::Seal { .. }), "{twice}");
}

#[test]
fn what_pefts_config_says_beyond_low_rank_is_refused_by_its_field() {
    let folder = folder();
    let path = folder.path().join("law").join(ADAPTER_FOLDER).join("adapter_config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let cases = [
        ("use_dora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({"q_proj": 8})),
        ("alpha_pattern", json!({"q_proj": 8})),
        ("layers_to_transform", json!([0])),
        ("bias", json!("all")),
        ("peft_type", json!("LOHA")),
        ("trainable_token_indices", json!([1])),
    ];
    for (field, value) in cases {
        std::fs::write(&path, with(&config, &json!({field: value})).to_string()).unwrap();
        let error = refused(folder.path(), |config| {
            config.adapters = vec![adapter("law", &folder.path().join("law"), None)];
        });
        assert!(matches!(error, ServeError::Adapter { .. }) && error.to_string().contains(field), "{error}");
    }
}
