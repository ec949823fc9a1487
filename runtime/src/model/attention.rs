//! Attention: each query mixes the values of the keys that it may see (Vaswani et al. 2017, arXiv:1706.03762).
//!
//! libtorch's fused operator holds no score in memory, but on a CPU it multiplies bf16 through a generic loop. There the scores are made by
//! oneDNN's products instead, a block of queries at a time, without the keys that lie after the block: a training step of the quickstart is
//! about a fifth shorter (`cargo bench -p cupola-runtime --bench train_step`). As in Hugging Face's eager attention, scores and shares are bf16 and the
//! softmax between them is fp32.
//!
//! Shapes: `B` batch, `T` queries, `L` keys, `H` query heads, `K` key-value heads, `D` head dim.

use tch::{Device, Kind, Tensor};

/// Queries whose scores are made at once.
const BLOCK: i64 = 256;
/// Most scores of a layer that are held for the backward pass; beyond, the fused operator's time is the lesser evil.
const MOST_SCORES: i64 = 1 << 28;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Rows.
    pub batch: i64,
    /// Query heads.
    pub heads: i64,
    /// Queries of a row.
    pub time: i64,
    /// Keys of a row.
    pub length: i64,
}

/// Who sees whom, the same for every layer of a pass.
#[derive(Debug)]
pub(super) enum Visible {
    /// The past, by the fused operator.
    Past,
    /// Where the mask `[B, 1, T, L]` is true, by the fused operator.
    Where(Tensor),
    /// By products: what is added to the scores, `[B or 1, 1, T, L]`; −∞ where a key is not seen. No key `window` or more before a query is
    /// seen, where there is one.
    Added(Tensor, Option<i64>),
}

/// What the layers of one pass see: the whole past, or a window of it.
#[derive(Debug)]
pub(super) struct Sight {
    past: Option<Visible>,
    window: Option<Visible>,
}

impl Sight {
    /// The same sight.
    pub(super) fn handle(&self) -> Self {
        Self {
            past: self.past.as_ref().map(Visible::handle),
            window: self.window.as_ref().map(Visible::handle),
        }
    }

    /// What layers of a window (0 for none) see.
    pub(super) fn of(&self, window: u64) -> &Visible {
        let chosen = if window == 0 { &self.past } else { &self.window };
        chosen.as_ref().or(self.past.as_ref()).unwrap_or(&Visible::Past)
    }

    /// The sight of a pass: `mask [B, 1, T, L]` of the past, or none where it is simply the past; `positions` of the queries among the keys,
    /// `[B or 1, 1, T, 1]`; `windows` of the layers.
    pub(super) fn new(
        mask: Option<Tensor>,
        positions: &Tensor,
        windows: impl Iterator<Item = u64>,
        span: Span,
        (kind, device): (Kind, Device),
    ) -> Self {
        let (mut past, mut width) = (false, 0);
        for window in windows {
            // A window that is as long as the keys hides none.
            let hides = window > 0 && (window as i64) < span.length;
            past |= !hides;
            width = if hides { window as i64 } else { width };
        }
        let window = (width > 0).then(|| {
            let keys = Tensor::arange(span.length, (Kind::Int64, device)).view([1, 1, 1, -1]);
            let near = keys.gt_tensor(&(positions - width)); // [B or 1, 1, T, L]
            let seen = match &mask {
                Some(mask) => near.logical_and(mask),
                None => near.logical_and(&keys.le_tensor(positions)),
            };
            Visible::new(Some(seen), span, kind, device).within(width)
        });
        let past = (past || window.is_none()).then(|| Visible::new(mask, span, kind, device));
        Self { past, window }
    }
}

impl Visible {
    fn handle(&self) -> Self {
        match self {
            Self::Past => Self::Past,
            Self::Where(mask) => Self::Where(mask.shallow_clone()),
            Self::Added(added, window) => Self::Added(added.shallow_clone(), *window),
        }
    }

    /// What the mask `[B, 1, T, L]` shows; without one, the past. `kind` and `device` are the queries'.
    pub(super) fn new(mask: Option<Tensor>, span: Span, kind: Kind, device: Device) -> Self {
        let scores = span.batch * span.heads * span.time * span.length;
        let by_products = device == Device::Cpu && kind == Kind::BFloat16 && scores <= MOST_SCORES;
        match mask {
            Some(mask) if by_products => {
                let none = Tensor::zeros(mask.size(), (kind, device));
                Self::Added(none.masked_fill(&mask.logical_not(), f64::NEG_INFINITY), None)
            }
            None if by_products => {
                let all = Tensor::full([span.time, span.length], f64::NEG_INFINITY, (kind, device));
                Self::Added(all.triu(1).view([1, 1, span.time, span.length]), None)
            }
            Some(mask) => Self::Where(mask),
            None => Self::Past,
        }
    }

    /// The same, said to show no key `window` or more before a query.
    fn within(self, window: i64) -> Self {
        match self {
            Self::Added(added, _) => Self::Added(added, Some(window)),
            other => other,
        }
    }

