//! Bytes a second of the encoder, on the fixture's vocabulary and texts: `cargo bench -p cupola-runtime --bench tokenizer`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cupola_runtime::tokenizer::Tokenizer;

fn encode(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer");
    let tokenizer = Tokenizer::load(&folder).unwrap_or_else(|error| panic!("{error}"));
    let text = include_str!("../src/tokenizer/codec.rs").repeat(16);
    let mut group = criterion.benchmark_group("tokenizer");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| tokenizer.encode(&text)));
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
