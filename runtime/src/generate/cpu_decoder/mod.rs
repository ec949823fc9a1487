//! The decoder of a CPU: a transformer by the kernels of `kernels/src/decode/`, without the tensor library.
//!
//! A pass holds the residual stream, norms, rotations and sums in fp32; products read their rows in the format of the weights. Keys and values
//! are bf16, in fp32 networks fp32. What an adapter adds to a product is fp32 throughout, added before anything else becomes of the product. The buffers of a pass grow to the largest one that was seen, and stay.
//!
//! Papers: Vaswani et al. 2017 (arXiv:1706.03762); Kwon et al. 2023 (arXiv:2309.06180, keys and values in blocks).
//!
//! Invariant: that of [`Decoder`]; each kernel gives a row's bits from the row alone, and attention goes through a sequence's blocks in
//! their order.
//!
//! Shapes: `M` rows (tokens of all chunks), `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab.

#[cfg(test)]
mod adapter_tests;
mod adapters;
mod pass;
#[cfg(test)]
mod tests;
mod weights;

use cupola_kernels::decode::{BLOCK_TOKENS, Instructions, KvBlocks, KvSizes, Pool, WeightFormat};
use cupola_specs::job::ModelShape;

use self::adapters::Adapters;
use self::pass::Scratch;
use self::weights::Weights;
use super::{AdapterId, Chunk, Decoder, GenerateError, Positions, Rows};
use crate::model::Network;

/// Sizes and number format of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuDecoderConfig {
    /// How weights are kept.
    pub format: WeightFormat,
    /// Blocks of 32 tokens.
    pub num_blocks: usize,
    /// Tokens of a sequence, at most: no more than the network has positions.
    pub max_len: usize,
    /// Threads.
    pub threads: usize,
}

/// A transformer that generates on a CPU.
#[derive(Debug)]
pub struct CpuDecoder {
    shape: ModelShape,
    vocab_size: usize,
    config: CpuDecoderConfig,
    weights: Weights,
    adapters: Adapters,
    cache: KvBlocks,
    pool: Pool,
    scratch: Scratch,
}

impl CpuDecoder {
    /// Packs a network's weights, adapters merged into them, and makes room for the blocks.
    ///
    /// # Errors
    /// A network that is no transformer or holds a number that is not finite; a longest sequence that it has no positions for.
    pub fn new(network: &Network, config: CpuDecoderConfig) -> Result<Self, GenerateError> {
        Self::with_instructions(network, config, Instructions::best())
    }

    /// The same by a set of instructions that the machine has.
    ///
    /// # Errors
    /// As [`CpuDecoder::new`].
    pub fn with_instructions(
        network: &Network,
        config: CpuDecoderConfig,
        instructions: Instructions,
    ) -> Result<Self, GenerateError> {
        let shape = network.shape().clone();
        if config.max_len == 0 || config.max_len > shape.max_position_embeddings as usize {
            return Err(GenerateError::Setting {
                field: "max_len",
                got: config.max_len.to_string(),
                expected: "1 to the model's max_position_embeddings",
            });
        }
        let mut pool = Pool::with_instructions(config.threads, instructions);
        let weights = Weights::pack(network, (config.format, config.max_len), &mut pool)?;
        let sizes = KvSizes {
            layers: shape.num_hidden_layers as usize,
            blocks: config.num_blocks,
            heads: shape.num_key_value_heads as usize,
            dim: shape.head_dim as usize,
        };
        let cache = KvBlocks::new(sizes, config.format == WeightFormat::Fp32);
        let scratch = Scratch::new(&shape, config.format);
        let vocab_size = network.vocab_size() as usize;
        let adapters = Adapters::default();
        Ok(Self { shape, vocab_size, config, weights, adapters, cache, pool, scratch })
    }

    /// Takes the adapters of `adapted`, a network of this one's shape: chunks that name `id` run with them. Other chunks keep their bits.
    ///
    /// # Errors
    /// A network of another shape, or without adapters; a number that is not finite; an id that is taken.
    pub fn add_adapter(&mut self, id: AdapterId, adapted: &Network) -> Result<(), GenerateError> {
        self.adapters.push(id, &self.shape, adapted)
    }

    /// The instructions that it runs by.
    pub fn instructions(&self) -> Instructions {
        self.pool.instructions()
    }

    /// Memory of its keys and values.
    pub fn cache_bytes(&self) -> usize {
        self.cache.num_bytes()
    }
}

impl Decoder for CpuDecoder {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn hidden_size(&self) -> usize {
        self.shape.hidden_size as usize
    }

    fn max_len(&self) -> usize {
        self.config.max_len
    }

    fn block_tokens(&self) -> usize {
        BLOCK_TOKENS
    }

    fn num_blocks(&self) -> usize {
        self.config.num_blocks
    }

    fn positions(&self) -> Positions {
        Positions::Apart
    }

    fn has_adapter(&self, adapter: AdapterId) -> bool {
        self.adapters.place(adapter).is_some()
    }

    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError> {
        let mut named = chunks.iter().filter_map(|chunk| chunk.adapter);
        if let Some(adapter) = named.find(|adapter| !self.has_adapter(*adapter)) {
            return Err(GenerateError::UnknownAdapter(adapter));
        }
        self.pass(chunks, rows);
        Ok(())
    }
}
