//! One pass of a transformer over the new tokens of some sequences.
//!
//! Behind the last layer's keys and values only those rows go on that somebody wants to know.

use cupola_kernels::decode::{
    Additions, Inputs, Instructions, LowRank, Matrix, Place, Pool, Projected, Sink, WeightFormat, gate,
    rotate, softcap,
};
use cupola_specs::job::{ModelShape, ModelType};

use super::CpuDecoder;
use super::adapters::{Adapters, LayerAdapter};
use super::weights::{Layer, Weights};
use crate::generate::{Chunk, Rows, Wanted};

/// Memory of a pass, which grows to the largest one.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The residual stream, `[M, C]`.
    stream: Vec<f32>,
    /// The first embedding, `[M, C]`, where layers add it.
    first: Vec<f32>,
    /// Queries, keys and values, `[M, (H + 2K)·D]`.
    projected: Vec<f32>,
    /// What attention mixed, `[M, H·D]`.
    mixed: Vec<f32>,
    /// Behind the activation, `[M, I]`.
    inner: Vec<f32>,
    of_channels: Inputs,
    of_heads: Inputs,
    of_inner: Inputs,
    /// What adapters add to a product.
    added: Additions,
}

impl Scratch {
    pub(super) fn new(shape: &ModelShape, format: WeightFormat) -> Self {
        let inputs = |width: u64| Inputs::new(format, width as usize);
        Self {
            stream: Vec::new(),
            first: Vec::new(),
            projected: Vec::new(),
            mixed: Vec::new(),
            inner: Vec::new(),
            of_channels: inputs(shape.hidden_size),
            of_heads: inputs(shape.num_attention_heads * shape.head_dim),
            of_inner: inputs(shape.intermediate_size),
            added: Additions::default(),
        }
    }
}

/// A row: its token, its place, its adapter's place, and whether its hidden state or its logits are asked for.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    token: usize,
    place: Place<'a>,
    adapter: Option<usize>,
    asks: Asks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    Hidden,
    Logits,
}

fn rows_of<'a>(chunks: &[Chunk<'a>], adapters: &Adapters) -> Vec<Row<'a>> {
    let of_chunk = |chunk: &Chunk<'a>| {
        let chunk = *chunk;
        let adapter = chunk.adapter.and_then(|adapter| adapters.place(adapter));
        chunk.tokens.iter().enumerate().map(move |(at, token)| Row {
            token: *token as usize,
            place: Place { blocks: chunk.blocks, position: chunk.start + at },
            adapter,
            asks: match chunk.wanted {
                Wanted::Hidden => Asks::Hidden,
                Wanted::All => Asks::Logits,
                Wanted::Last if at + 1 == chunk.tokens.len() => Asks::Logits,
                Wanted::Last | Wanted::Nothing => Asks::Nothing,
            },
        })
    };
    chunks.iter().flat_map(of_chunk).collect()
}

