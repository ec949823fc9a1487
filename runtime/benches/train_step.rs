//! Tokens a second of one optimiser step of the quickstart's network, each precision: `cargo bench -p cupola-runtime --bench train_step`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot run has nothing to say")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cupola_runtime::model::{Network, Parameter, RowLayout, cross_entropy, depth_shape};
use cupola_runtime::train::{Factors, Optimizer, OptimizerSettings, Pace};
use cupola_specs::job::{Family, MatrixOptimizer, Precision};
use tch::{Device, Kind, Tensor};

const ROWS: i64 = 16;
const CONTEXT: i64 = 256;
const VOCAB: i64 = 4096;

fn train_step(criterion: &mut Criterion) {
    cupola_kernels::tune_allocator();
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(10).throughput(Throughput::Elements((ROWS * CONTEXT) as u64));
    for precision in [Precision::Fp32, Precision::Bf16] {
        let shape = depth_shape(Family::Transformer, 4, CONTEXT as u64);
        let network = Network::init(&shape, VOCAB, 1, Device::Cpu).unwrap();
        let settings = OptimizerSettings {
            matrices: MatrixOptimizer::Muon,
            lr: 0.004,
            matrix_lr: 0.02,
            factors: Factors { embedding: 4.0, ..Factors::ONE },
            precision,
            ..OptimizerSettings::default()
        };
        let parameters = network.parameters().iter().map(Parameter::handle).collect();
        let mut optimizer = Optimizer::new(parameters, settings);
        let tokens =
            Tensor::arange(ROWS * CONTEXT, (Kind::Int64, Device::Cpu)).remainder(VOCAB).view([ROWS, CONTEXT]);
        group.bench_function(format!("{precision:?}"), |bencher| {
            bencher.iter(|| {
                cross_entropy(&network, &tokens, &tokens, &RowLayout::Causal, precision)
                    .mean(Kind::Float)
                    .backward();
                optimizer.step(Pace::PEAK, 1.0).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, train_step);
criterion_main!(benches);
