//! The rows that a domain's tokens make: their places, and the tensors of a micro-batch.
//!
//! Every pair of an input and its target (see [`TokenData`]) is in just one row. Concatenated, row `r` is the `T` pairs from `r·T` on, and only the
//! last row of a domain may be shorter; best-fit packed, rows hold whole documents (see `packing`). Places without a pair are padding: they
//! come last in their row, carry no loss and are seen by nobody.
//!
//! Shapes: `B` rows, `T` tokens of a row.

use cupola_specs::job::Packing;
use tch::{Device, Tensor};

use super::packing::{PackedRows, Piece};
use super::{TokenData, TrainError};
use crate::model::RowLayout;

/// The target of a place without loss.
const NO_TARGET: i64 = -100;

/// Number of a domain, and of a row of it.
pub type RowId = (usize, u64);

/// What rows are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// Tokens of a row.
    pub context_length: u64,
    /// How documents fill them.
    pub packing: Packing,
    /// Whether the documents of a row do not see each other.
    pub document_mask: bool,
}

impl RowShape {
    /// The rows that a model which trains on these is measured on: windows of the whole text, in which documents see each other where they
    /// do in training.
    #[must_use]
    pub fn held_out(self) -> Self {
        Self { packing: Packing::Concat, ..self }
    }

    /// The same, of another length.
    #[must_use]
    pub fn of_length(self, context_length: u64) -> Self {
        Self { context_length, ..self }
    }
}

/// All rows of one side of a corpus.
#[derive(Debug)]
pub struct RowSet<'a> {
    data: &'a TokenData,
    shape: RowShape,
    /// Rows of each domain, where they are packed.
    packed: Option<Vec<PackedRows>>,
}

/// Rows as tensors.
#[derive(Debug)]
pub struct RowBatch {
    /// Token ids, `[B, T]`.
    pub inputs: Tensor,
    /// What follows each, `[B, T]`; −100 at padding.
    pub targets: Tensor,
    /// Who sees whom.
    pub layout: RowLayout,
    /// Bytes of text behind each row's targets.
    pub row_bytes: Vec<u64>,
}

impl<'a> RowSet<'a> {
    /// Finds the rows.
    pub fn new(data: &'a TokenData, shape: RowShape) -> Result<Self, TrainError> {
        let width = u32::try_from(shape.context_length).ok().filter(|width| *width > 0).ok_or_else(|| {
            TrainError::Refused(format!("rows of {} tokens are not possible", shape.context_length))
        })?;
        let packed = match shape.packing {
            Packing::Concat => None,
            Packing::BestFit => {
                let pack = |domain| Ok(PackedRows::best_fit(&data.documents(domain)?, width));
                Some((0..data.domains().count()).map(pack).collect::<Result<_, TrainError>>()?)
            }
        };
        Ok(Self { data, shape, packed })
    }

    /// The shards behind them.
    pub fn data(&self) -> &'a TokenData {
        self.data
    }

    /// What they are like.
    pub fn shape(&self) -> RowShape {
        self.shape
    }

    /// Rows of a domain.
    pub fn num_rows(&self, domain: usize) -> u64 {
        match &self.packed {
            Some(packed) => packed[domain].num_rows(),
            None => self.data.shard(domain).num_tokens.div_ceil(self.shape.context_length),
        }
    }

    /// Name and rows of each domain.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        self.data.domains().enumerate().map(|(at, name)| (name.to_owned(), self.num_rows(at))).collect()
    }

    /// Share of a domain's places that are padding.
    pub fn padding(&self, domain: usize) -> f64 {
        let places = self.num_rows(domain) * self.shape.context_length;
        1.0 - self.data.shard(domain).num_tokens as f64 / places.max(1) as f64
    }

    /// Tokens of a row that carry loss.
    pub fn row_tokens(&self, (domain, row): RowId) -> u64 {
        if let Some(packed) = &self.packed {
            return packed[domain].row(row).iter().map(|piece| u64::from(piece.len)).sum();
        }
        let from = row * self.shape.context_length;
        self.shape.context_length.min(self.data.shard(domain).num_tokens - from)
    }

    /// Tokens of some rows that carry loss.
    pub fn tokens_of(&self, rows: &[RowId]) -> u64 {
        rows.iter().map(|row| self.row_tokens(*row)).sum()
    }

    /// A row's name, by which a user finds it.
    pub fn name(&self, row: RowId) -> String {
        let pieces = self.pieces(row);
        let name = self.data.domains().nth(row.0).unwrap_or_default();
        let places =
            pieces.iter().map(|piece| format!("{} to {}", piece.start, piece.start + u64::from(piece.len)));
        let places = places.collect::<Vec<_>>().join(", ");
        format!("{name}: tokens {places} of {}", self.data.shard(row.0).file)
    }

    /// The stretches of documents in a row.
    fn pieces(&self, (domain, row): RowId) -> Vec<Piece> {
        if let Some(packed) = &self.packed {
            return packed[domain].row(row).to_vec();
        }
        let from = row * self.shape.context_length;
        let end = from + self.row_tokens((domain, row));
        let mut cuts = vec![from];
        if self.shape.document_mask {
            cuts.extend(self.data.starts_within(domain, from + 1..end));
        }
        let ends = cuts[1..].iter().chain([&end]);
        cuts.iter().zip(ends).map(|(start, end)| Piece { start: *start, len: (end - start) as u32 }).collect()
    }

    /// Rows as tensors.
    ///
    /// # Shapes
    /// `B` rows → `[B, T]`.
    pub fn batch(&self, rows: &[RowId], device: Device) -> Result<RowBatch, TrainError> {
        let width = self.shape.context_length as usize;
        let mut fill = Fill::default();
        for &row in rows {
            let begin = fill.inputs.len();
            for piece in self.pieces(row) {
                let pairs = (&mut fill.inputs, &mut fill.targets);
                self.data.read_pairs(row.0, piece.start, u64::from(piece.len), pairs);
                fill.close_segment();
            }
            let bytes = fill.targets[begin..].iter().map(|id| self.data.bytes_of(*id)).sum();
            fill.row_bytes.push(bytes);
            let padding = begin + width - fill.inputs.len();
            fill.pad(padding, self.data.index.bos_token_id as i64);
            fill.next_segment = 0;
        }
        let size = [rows.len() as i64, width as i64];
        let tensor =
            |ids: &[i64]| Ok::<_, TrainError>(Tensor::f_from_slice(ids)?.to_device(device).view(size)); // [B, T]
        let layout = if self.shape.document_mask {
            RowLayout::Documents { segment: tensor(&fill.segments)?, position: tensor(&fill.positions)? }
        } else {
            RowLayout::Causal
        };
        Ok(RowBatch {
            inputs: tensor(&fill.inputs)?,
            targets: tensor(&fill.targets)?,
            layout,
            row_bytes: fill.row_bytes,
        })
    }
}

