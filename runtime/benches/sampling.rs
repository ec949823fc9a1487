//! Time to choose one token, log-probability included, by vocabulary and setting: `cargo bench -p cupola-runtime --bench sampling`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use cupola_runtime::generate::{Sampler, Sampling};

fn sampling(criterion: &mut Criterion) {
    for vocab_size in [32_000u32, 151_936] {
        // As peaked as a language model's: a few likely tokens before a long tail.
        let logit = |id: u32| {
            let unit = (id.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0;
            -3.0 * (1.0 - unit).max(1e-7).ln() - 10.0
        };
        let logits: Vec<f32> = (0..vocab_size).map(logit).collect();
        let base = Sampling::with_temperature(0.8, 1);
        let settings = [
            ("greedy", Sampling::greedy()),
            ("temperature", base.clone()),
            ("top-k 40", Sampling { top_k: 40, ..base.clone() }),
            ("top-p 0.95", Sampling { top_p: 0.95, ..base.clone() }),
            ("min-p 0.05", Sampling { min_p: 0.05, ..base }),
        ];
        let mut group = criterion.benchmark_group(format!("sample of {vocab_size}"));
        for (name, setting) in settings {
            let mut sampler = Sampler::new(setting, &[1], 0);
            group.bench_function(name, |bencher| bencher.iter(|| sampler.sample(&logits)));
        }
        group.finish();
    }
}

criterion_group!(benches, sampling);
criterion_main!(benches);
