use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cupola_specs::contract::{
    ErrorClass, Event, EventBody, Failure, JobFile, MlflowTarget, TelemetryTargets, WandbTarget,
};
use cupola_specs::job::{Activation, Family, ModelShape, ModelType, Precision};
use cupola_specs::spec::SecretRef;
use serde_json::{Value, json};
use tch::Device;

use super::*;
use crate::job::sample::job_in;
use crate::job::{StepContext, Summary};
use crate::model::{Network, Parameter, depth_shape};
use crate::train::{Curves, Objective, StepLoss, TrainError};

/// An attempt of a step in `folder`.
fn context(folder: &Path, token: &str, telemetry: TelemetryTargets) -> StepContext {
    let job = JobFile {
        run: "small-1".into(),
        token: token.into(),
        fingerprint: "f".repeat(64),
        events: folder.join(format!("events-{token}.jsonl")),
        telemetry,
        ..job_in(folder)
    };
    StepContext::new(job, Arc::default()).unwrap()
}

fn events(folder: &Path, token: &str) -> Vec<EventBody> {
    let text = std::fs::read_to_string(folder.join(format!("events-{token}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().body).collect()
}

/// A stage that says what its steps take, and trains nothing.
struct Still {
    flops: f64,
}

impl Objective for Still {
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        1
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        Err(TrainError::NoLoss { step, micro })
    }

    fn row_names(&mut self, _step: u64, _micro: u64) -> Vec<String> {
        Vec::new()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        8 * done
    }

    fn work(&mut self, _step: u64) -> Option<StepWork> {
        Some(StepWork { flops: self.flops, precision: Precision::Fp32 })
    }

    fn data_position(&self, done: u64) -> DataPosition {
        let epochs = vec![("code".to_owned(), 0.25 * done as f64)];
        DataPosition { rows: 8 * done, tokens: Some(64 * done), epochs }
    }
}

/// Steps `from..to` of an attempt, of 10 ms at least.
fn steps(ctx: &StepContext, from: u64, to: u64) {
    let mut meter = StepMeter::start(ctx, "", from);
    for step in from..to {
        meter.begin_step();
        std::thread::sleep(std::time::Duration::from_millis(10));
        meter.passes_done(0.004);
        meter.update_done();
        meter.end_step(step, 64, &mut Still { flops: 5e9 }, step + 1 == to);
        ctx.events().metric("loss", step, 1.0 / (step + 1) as f64);
        if (step + 1) % 2 == 0 {
            ctx.events().metric("validation_bpb", step + 1, 2.0);
            ctx.events().sample(step + 1, "Once", "upon a time");
        }
    }
}

/// Points of `metrics.jsonl` by name.
fn points(path: &Path) -> BTreeMap<String, Vec<(u64, f64)>> {
    let mut points: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["name"].as_str().unwrap_or("sample").to_owned();
        let point = (line["step"].as_u64().unwrap(), line["value"].as_f64().unwrap_or(f64::NAN));
        points.entry(name).or_default().push(point);
    }
    points
}

#[test]
fn mfu_is_flops_by_seconds_by_peak_and_the_last_step_says_where_the_data_stands() {
    let folder = tempfile::tempdir().unwrap();
    let jsonl = Some(folder.path().join("curves"));
    let targets = TelemetryTargets { jsonl, peak_flops: Some(2e12), ..TelemetryTargets::default() };
    let ctx = context(folder.path(), "1.1", targets);
    steps(&ctx, 0, 5);
    ctx.events().finished(Summary::new()).unwrap();
    let points = points(&folder.path().join("curves/metrics.jsonl"));
    for (mfu, secs) in points["mfu"].iter().zip(&points["step_secs"]) {
        assert!(secs.1 >= 0.010, "{secs:?}");
        assert!((mfu.1 - 5e9 / secs.1 / 2e12).abs() < 1e-12, "{mfu:?} {secs:?}");
    }
    for (rate, secs) in points["tokens_per_sec"].iter().zip(&points["step_secs"]) {
        assert!((rate.1 * secs.1 - 64.0).abs() < 1e-9);
    }
    assert_eq!(points["step_secs"].len(), 5);
    assert_eq!(points["data_rows"], [(0, 8.0), (4, 40.0)]);
    assert_eq!(points["data_tokens"], [(0, 64.0), (4, 320.0)]);
    assert_eq!(points["data_epochs.code"], [(0, 0.25), (4, 1.25)]);
    let (data, passes) = (points["data_secs"][1].1, points["forward_backward_secs"][1].1);
    assert!((data - 0.004).abs() < 1e-12 && passes >= 0.006, "{data} {passes}");
    assert!(points["peak_rss_bytes"][0].1 > 1e6);
    let logs: Vec<String> = events(folder.path(), "1.1")
        .into_iter()
        .filter_map(|body| if let EventBody::Log { message } = body { Some(message) } else { None })
        .collect();
    assert_eq!(logs.len(), 1, "told once: {logs:?}");
    assert!(
        logs[0].starts_with("mfu = ") && logs[0].contains("peak 2.0000e12 FLOP/s (given by"),
        "{}",
        logs[0]
    );
}

#[test]
fn an_attempt_that_goes_on_leaves_each_step_once_and_its_validations_stay() {
    let folder = tempfile::tempdir().unwrap();
    let curves = folder.path().join("curves");
    let targets = TelemetryTargets {
        jsonl: Some(curves.clone()),
        csv: Some(curves.clone()),
        peak_flops: Some(1e12),
        ..TelemetryTargets::default()
    };
    steps(&context(folder.path(), "1.1", targets.clone()), 0, 6);
    // Killed without a word; the newest state is that after step 4.
    steps(&context(folder.path(), "1.2", targets), 4, 8);
    let points = points(&curves.join("metrics.jsonl"));
    assert_eq!(points["loss"].iter().map(|point| point.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    // Measured after 2, 4, 6 and 8 steps: with the last step that is in them.
    assert_eq!(points["validation_bpb"].iter().map(|point| point.0).collect::<Vec<_>>(), [1, 3, 5, 7]);
    assert_eq!(points["sample"].iter().map(|point| point.0).collect::<Vec<_>>(), [1, 3, 5, 7]);
    let csv = std::fs::read_to_string(curves.join("metrics.csv")).unwrap();
    let losses = csv.lines().filter(|line| line.contains(",loss,")).count();
    assert_eq!((csv.lines().next(), losses), (Some("at_millis,step,name,value"), 8));
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning_and_the_step_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let csv = Some(folder.path().join("file/curves"));
    let ctx = context(folder.path(), "1.1", TelemetryTargets { csv, ..TelemetryTargets::default() });
    steps(&ctx, 0, 2);
    ctx.events().finished(Summary::new()).unwrap();
    let told = events(folder.path(), "1.1");
    let is_told = |body: &EventBody| matches!(body, EventBody::Warning { code, message } if code == "telemetry" && message.contains("metrics.csv is off"));
    assert_eq!(told.iter().filter(|body| is_told(body)).count(), 1, "{told:?}");
}

/// What a stub server was asked: method and path, the header of who asks, the body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A server that answers as `answer` says, and keeps what it was asked.
fn stub(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).unwrap_or(0) > 2 {
                head.push_str(&line);
                line.clear();
            }
            let header =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
            let mut body = vec![0; header("content-length: ").parse().unwrap_or(0)];
            stream.read_exact(&mut body).unwrap();
            let target = head.split(" HTTP").next().unwrap().to_owned();
            let (status, text) = answer(&target);
            let text = text.to_string();
            kept.lock().unwrap().push((
                target,
                header("authorization: "),
                serde_json::from_slice(&body).unwrap_or_default(),
            ));
            let length = text.len();
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.get_mut().write_all(format!("{head}{text}").as_bytes());
        }
    });
    (url, asked)
}

