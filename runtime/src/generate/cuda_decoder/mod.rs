//! The decoder of a CUDA device: a transformer by the kernels of `kernels/src/cuda_decode/`, in bf16 or fp32.
//!
//! The residual stream, norms, rotations and sums are fp32; weights, what products read, keys and values are in the decoder's format.
//!
//! Papers: Vaswani et al. 2017 (arXiv:1706.03762); Kwon et al. 2023 (arXiv:2309.06180, keys and values in blocks).
//!
//! Invariant: that of [`Decoder`]; each kernel gives a row's bits from the row alone, however many rows there are, and attention goes through a
//! sequence's blocks in their order.

mod pass;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;

use cupola_kernels::cuda_decode::{BLOCK_TOKENS, Batch, Graph, KernelShape, Limits, Packed, Program};
use cupola_specs::job::ModelShape;
use tch::Tensor;

use self::pass::{CudaDecoderSizes, Scratch};
use self::weights::Weights;
use super::{Chunk, Decoder, GenerateError, Rows};
use crate::model::Network;

/// Rows of one pass.
const PASS_ROWS: usize = 1024;
/// Rows of a pass whose logits are given.
const LOGIT_ROWS: usize = 128;
/// Rows of a pass that is recorded and replayed.
const REPLAYED_ROWS: usize = 64;

/// Sizes and number format of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaDecoderConfig {
    /// Weights, keys and values in fp32, else in bf16.
    pub is_fp32: bool,
    /// Blocks of 32 tokens.
    pub num_blocks: usize,
    /// Tokens of a sequence, at most: no more than the network has positions.
    pub max_len: usize,
}

/// A transformer that generates on a CUDA device.
#[derive(Debug)]
pub struct CudaDecoder {
    shape: ModelShape,
    vocab_size: usize,
    config: CudaDecoderConfig,
    weights: Weights,
    /// Blocks of keys and of values, for each layer.
    cache: Vec<(Tensor, Tensor)>,
    batch: Batch,
    scratch: Scratch,
    /// Passes of as many rows and as many parts.
    graphs: BTreeMap<(usize, usize), Graph>,
    /// Inputs of the products with channels, heads and the inner width, padded.
    padded: [usize; 3],
    program: Program,
}

impl CudaDecoder {
    /// Compiles the kernels for CUDA device `index`, packs a network's weights with adapters merged into them, and makes room for the blocks.
    ///
    /// # Errors
    /// A network that is no transformer or holds a number that is not finite; a longest sequence that it has no positions for; no such device,
    /// no NVRTC, no memory.
    pub fn new(network: &Network, config: CudaDecoderConfig, index: usize) -> Result<Self, GenerateError> {
        let program = Program::on_device(index, kernel_shape(network, config))?;
        Self::by_program(network, config, program)
    }

    /// The same by kernels that are compiled already.
    fn by_program(
        network: &Network,
        config: CudaDecoderConfig,
        program: Program,
    ) -> Result<Self, GenerateError> {
        let _no_grad = tch::no_grad_guard();
        let shape = network.shape().clone();
        if config.max_len == 0 || config.max_len > shape.max_position_embeddings as usize {
            return Err(GenerateError::Setting {
                field: "max_len",
                got: config.max_len.to_string(),
                expected: "1 to the model's max_position_embeddings",
            });
        }
        let weights = Weights::pack(network, config.max_len, &program)?;
        let vocab = network.vocab_size() as usize;
        let kv_heads = shape.num_key_value_heads as usize;
        let limits = Limits {
            vocab,
            blocks: config.num_blocks,
            positions: config.max_len,
            rows: PASS_ROWS,
            splits: REPLAYED_ROWS,
            group: shape.num_attention_heads as usize / kv_heads,
        };
        let padded = match weights.layers.first() {
            Some(layer) => [&layer.inputs, &layer.output, &layer.down].map(Packed::padded_inputs),
            None => return Err(GenerateError::Unsupported("it has no layer".into())),
        };
        let numbers = config.num_blocks * kv_heads * program.shape().padded_dim() * BLOCK_TOKENS;
        let blocks = || Tensor::f_zeros([numbers as i64], (program.kind(), program.device()));
        let cache = (0..shape.num_hidden_layers)
            .map(|_| Ok((blocks()?, blocks()?)))
            .collect::<Result<Vec<_>, GenerateError>>()?;
        let sizes = CudaDecoderSizes { program: &program, shape: &shape, vocab, limits, padded };
        let (scratch, batch) = (Scratch::new(&sizes), Batch::new(&program, limits));
        // The tensor library fills memory in a stream of its own.
        if let tch::Device::Cuda(index) = program.device() {
            tch::Cuda::synchronize(index as i64);
        }
        let graphs = BTreeMap::new();
        Ok(Self { shape, vocab_size: vocab, config, weights, cache, batch, scratch, graphs, padded, program })
    }

    /// Memory of its keys and values.
    pub fn cache_bytes(&self) -> usize {
        let size = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        self.cache.iter().map(|(keys, values)| size(keys) + size(values)).sum()
    }
}

fn kernel_shape(network: &Network, config: CudaDecoderConfig) -> KernelShape {
    KernelShape { head_dim: network.shape().head_dim as usize, is_fp32: config.is_fp32 }
}

impl Decoder for CudaDecoder {
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

    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError> {
        if let Some(adapter) = chunks.iter().find_map(|chunk| chunk.adapter) {
            return Err(GenerateError::UnknownAdapter(adapter));
        }
        self.pass(chunks, rows)
    }
}

impl Drop for CudaDecoder {
    fn drop(&mut self) {
        if self.program.make_current().is_ok() && self.program.synchronize().is_ok() {
            for graph in std::mem::take(&mut self.graphs).into_values() {
                self.program.forget(graph);
            }
        }
    }
}
