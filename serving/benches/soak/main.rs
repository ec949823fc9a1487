//! A long time under more load than the server takes, by clients that do not behave: `cargo bench -p cupola-serving --bench soak -- --minutes 30 --clients 200`.
//!
//! The program serves a tiny random model with room for a quarter of the clients. First it is measured how many answers a second it gives; then the clients
//! ask one and a half times as often, each at its own times, whatever becomes of its requests. A third of these are hung up at a random moment, some are read
//! slowly, and attacks ([`hostile`]) come on top. It prints a table, and ends with 1 where a stream hung, a rejection was no error object of OpenAI's,
//! blocks, connections, descriptors or memory did not come back, or the load was less.

#![expect(clippy::unwrap_used, reason = "a bench that can't measure panics")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod client;
mod hostile;
mod server;

#[path = "../../tests/api/fixture.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod fixture;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{Client, Outcome, Times};
use server::{Gauges, Program};

/// When the first part of the time is over, all that is made once is made: what grows after it leaks.
const WARM_SHARE: f64 = 0.25;
/// Memory that may come on top without being a leak: the allocator's, by as much as it keeps of what was free.
const SLACK_BYTES: u64 = 48 << 20;
/// Answers that the server gives at once.
const SLOTS: u64 = 8;
/// How long the capacity is measured.
const MEASURED: Duration = Duration::from_secs(10);
/// Requests that come, by the capacity.
const LOAD: f64 = 1.5;
/// What must have come of them: a client that waits for an answer asks later than it would.
const LEAST_LOAD: f64 = 1.3;
/// How long everything may take to come back at the end.
const SETTLE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: f64| {
        let at = given.iter().position(|word| word == name);
        at.map_or(default, |at| given.get(at + 1).and_then(|word| word.parse().ok()).unwrap())
    };
    let time = Duration::from_secs_f64(60.0 * number("--minutes", 1.0));
    let num_clients = number("--clients", 200.0) as u64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(soak(time, num_clients))
}

/// Whole answers a second that the server gives to as many clients as it has slots, each asking again at once.
async fn capacity(program: &Program) -> f64 {
    let end = Instant::now() + MEASURED;
    let clients = (0..SLOTS).map(|number| Client::new(number, program.address.clone()).press(end));
    let answered: u64 = futures::future::join_all(clients).await.into_iter().sum();
    answered as f64 / MEASURED.as_secs_f64()
}

async fn soak(time: Duration, num_clients: u64) -> ExitCode {
    let program = Program::start(num_clients);
    let first = client::normal(&program.address, 0).await;
    assert!(matches!(first, Outcome::Answered), "{first:?}");
    let capacity = capacity(&program).await;
    let offered = LOAD * capacity;
    println!(
        "capacity {capacity:.1} answers/s, {MEASURED:?} of {SLOTS} clients; offered: {offered:.1} requests/s, and attacks"
    );
    let start = program.gauges().await;
    let (began, every) = (Instant::now(), Duration::from_secs_f64(num_clients as f64 / offered));
    let end = began + time;
    let clients: Vec<_> = (0..num_clients)
        .map(|number| {
            let first = began + every.mul_f64(number as f64 / num_clients as f64);
            tokio::spawn(Client::new(number, program.address.clone()).run(Times { first, every }, end))
        })
        .collect();
    tokio::time::sleep(time.mul_f64(WARM_SHARE)).await;
    let warm = program.gauges().await;
    let mut tally = Tally::default();
    for client in clients {
        client.await.unwrap().into_iter().for_each(|(kind, outcome)| tally.add(kind, &outcome));
    }
    let settled = program.settle(&start, SETTLE).await;
    tally.print();
    print_gauges(&start, &warm, &settled);
    tally.breaches.extend(settled.differences(&start));
    let most = warm.resident_bytes.max(start.resident_bytes) + SLACK_BYTES;
    if settled.resident_bytes > most {
        tally.breaches.push(format!("memory: {} MiB stay resident", settled.resident_bytes >> 20));
    }
    tally.check_load(time, capacity);
    println!(
        "{} requests of {num_clients} clients in {:.1} minutes, {} breaches",
        tally.count(|_, _| true),
        time.as_secs_f64() / 60.0,
        tally.breaches.len()
    );
    for breach in tally.breaches.iter().take(20) {
        println!("breach: {breach}");
    }
    if tally.breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What became of all requests.
#[derive(Default)]
struct Tally {
    /// By kind and outcome.
    counts: BTreeMap<(&'static str, String), u64>,
    breaches: Vec<String>,
}

impl Tally {
    fn add(&mut self, kind: &'static str, outcome: &Outcome) {
        *self.counts.entry((kind, outcome.word())).or_default() += 1;
        self.breaches.extend(outcome.breach().map(|breach| format!("{kind}: {breach}")));
    }

    fn count(&self, is_wanted: impl Fn(&str, &str) -> bool) -> u64 {
        self.counts.iter().filter(|((kind, word), _)| is_wanted(kind, word)).map(|(_, count)| count).sum()
    }

    /// Whether as much was asked as was meant, and more than the server takes.
    fn check_load(&mut self, time: Duration, capacity: f64) {
        let asked = self.count(|kind, _| !kind.starts_with("attack"));
        let refused = self.count(|kind, word| !kind.starts_with("attack") && word.ends_with("429"));
        let share = asked as f64 / time.as_secs_f64() / capacity;
        println!("\n{share:.2} of the capacity came; {refused} of {asked} were told to come again");
        if share < LEAST_LOAD || refused == 0 {
            self.breaches.push(format!("the load was {share:.2} of the capacity, {refused} refused"));
        }
    }

    fn print(&self) {
        println!("{:<26} {:<28} {:>9}", "request", "outcome", "count");
        for ((kind, word), count) in &self.counts {
            println!("{kind:<26} {word:<28} {count:>9}");
        }
    }
}

fn print_gauges(start: &Gauges, warm: &Gauges, end: &Gauges) {
    println!("\n{:<26} {:>12} {:>12} {:>12}", "of the server", "at the start", "under load", "at the end");
    let row = |name: &str, of: fn(&Gauges) -> u64| {
        println!("{name:<26} {:>12} {:>12} {:>12}", of(start), of(warm), of(end));
    };
    row("resident memory, MiB", |gauges| gauges.resident_bytes >> 20);
    row("descriptors", |gauges| gauges.descriptors);
    row("connections", |gauges| gauges.connections);
    row("answers that run", |gauges| gauges.running);
    row("answers in line", |gauges| gauges.waiting);
    row("blocks held, in 1,000", |gauges| gauges.blocks_permille);
    row("new tokens", |gauges| gauges.tokens);
}
