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

/// What is asked of rows.
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
    /// What all of them are asked for.
    asks: Option<Asks>,
    rows: usize,
}

impl Piece<'_> {
    /// Rows and parts of the recorded pass that does this: one token for each sequence, all asked for logits.
    fn fixed(&self) -> Option<(usize, usize)> {
        let is_step = self.asks == Some(Asks::Logits)
            && self.chosen.len() == self.rows
            && self.stretches.len() == self.rows
            && self.rows <= REPLAYED_ROWS;
        let parts = self.stretches.iter().map(Stretch::parts).max()?;
        is_step.then(|| (self.rows.next_power_of_two(), parts.next_power_of_two()))
    }

    /// Rows of a chunk that it still has room for.
    fn room(&self, wanted: Wanted) -> usize {
        let asks = asked(wanted);
        if asks.is_some() && self.asks.is_some() && asks != self.asks {
            return 0;
        }
        let rows = PASS_ROWS - self.rows;
        let logits = LOGIT_ROWS.saturating_sub(self.chosen.len());
        match wanted {
            Wanted::All => rows.min(logits),
            Wanted::Last if logits == 0 => 0,
            Wanted::Last | Wanted::Nothing | Wanted::Hidden => rows,
        }
    }
}

/// What is asked of those rows of a chunk that are asked for something.
fn asked(wanted: Wanted) -> Option<Asks> {
    match wanted {
        Wanted::Hidden => Some(Asks::Hidden),
        Wanted::All | Wanted::Last => Some(Asks::Logits),
        Wanted::Nothing => None,
    }
}

/// Cuts chunks into pieces that one pass can do.
fn pieces<'a>(chunks: &[Chunk<'a>]) -> Vec<Piece<'a>> {
    let (mut pieces, mut piece) = (Vec::new(), Piece::default());
    for chunk in chunks {
        let mut at = 0;
        while at < chunk.tokens.len() {
            let room = piece.room(chunk.wanted);
            if room == 0 {
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            let end = chunk.tokens.len().min(at + room);
            let rows = piece.rows..piece.rows + end - at;
            let first_asked = match chunk.wanted {
                Wanted::Hidden | Wanted::All => rows.start,
                Wanted::Last if end == chunk.tokens.len() => rows.end - 1,
                Wanted::Last | Wanted::Nothing => rows.end,
            };
            if first_asked < rows.end {
                piece.asks = asked(chunk.wanted);
                piece.chosen.extend(first_asked..rows.end);
            }
            piece.rows = rows.end;
            let tokens = &chunk.tokens[at..end];
            piece.stretches.push(Stretch { tokens, start: chunk.start + at, blocks: chunk.blocks });
            at = end;
        }
    }
    if piece.rows > 0 {
        pieces.push(piece);
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
                    let graph = self.program.record(|| self.enqueue(piece.asks))?;
                    self.graphs.insert(size, graph);
                }
                self.program.replay(&self.graphs[&size])?;
            }
            None => self.enqueue(piece.asks)?,
        }
        let count = piece.chosen.len();
        match piece.asks {
            Some(Asks::Logits) => {
                let from = &self.scratch.logits;
                self.program.download(from, count * self.vocab_size, &mut out.logits)?;
            }
            Some(Asks::Hidden) => {
                let width = self.shape.hidden_size as usize;
                self.program.download(&self.scratch.hidden, count * width, &mut out.hidden)?;
            }
            // The next pass must find the rows' memory free.
            None => self.program.synchronize()?,
        }
        Ok(())
    }

    /// Enqueues the kernels of the batch's rows.
    fn enqueue(&self, asks: Option<Asks>) -> Result<(), KernelError> {
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
        if asks == Some(Asks::Hidden) {
            let norm = NormRows { wide: Some(&scratch.hidden), of_chosen: true, ..self.norm(&weights.norm) };
            program.norm(batch, &NormRows { out: None, ..norm })?;
        }
        if asks == Some(Asks::Logits) {
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
