//! A long time under more load than the server takes, by clients that do not behave: `cargo bench -p cupola-serving --bench soak -- --minutes 30 --clients 200`.
//!
//! The program serves a small random model with room for a quarter of the clients. First each of some questions is asked alone, and it is measured how many
//! answers a second there are. Then the clients ask, each at its own times, whatever becomes of its requests: those that wait for their end, some of which read
//! slowly, come one and a half times as often as they can be answered; half as many more are hung up at a random moment, and attacks ([`hostile`]) come on top.
//! It prints a table, and ends with 1 where an answer was cut, late or another than when asked alone, a stream hung, a rejection was no error object of
//! OpenAI's or did not say when to come again, blocks, connections, descriptors or memory did not come back, or the load was less.

#![expect(clippy::unwrap_used, reason = "a bench that can't measure panics")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod client;
mod hostile;
mod response;
mod server;
mod tally;

#[path = "../../tests/api/fixture.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod fixture;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{Answers, Client, STAYING, Times};
use server::{Gauges, Program};
use tally::Tally;

/// When the first part of the time is over, all that is made once is made: what grows after it leaks.
const WARM_SHARE: f64 = 0.25;
/// Answers that the server gives at once.
const SLOTS: u64 = 8;
/// Clients that attack, beside the others.
const ATTACKERS: u64 = 8;
/// How long the capacity is measured.
const MEASURED: Duration = Duration::from_secs(10);
/// Requests that come and stay, by the capacity.
const LOAD: f64 = 1.5;
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
async fn capacity(program: &Program, answers: &Answers) -> f64 {
    let end = Instant::now() + MEASURED;
    let clients =
        (0..SLOTS).map(|number| Client::new(number, program.address.clone(), answers.clone()).press(end));
    let answered: u64 = futures::future::join_all(clients).await.into_iter().sum();
    answered as f64 / MEASURED.as_secs_f64()
}

async fn soak(time: Duration, num_clients: u64) -> ExitCode {
    let program = Program::start(num_clients);
    let answers = client::answers(&program.address).await;
    let capacity = capacity(&program, &answers).await;
    let offered = LOAD * capacity;
    println!(
        "capacity {capacity:.1} answers/s, {MEASURED:?} of {SLOTS} clients; offered: {offered:.1} requests/s that stay, and hang-ups and attacks"
    );
    let start = program.rested().await;
    let every = Duration::from_secs_f64(STAYING * num_clients as f64 / offered);
    // As long as all who are let in take: most that hang up do so before their answer is there.
    let patience = Duration::from_secs_f64(Program::room(num_clients) as f64 / capacity);
    let began = Instant::now();
    let end = began + time;
    let client = |number| Client::new(SLOTS + number, program.address.clone(), answers.clone());
    let clients = (0..num_clients).map(|number| {
        let first = began + every.mul_f64(number as f64 / num_clients as f64);
        tokio::spawn(client(number).run(Times { first, every, patience }, end))
    });
    let attackers = (0..ATTACKERS).map(|number| tokio::spawn(client(num_clients + number).run_hostile(end)));
    let clients: Vec<_> = clients.chain(attackers).collect();
    tokio::time::sleep(time.mul_f64(WARM_SHARE)).await;
    let warm = program.gauges().await;
    let mut tally = Tally::default();
    for client in clients {
        client.await.unwrap().into_iter().for_each(|asked| tally.add(asked));
    }
    let settled = program.settle(&start, SETTLE).await;
    tally.print();
    print_gauges(&start, &warm, &settled);
    tally.breaches.extend(settled.differences(&start));
    tally.breaches.extend(settled.growth(&start, &warm));
    tally.check_load(time, capacity);
    tally.check_times(patience);
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

fn print_gauges(start: &Gauges, warm: &Gauges, end: &Gauges) {
    println!("\n{:<26} {:>12} {:>12} {:>12}", "of the server", "at the start", "under load", "at the end");
    let row = |name: &str, of: fn(&Gauges) -> u64| {
        println!("{name:<26} {:>12} {:>12} {:>12}", of(start), of(warm), of(end));
    };
    row("resident memory, MiB", |gauges| gauges.resident_bytes >> 20);
    row("most of it until then, MiB", |gauges| gauges.peak_bytes >> 20);
    row("descriptors", |gauges| gauges.descriptors);
    row("connections", |gauges| gauges.connections);
    row("answers that run", |gauges| gauges.running);
    row("answers in line", |gauges| gauges.waiting);
    row("blocks held, in 1,000", |gauges| gauges.blocks_permille);
    row("new tokens", |gauges| gauges.tokens);
}
