//! What runs the network: a transformer by our own kernels, of the CPU or of a CUDA device; anything else by the tensor library.

use cupola_runtime::generate::{
    BLOCK_TOKENS, CpuDecoder, CpuDecoderConfig, CudaDecoder, CudaDecoderConfig, Decoder, Drafter, Engine,
    EngineConfig, TorchConfig, TorchDecoder, WeightFormat,
};
use cupola_runtime::model::Network;
use cupola_specs::contract::Quantization;
use cupola_specs::job::{Family, Precision};
use tch::Device;

use crate::adapter::ReadAdapter;
use crate::{ServeConfig, ServeError};

/// An engine around whichever decoder fits.
pub(crate) type ServedEngine = Engine<Box<dyn Decoder + Send>>;

/// Prompt tokens of a step, when people wait for the running answers' next tokens.
const PROMPT_TOKENS: usize = 512;

/// Whether the CPU's kernels run a network on a device: what adapters and quantisation need.
pub(crate) fn runs_by_cpu_kernels(network: &Network, device: Device) -> bool {
    device == Device::Cpu && network.shape().family == Family::Transformer
}

/// The format of the weights that answer.
pub(crate) fn format_of(quantization: Quantization, precision: Precision) -> WeightFormat {
    match (quantization, precision) {
        (Quantization::Int8, _) => WeightFormat::Int8,
        (Quantization::Int4, _) => WeightFormat::Int4,
        (Quantization::None, Precision::Bf16) => WeightFormat::Bf16,
        (Quantization::None, _) => WeightFormat::Fp32,
    }
}

/// Makes the engine around a decoder.
pub(crate) fn engine_of(
    decoder: Box<dyn Decoder + Send>,
    config: &ServeConfig,
    drafter: Option<Box<dyn Drafter>>,
) -> Result<ServedEngine, ServeError> {
    let limits =
        EngineConfig { max_running: config.max_slots, step_tokens: config.max_slots + PROMPT_TOKENS };
    let engine = Engine::new(decoder, limits)?;
    Ok(match drafter {
        None => engine,
        Some(drafter) => engine.with_drafter(drafter)?,
    })
}

/// Makes the decoder of a network for `context` tokens of prompt and answer, with its adapters.
///
/// # Errors
/// A quantisation where only the tensor library runs the network; a cache that does not hold one whole context.
pub(crate) fn decoder_of(
    network: Network,
    config: &ServeConfig,
    (context, threads): (usize, usize),
    (device, precision): (Device, Precision),
    adapters: &[ReadAdapter],
) -> Result<Box<dyn Decoder + Send>, ServeError> {
    let setting = |field, got: String, expected| ServeError::Setting { field, got, expected };
    let is_transformer = network.shape().family == Family::Transformer;
    if config.quantization != Quantization::None && !runs_by_cpu_kernels(&network, device) {
        let got = config.quantization.to_string();
        return Err(setting("quantization", got, "none: only transformers on a CPU have it (--device cpu)"));
    }
    if !is_transformer {
        if config.cache_tokens > 0 {
            let got = config.cache_tokens.to_string();
            return Err(setting("cache-tokens", got, "0: only transformers share a cache"));
        }
        let torch = TorchConfig::interactive(config.max_slots, context, precision);
        return Ok(Box::new(TorchDecoder::new(network, torch)?));
    }
    let per_context = context.div_ceil(BLOCK_TOKENS);
    let num_blocks = match config.cache_tokens {
        0 => config.max_slots * per_context,
        tokens => tokens.div_ceil(BLOCK_TOKENS),
    };
    if num_blocks < per_context {
        let got = config.cache_tokens.to_string();
        return Err(setting("cache-tokens", got, "at least the context of one answer"));
    }
    if let Device::Cuda(index) = device {
        let is_fp32 = precision == Precision::Fp32;
        let cuda = CudaDecoderConfig { is_fp32, num_blocks, max_len: context };
        let decoder = CudaDecoder::new(&network, cuda, index)?;
        let cache_mib = decoder.cache_bytes() >> 20;
        tracing::info!(
            ?precision,
            cache_mib,
            "the network runs by Cupola's own kernels on CUDA device {index}"
        );
        return Ok(Box::new(decoder));
    }
    let format = format_of(config.quantization, precision);
    let mut decoder =
        CpuDecoder::new(&network, CpuDecoderConfig { format, num_blocks, max_len: context, threads })?;
    for adapter in adapters {
        decoder.add_adapter(adapter.served.id, &adapter.adapted)?;
    }
    tracing::info!(
        format = ?format,
        instructions = ?decoder.instructions(),
        cache_mib = decoder.cache_bytes() >> 20,
        threads,
        adapters = adapters.len(),
        "the network runs by Cupola's own kernels"
    );
    Ok(Box::new(decoder))
}
