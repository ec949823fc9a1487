//! One pass of a transformer over the new tokens of some sequences.
//!
//! Chunks are cut into passes of bounded size, which changes no bit. A pass of one token for each sequence, which is what answers in flight
//! are, is filled up to a few fixed sizes, recorded the first time, and replayed.

use cupola_kernels::KernelError;
use cupola_kernels::cuda_decode::{
    Attend, Embed, Heads, NormRows, Product, Sink, Stretch, TurnHeads, ValueEmbedding,
};
use cupola_specs::job::ModelType;
use tch::{Kind, Tensor};

use super::weights::{Layer, Norm};
use super::{CudaDecoder, LOGIT_ROWS, PASS_ROWS, REPLAYED_ROWS};
use crate::generate::{Chunk, GenerateError, Rows, Wanted};

/// Memory of a pass.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The residual stream, `[M, C]`.
    stream: Tensor,
    /// The first embedding, where layers add it.
    first: Option<Tensor>,
    /// What a product reads, `[M, padded C]`.
    normed: Tensor,
    /// `[M, (H + 2K)·D]`
    projected: Tensor,
    /// `[M, H, padded D]`
    queries: Tensor,
    /// `[M, padded H·D]`
    mixed: Tensor,
    /// `[M, padded I]`
    inner: Tensor,
    /// Of split rows, see [`Attend`].
    parts: (Tensor, Tensor),
    /// `[chosen, C]`
    hidden: Tensor,
    /// `[chosen, V]`
    logits: Tensor,
}

impl Scratch {
    pub(super) fn new(decoder: &CudaDecoderSizes<'_>) -> Self {
        let CudaDecoderSizes { program, shape, vocab, limits, padded } = *decoder;
        let zeros = |numbers: usize, kind: Kind| Tensor::zeros([numbers as i64], (kind, program.device()));
        let (rows, width) = (limits.rows, shape.hidden_size as usize);
        let (heads, kv_heads) = (shape.num_attention_heads as usize, shape.num_key_value_heads as usize);
        let dim = program.shape().padded_dim();
        let parts = if program.shape().is_fp32 { 0 } else { limits.splits * limits.parts() * heads };
        let all = (heads + 2 * kv_heads) * shape.head_dim as usize;
        Self {
            stream: zeros(rows * width, Kind::Float),
            first: shape.residual_scalars.then(|| zeros(rows * width, Kind::Float)),
            normed: zeros(rows * padded[0], program.kind()),
            projected: zeros(rows * all, Kind::Float),
            queries: zeros(rows * heads * dim, program.kind()),
            mixed: zeros(rows * padded[1], program.kind()),
            inner: zeros(rows * padded[2], program.kind()),
            parts: (zeros(parts * dim, Kind::Float), zeros(parts * 2, Kind::Float)),
            hidden: zeros(rows * width, Kind::Float),
            logits: zeros(LOGIT_ROWS * vocab, Kind::Float),
        }
    }
}

/// What the memory of a pass follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct CudaDecoderSizes<'a> {
    pub program: &'a cupola_kernels::cuda_decode::Program,
    pub shape: &'a cupola_specs::job::ModelShape,
    pub vocab: usize,
    pub limits: cupola_kernels::cuda_decode::Limits,
    /// Inputs of the products with channels, heads and the inner width, padded.
    pub padded: [usize; 3],
}

/// What is asked of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Hidden,
    Logits,
}

/// Some of the rows of the chunks, in order.
#[derive(Debug, Default)]
struct Piece<'a> {
    stretches: Vec<Stretch<'a>>,
    /// Rows that are asked for.
    chosen: Vec<usize>,
    asks: Vec<Asks>,
    rows: usize,
}

impl Piece<'_> {
    fn logits(&self) -> usize {
        self.asks.iter().filter(|asks| **asks == Asks::Logits).count()
    }

    /// Rows and parts of the recorded pass that does this: one token for each sequence, all asked for logits.
    fn fixed(&self) -> Option<(usize, usize)> {
        let is_step =
            self.stretches.len() == self.rows && self.logits() == self.rows && self.rows <= REPLAYED_ROWS;
        let parts = self.stretches.iter().map(Stretch::parts).max()?;
        is_step.then(|| (self.rows.next_power_of_two(), parts.next_power_of_two()))
    }
}

