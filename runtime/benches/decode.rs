//! Tokens a second of the inference engine with the quickstart's network in bf16, by streams at once:
//! `cargo bench -p cupola-runtime --bench decode`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use cupola_runtime::generate::{Engine, Request, Sampling, TorchConfig, generate_all};
use cupola_runtime::model::{Network, depth_shape};
use cupola_specs::job::{Family, Precision};
use tch::Device;

const CONTEXT: usize = 256;
const PROMPT: u32 = 64;
const ANSWER: usize = 64;
const VOCAB: i64 = 4096;

fn decode(criterion: &mut Criterion) {
    cupola_kernels::tune_allocator();
    let shape = depth_shape(Family::Transformer, 4, CONTEXT as u64);
    let network = Network::init(&shape, VOCAB, 1, Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    let mut group = criterion.benchmark_group("decode");
    for streams in [1, 8, 64] {
        let requests: Vec<Request> = (0..streams as u32)
            .map(|stream| {
                let ids = (0..PROMPT).map(|at| (at * 31 + stream) % VOCAB as u32).collect();
                Request::new(ids, Sampling::with_temperature(1.0, u64::from(stream)), ANSWER, Vec::new())
            })
            .collect();
        let config = TorchConfig::batch(streams, CONTEXT, Precision::Bf16);
        let mut engine = Engine::on_torch(&network, config).unwrap_or_else(|error| panic!("{error}"));
        group.sample_size(10).throughput(Throughput::Elements((streams * ANSWER) as u64));
        group.bench_function(format!("{streams} streams"), |bencher| {
            bencher.iter_batched(
                || requests.clone(),
                |requests| generate_all(&mut engine, requests).unwrap_or_else(|error| panic!("{error}")),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
