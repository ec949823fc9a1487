//! A tiny model folder and requests to a router around it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use cupola_runtime::model::{Network, SaveFacts, depth_shape};
use cupola_runtime::seal;
use cupola_runtime::tokenizer::Tokenizer;
use cupola_serving::{House, ServeConfig, Server, Stop, router};
use cupola_specs::job::{Family, ModelShape, ModelType};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower::ServiceExt;

/// Tokens of prompt and answer together.
pub(crate) const CONTEXT: usize = 160;
/// What the model itself has room for: an answer of as many takes seconds.
const LONGEST: usize = 20_000;
/// The chat format of the fixture.
pub(crate) const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A server over a fresh tiny model.
pub(crate) struct Fixture {
    _folder: tempfile::TempDir,
    pub(crate) config: ServeConfig,
    pub(crate) house: House,
    pub(crate) router: Router,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::of_template(TEMPLATE, change)
    }

    /// A server whose chats have another template.
    pub(crate) fn of_template(template: &str, change: impl FnOnce(&mut ServeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_model_of(folder.path(), 3, template);
        let mut config = ServeConfig::new(folder.path().to_path_buf());
        config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.models[0].name = Some("tiny".into());
        config.threads = 1;
        config.max_slots = 4;
        config.context = CONTEXT;
        change(&mut config);
        let house = House::load(&config).unwrap();
        Self { _folder: folder, router: router(house.clone()), house, config }
    }

    /// A server whose answers run for seconds where nothing ends them.
    pub(crate) fn patient(change: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::with(|config| {
            config.context = LONGEST;
            change(config);
        })
    }

    /// Serves on a socket until the sender says otherwise.
    pub(crate) async fn listen(&self) -> Live {
        let server = Server::listen(self.house.clone(), &self.config).await.unwrap();
        let (stop, stops) = mpsc::channel(2);
        let (address, reload) = (server.address(), server.reload());
        Live { address, stop, reload, ended: tokio::spawn(server.run(stops)) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// A number of `/metrics` by its name and labels; 0 where it is not there.
    pub(crate) async fn number(&self, name: &str) -> u64 {
        let page = self.get("/metrics").await.text;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a number of `/metrics` is at least so much.
    pub(crate) async fn wait_for(&self, name: &str, least: u64) {
        let started = Instant::now();
        while self.number(name).await < least {
            assert!(started.elapsed() < Duration::from_secs(20), "{name} does not become {least}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(post(path, body)).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Starts a stream, reads its first bytes, and hands the rest over: dropping it is a client that hangs up.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> axum::body::BodyDataStream {
        let response = self.router.clone().oneshot(post(path, body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut stream = response.into_body().into_data_stream();
        stream.next().await.unwrap().unwrap();
        stream
    }
}

/// A server on a socket.
pub(crate) struct Live {
    pub(crate) address: SocketAddr,
    pub(crate) stop: mpsc::Sender<Stop>,
    pub(crate) reload: mpsc::Sender<()>,
    pub(crate) ended: JoinHandle<()>,
}

impl Live {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects, sends bytes and reads until the server closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        read_to_end(&mut socket).await
    }
}

/// Reads until the other side closes, within ten seconds.
pub(crate) async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut bytes)).await;
    read.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads until a text is there, waiting at most ten seconds for more.
pub(crate) async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut bytes = [0; 512];
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut bytes)).await;
        let count = read.unwrap().unwrap();
        assert_ne!(count, 0, "no {text:?} in {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    seen
}

/// A GET request as bytes, whose connection is closed behind the answer.
pub(crate) fn wire_get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").into_bytes()
}

/// A POST request as bytes, whose connection is kept.
pub(crate) fn wire_post(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A whole response.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The data of each server-sent event; checks the framing.
    pub(crate) fn events(&self) -> Vec<String> {
        assert_eq!(self.headers[header::CONTENT_TYPE], "text/event-stream");
        let (body, rest) = self.text.rsplit_once("\n\n").unwrap();
        assert_eq!(rest, "", "the last event is closed");
        body.split("\n\n").map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
    }

    /// The chunks before `[DONE]`, which must be the last event.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let events = self.events();
        let (done, chunks) = events.split_last().unwrap();
        assert_eq!(done, "[DONE]");
        chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
    }
}

pub(crate) fn chat(content: &str) -> Value {
    json!({"model": "tiny", "messages": [{"role": "user", "content": content}], "seed": 5, "max_tokens": 24})
}

/// `base` with the fields of `more` set.
pub(crate) fn with(base: &Value, more: &Value) -> Value {
    let mut base = base.clone();
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

/// A random network with its tokenizer and its seal.
pub(crate) fn write_model(dir: &Path, seed: u64) {
    write_model_of(dir, seed, TEMPLATE);
}

fn write_model_of(dir: &Path, seed: u64, template: &str) {
    let shape = ModelShape {
        num_hidden_layers: 2,
        hidden_size: 32,
        intermediate_size: 64,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        tie_word_embeddings: true,
        max_position_embeddings: LONGEST as u64,
        ..ModelShape::plain(ModelType::Qwen3)
    };
    write_model_as(dir, seed, template, &shape);
}

/// A random network of a shape.
pub(crate) fn write_model_as(dir: &Path, seed: u64, template: &str, shape: &ModelShape) {
    std::fs::create_dir_all(dir).unwrap();
    write_tokenizer(dir, template);
    let network = Network::init(shape, 260, seed, tch::Device::Cpu).unwrap();
    network.save(dir, &SaveFacts { bos_token_id: 0, stop_token_ids: vec![2, 0], pad_token_id: 3 }).unwrap();
    seal::write(dir, &network, &Tokenizer::load(dir).unwrap()).unwrap();
}

/// The same around an LSTM, without a seal.
pub(crate) fn write_lstm(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    write_tokenizer(dir, TEMPLATE);
    let shape = depth_shape(Family::Lstm, 1, 256);
    let network = Network::init(&shape, 260, 1, tch::Device::Cpu).unwrap();
    network.save(dir, &SaveFacts { bos_token_id: 0, stop_token_ids: vec![2, 0], pad_token_id: 3 }).unwrap();
}

/// One token for each byte, and four special tokens.
fn write_tokenizer(dir: &Path, template: &str) {
    let specials = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"];
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let mut vocab: Map<String, Value> =
        specials.iter().enumerate().map(|(id, s)| ((*s).to_owned(), json!(id))).collect();
    for byte in 0..=255u8 {
        vocab.insert(byte_char(byte).to_string(), json!(u32::from(byte) + 4));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
                  "ignore_merges": false, "vocab": vocab, "merges": []},
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>", "chat_template": template,
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// GPT-2's printable stand-in for a byte: itself where it prints, else the next free character from U+0100.
fn byte_char(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if prints(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !prints(b)).count() as u32;
    char::from_u32(0x100 + before).unwrap()
}
