//! Two small matrices beside a packed one: what an adapter adds to some rows of its product (Hu et al. 2021, arXiv:2106.09685).
//!
//! All of it is fp32, whatever the format of the packed matrix. A row's sums go over inputs and ranks in one order, so that its bits depend on the
//! row and its adapter alone, and every set of instructions gives the same; rows of several adapters go in one operation.
//!
//! Shapes: `M` rows, `A` rows of them that something is added to, `K` inputs, `N` outputs, `R` ranks of all modules of the packed matrix.

use std::ops::Range;

use super::elementwise::dot;
use super::instructions::{Instructions, by_instructions};
use super::pool::Pool;

/// Ranks and outputs that are computed as one.
const RANKS: usize = 8;
const OUTPUTS: usize = 64;
/// A product reads up to a panel beyond its outputs.
const MARGIN: usize = 32;
const NOTHING: u32 = u32::MAX;

/// The adapters of the modules that are packed as one matrix: `scale · B·(A·x)`.
#[derive(Debug, Clone, Default)]
pub struct LowRank {
    inputs: usize,
    /// `[R, K]`
    a: Vec<f32>,
    modules: Vec<Module>,
}

/// One module's ranks, and its outputs among those of the packed matrix.
#[derive(Debug, Clone)]
struct Module {
    ranks: Range<usize>,
    outputs: Range<usize>,
    /// A rank's outputs side by side, scaled.
    b: Vec<f32>,
}

impl LowRank {
    /// Adds a module whose outputs begin at `first`: `a [r, K]`, `b [n, r]`, scaled already.
    ///
    /// # Panics
    /// Matrices that do not belong together, and modules of other inputs.
    pub fn push(&mut self, first: usize, inputs: usize, a: &[f32], b: &[f32]) {
        assert!(self.a.is_empty() || self.inputs == inputs, "modules of {} and {inputs} inputs", self.inputs);
        let rank = a.len() / inputs;
        assert_eq!(a.len(), rank * inputs, "ranks of {inputs} inputs");
        let outputs = b.len() / rank;
        assert_eq!(b.len(), outputs * rank, "outputs of {rank} ranks");
        let start = self.ranks();
        self.inputs = inputs;
        self.a.extend_from_slice(a);
        let turned = (0..rank).flat_map(|r| (0..outputs).map(move |o| b[o * rank + r])).collect();
        let module = Module { ranks: start..start + rank, outputs: first..first + outputs, b: turned };
        self.modules.push(module);
    }

    /// Whether no module is adapted.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// `R`.
    fn ranks(&self) -> usize {
        self.a.len().checked_div(self.inputs).unwrap_or(0)
    }

    /// Some ranks of a row.
    fn reduce(&self, instructions: Instructions, x: &[f32], first: usize, out: &mut [f32]) {
        for (rank, out) in (first..self.ranks()).zip(out) {
            *out = dot(instructions, x, &self.a[rank * self.inputs..][..self.inputs]);
        }
    }

    /// Some outputs of a row, from its ranks.
    fn expand(&self, instructions: Instructions, ranks: &[f32], first: usize, out: &mut [f32]) {
        out.fill(0.0);
        for module in &self.modules {
            let range = module.outputs.start.max(first)..module.outputs.end.min(first + out.len());
            if range.is_empty() {
                continue;
            }
            let width = module.outputs.len();
            let from = range.start - module.outputs.start;
            let out = &mut out[range.start - first..range.end - first];
            add_ranks(instructions, &ranks[module.ranks.clone()], &module.b[from..], width, out);
        }
    }
}

by_instructions! {
    /// Adds each rank's row of `b`, of which one begins `width` behind the other.
    fn add_ranks(instructions, ranks: &[f32], b: &[f32], width: usize, out: &mut [f32]) {
        for (rank, factor) in ranks.iter().enumerate() {
            for (out, b) in out.iter_mut().zip(&b[rank * width..]) {
                *out = b.mul_add(*factor, *out);
            }
        }
    }
}

