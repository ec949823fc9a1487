//! Cupola's server beside llama.cpp's, vLLM and transformers, on one checkpoint, with two threads each:
//! `cargo bench -p cupola-serving --bench peers -- --llama-server FILE --llama-quantize FILE [--vllm FILE] [--python FILE] [--rounds 5] [--formats bf16,int8,int4]`.
//!
//! The peers take turns: in each round every one is measured once, in the other order than the round before. A measurement during which other
//! processes used over 6 % of the processors is thrown away and made again. The tables give medians, and medians of the rounds' ratios. `--scratch DIR`
//! keeps the checkpoint for the next time; `--worker` is `cupola-worker`, where it does not lie beside `cupola-serve`; `--max-others 100` throws nothing away. A peer without its option is left
//! out, and named.

#![expect(clippy::unwrap_used, reason = "a bench that can't measure panics")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod checkpoint;
mod load;
mod quiet;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoint::Checkpoint;
use load::Rates;
use quiet::Moment;
use server::{FORMATS, Format, Peer};

/// Per cent of the processors that others may use during a measurement.
const MAX_OTHERS: f64 = 6.0;
/// How often a measurement that was disturbed is made again.
const RETRIES: usize = 3;

/// Options, each with one value.
struct Options(BTreeMap<String, String>);

impl Options {
    fn given() -> Self {
        let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
        let pairs = words.chunks(2).map(|pair| match pair {
            [name, value] if name.starts_with("--") => (name[2..].to_owned(), value.clone()),
            other => panic!("expected --OPTION VALUE, got {other:?}"),
        });
        Self(pairs.collect())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(PathBuf::from)
    }
}

/// What was measured of one peer in one format, by rounds.
#[derive(Default)]
struct Column {
    rounds: Vec<Rates>,
}

/// All that is counted on the way.
#[derive(Default)]
struct Tally {
    max_others: f64,
    disturbed: usize,
    client: Vec<f64>,
    others: Vec<f64>,
}

fn main() {
    let options = Options::given();
    let rounds: u64 = options.0.get("rounds").map_or(5, |word| word.parse().unwrap());
    let wanted = options.0.get("formats").cloned().unwrap_or_else(|| "bf16,int8,int4".to_owned());
    let beside = Path::new(env!("CARGO_BIN_EXE_cupola-serve")).with_file_name("cupola-worker");
    let worker = options.path("worker").unwrap_or(beside);
    let temporary = tempfile::tempdir().unwrap();
    let scratch = options.path("scratch").unwrap_or_else(|| temporary.path().to_path_buf());
    let checkpoint = Checkpoint::at(&scratch, (&worker, options.path("llama-quantize").as_deref()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for name in ["llama-server", "vllm", "python"] {
        if options.path(name).is_none() {
            println!("left out, without its option: --{name}");
        }
    }
    let max_others = options.0.get("max-others").map_or(MAX_OTHERS, |word| word.parse().unwrap()) / 100.0;
    let mut tally = Tally { max_others, ..Tally::default() };
    println!("| tokens/s | 1 stream | 8 streams, steady | 8 streams, end to end | prompt of 512 |");
    println!("|---|---|---|---|---|");
    for format in FORMATS.into_iter().filter(|format| wanted.split(',').any(|name| name == format.name)) {
        runtime.block_on(compare(&options, &checkpoint, (format, rounds), &mut tally));
    }
    println!(
        "\n{} measurements were thrown away, others having used over {:.0} %; in those that count {:.1} % (median); the client used {:.1} % of one core (median)",
        tally.disturbed,
        100.0 * tally.max_others,
        100.0 * median(&tally.others),
        100.0 * median(&tally.client)
    );
}

/// Measures all peers that have the format, and prints their rows.
async fn compare(
    options: &Options,
    checkpoint: &Checkpoint,
    (format, rounds): (Format, u64),
    tally: &mut Tally,
) {
    let mut peers = vec![("cupola".to_owned(), Peer::cupola(checkpoint, format).await)];
    if let Some(program) = options.path("llama-server") {
        let name = format!("llama-server {}", format.gguf);
        peers.push((name, Peer::llama(&program, checkpoint, format).await));
    }
    if format.name == "bf16" {
        if let Some(program) = options.path("vllm") {
            peers.push(("vLLM".to_owned(), Peer::vllm(&program, checkpoint).await));
        }
        if let Some(python) = options.path("python") {
            peers.push(("transformers, no HTTP".to_owned(), Peer::transformers(&python, checkpoint)));
        }
    }
    let mut columns: Vec<Column> = peers.iter().map(|_| Column::default()).collect();
    for peer in &mut peers {
        // Caches, and whatever is made at the first request.
        peer.1.measure(0).await;
    }
    for round in 1..=rounds {
        let mut order: Vec<usize> = (0..peers.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for at in order {
            let rates = undisturbed(&mut peers[at].1, round, tally).await;
            columns[at].rounds.push(rates);
        }
    }
    let ours = &columns[0];
    for ((name, _), column) in peers.iter().zip(&columns) {
        let name = if name == "cupola" { format!("**cupola {}**", format.name) } else { name.clone() };
        println!("| {name} | {} |", cells(|read| format!("{:.0}", median(&column.of(read)))));
        if !std::ptr::eq(column, ours) {
            let ratio = |read: Read| {
                let pairs: Vec<f64> = ours.of(read).iter().zip(column.of(read)).map(|(a, b)| a / b).collect();
                format!("{:.2}", median(&pairs))
            };
            println!("| cupola by {name} | {} |", cells(ratio));
        }
    }
}

/// One of the rates.
type Read = fn(&Rates) -> f64;

fn cells(cell: impl Fn(Read) -> String) -> String {
    let all: [Read; 4] =
        [|rates| rates.one, |rates| rates.steady, |rates| rates.whole, |rates| rates.prefill];
    all.map(cell).join(" | ")
}

impl Column {
    fn of(&self, read: Read) -> Vec<f64> {
        self.rounds.iter().map(read).collect()
    }
}

/// A measurement in which nobody else did much.
async fn undisturbed(peer: &mut Peer, round: u64, tally: &mut Tally) -> Rates {
    for attempt in 0..=RETRIES as u64 {
        let before = Moment::now(peer.pid());
        let rates = peer.measure(round * 100 + attempt).await;
        let shares = before.shares_until(&Moment::now(peer.pid()));
        if shares.others <= tally.max_others {
            tally.client.push(shares.client);
            tally.others.push(shares.others);
            return rates;
        }
        tally.disturbed += 1;
    }
    panic!(
        "other processes used over {:.0} % in each of {} attempts: end them first",
        100.0 * tally.max_others,
        RETRIES + 1
    )
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}
