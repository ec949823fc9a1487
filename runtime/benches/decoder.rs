//! Tokens a second of the CPU decoder alone, with a random Llama of 131.7 M parameters: decoding at 1, 8 and 64 streams behind 64 tokens each, and
//! the prefill of 512 tokens, by number format: `cargo bench -p cupola-runtime --bench decoder [-- FORMAT…]`.
//!
//! Each figure is the best of five runs; `CUPOLA_THREADS` (2) says how many threads.
#![allow(missing_docs, reason = "a program")]

use std::time::Instant;

use cupola_kernels::decode::WeightFormat;
use cupola_runtime::generate::{Chunk, CpuDecoder, CpuDecoderConfig, Decoder, Rows, Wanted};
use cupola_runtime::model::Network;
use cupola_specs::job::{ModelShape, ModelType};
use tch::Device;

const VOCAB: usize = 30_444;
const PROMPT: usize = 64;
const STEPS: usize = 48;
const RUNS: usize = 5;

fn shape() -> ModelShape {
    ModelShape {
        num_hidden_layers: 12,
        hidden_size: 768,
        intermediate_size: 2048,
        num_attention_heads: 12,
        num_key_value_heads: 12,
        max_position_embeddings: 1024,
        ..ModelShape::plain(ModelType::Llama)
    }
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % VOCAB) as u32).collect()
}

/// Seconds of a call.
fn timed(decoder: &mut CpuDecoder, chunks: &[Chunk<'_>], rows: &mut Rows) -> f64 {
    let start = Instant::now();
    decoder.forward(chunks, rows).unwrap_or_else(|error| panic!("{error}"));
    start.elapsed().as_secs_f64()
}

fn decode(decoder: &mut CpuDecoder, streams: usize) -> f64 {
    let (mut rows, prompt) = (Rows::default(), tokens(PROMPT, 1));
    let tables: Vec<Vec<u32>> = (0..streams as u32).map(|s| (4 * s..4 * s + 4).collect()).collect();
    let chunk = |tokens, start, stream: usize, wanted| Chunk {
        tokens,
        start,
        blocks: &tables[stream],
        adapter: None,
        wanted,
    };
    for stream in 0..streams {
        timed(decoder, &[chunk(&prompt, 0, stream, Wanted::Nothing)], &mut rows);
    }
    let next = tokens(streams, 2);
    let run = |decoder: &mut CpuDecoder, rows: &mut Rows| -> f64 {
        let step = |step: usize| {
            (0..streams).map(|s| chunk(&next[s..=s], PROMPT + step, s, Wanted::Last)).collect::<Vec<_>>()
        };
        (0..STEPS).map(|at| timed(decoder, &step(at), rows)).sum()
    };
    let best = (0..RUNS).map(|_| run(decoder, &mut rows)).fold(f64::INFINITY, f64::min);
    (streams * STEPS) as f64 / best
}

fn prefill(decoder: &mut CpuDecoder, count: usize) -> f64 {
    let (mut rows, prompt) = (Rows::default(), tokens(count, 3));
    let blocks: Vec<u32> = (0..count.div_ceil(32) as u32).collect();
    let chunk = Chunk { tokens: &prompt, start: 0, blocks: &blocks, adapter: None, wanted: Wanted::Last };
    let best = (0..=RUNS).map(|_| timed(decoder, &[chunk], &mut rows)).fold(f64::INFINITY, f64::min);
    count as f64 / best
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let threads = std::env::var("CUPOLA_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(2);
    let network =
        Network::init(&shape(), VOCAB as i64, 1, Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    println!("{:.1} M parameters, {threads} threads, tokens/s", network.total_params() as f64 / 1e6);
    println!(
        "{:8} {:>10} {:>10} {:>10} {:>12}",
        "format", "1 stream", "8 streams", "64 streams", "prefill 512"
    );
    for format in WeightFormat::ALL {
        let name = format!("{format:?}").to_lowercase();
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        let config = CpuDecoderConfig { format, num_blocks: 256, max_len: 1024, threads };
        let mut decoder = CpuDecoder::new(&network, config).unwrap_or_else(|error| panic!("{error}"));
        let [one, eight, many] = [1, 8, 64].map(|streams| decode(&mut decoder, streams));
        let long = prefill(&mut decoder, 512);
        println!("{name:8} {one:>10.0} {eight:>10.0} {many:>10.0} {long:>12.0}");
    }
}
