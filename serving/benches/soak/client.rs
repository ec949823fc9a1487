//! A client that behaves as it likes, and what became of its requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::fixture::wire_post;
use crate::hostile;
use crate::response::{answer_of, judge};

/// A request that takes longer hangs: the line is a fraction of it.
const HUNG: Duration = Duration::from_secs(90);

/// Questions that clients ask, each with its answer.
const QUESTIONS: u64 = 96;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A whole answer, which is the one that the question has when nothing else runs.
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

/// Kinds of requests.
pub(crate) const BEHAVES: &str = "behaves";
pub(crate) const SLOW: &str = "reads slowly";
const HANGS_UP: &str = "hangs up";
/// Share of the requests that wait for their end: the others are hung up at a random moment.
pub(crate) const STAYING: f64 = 2.0 / 3.0;

/// When a client asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) first: Instant,
    pub(crate) every: Duration,
    /// How long one that hangs up waits at most.
    pub(crate) patience: Duration,
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) kind: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

/// What the server says to each question.
pub(crate) type Answers = Arc<Vec<String>>;

/// Asks each question while nothing else runs.
pub(crate) async fn answers(address: &str) -> Answers {
    let mut answers = Vec::new();
    for question in 0..QUESTIONS {
        let seen = exchange(address, &wire_post(PATH, &body(question, false))).await.unwrap();
        answers.push(answer_of(&seen).unwrap());
    }
    Arc::new(answers)
}

#[derive(Clone)]
pub(crate) struct Client {
    address: String,
    answers: Answers,
    /// Of splitmix64.
    state: u64,
}

impl Client {
    pub(crate) fn new(number: u64, address: String, answers: Answers) -> Self {
        Self { address, answers, state: number }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// Asks at its times, whether or not what it asked before is answered, until the end, and gives what became of each request.
    pub(crate) async fn run(mut self, times: Times, end: Instant) -> Vec<Asked> {
        let mut asked = JoinSet::new();
        let mut next = times.first;
        while next < end {
            tokio::time::sleep_until(next.into()).await;
            if Instant::now() >= end {
                break;
            }
            let one = Self { state: self.below(u64::MAX), ..self.clone() };
            asked.spawn(match self.below(12) {
                0 => timed(SLOW, one.read_slowly()).boxed(),
                1..8 => timed(BEHAVES, one.ask()).boxed(),
                _ => timed(HANGS_UP, one.hang_up(times.patience)).boxed(),
            });
            next += times.every;
        }
        asked.join_all().await
    }

    /// Attacks until the end, one attack after another.
    pub(crate) async fn run_hostile(mut self, end: Instant) -> Vec<Asked> {
        let mut asked = Vec::new();
        while Instant::now() < end {
            let (kind, make) = hostile::ALL[self.below(hostile::ALL.len() as u64) as usize];
            let attack = async { judge(exchange(&self.address, &make()).await, None) };
            asked.push(timed(kind, within(attack)).await);
            tokio::time::sleep(Duration::from_millis(self.below(1000))).await;
        }
        asked
    }

    /// Asks as fast as it is answered until the end, and gives how many whole answers there were.
    pub(crate) async fn press(mut self, end: Instant) -> u64 {
        let mut answered = 0;
        while Instant::now() < end {
            let one = Self { state: self.below(u64::MAX), ..self.clone() };
            let outcome = one.ask().await;
            assert!(matches!(outcome, Outcome::Answered), "{outcome:?}");
            answered += 1;
        }
        answered
    }

    /// A request of a client that behaves.
    async fn ask(mut self) -> Outcome {
        let question = self.below(QUESTIONS);
        let request = wire_post(PATH, &body(question, self.below(2) == 0));
        within(async { judge(exchange(&self.address, &request).await, Some(self.answer(question))) }).await
    }

    async fn hang_up(mut self, most: Duration) -> Outcome {
        let (question, patience) = (self.below(QUESTIONS), most.mul_f64(self.below(1000) as f64 / 1000.0));
        let request = wire_post(PATH, &body(question, true));
        match tokio::time::timeout(patience, exchange(&self.address, &request)).await {
            Err(_) => Outcome::HungUp,
            Ok(seen) => judge(seen, Some(self.answer(question))),
        }
    }

    async fn read_slowly(mut self) -> Outcome {
        let question = self.below(QUESTIONS);
        let request = wire_post(PATH, &body(question, true));
        within(async { judge(slow_exchange(&self.address, &request).await, Some(self.answer(question))) })
            .await
    }

    fn answer(&self, question: u64) -> &str {
        &self.answers[question as usize]
    }
}

const PATH: &str = "/v1/chat/completions";

fn body(question: u64, stream: bool) -> Value {
    let text = "tell me more ".repeat(1 + (question % 5) as usize);
    json!({"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 48 + question, "seed": question,
           "ignore_eos": true, "stream": stream})
}

async fn timed(kind: &'static str, asked: impl Future<Output = Outcome>) -> Asked {
    let since = Instant::now();
    let outcome = asked.await;
    Asked { kind, outcome, took: since.elapsed() }
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

async fn slow_exchange(address: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&closing(request)).await?;
    let (mut seen, mut bytes) = (Vec::new(), [0; 512]);
    loop {
        let count = socket.read(&mut bytes).await?;
        if count == 0 {
            return Ok(seen);
        }
        seen.extend_from_slice(&bytes[..count]);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}
