//! Tokens a second of the decoders alone, with a random Llama: decoding at 1, 8 and 64 streams behind 64 tokens each, and the prefill of 512 tokens, by
//! number format: `cargo bench -p cupola-runtime --bench decoder [-- FORMAT…]`. On a machine with a CUDA device also its decoder (`cuda-bf16`,
//! `cuda-fp32`) and the tensor library's (`libtorch-bf16`), and what share of the device's memory bandwidth one stream's weights take.
//!
//! Each figure is the best of five runs; `CUPOLA_THREADS` (2) says how many threads, `CUPOLA_SIZE` (`132m`, `1b`) how large the network is.
#![allow(missing_docs, reason = "a program")]

use std::time::Instant;

use cupola_kernels::decode::WeightFormat;
use cupola_runtime::generate::{
    Chunk, CpuDecoder, CpuDecoderConfig, CudaDecoder, CudaDecoderConfig, Decoder, Rows, TorchConfig,
    TorchDecoder, Wanted,
};
use cupola_runtime::model::Network;
use cupola_specs::job::{ModelShape, ModelType, Precision};
use tch::{Device, Kind, Tensor};

const VOCAB: usize = 30_444;
const PROMPT: usize = 64;
const STEPS: usize = 48;
const RUNS: usize = 5;

fn shape() -> ModelShape {
    let context = ModelShape { max_position_embeddings: 1024, ..ModelShape::plain(ModelType::Llama) };
    if std::env::var("CUPOLA_SIZE").is_ok_and(|size| size == "1b") {
        return ModelShape {
            num_hidden_layers: 16,
            hidden_size: 2048,
            intermediate_size: 8192,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            ..context
        };
    }
    ModelShape {
        num_hidden_layers: 12,
        hidden_size: 768,
        intermediate_size: 2048,
        num_attention_heads: 12,
        num_key_value_heads: 12,
        ..context
    }
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % VOCAB) as u32).collect()
}

/// Seconds of a call.
fn timed(decoder: &mut dyn Decoder, chunks: &[Chunk<'_>], rows: &mut Rows) -> f64 {
    let start = Instant::now();
    decoder.forward(chunks, rows).unwrap_or_else(|error| panic!("{error}"));
    start.elapsed().as_secs_f64()
}

/// Blocks for `count` tokens of each stream.
fn tables(decoder: &dyn Decoder, streams: usize, count: usize) -> Vec<Vec<u32>> {
    let each = count.div_ceil(decoder.block_tokens()) as u32;
    (0..streams as u32).map(|stream| (each * stream..each * (stream + 1)).collect()).collect()
}

fn decode(decoder: &mut dyn Decoder, streams: usize) -> f64 {
    let (mut rows, prompt) = (Rows::default(), tokens(PROMPT, 1));
    let tables = tables(decoder, streams, PROMPT + STEPS);
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
    let run = |decoder: &mut dyn Decoder, rows: &mut Rows| -> f64 {
        let step = |step: usize| {
            (0..streams).map(|s| chunk(&next[s..=s], PROMPT + step, s, Wanted::Last)).collect::<Vec<_>>()
        };
        (0..STEPS).map(|at| timed(decoder, &step(at), rows)).sum()
    };
    let best = (0..RUNS).map(|_| run(decoder, &mut rows)).fold(f64::INFINITY, f64::min);
    (streams * STEPS) as f64 / best
}

fn prefill(decoder: &mut dyn Decoder, count: usize) -> f64 {
    let (mut rows, prompt) = (Rows::default(), tokens(count, 3));
    let blocks = tables(decoder, 1, count).remove(0);
    let chunk = Chunk { tokens: &prompt, start: 0, blocks: &blocks, adapter: None, wanted: Wanted::Last };
    let best = (0..=RUNS).map(|_| timed(decoder, &[chunk], &mut rows)).fold(f64::INFINITY, f64::min);
    count as f64 / best
}

/// Bytes a second that a copy on the device reads and writes: best of ten, 1 GiB.
fn bandwidth(device: Device) -> f64 {
    let from = Tensor::zeros([1 << 29], (Kind::BFloat16, device));
    let mut to = from.empty_like();
    let synchronize = || tch::Cuda::synchronize(0);
    let mut run = || {
        synchronize();
        let start = Instant::now();
        to.copy_(&from);
        synchronize();
        start.elapsed().as_secs_f64()
    };
    let best = (0..10).map(|_| run()).fold(f64::INFINITY, f64::min);
    2.0 * (1_u64 << 30) as f64 / best
}

fn measure(name: &str, decoder: &mut dyn Decoder) -> f64 {
    let [one, eight, many] = [1, 8, 64].map(|streams| decode(decoder, streams));
    let long = prefill(decoder, 512);
    println!("{name:13} {one:>10.0} {eight:>10.0} {many:>10.0} {long:>12.0}");
    one
}

fn main() {
    cupola_kernels::load_cuda();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|of| of == name);
    let threads = std::env::var("CUPOLA_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(2);
    let network =
        Network::init(&shape(), VOCAB as i64, 1, Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    println!("{:.1} M parameters, {threads} threads, tokens/s", network.total_params() as f64 / 1e6);
    println!(
        "{:13} {:>10} {:>10} {:>10} {:>12}",
        "format", "1 stream", "8 streams", "64 streams", "prefill 512"
    );
    for format in WeightFormat::ALL {
        let name = format!("{format:?}").to_lowercase();
        if is_wanted(&name) {
            let config = CpuDecoderConfig { format, num_blocks: 256, max_len: 1024, threads };
            let mut decoder = CpuDecoder::new(&network, config).unwrap_or_else(|error| panic!("{error}"));
            measure(&name, &mut decoder);
        }
    }
    if tch::Cuda::is_available() {
        on_cuda(&network, &is_wanted);
    } else {
        println!("no CUDA device: its decoders are left out");
    }
}

fn on_cuda(network: &Network, is_wanted: &dyn Fn(&str) -> bool) {
    let device = Device::Cuda(0);
    let bandwidth = bandwidth(device);
    println!("{}: {:.2} TB/s by a copy", cupola_kernels::cuda_name(0).unwrap_or_default(), bandwidth / 1e12);
    // The embedding's rows are looked up, the rest is read for each token.
    let read = network.total_params() as f64 - shape().hidden_size as f64 * VOCAB as f64;
    for (name, is_fp32) in [("cuda-bf16", false), ("cuda-fp32", true)] {
        if is_wanted(name) {
            let config = CudaDecoderConfig { is_fp32, num_blocks: 256, max_len: 1024 };
            let mut decoder = CudaDecoder::new(network, config, 0).unwrap_or_else(|error| panic!("{error}"));
            let one = measure(name, &mut decoder);
            let bytes = read * if is_fp32 { 4.0 } else { 2.0 };
            println!("  one stream reads weights at {:.0} % of that", 100.0 * one * bytes / bandwidth);
        }
    }
    if is_wanted("libtorch-bf16") {
        let copy = Network::init(&shape(), VOCAB as i64, 1, device).unwrap_or_else(|error| panic!("{error}"));
        let config = TorchConfig::interactive(64, 1024, Precision::Bf16);
        let mut decoder = TorchDecoder::new(copy, config).unwrap_or_else(|error| panic!("{error}"));
        measure("libtorch-bf16", &mut decoder);
    }
}
