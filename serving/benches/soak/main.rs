//! A long time under more load than the server takes, by clients that do not behave: `cargo bench -p cupola-serving --bench soak -- --minutes 30 --clients 200`.
//!
//! The program serves a tiny random model with room for two thirds of the clients. A third of the requests are hung up at a random moment, some are read
//! slowly, some are attacks ([`hostile`]). It prints a table, and ends with 1 where a stream hung, a rejection was no error object of OpenAI's, or
//! blocks, connections, descriptors or memory did not come back.

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
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, Outcome};
use server::{Gauges, Program};

/// When the first part of the time is over, all that is made once is made: what grows after it leaks.
const WARM_SHARE: f64 = 0.25;
/// Memory that may come on top without being a leak: the allocator's, by as much as it keeps of what was free.
const SLACK_BYTES: u64 = 48 << 20;
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

async fn soak(time: Duration, num_clients: u64) -> ExitCode {
    let program = Arc::new(Program::start(num_clients));
    let first = client::normal(&program.address, 0).await;
    assert!(matches!(first, Outcome::Answered), "{first:?}");
    let start = program.gauges().await;
    let end = Instant::now() + time;
    let clients: Vec<_> = (0..num_clients)
        .map(|number| tokio::spawn(Client::new(number, program.address.clone()).run(end)))
        .collect();
    tokio::time::sleep(time.mul_f64(WARM_SHARE)).await;
    let warm = program.gauges().await;
    let mut counts: BTreeMap<(&str, String), u64> = BTreeMap::new();
    let mut breaches = Vec::new();
    for client in clients {
        for (kind, outcome) in client.await.unwrap() {
            *counts.entry((kind, outcome.word())).or_default() += 1;
            if let Some(breach) = outcome.breach() {
                breaches.push(format!("{kind}: {breach}"));
            }
        }
    }
    let settled = program.settle(&start, SETTLE).await;
    println!("{:<26} {:<28} {:>9}", "request", "outcome", "count");
    for ((kind, word), count) in &counts {
        println!("{kind:<26} {word:<28} {count:>9}");
    }
    print_gauges(&start, &warm, &settled);
    breaches.extend(settled.differences(&start));
    let most = warm.resident_bytes.max(start.resident_bytes) + SLACK_BYTES;
    if settled.resident_bytes > most {
        breaches.push(format!("memory: {} MiB stay resident", settled.resident_bytes >> 20));
    }
    let total: u64 = counts.values().sum();
    println!(
        "{total} requests of {num_clients} clients in {:.1} minutes, {} breaches",
        time.as_secs_f64() / 60.0,
        breaches.len()
    );
    for breach in breaches.iter().take(20) {
        println!("breach: {breach}");
    }
    if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