/// What is added to some rows of a product, before anything else becomes of it.
#[derive(Debug, Default)]
pub struct Additions {
    /// For each row of the product its place here.
    places: Vec<u32>,
    /// The rows that something is added to.
    rows: Vec<usize>,
    /// Their inputs, `[A, K]`.
    wide: Vec<f32>,
    /// `[A, R]`, in steps.
    ranks: Vec<f32>,
    /// `[A, N]`, in steps.
    values: Vec<f32>,
    stride: usize,
}

impl Additions {
    /// Computes what the adapters of some rows add to a product of `outputs` outputs; `make` writes a row's inputs, `[K]`, as it does for
    /// [`super::Inputs::fill`].
    ///
    /// # Panics
    /// Adapters of other inputs than each other's.
    pub fn fill(
        &mut self,
        pool: &mut Pool,
        adapters: &[Option<&LowRank>],
        outputs: usize,
        make: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        self.clear();
        for adapter in adapters {
            let is_added = adapter.is_some_and(|adapter| !adapter.is_empty());
            self.places.push(if is_added { self.rows.len() as u32 } else { NOTHING });
            if is_added {
                self.rows.push(self.places.len() - 1);
            }
        }
        let rows = &self.rows;
        let of = |at: usize| adapters[rows[at]];
        let Some(inputs) = rows.first().and_then(|_| of(0)).map(|adapter| adapter.inputs) else {
            self.places.clear();
            return;
        };
        assert!((0..rows.len()).all(|at| of(at).is_some_and(|adapter| adapter.inputs == inputs)));
        let instructions = pool.instructions();
        self.wide.resize(rows.len() * inputs, 0.0);
        pool.each_row(&mut self.wide, inputs, &|at, x| make(rows[at], x));
        let most = (0..rows.len()).filter_map(of).map(LowRank::ranks).max().unwrap_or(0);
        let steps = most.div_ceil(RANKS);
        self.ranks.resize(rows.len() * steps * RANKS, 0.0);
        let wide = &self.wide;
        pool.each_row(&mut self.ranks, RANKS, &|part, out| {
            let (at, first) = (part / steps, part % steps * RANKS);
            if let Some(adapter) = of(at) {
                adapter.reduce(instructions, &wide[at * inputs..][..inputs], first, out);
            }
        });
        let parts = (outputs + MARGIN).div_ceil(OUTPUTS);
        self.stride = parts * OUTPUTS;
        self.values.resize(rows.len() * self.stride, 0.0);
        let ranks = &self.ranks;
        pool.each_row(&mut self.values, OUTPUTS, &|part, out| {
            let (at, first) = (part / parts, part % parts * OUTPUTS);
            if let Some(adapter) = of(at) {
                adapter.expand(instructions, &ranks[at * steps * RANKS..][..steps * RANKS], first, out);
            }
        });
    }

    /// Adds nothing to any row.
    pub fn clear(&mut self) {
        self.places.clear();
        self.rows.clear();
    }

    /// What is added to a row; none where nothing is.
    pub(super) fn of(&self, row: usize) -> Option<&[f32]> {
        let place = *self.places.get(row)?;
        (place != NOTHING).then(|| &self.values[place as usize * self.stride..][..self.stride])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, Inputs, Matrix, Order, Sink, WeightFormat};
    use super::*;

