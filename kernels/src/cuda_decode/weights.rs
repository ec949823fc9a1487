//! Weights in the order in which the kernels read them (`kernels/cuda/product.cuh`).

use tch::{Kind, Tensor};

use super::program::Program;

/// A matrix with its bias.
#[derive(Debug)]
pub struct Packed {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    /// Chunks of 32 inputs.
    pub(super) chunks: usize,
    pub(super) outputs: usize,
    pub(super) is_gated: bool,
}

impl Packed {
    /// Packs `weight [outputs, inputs]` and `bias [outputs]`; in a gated layer the gates' rows come first, then those of what they gate.
    ///
    /// # Errors
    /// The tensor library's: no memory.
    pub fn new(
        program: &Program,
        weight: &Tensor,
        bias: Option<&Tensor>,
        is_gated: bool,
    ) -> Result<Self, tch::TchError> {
        let (rows, inputs) = weight.size2()?;
        let chunks = (inputs as usize).div_ceil(32);
        let outputs = if is_gated { rows / 2 } else { rows };
        let weight = weight.f_to_device(program.device())?.f_to_kind(program.kind())?;
        let weight = weight.f_constant_pad_nd([0, (chunks * 32) as i64 - inputs])?;
        let weight = tiled(&weight, is_gated)?; // [tiles · 16, K]
        let weight = if program.kind() == Kind::Float { weight } else { by_lanes(&weight)? };
        let bias = match bias {
            Some(bias) => {
                let bias = bias.f_to_device(program.device())?.f_to_kind(Kind::Float)?;
                Some(tiled(&bias.f_view([-1, 1])?, is_gated)?)
            }
            None => None,
        };
        Ok(Self { weight, bias, chunks, outputs: outputs as usize, is_gated })
    }

    /// Outputs of the product, behind a gate those that are left.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers of a row of inputs, with those that fill the last chunk.
    pub fn padded_inputs(&self) -> usize {
        self.chunks * 32
    }

    /// Tiles of 16 rows of weights.
    pub(super) fn tiles(&self) -> usize {
        if self.is_gated { self.outputs.div_ceil(8) } else { self.outputs.div_ceil(16) }
    }
}

/// Rows in whole tiles of 16: plain ones filled up with zeros, gated ones as 8 gates and the 8 that they gate.
fn tiled(rows: &Tensor, is_gated: bool) -> Result<Tensor, tch::TchError> {
    let (count, width) = rows.size2()?;
    let fill = |rows: &Tensor, to: i64| {
        let missing = (to - rows.size()[0] % to) % to;
        rows.f_constant_pad_nd([0, 0, 0, missing])
    };
    if !is_gated {
        return fill(rows, 16)?.f_contiguous();
    }
    let halves =
        [fill(&rows.f_narrow(0, 0, count / 2)?, 8)?, fill(&rows.f_narrow(0, count / 2, count / 2)?, 8)?];
    let halves = halves.map(|half| half.view([-1, 8, width])); // [tiles, 8, K]
    Tensor::f_cat(&halves, 1)?.f_contiguous()?.f_view([-1, width])
}

/// `[tiles · 16, K]` as what each lane holds of each chunk: `[tiles, chunks, halves, lanes, 8]`.
fn by_lanes(rows: &Tensor) -> Result<Tensor, tch::TchError> {
    let (count, width) = rows.size2()?;
    // Row g or g + 8, g; chunk, t, half, first or second pair, number of the pair.
    rows.f_view(&[count / 16, 2, 8, width / 32, 4, 2, 2, 2][..])?
        .f_permute([0, 3, 5, 2, 4, 6, 1, 7])?
        .f_contiguous()?
        .f_view([-1])
}