    /// Mixes the values. Query heads share the keys of their group where there are fewer key-value heads.
    ///
    /// # Shapes
    /// `q [B, H, T, D]` over `k, v [B, K, L, D]` → `[B, H, T, D]`.
    pub(super) fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
        let fused = |mask: Option<&Tensor>| {
            let grouped = q.size()[1] != k.size()[1];
            Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, mask.is_none(), None, grouped)
        };
        match self {
            Self::Past => fused(None),
            Self::Where(mask) => fused(Some(mask)),
            Self::Added(added, window) => by_products(q, k, v, added, *window),
        }
    }
}

fn by_products(q: &Tensor, k: &Tensor, v: &Tensor, added: &Tensor, window: Option<i64>) -> Tensor {
    let (batch, heads, time, dim) = q.size4().unwrap_or_default();
    let (_, kv_heads, length, _) = k.size4().unwrap_or_default();
    let groups = heads / kv_heads;
    let scaled = q * (dim as f64).sqrt().recip(); // [B, H, T, D]
    let blocks = (0..time).step_by(BLOCK as usize).map(|start| {
        let rows = BLOCK.min(time - start); // t
        // With as many keys as queries nobody sees past the block, nor from its first query further back than the window.
        let (first, end) = match (time == length, window) {
            (true, Some(window)) => ((start + 1 - window).max(0), start + rows),
            (true, None) => (0, start + rows),
            (false, _) => (0, length),
        };
        let seen = end - first; // l
        let queries = scaled.narrow(2, start, rows).reshape([batch, kv_heads, groups * rows, dim]);
        let scores = products(&queries, &k.narrow(2, first, seen)); // [B, K, G·t, l]
        let added = added.narrow(2, start, rows).narrow(3, first, seen).unsqueeze(2); // [B or 1, 1, 1, t, l]
        let shares = (scores.reshape([batch, kv_heads, groups, rows, seen]) + added).softmax(-1, q.kind());
        let mixed = shares.view([batch, kv_heads, groups * rows, seen]).matmul(&v.narrow(2, first, seen));
        mixed.view([batch, heads, rows, dim])
    });
    let blocks: Vec<Tensor> = blocks.collect();
    match blocks.as_slice() {
        [only] => only.shallow_clone(),
        many => Tensor::cat(many, 2),
    }
}

/// `q [B, K, R, D] · kᵀ [B, K, D, l]` → `[B, K, R, l]`. Keys in a cache lie apart, and oneDNN is slow on a right factor that is both that and
/// transposed: where the queries are few, they are put there instead.
fn products(q: &Tensor, k: &Tensor) -> Tensor {
    if q.size()[2] * 4 <= k.size()[2] {
        k.matmul(&q.transpose(2, 3)).transpose(2, 3)
    } else {
        q.matmul(&k.transpose(2, 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIM: i64 = 32;

    /// Values and gradients by products, each with its distance from the fused operator's in fp32, relative to the largest.
    fn distances(heads: i64, kv_heads: i64, time: i64, length: i64, mask: Option<&Tensor>) -> Vec<f64> {
        tch::manual_seed(7);
        let span = Span { batch: 2, heads, time, length };
        let make = |heads: i64, length: i64| {
            Tensor::randn([2, length, heads, DIM], (Kind::BFloat16, Device::Cpu)).transpose(1, 2)
        };
        let inputs = [make(heads, time), make(kv_heads, length), make(kv_heads, length)];
        let upstream = make(heads, time);
        let run = |kind: Kind| -> Vec<Tensor> {
            let leaves: Vec<Tensor> =
                inputs.iter().map(|x| x.to_kind(kind).detach().copy().set_requires_grad(true)).collect();
            let visible = Visible::new(mask.map(Tensor::shallow_clone), span, kind, Device::Cpu);
            assert_eq!(matches!(visible, Visible::Added(..)), kind == Kind::BFloat16);
            let mixed = visible.attend(&leaves[0], &leaves[1], &leaves[2]);
            (&mixed * upstream.to_kind(kind)).sum(Kind::Float).backward();
            std::iter::once(mixed).chain(leaves.iter().map(Tensor::grad)).collect()
        };
        let (products, fused) = (run(Kind::BFloat16), run(Kind::Float));
        products
            .iter()
            .zip(&fused)
            .map(|(a, b)| {
                (a.to_kind(Kind::Float) - b).abs().max().double_value(&[]) / b.abs().max().double_value(&[])
            })
            .collect()
    }

    #[test]
    fn products_equal_the_fused_operator() {
        let documents = Tensor::arange(300, (Kind::Int64, Device::Cpu)).floor_divide_scalar(70);
        let same = documents.unsqueeze(1).eq_tensor(&documents.unsqueeze(0));
        let mask = same.tril(0).view([1, 1, 300, 300]).expand([2, 1, 300, 300], false);
        let cached = Tensor::arange(9, (Kind::Int64, Device::Cpu))
            .le(5)
            .view([1, 1, 1, 9])
            .expand([2, 1, 3, 9], false);
        let cases = [
            ("the past, one block", distances(4, 4, 64, 64, None)),
            ("the past, two blocks, grouped", distances(4, 2, 300, 300, None)),
            ("documents, two blocks, grouped", distances(4, 2, 300, 300, Some(&mask))),
            ("behind a cache", distances(4, 1, 3, 9, Some(&cached))),
        ];
        for (case, distances) in cases {
            assert!(distances.iter().all(|d| *d < 0.02), "{case}: {distances:?}");
        }
    }
}
