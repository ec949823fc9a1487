//! Attention by every set of instructions that the machine has, against plain sums in f64.

use super::super::tests::{sets, wave};
use super::*;

const LENGTH: usize = 70;
/// Blocks of two sequences, which lie anyhow.
const TABLES: [&[u32]; 2] = [&[7, 0, 3], &[5, 2, 6]];

struct Case {
    dim: usize,
    window: usize,
    is_wide: bool,
    heads: usize,
    kv_heads: usize,
}

impl Case {
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// What a set of instructions mixes; some rows again alone, which must have the same bits.
    fn mixed(&self, set: Instructions, places: &[Place<'_>], rows: &[f32]) -> Vec<f32> {
        let (out_width, layer) = (self.heads * self.dim, (1, self.window));
        let sizes = KvSizes { layers: 2, blocks: 8, heads: self.kv_heads, dim: self.dim };
        let mut pool = Pool::with_instructions(2, set);
        let mut store = KvBlocks::new(sizes, self.is_wide);
        let projected = Projected { rows, heads: self.heads };
        store.store(&mut pool, 1, places, projected);
        let mut out = vec![0.0; places.len() * out_width];
        store.attend(&mut pool, layer, places, projected, &mut out);
        for row in [0, 31, 69, 100] {
            let mut alone = vec![0.0; out_width];
            let projected =
                Projected { rows: &rows[row * self.width()..][..self.width()], heads: self.heads };
            store.attend(&mut pool, layer, &places[row..=row], projected, &mut alone);
            assert!(alone == out[row * out_width..][..out_width], "{}: row {row} alone", set.name());
        }
        out
    }

    /// The largest difference to plain sums.
    fn furthest(&self, places: &[Place<'_>], rows: &[f32], got: &[f32]) -> f64 {
        let (dim, heads) = (self.dim, self.heads);
        let cell = |row: usize, at: usize| -> f64 {
            let x = rows[row * self.width() + at];
            f64::from(if self.is_wide { x } else { of_bf16(to_bf16(x)) })
        };
        let mut worst = 0.0f64;
        for (row, place) in places.iter().enumerate() {
            let first = if self.window == 0 { 0 } else { (place.position + 1).saturating_sub(self.window) };
            let others: Vec<usize> = (first..=place.position).map(|i| row - place.position + i).collect();
            for head in 0..heads {
                let of_kv = head * self.kv_heads / heads;
                let (key, value) = ((heads + of_kv) * dim, (heads + self.kv_heads + of_kv) * dim);
                let score = |other: usize| -> f64 {
                    let product = |d: usize| cell(row, head * dim + d) * cell(other, key + d);
                    (0..dim).map(product).sum::<f64>() / (dim as f64).sqrt()
                };
                let shares: Vec<f64> = others.iter().map(|other| score(*other).exp()).collect();
                let total: f64 = shares.iter().sum();
                for d in 0..dim {
                    let mixed: f64 = others.iter().zip(&shares).map(|(o, s)| s * cell(*o, value + d)).sum();
                    worst = worst.max((f64::from(got[(row * heads + head) * dim + d]) - mixed / total).abs());
                }
            }
        }
        worst
    }
}

#[test]
fn attention_over_blocks_equals_plain_sums_and_every_set_has_the_same_bits() {
    // The last one has more heads to a key than a tile has rows.
    for (dim, window, is_wide, heads, kv_heads) in [
        (8, 0, true, 4, 2),
        (64, 0, false, 4, 2),
        (96, 40, true, 4, 2),
        (64, 5, false, 4, 2),
        (32, 33, false, 20, 1),
    ] {
        let case = Case { dim, window, is_wide, heads, kv_heads };
        let places: Vec<Place> =
            (0..2 * LENGTH).map(|i| Place { blocks: TABLES[i / LENGTH], position: i % LENGTH }).collect();
        let rows = wave(places.len() * case.width(), dim);
        let found: Vec<Vec<f32>> = sets().into_iter().map(|set| case.mixed(set, &places, &rows)).collect();
        assert!(found.iter().all(|out| *out == found[0]));
        // In bf16 each share is off by up to 2⁻⁹ of itself, and so is their total; no value is larger than 1.
        let most = if is_wide { 2e-6 } else { 1.0 / 256.0 };
        let worst = case.furthest(&places, &rows, &found[0]);
        println!("heads of {dim}, window {window}: at most {worst:.1e}");
        assert!(worst < most, "heads of {dim}, window {window}: {worst:e}");
    }
}