impl CpuDecoder {
    /// Runs the chunks.
    pub(super) fn pass(&mut self, chunks: &[Chunk<'_>], out: &mut Rows) {
        let mut rows = rows_of(chunks, &self.adapters);
        let mut places: Vec<Place> = rows.iter().map(|row| row.place).collect();
        let width = self.shape.hidden_size as usize;
        self.embed(&rows);
        let last = self.weights.layers.len() - 1;
        for layer in 0..=last {
            self.project(layer, &rows);
            let Self { cache, pool, scratch, weights, adapters, shape, .. } = self;
            let heads = shape.num_attention_heads as usize;
            let projected = Projected { rows: &scratch.projected, heads };
            cache.store(pool, layer, &places, projected);
            if layer == last {
                keep_asked(&mut rows, scratch, width);
                places = rows.iter().map(|row| row.place).collect();
                if rows.is_empty() {
                    break;
                }
            }
            let projected = Projected { rows: &scratch.projected, heads };
            scratch.mixed.resize(rows.len() * heads * shape.head_dim as usize, 0.0);
            let window = weights.layers[layer].window;
            cache.attend(pool, (layer, window), &places, projected, &mut scratch.mixed);
            let beside = Beside { adapters, layer, rows: &rows };
            finish(&weights.layers[layer], weights, &beside, (pool, scratch));
        }
        self.answer(&rows, out);
    }

    /// The first embedding of each row.
    fn embed(&mut self, rows: &[Row<'_>]) {
        let Self { weights, pool, scratch, shape, .. } = self;
        let (width, instructions) = (shape.hidden_size as usize, pool.instructions());
        scratch.stream.resize(rows.len() * width, 0.0);
        for (row, x) in rows.iter().zip(scratch.stream.chunks_exact_mut(width)) {
            weights.embedding.row(row.token, x);
            if let Some(positions) = &weights.positions {
                scratch.first.resize(width, 0.0);
                positions.row(row.place.position, &mut scratch.first);
                x.iter_mut().zip(&scratch.first).for_each(|(x, place)| *x += place);
            }
            if shape.model_type == ModelType::Nanochat {
                scratch.first.resize(width, 0.0);
                scratch.first.copy_from_slice(x);
                weights.norm.apply(instructions, &scratch.first, x);
            }
        }
        if shape.residual_scalars {
            scratch.first.clear();
            scratch.first.extend_from_slice(&scratch.stream);
        }
    }

    /// Queries, keys and values of a layer, normed and rotated.
    fn project(&mut self, at: usize, rows: &[Row<'_>]) {
        let Self { weights, adapters, pool, scratch, shape, .. } = self;
        let (layer, instructions) = (&weights.layers[at], pool.instructions());
        let (width, dim) = (shape.hidden_size as usize, shape.head_dim as usize);
        if let Some((stays, returns)) = layer.residual {
            for (x, first) in scratch.stream.iter_mut().zip(&scratch.first) {
                *x = *x * stays + first * returns;
            }
        }
        let stream = &scratch.stream;
        let make = |row: usize, out: &mut [f32]| {
            layer.input_norm.apply(instructions, &stream[row * width..][..width], out);
        };
        scratch.of_channels.fill(pool, rows.len(), &make);
        let beside = Beside { adapters, layer: at, rows };
        beside.fill(&mut scratch.added, pool, (&layer.inputs, |adapter| &adapter.inputs), &make);
        let heads = (shape.num_attention_heads as usize, shape.num_key_value_heads as usize);
        let all = (heads.0 + 2 * heads.1) * dim;
        scratch.projected.resize(rows.len() * all, 0.0);
        let sink = (Sink::Store, Some(&scratch.added));
        layer.inputs.multiply_with(pool, &scratch.of_channels, sink, &mut scratch.projected);
        let turn = Turn { weights, layer, shape, instructions, stream: &scratch.stream };
        pool.each_row(&mut scratch.projected, all, &|row, parts| turn.row(&rows[row], row, parts));
    }

    /// The hidden states and logits that were asked for; the stream holds those rows only.
    fn answer(&mut self, rows: &[Row<'_>], out: &mut Rows) {
        let Self { weights, pool, scratch, shape, vocab_size, .. } = self;
        let (width, instructions) = (shape.hidden_size as usize, pool.instructions());
        out.hidden.clear();
        let asking =
            |asks: Asks| rows.iter().enumerate().filter(move |(_, row)| row.asks == asks).map(|(at, _)| at);
        for at in asking(Asks::Hidden) {
            let start = out.hidden.len();
            out.hidden.resize(start + width, 0.0);
            weights.norm.apply(
                instructions,
                &scratch.stream[at * width..][..width],
                &mut out.hidden[start..],
            );
        }
        let scored: Vec<usize> = asking(Asks::Logits).collect();
        out.logits.resize(scored.len() * *vocab_size, 0.0);
        if scored.is_empty() {
            return;
        }
        let stream = &scratch.stream;
        scratch.of_channels.fill(pool, scored.len(), &|row, out| {
            weights.norm.apply(instructions, &stream[scored[row] * width..][..width], out);
        });
        weights.head.multiply(pool, &scratch.of_channels, Sink::Store, &mut out.logits);
        if shape.logit_softcap > 0.0 {
            let cap = shape.logit_softcap as f32;
            pool.each_row(&mut out.logits, *vocab_size, &|_, logits| softcap(instructions, logits, cap));
        }
    }
}

/// Leaves in the stream and the projections the rows that ask for something.
fn keep_asked(rows: &mut Vec<Row<'_>>, scratch: &mut Scratch, width: usize) {
    let of_projected = scratch.projected.len() / rows.len();
    let mut kept = 0;
    for (at, row) in rows.iter().enumerate() {
        if row.asks != Asks::Nothing {
            if kept != at {
                scratch.stream.copy_within(at * width..(at + 1) * width, kept * width);
                scratch
                    .projected
                    .copy_within(at * of_projected..(at + 1) * of_projected, kept * of_projected);
            }
            kept += 1;
        }
    }
    rows.retain(|row| row.asks != Asks::Nothing);
    scratch.stream.truncate(kept * width);
    scratch.projected.truncate(kept * of_projected);
}

/// The adapters of a pass's rows beside a layer.
struct Beside<'a> {
    adapters: &'a Adapters,
    layer: usize,
    rows: &'a [Row<'a>],
}

impl Beside<'_> {
    /// Computes what they add to a matrix' products of the rows that `make` writes.
    fn fill(
        &self,
        added: &mut Additions,
        pool: &mut Pool,
        (matrix, of): (&Matrix, fn(&LayerAdapter) -> &LowRank),
        make: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        if self.rows.iter().all(|row| row.adapter.is_none()) {
            added.clear();
            return;
        }
        let of_row = |row: &Row<'_>| Some(of(self.adapters.layer(row.adapter?, self.layer)));
        let adapters: Vec<Option<&LowRank>> = self.rows.iter().map(of_row).collect();
        added.fill(pool, &adapters, matrix.outputs(), make);
    }
}

/// What attention and the feed-forward network add to the stream.
fn finish(layer: &Layer, weights: &Weights, beside: &Beside<'_>, (pool, scratch): (&mut Pool, &mut Scratch)) {
    let instructions = pool.instructions();
    let (heads, width, inner) = (layer.output.inputs(), layer.output.outputs(), layer.down.inputs());
    let rows = scratch.stream.len() / width;
    let Scratch { stream, mixed, inner: behind, of_channels, of_heads, of_inner, added, .. } = scratch;
    let make = |row: usize, out: &mut [f32]| out.copy_from_slice(&mixed[row * heads..][..heads]);
    of_heads.fill(pool, rows, &make);
    beside.fill(added, pool, (&layer.output, |adapter| &adapter.output), &make);
    layer.output.multiply_with(pool, of_heads, (Sink::Add, Some(added)), stream);
    let make = |row: usize, out: &mut [f32]| {
        layer.post_norm.apply(instructions, &stream[row * width..][..width], out);
    };
    of_channels.fill(pool, rows, &make);
    beside.fill(added, pool, (&layer.up, |adapter| &adapter.up), &make);
    behind.resize(rows * inner, 0.0);
    layer.up.multiply_with(pool, of_channels, (Sink::Activate(weights.activation), Some(added)), behind);
    let make = |row: usize, out: &mut [f32]| out.copy_from_slice(&behind[row * inner..][..inner]);
    of_inner.fill(pool, rows, &make);
    beside.fill(added, pool, (&layer.down, |adapter| &adapter.down), &make);
    layer.down.multiply_with(pool, of_inner, (Sink::Add, Some(added)), stream);
}

/// What is done to a row's queries, keys and values before they are used.
struct Turn<'a> {
    weights: &'a Weights,
    layer: &'a Layer,
    shape: &'a ModelShape,
    instructions: Instructions,
    stream: &'a [f32],
}