    fn wave(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| ((i as f32 * 12.9898 + seed).sin() * 437.585).sin()).collect()
    }

    /// `W + B·A` of the modules.
    fn merged(weights: &[f32], inputs: usize, modules: &[(usize, Vec<f32>, Vec<f32>)]) -> Vec<f32> {
        let mut merged = weights.to_vec();
        for (first, a, b) in modules {
            let rank = a.len() / inputs;
            for (o, b) in b.chunks_exact(rank).enumerate() {
                for k in 0..inputs {
                    let delta: f32 = (0..rank).map(|r| b[r] * a[r * inputs + k]).sum();
                    merged[(first + o) * inputs + k] += delta;
                }
            }
        }
        merged
    }

    fn product(
        matrix: &Matrix,
        pool: &mut Pool,
        x: &[f32],
        sink: Sink,
        added: Option<&Additions>,
    ) -> Vec<f32> {
        let inputs = matrix.inputs();
        let mut rows = Inputs::new(matrix.format(), inputs);
        let count = x.len() / inputs;
        rows.fill(pool, count, &|row, out| out.copy_from_slice(&x[row * inputs..][..inputs]));
        let is_gated = sink == Sink::Activate(Activation::SwiGlu);
        let width = if is_gated { matrix.outputs() / 2 } else { matrix.outputs() };
        let mut out = vec![0.25; count * width];
        matrix.multiply_with(pool, &rows, (sink, added), &mut out);
        out
    }

    const INPUTS: usize = 75;
    const OUTPUTS: usize = 148;
    const ROWS: usize = 9;

    /// Rows without an adapter, of one beside two modules, and of one beside a part; checked against merged matrices and each alone.
    fn checked(pool: &mut Pool, order: Order, sink: Sink) -> Vec<f32> {
        let (weights, x) = (wave(OUTPUTS * INPUTS, 1.0), wave(ROWS * INPUTS, 2.0));
        let module = |first: usize, rank: usize, n: usize, seed: f32| {
            (first, wave(rank * INPUTS, seed), wave(n * rank, seed + 0.5))
        };
        let modules = [vec![module(0, 3, 74, 3.0), module(74, 17, 74, 4.0)], vec![module(70, 5, 31, 5.0)]];
        let low_rank = modules.each_ref().map(|modules| {
            let mut adapter = LowRank::default();
            for (first, a, b) in modules {
                adapter.push(*first, INPUTS, a, b);
            }
            adapter
        });
        let of_row = |row: usize| [None, Some(0), Some(1)][row % 3];
        let adapters: Vec<_> = (0..ROWS).map(|row| of_row(row).map(|at: usize| &low_rank[at])).collect();
        let row_of = |row: usize| &x[row * INPUTS..][..INPUTS];
        let pack = |pool: &mut Pool, weights: &[f32]| {
            Matrix::pack(pool, weights, None, INPUTS, (order, WeightFormat::Fp32))
        };
        let base = pack(pool, &weights);
        let plain = product(&base, pool, &x, sink, None);
        let whole = modules.each_ref().map(|modules| {
            let matrix = pack(pool, &merged(&weights, INPUTS, modules));
            product(&matrix, pool, &x, sink, None)
        });
        let mut added = Additions::default();
        added.fill(pool, &adapters, OUTPUTS, &|row, out| out.copy_from_slice(row_of(row)));
        let got = product(&base, pool, &x, sink, Some(&added));
        let width = got.len() / ROWS;
        for row in 0..ROWS {
            let range = row * width..(row + 1) * width;
            added.fill(pool, &adapters[row..=row], OUTPUTS, &|_, out| out.copy_from_slice(row_of(row)));
            let alone = product(&base, pool, row_of(row), sink, Some(&added));
            assert!(alone == got[range.clone()], "{sink:?}: row {row} alone");
            let Some(at) = of_row(row) else {
                assert!(got[range.clone()] == plain[range], "{sink:?}: row {row} has no adapter");
                continue;
            };
            for (got, wanted) in got[range.clone()].iter().zip(&whole[at][range]) {
                assert!((got - wanted).abs() < 2e-3, "{sink:?}: row {row}: {got} {wanted}");
            }
        }
        got
    }

    #[test]
    fn a_row_with_an_adapter_is_that_of_the_merged_matrix_and_the_others_keep_their_bits() {
        let cases = [
            (Order::Plain, Sink::Store),
            (Order::Plain, Sink::Add),
            (Order::Plain, Sink::Activate(Activation::GeluTanh)),
            (Order::Gated, Sink::Activate(Activation::SwiGlu)),
        ];
        for (order, sink) in cases {
            let mut all = Vec::new();
            for set in Instructions::ALL.into_iter().filter(|set| set.is_available()) {
                for threads in [1, 3] {
                    all.push(checked(&mut Pool::with_instructions(threads, set), order, sink));
                }
            }
            assert!(all.iter().all(|got| *got == all[0]), "{sink:?}: sets of instructions and threads");
        }
    }
}