/// A variable that every process of a test has, as a secret.
fn a_secret() -> (SecretRef, String) {
    let name = "CARGO_MANIFEST_DIR".to_owned();
    let value = std::env::var(&name).unwrap();
    (SecretRef { name }, value)
}

/// The steps of the history lines that a server was sent, in order, with their offsets.
fn history(asked: &Asked) -> Vec<(u64, u64)> {
    let mut steps = Vec::new();
    for (target, _, body) in asked.lock().unwrap().iter().filter(|asked| asked.0.ends_with("/file_stream")) {
        assert_eq!(target, "POST /files/team/some/run7/file_stream");
        let file = &body["files"]["wandb-history.jsonl"];
        for (at, line) in file["content"].as_array().into_iter().flatten().enumerate() {
            let line: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            assert!(line["loss"].is_number() && line["_timestamp"].is_number(), "{line}");
            steps.push((file["offset"].as_u64().unwrap() + at as u64, line["_step"].as_u64().unwrap()));
        }
    }
    steps
}

#[test]
fn wandb_is_sent_each_step_once_over_two_attempts_and_the_key_is_written_nowhere() {
    let bucket = json!({"id": "x", "name": "run7", "project": {"name": "some", "entity": {"name": "team"}}});
    let answer = json!({"data": {"upsertBucket": {"bucket": bucket}}});
    let (base_url, asked) = stub(move |_| (200, answer.clone()));
    let (api_key, value) = a_secret();
    let folder = tempfile::tempdir().unwrap();
    let wandb = WandbTarget { base_url, project: "some".into(), entity: None, api_key };
    let targets = TelemetryTargets {
        wandb: Some(wandb),
        positions: folder.path().join("positions"),
        peak_flops: Some(1e12),
        ..TelemetryTargets::default()
    };
    let first = context(folder.path(), "1.1", targets.clone());
    steps(&first, 0, 40);
    let stopped = Failure {
        class: ErrorClass::Transient,
        code: "cancelled".into(),
        message: String::new(),
        hint: String::new(),
    };
    first.events().failed(stopped).unwrap();
    let second = context(folder.path(), "1.2", targets);
    steps(&second, 30, 60);
    second.events().finished(Summary::new()).unwrap();
    let sent = history(&asked);
    assert_eq!(
        sent.iter().map(|line| line.0).collect::<Vec<_>>(),
        (0..sent.len() as u64).collect::<Vec<_>>()
    );
    assert!(sent.windows(2).all(|pair| pair[0].1 < pair[1].1), "{sent:?}");
    assert_eq!((sent.first().unwrap().1, sent.last().unwrap().1), (0, 59));
    assert!(sent.iter().any(|line| line.1 == 39) && sent.len() >= 4, "{sent:?}");
    let asked = asked.lock().unwrap();
    let ends: Vec<&Value> =
        asked.iter().map(|asked| &asked.2["exitcode"]).filter(|code| !code.is_null()).collect();
    assert_eq!(ends, [&json!(1), &json!(0)]);
    assert!(asked.iter().all(|asked| asked.1.starts_with("Basic ")));
    let names: Vec<&Value> =
        asked.iter().map(|asked| &asked.2["variables"]["name"]).filter(|name| !name.is_null()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0], names[1], "the second attempt opens the same run");
    for entry in walk(folder.path()) {
        let text = std::fs::read(&entry).unwrap();
        let holds = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(value.as_bytes()), "{} holds the key", entry.display());
    }
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_refusal_that_repeats_the_key_is_told_without_it() {
    let (token, value) = a_secret();
    let said = value.clone();
    let (url, _) = stub(move |_| (401, json!({ "message": format!("{said} is not welcome") })));
    let folder = tempfile::tempdir().unwrap();
    let mlflow = MlflowTarget { url, experiment: "x".into(), token: Some(token), username: None };
    let targets = TelemetryTargets {
        mlflow: Some(mlflow),
        positions: folder.path().join("positions"),
        peak_flops: Some(1e12),
        ..TelemetryTargets::default()
    };
    let ctx = context(folder.path(), "1.1", targets);
    steps(&ctx, 0, 3);
    ctx.events().finished(Summary::new()).unwrap();
    let told = format!("{:?}", events(folder.path(), "1.1"));
    assert!(told.contains("[secret] is not welcome") && !told.contains(&value), "{told}");
    assert!(told.contains("telemetry_dropped"), "{told}");
}

