//! How fast this machine does the parts of a training step, measured in a few seconds: what a plan reckons times with before anything ran here.
//!
//! Each part is measured as the networks here do it, at sizes between which a plan interpolates: small products reach a fraction of what large
//! ones do. The best of several times counts, since what else a machine does only adds to them.

use std::time::{Duration, Instant};

use cupola_specs::contract::{AttentionRate, MachineRates, RateAt, RecurrentRate};
use cupola_specs::job::Precision;
use tch::{Device, Kind, Reduction, TchError, Tensor};

use super::peak::synchronize;

/// Rows of a product: tokens of a small micro-batch.
const ROWS: i64 = 2048;
/// Widths of products.
const WIDTHS: [i64; 6] = [32, 64, 128, 256, 512, 1024];
/// Elements of tensors that are streamed.
const STREAMED: [i64; 4] = [1 << 16, 1 << 19, 1 << 22, 1 << 24];
/// Widths of heads, and lengths of rows.
const HEADS: [i64; 3] = [16, 32, 64];
const LENGTHS: [i64; 3] = [64, 256, 1024];
/// Rows of fused attention: tokens at each length.
const ATTENTION_TOKENS: i64 = 1024;
/// Heads.
const ATTENTION_HEADS: i64 = 4;
/// Widths of LSTM layers, their rows and their tokens.
const RECURRENT_WIDTHS: [i64; 3] = [64, 256, 512];
const RECURRENT_ROWS: [i64; 2] = [4, 16];
const RECURRENT_TOKENS: i64 = 64;
/// Vocabularies of a loss, and its logits.
const VOCABULARIES: [i64; 2] = [1024, 8192];
const LOGITS: i64 = 1 << 23;
/// Most time that one measurement takes, and the fewest times that it is done.
const MEASURED: Duration = Duration::from_millis(40);
const FEWEST: usize = 3;

/// Measures, with the threads that this process has.
pub fn measure_rates(device: Device, precision: Precision) -> Result<MachineRates, TchError> {
    let probe =
        Probe { device, kind: if precision == Precision::Bf16 { Kind::BFloat16 } else { Kind::Float } };
    Ok(MachineRates {
        products: each(&WIDTHS, |width| probe.product([ROWS, width], width))?,
        gradients: each(&WIDTHS, |width| probe.product([width, ROWS], width))?,
        streams: each(&STREAMED, |count| probe.stream(count))?,
        losses: each(&VOCABULARIES, |vocab| probe.loss(vocab))?,
        activations: each(&STREAMED[2..], |count| probe.activation(count))?,
        attention: probe.attention()?,
        recurrent: probe.recurrent()?,
        operation_secs: probe.operation()?,
    })
}

/// Sizes with their rates.
fn each(
    sizes: &[i64],
    mut rate: impl FnMut(i64) -> Result<(f64, f64), TchError>,
) -> Result<Vec<RateAt>, TchError> {
    sizes.iter().map(|size| rate(*size).map(|(size, rate)| RateAt { size, rate })).collect()
}

/// Where and in what it is measured.
struct Probe {
    device: Device,
    kind: Kind,
}

impl Probe {
    /// Seconds that something takes at best. What it gives back is kept until its time is taken.
    fn secs<T>(&self, mut work: impl FnMut() -> Result<T, TchError>) -> Result<f64, TchError> {
        let (mut best, begin) = (f64::INFINITY, Instant::now());
        for round in 0.. {
            synchronize(self.device);
            let one = Instant::now();
            let result = work()?;
            synchronize(self.device);
            // The first round makes threads, memory and kernels ready.
            if round > 0 {
                best = best.min(one.elapsed().as_secs_f64());
            }
            drop(result);
            if round >= FEWEST && begin.elapsed() > MEASURED {
                break;
            }
        }
        Ok(best)
    }

    fn random(&self, size: &[i64], kind: Kind) -> Result<Tensor, TchError> {
        Tensor::f_randn(size, (Kind::Float, self.device))?.f_to_kind(kind)
    }

    fn leaf(&self, size: &[i64], kind: Kind) -> Result<Tensor, TchError> {
        Ok(self.random(size, kind)?.set_requires_grad(true))
    }

    /// `[rows, shared] · [shared, width]`, and its FLOP/s.
    fn product(&self, [rows, shared]: [i64; 2], width: i64) -> Result<(f64, f64), TchError> {
        let a = self.random(&[rows, shared], self.kind)?; // [M, K]
        let b = self.random(&[shared, width], self.kind)?; // [K, N]
        let secs = tch::no_grad(|| self.secs(|| a.f_matmul(&b)))?; // [M, N]
        Ok((width as f64, 2.0 * (rows * shared * width) as f64 / secs))
    }

    fn stream(&self, count: i64) -> Result<(f64, f64), TchError> {
        let (a, b) = (self.random(&[count], Kind::Float)?, self.random(&[count], Kind::Float)?);
        let secs = tch::no_grad(|| self.secs(|| a.f_add(&b)))?;
        let bytes = 4.0 * count as f64;
        Ok((bytes, 3.0 * bytes / secs))
    }

