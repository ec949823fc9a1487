//! The kernels with tensors as their arguments. Shapes: `M` rows, `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `V` vocab.

mod attention;
mod product;
mod rows;

use tch::{Kind, Tensor};

use super::batch::Batch;
use super::program::Program;

pub use attention::{Attend, Heads, TurnHeads, ValueEmbedding};
pub use product::{Product, Sink};
pub use rows::{Embed, NormRows};

impl Program {
    pub(super) fn of_float(&self, tensor: Option<&Tensor>, least: usize) -> u64 {
        tensor.map_or(0, |tensor| self.address(tensor, Kind::Float, least))
    }

    pub(super) fn of_elements(&self, tensor: Option<&Tensor>, least: usize) -> u64 {
        tensor.map_or(0, |tensor| self.address(tensor, self.kind(), least))
    }

    /// Where rows, tiles, tokens, chosen rows and tables lie.
    pub(super) fn of_batch(&self, batch: &Batch) -> [u64; 5] {
        let start = self.address(&batch.memory, Kind::Int, 0);
        let [tiles, tokens, chosen, tables] = batch.layout().offsets().map(|at| start + 4 * at as u64);
        [start, tiles, tokens, chosen, tables]
    }
}
