//! What a network remembers of each sequence while it generates.
//!
//! Shapes: `S` slots, `H` key-value heads, `L` longest sequence, `D` head dim.

use cupola_specs::job::Precision;
use tch::{Device, Kind, Tensor};

use super::layers::product_kind;

/// Where one row of a call stands: its slot, and the position of its first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSlot {
    /// The cache slot.
    pub slot: i64,
    /// Position of the row's first token in its sequence.
    pub start: i64,
}

/// One pair of tensors a layer: keys and values `[S, H, L, D]` of a transformer, hidden and cell state `[S, 1, 1, C]` of an LSTM.
#[derive(Debug)]
pub struct KvCache {
    pub(super) layers: Vec<(Tensor, Tensor)>,
    slots: i64,
    max_len: i64,
}

impl KvCache {
    pub(super) fn new(
        num_layers: u64,
        size: [i64; 4],
        max_len: i64,
        precision: Precision,
        device: Device,
    ) -> Self {
        let zeros = || Tensor::zeros(size, (product_kind(precision), device));
        Self { layers: (0..num_layers).map(|_| (zeros(), zeros())).collect(), slots: size[0], max_len }
    }

    /// How many sequences fit.
    pub fn slots(&self) -> i64 {
        self.slots
    }

    /// Longest sequence.
    pub fn max_len(&self) -> i64 {
        self.max_len
    }

    /// Copies the first `length` positions of a slot into another; false where a slot is one running state, which has moved on.
    pub fn copy_prefix(&mut self, from: usize, to: usize, length: usize) -> bool {
        let has_positions =
            self.layers.first().is_some_and(|(keys, _)| keys.size().get(2) == Some(&self.max_len));
        if !has_positions || self.max_len == 1 {
            return false;
        }
        let prefix = |store: &Tensor, slot: usize| store.select(0, slot as i64).narrow(1, 0, length as i64); // [H, length, D]
        for (keys, values) in &self.layers {
            for store in [keys, values] {
                prefix(store, to).copy_(&prefix(store, from));
            }
        }
        true
    }

    /// Memory that the cache holds.
    pub fn num_bytes(&self) -> u64 {
        self.layers
            .iter()
            .map(|(a, b)| {
                (a.numel() * a.kind().elt_size_in_bytes() + b.numel() * b.kind().elt_size_in_bytes()) as u64
            })
            .sum()
    }
}

/// The slots of the rows as an index, or none where they are the first slots in order and a view does.
pub(super) fn slot_index(rows: &[RowSlot], device: Device) -> Option<Tensor> {
    let in_order = rows.iter().enumerate().all(|(i, row)| row.slot == i as i64);
    (!in_order).then(|| slots_of(rows, device))
}

/// The slots of the rows. `[B]`
pub(super) fn slots_of(rows: &[RowSlot], device: Device) -> Tensor {
    Tensor::from_slice(&rows.iter().map(|row| row.slot).collect::<Vec<_>>()).to_device(device)
}

/// Positions of the rows' first tokens. `[B]`
pub(super) fn starts_of(rows: &[RowSlot], device: Device) -> Tensor {
    Tensor::from_slice(&rows.iter().map(|row| row.start).collect::<Vec<_>>()).to_device(device)
}

/// Rows of a cache tensor `[S, …]`, at most `length` positions along dimension 2.
pub(super) fn rows_of(cache: &Tensor, index: Option<&Tensor>, num_rows: i64, length: i64) -> Tensor {
    let cut = cache.narrow(2, 0, length);
    match index {
        Some(index) => cut.index_select(0, index),
        None => cut.narrow(0, 0, num_rows),
    }
}

/// An `[B, 1, T, L]` mask that lets each query see the positions up to its own.
pub(super) fn cached_mask(rows: &[RowSlot], num_tokens: i64, length: i64, device: Device) -> Tensor {
    let queries = starts_of(rows, device).view([-1, 1, 1, 1])
        + Tensor::arange(num_tokens, (Kind::Int64, device)).view([1, 1, -1, 1]);
    Tensor::arange(length, (Kind::Int64, device)).view([1, 1, 1, -1]).le_tensor(&queries)
}