    fn loss(&self, vocab: i64) -> Result<(f64, f64), TchError> {
        let rows = LOGITS / vocab;
        let logits = self.leaf(&[rows, vocab], Kind::Float)?; // [R, V]
        let targets = Tensor::f_arange(rows, (Kind::Int64, self.device))?.f_remainder(vocab)?; // [R]
        let secs = self.secs(|| {
            let loss = logits.f_cross_entropy_loss::<&Tensor>(&targets, None, Reduction::Mean, -100, 0.0)?;
            Tensor::f_run_backward(&[loss], &[&logits], false, false)
        })?;
        Ok((vocab as f64, (rows * vocab) as f64 / secs))
    }

    fn activation(&self, count: i64) -> Result<(f64, f64), TchError> {
        let (x, upstream) = (self.leaf(&[count], self.kind)?, self.random(&[count], self.kind)?);
        let secs = self.secs(|| {
            let result = (x.f_silu()? * &upstream).f_sum(Kind::Float)?;
            Tensor::f_run_backward(&[result], &[&x], false, false)
        })?;
        Ok((count as f64, count as f64 / secs))
    }

    fn attention(&self) -> Result<Vec<AttentionRate>, TchError> {
        let mut rates = Vec::new();
        for head_dim in HEADS {
            for row_tokens in LENGTHS {
                let size = [(ATTENTION_TOKENS / row_tokens).max(1), ATTENTION_HEADS, row_tokens, head_dim];
                let [q, k, v] = [
                    self.leaf(&size, self.kind)?,
                    self.leaf(&size, self.kind)?,
                    self.leaf(&size, self.kind)?,
                ]; // [B, H, T, D]
                let secs = self.secs(|| {
                    let mixed = Tensor::f_scaled_dot_product_attention::<Tensor>(
                        &q, &k, &v, None, 0.0, true, None, false,
                    )?; // [B, H, T, D]
                    Tensor::f_run_backward(&[mixed.f_sum(Kind::Float)?], &[&q, &k, &v], false, false)
                })?;
                let seen = (size[0] * row_tokens) as f64 * row_tokens as f64 / 2.0;
                let flops = 12.0 * (ATTENTION_HEADS * head_dim) as f64 * seen;
                let (head_dim, row_tokens) = (head_dim as f64, row_tokens as f64);
                rates.push(AttentionRate { head_dim, row_tokens, rate: flops / secs });
            }
        }
        Ok(rates)
    }

    fn recurrent(&self) -> Result<Vec<RecurrentRate>, TchError> {
        let mut rates = Vec::new();
        for width in RECURRENT_WIDTHS {
            let weight = |size: &[i64]| self.leaf(size, self.kind);
            let weights = [
                weight(&[4 * width, width])?,
                weight(&[4 * width, width])?,
                weight(&[4 * width])?,
                weight(&[4 * width])?,
            ];
            for rows in RECURRENT_ROWS {
                let x = self.leaf(&[rows, RECURRENT_TOKENS, width], self.kind)?; // [B, T, C]
                let zero = Tensor::f_zeros([1, rows, width], (self.kind, self.device))?; // [1, B, C]
                let inputs: Vec<&Tensor> = weights.iter().chain([&x]).collect();
                let secs = self.secs(|| {
                    let (state, weights) = ([&zero, &zero], weights.each_ref());
                    let (mixed, ..) = x.f_lstm(&state, &weights, true, 1, 0.0, true, false, true)?; // [B, T, C]
                    Tensor::f_run_backward(&[mixed.f_sum(Kind::Float)?], &inputs, false, false)
                })?;
                let flops = 48.0 * (width * width * rows * RECURRENT_TOKENS) as f64;
                rates.push(RecurrentRate { width: width as f64, rows: rows as f64, rate: flops / secs });
            }
        }
        Ok(rates)
    }

    /// Seconds of one of many operations that follow each other, their backward counted as as many.
    fn operation(&self) -> Result<f64, TchError> {
        const COUNT: u32 = 200;
        let x = self.leaf(&[16], Kind::Float)?;
        let secs = self.secs(|| {
            let mut y = x.f_mul_scalar(0.5)?;
            for _ in 1..COUNT {
                y = y.f_mul(&x)?;
            }
            Tensor::f_run_backward(&[y.f_sum(Kind::Float)?], &[&x], false, false)
        })?;
        Ok(secs / f64::from(2 * COUNT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_is_a_positive_number() {
        let rates = measure_rates(Device::Cpu, Precision::Fp32).unwrap();
        let lists = [&rates.products, &rates.gradients, &rates.streams, &rates.losses, &rates.activations];
        let mut all: Vec<f64> = lists.into_iter().flatten().map(|at| at.rate).collect();
        all.extend(rates.attention.iter().map(|at| at.rate));
        all.extend(rates.recurrent.iter().map(|at| at.rate));
        all.push(rates.operation_secs);
        assert!(all.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{rates:?}");
        assert_eq!(rates.products.len(), WIDTHS.len());
        assert!(rates.products.windows(2).all(|pair| pair[0].size < pair[1].size), "{:?}", rates.products);
    }
}
