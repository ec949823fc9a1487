//! Loss on held-out tokens: nats a token and bits a byte.
//!
//! Shapes: `B` rows, `T` context length.

use std::collections::BTreeMap;

use cupola_specs::job::Precision;
use tch::Kind;

use super::{TokenData, TrainError};
use crate::job::JobError;
use crate::model::{Network, RowLayout, cross_entropy};

/// Rows of one forward pass.
const ROWS: usize = 16;
/// Most held-out tokens that a final loss is measured on: an even sample of a larger side. The sweeps of a scaling law and the run that
/// it forecasts share it.
pub const FINAL_TOKENS: u64 = 262_144;

/// What a validation measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Nats a token.
    pub loss: f64,
    /// Bits a byte of text.
    pub bpb: f64,
    /// Standard error of the loss over rows.
    pub stderr: f64,
    /// Bits a byte by domain.
    pub bpb_by_domain: BTreeMap<String, f64>,
    /// Tokens measured.
    pub tokens: u64,
}

/// Measures a network on the validation side. `max_tokens` picks rows evenly over each domain; 0 takes every row. `check` is asked between
/// two forward passes whether to go on.
pub fn validate(
    network: &Network,
    data: &TokenData,
    context_length: u64,
    precision: Precision,
    max_tokens: u64,
    check: &dyn Fn() -> Result<(), JobError>,
) -> Result<Validation, TrainError> {
    let names: Vec<String> = data.domains().map(str::to_owned).collect();
    let all: u64 = (0..names.len()).map(|domain| data.num_rows(domain, context_length)).sum();
    if all == 0 {
        return Err(TrainError::Refused(format!(
            "the validation side has no row of {context_length} tokens; raise `split.validation`"
        )));
    }
    let share =
        if max_tokens == 0 { 1.0 } else { (max_tokens as f64 / (all * context_length) as f64).min(1.0) };
    let (mut nats, mut squares, mut rows_seen) = (0.0, 0.0, 0u64);
    let (mut tokens_of_bytes, mut bytes) = (0.0, 0.0);
    let mut bpb_by_domain = BTreeMap::new();
    for (domain, name) in names.iter().enumerate() {
        let rows = data.num_rows(domain, context_length);
        let wanted = (rows as f64 * share).ceil() as u64;
        let picked: Vec<(usize, u64)> = (0..wanted).map(|i| (domain, i * rows / wanted)).collect();
        let mut domain_nats = 0.0;
        for chunk in picked.chunks(ROWS) {
            check()?;
            for loss in row_losses(network, data, chunk, context_length, precision)? {
                domain_nats += loss;
                squares += loss * loss;
            }
        }
        nats += domain_nats;
        rows_seen += wanted;
        let shard = data.shard(domain);
        let per_byte = shard.num_tokens as f64 / shard.num_bytes.max(1) as f64;
        let covered = (wanted * context_length) as f64;
        if wanted > 0 {
            bpb_by_domain.insert(name.clone(), domain_nats / covered * per_byte / std::f64::consts::LN_2);
        }
        tokens_of_bytes += covered;
        bytes += covered / per_byte;
    }
    let (count, mean) = (rows_seen as f64, nats / rows_seen as f64);
    let variance = (squares / count - mean * mean).max(0.0);
    Ok(Validation {
        loss: nats / tokens_of_bytes,
        bpb: nats / bytes / std::f64::consts::LN_2,
        stderr: (variance / count).sqrt() / context_length as f64,
        bpb_by_domain,
        tokens: rows_seen * context_length,
    })
}

/// Nats of each row, summed over its tokens.
fn row_losses(
    network: &Network,
    data: &TokenData,
    rows: &[(usize, u64)],
    context_length: u64,
    precision: Precision,
) -> Result<Vec<f64>, TrainError> {
    let (inputs, targets) = data.batch(rows, context_length, network.device())?; // [B, T]
    let losses = tch::no_grad(|| {
        let losses = cross_entropy(network, &inputs, &targets, &RowLayout::Causal, precision); // [B, T]
        losses.sum_dim_intlist(1, false, Kind::Double) // [B]
    });
    Ok(Vec::<f64>::try_from(&losses)?)
}
