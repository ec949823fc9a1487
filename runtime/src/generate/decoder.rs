//! What the engine asks of a network: logits of new tokens, over keys and values that lie in blocks.
//!
//! A sequence's positions are cut into blocks of [`Decoder::block_tokens`]; its table says where each lies, and sequences that begin alike
//! share blocks (Kwon et al. 2023, arXiv:2309.06180). Which block is whose is the engine's business; the decoder owns the memory.
//!
//! Invariant: a row's bits depend on its own sequence alone, not on what else is in the call, on how a sequence was cut into chunks, or on
//! which blocks hold it.

use super::GenerateError;

/// New tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// Position of the first; those before it are in the blocks already.
    pub start: usize,
    /// The sequence's table: entry `i` holds positions from `i · block_tokens` on. It reaches past the last new token.
    pub blocks: &'a [u32],
    /// The adapter that this sequence runs with.
    pub adapter: Option<AdapterId>,
    /// What the caller wants to know.
    pub wanted: Wanted,
}

/// Names an adapter that a decoder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(pub u32);

/// What a pass gives for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Only the keys and values: a prompt that goes on.
    Nothing,
    /// Logits after the last token.
    Last,
    /// Logits after each token.
    All,
    /// The last hidden state of each token, after the final norm: embeddings.
    Hidden,
}

/// What may be done with the positions that a decoder holds of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Each stands by itself: prompts run in parts, sequences that begin alike share blocks, and a sequence may go back.
    Apart,
    /// A sequence may go back, but its prompt runs whole: in parts its bits would be others.
    Whole,
    /// They are one running state: a prompt runs whole, and there is no way back.
    Running,
}

/// What a pass gave, rows in the order of the chunks and their tokens.
#[derive(Debug, Default)]
pub struct Rows {
    /// Logits in fp32, `[rows, V]`.
    pub logits: Vec<f32>,
    /// Hidden states in fp32, `[rows, C]`.
    pub hidden: Vec<f32>,
}

/// A network that generates.
pub trait Decoder {
    /// Size of the vocabulary, `V`.
    fn vocab_size(&self) -> usize;

    /// Width of a hidden state, `C`.
    fn hidden_size(&self) -> usize;

    /// Tokens of a sequence, at most.
    fn max_len(&self) -> usize;

    /// Tokens of a block; a decoder whose state cannot be cut has blocks of whole sequences.
    fn block_tokens(&self) -> usize;

    /// Blocks in all, numbered from 0.
    fn num_blocks(&self) -> usize;

    /// What may be done with the positions of a sequence. Where they are not [`Positions::Apart`] a block holds a whole sequence.
    fn positions(&self) -> Positions {
        Positions::Apart
    }

    /// Whether a chunk may name this adapter.
    fn has_adapter(&self, adapter: AdapterId) -> bool {
        let _ = adapter;
        false
    }

    /// Runs the chunks, stores their keys and values, and fills `rows`, which keeps its memory from call to call. No two chunks are of
    /// one sequence; tokens are within the vocabulary.
    ///
    /// # Errors
    /// What the tensor library refuses. The blocks of the chunks' new positions are then undefined.
    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError>;
}

impl<D: Decoder + ?Sized> Decoder for Box<D> {
    fn vocab_size(&self) -> usize {
        self.as_ref().vocab_size()
    }

    fn hidden_size(&self) -> usize {
        self.as_ref().hidden_size()
    }

    fn max_len(&self) -> usize {
        self.as_ref().max_len()
    }

    fn block_tokens(&self) -> usize {
        self.as_ref().block_tokens()
    }

    fn num_blocks(&self) -> usize {
        self.as_ref().num_blocks()
    }

    fn positions(&self) -> Positions {
        self.as_ref().positions()
    }

    fn has_adapter(&self, adapter: AdapterId) -> bool {
        self.as_ref().has_adapter(adapter)
    }

    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError> {
        self.as_mut().forward(chunks, rows)
    }
}