/// Cuts chunks into pieces that one pass can do.
fn pieces<'a>(chunks: &[Chunk<'a>]) -> Vec<Piece<'a>> {
    let mut pieces = vec![Piece::default()];
    for chunk in chunks {
        let mut at = 0;
        while at < chunk.tokens.len() {
            let Some(piece) = pieces.last_mut() else { break };
            let mut room = PASS_ROWS - piece.rows;
            if chunk.wanted == Wanted::All {
                room = room.min(LOGIT_ROWS - piece.chosen.len().min(LOGIT_ROWS));
            }
            let is_full = chunk.wanted == Wanted::Last && piece.chosen.len() == LOGIT_ROWS;
            if room == 0 || is_full {
                pieces.push(Piece::default());
                continue;
            }
            let end = chunk.tokens.len().min(at + room);
            let tokens = &chunk.tokens[at..end];
            for row in 0..tokens.len() {
                let asks = match chunk.wanted {
                    Wanted::Hidden => Asks::Hidden,
                    Wanted::All => Asks::Logits,
                    Wanted::Last if at + row + 1 == chunk.tokens.len() => Asks::Logits,
                    Wanted::Last | Wanted::Nothing => continue,
                };
                piece.chosen.push(piece.rows + row);
                piece.asks.push(asks);
            }
            piece.rows += tokens.len();
            piece.stretches.push(Stretch { tokens, start: chunk.start + at, blocks: chunk.blocks });
            at = end;
        }
    }
    pieces
}

