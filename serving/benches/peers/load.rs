//! The load: completions of random prompts, streamed, and when their tokens came.
//!
//! The client shares the cores with what it measures, so it does next to nothing: it notes the time of each read, keeps the bytes, and looks at them when
//! the answer is over.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::checkpoint::VOCAB;

/// Tokens of a prompt where decoding is measured.
pub(crate) const PROMPT: usize = 64;
/// New tokens of an answer.
pub(crate) const ANSWER: usize = 128;
/// Tokens of a prompt whose reading is measured.
pub(crate) const LONG_PROMPT: usize = 512;
const STREAMS: usize = 8;
/// How often the short loads are repeated within a measurement.
const REPEATS: usize = 4;

/// Tokens a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
pub(crate) struct Rates {
    /// One stream, from its first token on.
    pub(crate) one: f64,
    /// Eight streams, while all of them run.
    pub(crate) steady: f64,
    /// Eight streams, from the first request to the last token.
    pub(crate) whole: f64,
    /// A prompt of 512, from the request to the first token.
    pub(crate) prefill: f64,
}

/// Random prompts, none of them twice.
#[derive(Debug)]
pub(crate) struct Prompts(u64);

impl Prompts {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed << 32)
    }

    fn next(&mut self, count: usize) -> Vec<u64> {
        let mut token = || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            // Beyond the special tokens and the bytes.
            300 + (z ^ (z >> 31)) % (VOCAB as u64 - 300)
        };
        (0..count).map(|_| token()).collect()
    }
}

/// Puts all loads on a server.
pub(crate) async fn measure(address: &str, prompts: &mut Prompts) -> Rates {
    let mut one = Vec::new();
    for _ in 0..REPEATS / 2 {
        let seen = complete(address, &prompts.next(PROMPT), ANSWER).await;
        one.push((ANSWER - 1) as f64 / (seen.last() - seen.first()).as_secs_f64());
    }
    let start = Instant::now();
    let asked: Vec<Vec<u64>> = (0..STREAMS).map(|_| prompts.next(PROMPT)).collect();
    let streams = asked.iter().map(|prompt| complete(address, prompt, ANSWER));
    let streams: Vec<Seen> = futures::future::join_all(streams).await;
    let end = streams.iter().map(Seen::last).max().unwrap();
    let whole = (STREAMS * ANSWER) as f64 / (end - start).as_secs_f64();
    let mut prefill = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        let seen = complete(address, &prompts.next(LONG_PROMPT), 1).await;
        prefill.push(LONG_PROMPT as f64 / (seen.first() - start).as_secs_f64());
    }
    Rates { one: best(&one), steady: steady(&streams), whole, prefill: best(&prefill) }
}

/// Short loads are repeated, and the fastest counts: what comes between makes them slower only.
fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

/// Tokens a second between the last stream's first token and the first stream's last.
fn steady(streams: &[Seen]) -> f64 {
    let (from, to) =
        (streams.iter().map(Seen::first).max().unwrap(), streams.iter().map(Seen::last).min().unwrap());
    let within = |seen: &Seen| seen.reads.iter().filter(|(at, _)| from < *at && *at <= to).count();
    // A read holds one token, but for those of special ones, which have no text.
    let tokens: f64 =
        streams.iter().map(|seen| (ANSWER * within(seen)) as f64 / seen.reads.len() as f64).sum();
    tokens / (to - from).as_secs_f64()
}

/// When an answer's events came.
struct Seen {
    reads: Vec<(Instant, usize)>,
}

impl Seen {
    fn first(&self) -> Instant {
        self.reads.first().unwrap().0
    }

    fn last(&self) -> Instant {
        self.reads.last().unwrap().0
    }
}

/// One answer of exactly so many tokens.
async fn complete(address: &str, prompt: &[u64], max_tokens: usize) -> Seen {
    let body = json!({"model": "peer", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true,
                      "stream": true, "stream_options": {"include_usage": true}})
    .to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let (mut bytes, mut reads) = (Vec::with_capacity(1 << 17), Vec::with_capacity(2 * ANSWER));
    loop {
        let before = bytes.len();
        if socket.read_buf(&mut bytes).await.unwrap() == 0 {
            break;
        }
        reads.push((Instant::now(), before));
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200"), "{text:.600}");
    let generated = text.rsplit("\"completion_tokens\":").next().map(str::trim_start);
    let digits: String = generated.unwrap().chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(digits.parse(), Ok(max_tokens), "{text:.600}");
    // Reads that only bring the head, the usage or the end hold no token.
    let token = |from: usize| {
        let to = reads.iter().map(|(_, at)| *at).find(|at| *at > from).unwrap_or(bytes.len());
        let part = &text.as_bytes()[from..to];
        part.windows(7).any(|seven| seven == b"\"text\":")
    };
    let tokens = reads.iter().filter(|(_, from)| token(*from)).copied().collect();
    Seen { reads: tokens }
}

/// Waits until a server answers.
pub(crate) async fn wait(address: &str, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let asked = async {
            let mut socket = TcpStream::connect(address).await?;
            socket
                .write_all(
                    format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
                        .as_bytes(),
                )
                .await?;
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).await?;
            Ok::<_, std::io::Error>(bytes.starts_with(b"HTTP/1.1 200"))
        };
        if asked.await.unwrap_or(false) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    false
}