/// Rows that are being filled.
#[derive(Debug, Default)]
struct Fill {
    inputs: Vec<i64>,
    targets: Vec<i64>,
    segments: Vec<i64>,
    positions: Vec<i64>,
    row_bytes: Vec<u64>,
    next_segment: i64,
}

impl Fill {
    /// What was added since the last call is one sequence.
    fn close_segment(&mut self) {
        let count = self.inputs.len() - self.segments.len();
        self.segments.resize(self.inputs.len(), self.next_segment);
        self.positions.extend(0..count as i64);
        self.next_segment += 1;
    }

    fn pad(&mut self, count: usize, id: i64) {
        self.inputs.resize(self.inputs.len() + count, id);
        self.targets.resize(self.inputs.len(), NO_TARGET);
        self.close_segment();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::train::tests::write_documents;

    const BOS: i64 = 0;

    /// The pairs of a batch that carry loss, each with its document's ordinal and place where documents are apart.
    fn pairs(batch: &RowBatch) -> Vec<(i64, i64)> {
        let of = |tensor: &Tensor| Vec::<i64>::try_from(tensor.view([-1])).unwrap();
        of(&batch.inputs)
            .into_iter()
            .zip(of(&batch.targets))
            .filter(|(_, target)| *target != NO_TARGET)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_token_is_trained_once_an_epoch_and_documents_do_not_mix(
            lengths in prop::collection::vec(1u64..40, 1..30),
            context_length in 1u64..20,
            best_fit in any::<bool>(),
            document_mask in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            write_documents(folder.path(), &[("code", &lengths)]);
            let data = TokenData::train(folder.path()).unwrap();
            let packing = if best_fit { Packing::BestFit } else { Packing::Concat };
            let shape = RowShape { context_length, packing, document_mask };
            let rows = RowSet::new(&data, shape).unwrap();
            let all: Vec<RowId> = (0..rows.num_rows(0)).map(|row| (0, row)).collect();
            let batch = rows.batch(&all, Device::Cpu).unwrap();
            let mut got = pairs(&batch);
            prop_assert_eq!(got.len() as u64, rows.tokens_of(&all));
            let mut ids = Vec::new();
            data.read(0, 0, data.num_tokens(), &mut ids);
            ids.push(BOS);
            let mut wanted: Vec<(i64, i64)> = ids.windows(2).map(|pair| (pair[0], pair[1])).collect();
            wanted.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(got, wanted);
            prop_assert_eq!(batch.row_bytes.iter().sum::<u64>(), data.shard(0).num_bytes);
            let places = all.len() as f64 * context_length as f64;
            prop_assert!((rows.padding(0) - (1.0 - data.num_tokens() as f64 / places)).abs() < 1e-12);
            if let RowLayout::Documents { segment, position } = &batch.layout {
                prop_assert!(document_mask);
                let of = |tensor: &Tensor| Vec::<i64>::try_from(tensor.view([-1])).unwrap();
                let (segment, position, inputs) = (of(segment), of(position), of(&batch.inputs));
                for at in 0..inputs.len() {
                    let first = (at as u64).is_multiple_of(context_length) || segment[at] != segment[at - 1];
                    prop_assert_eq!(position[at], if first { 0 } else { position[at - 1] + 1 });
                    prop_assert!(first || inputs[at] != BOS || of(&batch.targets)[at] == NO_TARGET,
                        "a document starts within a segment");
                }
            } else {
                prop_assert!(!document_mask);
            }
        }
    }
}