impl Turn<'_> {
    /// `parts [(H + 2K)·D]` of a row.
    fn row(&self, row: &Row<'_>, at: usize, parts: &mut [f32]) {
        let (dim, heads) = (self.shape.head_dim as usize, self.shape.num_attention_heads as usize);
        let kv_heads = self.shape.num_key_value_heads as usize;
        let (turned, values) = parts.split_at_mut((heads + kv_heads) * dim);
        let is_rotated_first = self.shape.model_type == ModelType::Nanochat;
        for (head, x) in turned.chunks_exact_mut(dim).enumerate() {
            if is_rotated_first {
                self.rotate(row, x);
                self.norm(head < heads, x);
            } else {
                self.norm(head < heads, x);
                self.rotate(row, x);
            }
        }
        if let Some(embedding) = &self.layer.values {
            let width = self.shape.hidden_size as usize;
            let (mut normed, mut added) = (vec![0.0; width], vec![0.0; kv_heads * dim]);
            self.layer.input_norm.apply(self.instructions, &self.stream[at * width..][..width], &mut normed);
            embedding.table.row(row.token, &mut added);
            let read = &normed[..embedding.channels];
            for (head, weights) in embedding.gate.chunks_exact(embedding.channels).enumerate() {
                let gate = gate(read, weights);
                let range = head * dim..(head + 1) * dim;
                for (value, added) in values[range.clone()].iter_mut().zip(&added[range]) {
                    *value += added * gate;
                }
            }
        }
    }

    fn rotate(&self, row: &Row<'_>, head: &mut [f32]) {
        if let Some(rope) = &self.weights.rope {
            let (cos, sin) = rope.at(row.place.position);
            rotate(self.instructions, head, cos, sin);
        }
    }

    fn norm(&self, is_query: bool, head: &mut [f32]) {
        if let Some((of_queries, of_keys)) = &self.layer.qk_norm {
            let norm = if is_query { of_queries } else { of_keys };
            norm.apply_in_place(self.instructions, head);
        }
    }
}