impl CudaDecoder {
    /// Runs the chunks.
    pub(super) fn pass(&mut self, chunks: &[Chunk<'_>], out: &mut Rows) -> Result<(), GenerateError> {
        self.program.make_current()?;
        out.logits.clear();
        out.hidden.clear();
        for piece in pieces(chunks) {
            self.run(&piece, out)?;
        }
        Ok(())
    }

    fn run(&mut self, piece: &Piece<'_>, out: &mut Rows) -> Result<(), GenerateError> {
        let fixed = piece.fixed();
        self.batch.fill(&piece.stretches, &piece.chosen, fixed);
        self.batch.upload(&mut self.program)?;
        match fixed {
            Some(size) => {
                if !self.graphs.contains_key(&size) {
                    let graph = self.program.record(|| self.enqueue(false, true))?;
                    self.graphs.insert(size, graph);
                }
                self.program.replay(&self.graphs[&size])?;
            }
            None => self.enqueue(piece.asks.contains(&Asks::Hidden), piece.asks.contains(&Asks::Logits))?,
        }
        self.answer(piece, out)
    }

    /// Gives what was asked for.
    fn answer(&mut self, piece: &Piece<'_>, out: &mut Rows) -> Result<(), GenerateError> {
        let (count, width) = (piece.chosen.len(), self.shape.hidden_size as usize);
        let of = |asks| (piece.asks.contains(&asks), piece.asks.iter().all(|row| *row == asks));
        for (asks, width, from, to) in [
            (Asks::Logits, self.vocab_size, &self.scratch.logits, &mut out.logits),
            (Asks::Hidden, width, &self.scratch.hidden, &mut out.hidden),
        ] {
            let (is_asked, is_all) = of(asks);
            if is_all && is_asked {
                self.program.download(from, count * width, to)?;
            } else if is_asked {
                let mut all = Vec::new();
                self.program.download(from, count * width, &mut all)?;
                let rows = all.chunks_exact(width).zip(&piece.asks);
                to.extend(rows.filter(|(_, row)| **row == asks).flat_map(|(row, _)| row));
            }
        }
        // Where nothing was asked for, the next pass must still find the rows' memory free.
        Ok(self.program.synchronize()?)
    }

    /// Enqueues the kernels of the batch's rows.
    fn enqueue(&self, wants_hidden: bool, wants_logits: bool) -> Result<(), KernelError> {
        let Self { program, batch, weights, scratch, shape, .. } = self;
        let width = shape.hidden_size as usize;
        let embed = Embed {
            stream: &scratch.stream,
            first: scratch.first.as_ref(),
            table: &weights.embedding,
            positions: weights.positions.as_ref(),
            width,
            is_normed: shape.model_type == ModelType::Nanochat,
            eps: shape.norm_eps as f32,
        };
        program.embed(batch, &embed)?;
        for (layer, cache) in weights.layers.iter().zip(&self.cache) {
            self.attention(layer, (&cache.0, &cache.1))?;
            self.feed_forward(layer)?;
        }
        if wants_hidden {
            let norm = NormRows { wide: Some(&scratch.hidden), of_chosen: true, ..self.norm(&weights.norm) };
            program.norm(batch, &NormRows { out: None, ..norm })?;
        }
        if wants_logits {
            program.norm(batch, &NormRows { of_chosen: true, ..self.norm(&weights.norm) })?;
            let product = Product {
                x: (&scratch.normed, self.padded[0]),
                weights: &weights.head,
                out: (&scratch.logits, self.vocab_size),
                sink: Sink::Store(shape.logit_softcap as f32),
                of_chosen: true,
            };
            program.multiply(batch, &product)?;
        }
        Ok(())
    }

    /// A norm of the stream into what products read.
    fn norm<'a>(&'a self, norm: &'a Norm) -> NormRows<'a> {
        NormRows {
            stream: &self.scratch.stream,
            first: None,
            gain: norm.gain.as_ref(),
            bias: norm.bias.as_ref(),
            of_chosen: false,
            out: Some((&self.scratch.normed, self.padded[0])),
            wide: None,
            width: self.shape.hidden_size as usize,
            eps: norm.eps,
        }
    }

    /// Attention of a layer, added to the stream.
    fn attention(&self, layer: &Layer, cache: (&Tensor, &Tensor)) -> Result<(), KernelError> {
        let Self { program, batch, weights, scratch, shape, padded, .. } = self;
        let heads = Heads {
            queries: shape.num_attention_heads as usize,
            keys: shape.num_key_value_heads as usize,
            dim: shape.head_dim as usize,
        };
        let all = (heads.queries + 2 * heads.keys) * heads.dim;
        let first = layer.residual.zip(scratch.first.as_ref());
        let first = first.map(|((stays, returns), first)| (first, stays, returns));
        program.norm(batch, &NormRows { first, ..self.norm(&layer.input_norm) })?;
        let normed = (&scratch.normed, padded[0]);
        let inputs = Product {
            x: normed,
            weights: &layer.inputs,
            out: (&scratch.projected, all),
            sink: Sink::Store(0.0),
            of_chosen: false,
        };
        program.multiply(batch, &inputs)?;
        let values = layer.values.as_ref().map(|(table, gates)| ValueEmbedding {
            table,
            gates,
            normed,
            channels: gates.numel() / heads.keys,
        });
        let turn = TurnHeads {
            projected: &scratch.projected,
            queries: &scratch.queries,
            cache,
            rope: weights.rope.as_ref().map(|(cos, sin)| (cos, sin)),
            norms: layer.qk_norm.as_ref().map(|(q, k)| (q.gain.as_ref(), k.gain.as_ref())),
            is_rotated_first: shape.model_type == ModelType::Nanochat,
            values,
            heads,
            eps: shape.norm_eps as f32,
        };
        program.turn(batch, &turn)?;
        let mixed = (&scratch.mixed, padded[1]);
        let attend = Attend {
            queries: &scratch.queries,
            cache,
            mixed,
            parts: (&scratch.parts.0, &scratch.parts.1),
            heads,
            window: layer.window,
        };
        program.attend(batch, &attend)?;
        let out = (&scratch.stream, shape.hidden_size as usize);
        program.multiply(
            batch,
            &Product { x: mixed, weights: &layer.output, out, sink: Sink::Add, of_chosen: false },
        )
    }

    /// The feed-forward network of a layer, added to the stream.
    fn feed_forward(&self, layer: &Layer) -> Result<(), KernelError> {
        let Self { program, batch, weights, scratch, shape, padded, .. } = self;
        program.norm(batch, &self.norm(&layer.post_norm))?;
        let inner = (&scratch.inner, padded[2]);
        let up = Product {
            x: (&scratch.normed, padded[0]),
            weights: &layer.up,
            out: inner,
            sink: Sink::Activate(weights.activation),
            of_chosen: false,
        };
        program.multiply(batch, &up)?;
        let out = (&scratch.stream, shape.hidden_size as usize);
        program.multiply(
            batch,
            &Product { x: inner, weights: &layer.down, out, sink: Sink::Add, of_chosen: false },
        )
    }
}
