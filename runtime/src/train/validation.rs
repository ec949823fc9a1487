//! Loss on held-out tokens: nats a token and bits a byte.
//!
//! Every token of the rows that are measured counts, and the ends of documents do: bits per byte are all nats over the bytes of text behind the
//! targets. Where all rows are measured these are the bytes of the documents, to the byte.
//!
//! Shapes: `B` rows, `T` context length.

use std::collections::BTreeMap;

use cupola_specs::job::Precision;
use tch::Kind;

use super::{RowId, RowSet, RowShape, TokenData, TrainError};
use crate::job::JobError;
use crate::model::{Network, cross_entropy};

/// Tokens of one forward pass.
const PASS_TOKENS: u64 = 8192;
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
    /// Bytes of text behind them.
    pub bytes: u64,
}

/// One row's nats, tokens and bytes.
#[derive(Debug, Clone, Copy)]
struct Measured {
    nats: f64,
    tokens: u64,
    bytes: u64,
}

/// Measures a network that trains on rows of a shape on the validation side. `max_tokens` picks rows evenly over each domain; 0 takes every
/// row. `check` is asked between two forward passes whether to go on.
pub fn validate(
    network: &Network,
    data: &TokenData,
    shape: RowShape,
    precision: Precision,
    max_tokens: u64,
    check: &dyn Fn() -> Result<(), JobError>,
) -> Result<Validation, TrainError> {
    let rows = RowSet::new(data, shape.held_out())?;
    let all = data.num_tokens();
    if all == 0 {
        return Err(TrainError::Refused(
            "the validation side has no token; raise `split.validation`".to_owned(),
        ));
    }
    let share = if max_tokens == 0 { 1.0 } else { (max_tokens as f64 / all as f64).min(1.0) };
    let mut measured = Vec::new();
    let mut bpb_by_domain = BTreeMap::new();
    for (domain, (name, num_rows)) in rows.sizes().into_iter().enumerate() {
        let wanted = (num_rows as f64 * share).ceil() as u64;
        let picked: Vec<RowId> = (0..wanted).map(|i| (domain, i * num_rows / wanted)).collect();
        let of_domain = measure(network, (&rows, &picked), precision, check)?;
        let bytes: u64 = of_domain.iter().map(|row| row.bytes).sum();
        if bytes > 0 {
            let nats: f64 = of_domain.iter().map(|row| row.nats).sum();
            bpb_by_domain.insert(name, nats / bytes as f64 / std::f64::consts::LN_2);
        }
        measured.extend(of_domain);
    }
    let tokens: u64 = measured.iter().map(|row| row.tokens).sum();
    let bytes: u64 = measured.iter().map(|row| row.bytes).sum();
    let nats: f64 = measured.iter().map(|row| row.nats).sum();
    let loss = nats / tokens as f64;
    Ok(Validation {
        loss,
        bpb: nats / bytes.max(1) as f64 / std::f64::consts::LN_2,
        stderr: stderr(&measured, loss),
        bpb_by_domain,
        tokens,
        bytes,
    })
}

/// The linearised standard error of a ratio: rows differ in their tokens.
fn stderr(rows: &[Measured], loss: f64) -> f64 {
    let count = rows.len() as f64;
    let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
    let squares: f64 = rows.iter().map(|row| (row.nats - loss * row.tokens as f64).powi(2)).sum();
    (squares * count / (count - 1.0).max(1.0)).sqrt() / tokens as f64
}

fn measure(
    network: &Network,
    (rows, picked): (&RowSet, &[RowId]),
    precision: Precision,
    check: &dyn Fn() -> Result<(), JobError>,
) -> Result<Vec<Measured>, TrainError> {
    let at_once = (PASS_TOKENS / rows.shape().context_length).clamp(1, 16) as usize;
    let mut measured = Vec::with_capacity(picked.len());
    for chunk in picked.chunks(at_once) {
        check()?;
        let batch = rows.batch(chunk, network.device())?; // [B, T]
        let losses = tch::no_grad(|| {
            let losses = cross_entropy(network, &batch.inputs, &batch.targets, &batch.layout, precision); // [B, T]
            losses.sum_dim_intlist(1, false, Kind::Double) // [B]
        });
        let nats = Vec::<f64>::try_from(&losses)?;
        for ((row, nats), bytes) in chunk.iter().zip(nats).zip(batch.row_bytes) {
            measured.push(Measured { nats, tokens: rows.row_tokens(*row), bytes });
        }
    }
    Ok(measured)
}