#[test]
fn a_secret_that_is_not_set_is_named_and_the_step_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let token = Some(SecretRef { name: "NO_SUCH_SECRET_OF_CUPOLA".into() });
    let mlflow =
        MlflowTarget { url: "http://127.0.0.1:1".into(), experiment: "x".into(), token, username: None };
    let positions = folder.path().join("positions");
    let targets = TelemetryTargets { mlflow: Some(mlflow), positions, ..TelemetryTargets::default() };
    let ctx = context(folder.path(), "1.1", targets);
    ctx.events().metric("loss", 0, 1.0);
    ctx.events().finished(Summary::new()).unwrap();
    let told = format!("{:?}", events(folder.path(), "1.1"));
    assert!(told.contains("MLflow is off") && told.contains("NO_SUCH_SECRET_OF_CUPOLA"), "{told}");
}

fn shape(family: Family) -> ModelShape {
    ModelShape {
        num_hidden_layers: 3,
        hidden_size: 16,
        intermediate_size: 40,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        ..depth_shape(family, 3, 64)
    }
}

/// FLOPs of a token, added up by hand: a product with a weight of m × n costs 2·m·n forward and twice that backward; a query against the keys of
/// a row of T costs 2·T·width for scores and as much for the sum of values, of which a causal mask leaves half; backward twice that.
#[test]
fn flops_of_a_token_equal_hand_arithmetic_for_each_family() {
    let (vocab, context) = (100_i64, 32_u64);
    let of = |shape: &ModelShape| {
        Network::init(shape, vocab, 1, Device::Cpu).unwrap().flops_per_token(context) as u64
    };
    let head = 16 * 100;
    // Grouped queries: keys and values are half as wide as queries.
    let grouped = 16 * 16 + 2 * (16 * 8) + 16 * 16;
    let swiglu = 3 * (16 * 40);
    // Scores cost 2·T·width and sums of values as much: half of both.
    let causal = 2 * 32 * 16;
    let transformer = shape(Family::Transformer);
    assert_eq!(of(&transformer), 3 * 3 * (2 * (grouped + swiglu)) + 3 * 2 * head + 3 * 3 * causal);
    // One matrix for both ends: the head's product is there all the same.
    let tied = ModelShape { tie_word_embeddings: true, ..transformer.clone() };
    assert_eq!(of(&tied), of(&transformer));
    let full = 4 * (16 * 16);
    let relu2 = 2 * (16 * 40);
    let plain = ModelShape {
        model_type: ModelType::Arcee,
        num_key_value_heads: 4,
        activation: Activation::Relu2,
        qk_norm: false,
        ..transformer.clone()
    };
    assert_eq!(of(&plain), 3 * 3 * (2 * (full + relu2)) + 3 * 2 * head + 3 * 3 * causal);
    // An LSTM's layer: four gates of the input, four of the state, one product back; its cost does not grow with the context.
    let lstm = ModelShape { num_attention_heads: 1, num_key_value_heads: 1, ..shape(Family::Lstm) };
    assert_eq!(of(&lstm), 3 * 3 * (2 * 9 * 16 * 16) + 3 * 2 * head);
}
