//! How fast packed weights are multiplied: `cargo bench -p cupola-kernels --bench products [-- FORMAT…]`.
//!
//! The matrices are those of twelve layers of 768 channels and a head over 30,444 tokens, one after the other as a decoder reads them: they fit in
//! no cache. For each number of rows: gigabytes of weights a second, and billions of products and sums a second; the best of several passes.
//! `CUPOLA_THREADS` (2) says how many threads.
#![allow(missing_docs, reason = "a program")]

use std::time::{Duration, Instant};

use cupola_kernels::decode::{Inputs, Matrix, Order, Pool, Sink, WeightFormat};

const CHANNELS: usize = 768;
const INNER: usize = 2048;
const LAYERS: usize = 12;
const VOCAB: usize = 30_444;
const ROWS: [usize; 8] = [1, 2, 3, 4, 8, 16, 64, 512];
const MEASURED: Duration = Duration::from_millis(1500);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let threads = std::env::var("CUPOLA_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(2);
    let mut pool = Pool::new(threads);
    println!("{} with {threads} threads", pool.instructions().name());
    println!("{:6} {:>5} {:>8} {:>10}", "format", "rows", "GB/s", "GFLOP/s");
    for format in WeightFormat::ALL {
        let name = format!("{format:?}").to_lowercase();
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        let layer =
            [(CHANNELS, 3 * CHANNELS), (CHANNELS, CHANNELS), (CHANNELS, 2 * INNER), (INNER, CHANNELS)];
        let sizes = layer.repeat(LAYERS).into_iter().chain([(CHANNELS, VOCAB)]);
        let matrices: Vec<Matrix> =
            sizes.map(|(inputs, outputs)| matrix(&mut pool, format, inputs, outputs)).collect();
        for rows in ROWS {
            let secs = pass_secs(&mut pool, &matrices, rows);
            let bytes: usize = matrices.iter().map(Matrix::num_bytes).sum();
            let products: usize =
                matrices.iter().map(|matrix| rows * matrix.inputs() * matrix.outputs()).sum();
            println!(
                "{name:6} {rows:>5} {:>8.1} {:>10.0}",
                bytes as f64 / secs / 1e9,
                2.0 * products as f64 / secs / 1e9
            );
        }
    }
}

fn wave(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * 0.05).collect()
}

fn matrix(pool: &mut Pool, format: WeightFormat, inputs: usize, outputs: usize) -> Matrix {
    Matrix::pack(pool, &wave(inputs * outputs), None, inputs, (Order::Plain, format))
}

/// Seconds of rows through all matrices, at best.
fn pass_secs(pool: &mut Pool, matrices: &[Matrix], rows: usize) -> f64 {
    let format = matrices[0].format();
    let inputs = [CHANNELS, INNER].map(|width| {
        let x = wave(rows * width);
        let mut inputs = Inputs::new(format, width);
        inputs.fill(pool, rows, &|row, out| out.copy_from_slice(&x[row * width..][..width]));
        inputs
    });
    let mut out = vec![0.0; rows * VOCAB];
    let (mut best, begin) = (f64::INFINITY, Instant::now());
    while begin.elapsed() < MEASURED {
        let one = Instant::now();
        for matrix in matrices {
            let inputs = &inputs[usize::from(matrix.inputs() == INNER)];
            matrix.multiply(pool, inputs, Sink::Store, &mut out[..rows * matrix.outputs()]);
        }
        best = best.min(one.elapsed().as_secs_f64());
    }
    best
}
