//! A client that behaves as it likes, and what became of its requests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::wire_post;
use crate::hostile;

/// A request that takes longer hangs: the line is a fraction of it.
const HUNG: Duration = Duration::from_secs(90);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A whole answer.
    Answered,
    /// An error object, with this status.
    Refused(u16),
    /// The client went first.
    HungUp,
    /// No end within [`HUNG`].
    Hung,
    /// Something else, in words.
    Wrong(String),
}

impl Outcome {
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Answered => "whole answer".into(),
            Self::Refused(status) => format!("error object, {status}"),
            Self::HungUp => "hung up by the client".into(),
            Self::Hung => "HUNG".into(),
            Self::Wrong(_) => "WRONG".into(),
        }
    }

    /// Why it must not be.
    pub(crate) fn breach(&self) -> Option<String> {
        match self {
            Self::Answered | Self::HungUp | Self::Refused(400..=499) => None,
            Self::Refused(status) => Some(format!("status {status}")),
            Self::Hung => Some("no end".into()),
            Self::Wrong(what) => Some(what.clone()),
        }
    }
}

/// When a client asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) first: Instant,
    pub(crate) every: Duration,
}

pub(crate) struct Client {
    address: String,
    /// Of splitmix64.
    state: u64,
}

impl Client {
    pub(crate) fn new(number: u64, address: String) -> Self {
        Self { address, state: number }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// Asks at its times, however it is answered, until the end, and gives what became of each request.
    pub(crate) async fn run(mut self, times: Times, end: Instant) -> Vec<(&'static str, Outcome)> {
        let mut outcomes = Vec::new();
        let mut next = times.first;
        while next < end {
            tokio::time::sleep_until(next.into()).await;
            // An attack asks for next to nothing: it comes on top.
            if self.below(6) == 0 {
                outcomes.push(self.attack().await);
            }
            outcomes.push(match self.below(12) {
                0..4 => ("hangs up", self.hang_up().await),
                4 => ("reads slowly", within(read_slowly(&self.address, self.state)).await),
                _ => ("behaves", normal(&self.address, self.state).await),
            });
            next += times.every;
        }
        outcomes
    }

    /// Asks as fast as it is answered until the end, and gives how many whole answers there were.
    pub(crate) async fn press(mut self, end: Instant) -> u64 {
        let mut answered = 0;
        while Instant::now() < end {
            self.below(1);
            let outcome = normal(&self.address, self.state).await;
            assert!(matches!(outcome, Outcome::Answered), "{outcome:?}");
            answered += 1;
        }
        answered
    }

    async fn hang_up(&mut self) -> Outcome {
        let patience = Duration::from_millis(self.below(1500));
        let request = wire_post(PATH, &body(self.state, true));
        match tokio::time::timeout(patience, exchange(&self.address, &request)).await {
            Err(_) => Outcome::HungUp,
            Ok(seen) => judge(seen),
        }
    }

    async fn attack(&mut self) -> (&'static str, Outcome) {
        let attacks = hostile::ALL;
        let (kind, make) = attacks[self.below(attacks.len() as u64) as usize];
        (kind, within(async { judge(exchange(&self.address, &make()).await) }).await)
    }
}

const PATH: &str = "/v1/chat/completions";

fn body(seed: u64, stream: bool) -> Value {
    let text = "tell me more ".repeat(1 + (seed % 5) as usize);
    json!({"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 48 + seed % 96, "seed": seed % 1000,
           "ignore_eos": true, "stream": stream})
}

/// A request of a client that behaves.
pub(crate) async fn normal(address: &str, seed: u64) -> Outcome {
    within(async { judge(exchange(address, &wire_post(PATH, &body(seed, seed.is_multiple_of(2)))).await) })
        .await
}

async fn within(asked: impl Future<Output = Outcome>) -> Outcome {
    tokio::time::timeout(HUNG, asked).await.unwrap_or(Outcome::Hung)
}

/// Sends bytes on a connection of its own and reads to its end.
pub(crate) async fn exchange(address: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let (request, mut seen) = (closing(request), Vec::new());
    // Who refuses a body need not read it to its end: what is said before the connection breaks counts.
    let (_, read) = tokio::join!(writer.write_all(&request), reader.read_to_end(&mut seen));
    if seen.is_empty() {
        read?;
    }
    Ok(seen)
}

/// The request with the wish that the connection is closed behind its answer.
fn closing(request: &[u8]) -> Vec<u8> {
    let line = request.windows(2).position(|two| two == b"\r\n").unwrap_or(request.len());
    [&request[..line], b"\r\nconnection: close", &request[line..]].concat()
}

async fn read_slowly(address: &str, seed: u64) -> Outcome {
    let slow = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(&closing(&wire_post(PATH, &body(seed, true)))).await?;
        let (mut seen, mut bytes) = (Vec::new(), [0; 512]);
        loop {
            let count = socket.read(&mut bytes).await?;
            if count == 0 {
                return Ok(seen);
            }
            seen.extend_from_slice(&bytes[..count]);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    judge(slow.await)
}

/// Whether a response is whole, and a rejection as OpenAI's clients read it.
fn judge(seen: std::io::Result<Vec<u8>>) -> Outcome {
    let seen = match seen {
        Ok(seen) => String::from_utf8_lossy(&seen).into_owned(),
        Err(error) => return Outcome::Wrong(error.to_string()),
    };
    let status = seen.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
    let (Some(status), Some((head, body))) = (status, seen.split_once("\r\n\r\n")) else {
        return Outcome::Wrong(format!("no response: {seen:.200}"));
    };
    if status == 200 {
        let is_stream = head.contains("text/event-stream");
        let is_whole = if is_stream {
            body.contains("data: [DONE]") && body.ends_with("0\r\n\r\n")
        } else {
            serde_json::from_str::<Value>(body).is_ok()
        };
        return if is_whole { Outcome::Answered } else { Outcome::Wrong(format!("cut: {body:.300}")) };
    }
    let error = serde_json::from_str::<Value>(body).unwrap_or_default();
    let is_object = error["error"]["message"].is_string() && error["error"]["type"].is_string();
    let has_places = ["param", "code"].iter().all(|name| error["error"].get(name).is_some());
    if is_object && has_places {
        Outcome::Refused(status)
    } else {
        Outcome::Wrong(format!("no error object: {seen:.300}"))
    }
}
