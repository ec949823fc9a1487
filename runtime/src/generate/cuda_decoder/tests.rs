//! The decoder's kernels against the network's own forward pass, for every class of the parity fixtures: on a CUDA device where there is one, else thread
//! by thread on the processor.

use std::path::PathBuf;
use std::sync::Mutex;

use cupola_kernels::cuda_decode::{KernelShape, Program, compile_emulated};
use cupola_specs::job::{LayerType, ModelShape, ModelType, Precision};
use tch::{Kind, Tensor};

use super::{CudaDecoder, CudaDecoderConfig, kernel_shape};
use crate::generate::{AdapterId, Chunk, Decoder, GenerateError, Rows, Wanted, first_cuda_device, stirred};
use crate::model::{CASES, Network, RowLayout, fixture};

/// Compiles the kernels of a shape for the processor, once for all tests.
fn library(shape: KernelShape) -> PathBuf {
    static COMPILED: Mutex<Vec<(KernelShape, PathBuf)>> = Mutex::new(Vec::new());
    let mut compiled = COMPILED.lock().unwrap();
    let padded = KernelShape { head_dim: shape.padded_dim(), ..shape };
    if let Some((_, path)) = compiled.iter().find(|(of, _)| *of == padded) {
        return path.clone();
    }
    let folder = std::env::temp_dir().join(format!("cupola-emulated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = compile_emulated(&folder, shape).unwrap();
    compiled.push((padded, path.clone()));
    path
}

/// One emulated block runs at a time in a process: the kernels' shared memory is static.
static EMULATOR: Mutex<()> = Mutex::new(());

fn load(name: &str) -> Network {
    Network::load(&fixture(name), tch::Device::Cpu).unwrap()
}

/// A decoder of a network: on a device where there is one, else an emulated one.
fn decoder(network: &Network, is_fp32: bool) -> (&'static str, CudaDecoder) {
    let max_len = network.shape().max_position_embeddings as usize;
    let config = CudaDecoderConfig { is_fp32, num_blocks: 64, max_len };
    if first_cuda_device().is_ok() {
        return ("on the device", CudaDecoder::new(network, config, 0).unwrap());
    }
    let shape = kernel_shape(network, config);
    let emulated = Program::emulated(&library(shape), shape).unwrap();
    ("emulated", CudaDecoder::by_program(network, config, emulated).unwrap())
}

/// Tokens of a sequence: as many as the network has positions, `most` at most.
fn tokens(network: &Network, seed: u32, most: u32) -> Vec<u32> {
    let length = (network.shape().max_position_embeddings as u32).min(most);
    (0..length).map(|i| (i * 37 + i * i * 11 + seed * 101) % network.vocab_size() as u32).collect()
}

/// What the network gives for a sequence: hidden states and logits.
fn reference(network: &Network, ids: &[u32], precision: Precision) -> [Vec<f32>; 2] {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let hidden = network.hidden(&Tensor::from_slice(&ids).view([1, -1]), &RowLayout::Causal, precision);
    let logits = network.logits(&hidden);
    let flat = |x: Tensor| Vec::<f32>::try_from(&x.to_kind(Kind::Float).contiguous().view([-1])).unwrap();
    [flat(hidden), flat(logits)]
}

fn chunk<'a>(tokens: &'a [u32], start: usize, blocks: &'a [u32], wanted: Wanted) -> Chunk<'a> {
    Chunk { tokens, start, blocks, adapter: None, wanted }
}

/// Logits after every token, the sequence cut into chunks of `cut` tokens beside `others` other sequences.
fn logits(decoder: &mut CudaDecoder, ids: &[u32], cut: usize, others: usize, blocks: &[u32]) -> Vec<f32> {
    let (mut all, mut rows) = (Vec::new(), Rows::default());
    let tables: Vec<Vec<u32>> =
        (0..others as u32).map(|i| vec![20 + 3 * i, 21 + 3 * i, 22 + 3 * i]).collect();
    for start in (0..ids.len()).step_by(cut) {
        let end = ids.len().min(start + cut);
        let other = |blocks| chunk(&ids[..3], 0, blocks, Wanted::Nothing);
        let mut chunks: Vec<Chunk> = tables.iter().map(|blocks| other(blocks)).collect();
        chunks.push(chunk(&ids[start..end], start, blocks, Wanted::All));
        decoder.forward(&chunks, &mut rows).unwrap();
        all.extend_from_slice(&rows.logits);
    }
    all
}

/// The distance of two lists by their norm.
fn distance(got: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let far: f64 = got.iter().zip(wanted).map(|(a, b)| square(a - b)).sum();
    (far / wanted.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
}

#[test]
fn logits_and_hidden_states_equal_the_networks_in_every_class() {
    let _one = EMULATOR.lock();
    let _no_grad = tch::no_grad_guard();
    for name in CASES {
        let network = load(name);
        let ids = tokens(&network, 1, 40);
        let [hidden, exact] = reference(&network, &ids, Precision::Fp32);
        let [_, cast] = reference(&network, &ids, Precision::Bf16);
        let autocast = distance(&cast, &exact);
        for (is_fp32, most) in [(true, 1e-5), (false, 1.2 * autocast)] {
            let (place, mut decoder) = decoder(&network, is_fp32);
            let far = distance(&logits(&mut decoder, &ids, 40, 0, &[4, 1, 9]), &exact);
            println!("{name} {place}, fp32 {is_fp32}: logits {far:.1e}; autocast's {autocast:.1e}");
            assert!(far < most, "{name} {place}, fp32 {is_fp32}: {far:e}");
            if is_fp32 {
                let mut rows = Rows::default();
                let whole = chunk(&ids, 0, &[4, 1, 9], Wanted::Hidden);
                decoder.forward(&[whole], &mut rows).unwrap();
                assert!(rows.logits.is_empty());
                let far = distance(&rows.hidden, &hidden);
                assert!(far < 1e-5, "{name} {place}: hidden states {far:e}");
            }
        }
    }
}

#[test]
fn any_cut_any_company_and_any_blocks_give_the_same_bits() {
    let _one = EMULATOR.lock();
    let _no_grad = tch::no_grad_guard();
    for name in ["llama", "mistral", "gpt2", "cupola_nanochat"] {
        let network = load(name);
        let ids = tokens(&network, 2, 40);
        for is_fp32 in [false, true] {
            let (place, mut decoder) = decoder(&network, is_fp32);
            let whole = logits(&mut decoder, &ids, ids.len(), 0, &[0, 1, 2]);
            // One token at a time is the recorded pass; nine others are more rows than eight; 25 are more than 64 with their tokens.
            for (cut, others, blocks) in [(1, 0, [5, 3, 8]), (7, 3, [2, 1, 0]), (33, 12, [9, 4, 6])] {
                let cut_up = logits(&mut decoder, &ids, cut, others, &blocks);
                assert!(cut_up == whole, "{name} {place}, fp32 {is_fp32}: chunks of {cut}");
            }
        }
    }
}

/// Networks of more positions than the fixtures have: three heads that share keys and values, heads of an odd width, a window.
fn long_networks() -> Vec<Network> {
    let plain = ModelShape {
        num_hidden_layers: 2,
        hidden_size: 48,
        intermediate_size: 80,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 20,
        max_position_embeddings: 400,
        ..ModelShape::plain(ModelType::Mistral)
    };
    let windowed =
        ModelShape { sliding_window: 150, layer_types: vec![LayerType::SlidingAttention], ..plain.clone() };
    let init = |shape| Network::init(shape, 50, 1, tch::Device::Cpu).unwrap();
    [&plain, &windowed]
        .into_iter()
        .map(|shape| stirred(&init(shape)).unwrap().unwrap_or(init(shape)))
        .collect()
}

/// A sequence of three parts of attention, its last tokens one by one beside others: the bits of one pass, and the network's logits.
#[test]
fn a_long_sequence_in_parts_has_the_bits_of_one_pass() {
    let _one = EMULATOR.lock();
    let _no_grad = tch::no_grad_guard();
    for network in long_networks() {
        let ids = tokens(&network, 4, 300);
        let [_, exact] = reference(&network, &ids, Precision::Fp32);
        let [_, cast] = reference(&network, &ids, Precision::Bf16);
        let autocast = distance(&cast, &exact);
        let [blocks, others]: [Vec<u32>; 2] = [(0..10).collect(), (10..20).collect()];
        for (is_fp32, most) in [(true, 1e-5), (false, 1.2 * autocast)] {
            let (place, mut decoder) = decoder(&network, is_fp32);
            let all = logits(&mut decoder, &ids, ids.len(), 0, &blocks);
            let far = distance(&all, &exact);
            println!("{place}, fp32 {is_fp32}: logits {far:.1e}; autocast's {autocast:.1e}");
            assert!(far < most, "{place}, fp32 {is_fp32}: {far:e}");
            let (vocab, mut rows, start) = (decoder.vocab_size(), Rows::default(), ids.len() - 3);
            let beside = [30, 31, 32, 33, 34];
            let prompts = [
                chunk(&ids[..start], 0, &others, Wanted::Nothing),
                chunk(&ids[..130], 0, &beside, Wanted::Nothing),
            ];
            decoder.forward(&prompts, &mut rows).unwrap();
            for step in 0..3 {
                let (at, other) = (start + step, 130 + step);
                let chunks = [
                    chunk(&ids[other..=other], other, &beside, Wanted::Last),
                    chunk(&ids[at..=at], at, &others, Wanted::Last),
                ];
                decoder.forward(&chunks, &mut rows).unwrap();
                let wanted = [&all[other * vocab..][..vocab], &all[at * vocab..][..vocab]].concat();
                assert!(rows.logits == wanted, "{place}, fp32 {is_fp32}: step {step}");
            }
        }
    }
}

#[test]
fn only_what_is_wanted_is_given_and_it_is_the_same() {
    let _one = EMULATOR.lock();
    let _no_grad = tch::no_grad_guard();
    let network = load("qwen3");
    let ids = tokens(&network, 3, 20);
    let (_, mut decoder) = decoder(&network, false);
    let all = logits(&mut decoder, &ids, ids.len(), 0, &[0, 1, 2]);
    let (vocab, blocks) = (decoder.vocab_size(), [3, 4, 5]);
    let mut rows = Rows::default();
    decoder.forward(&[chunk(&ids[..9], 0, &blocks, Wanted::Nothing)], &mut rows).unwrap();
    assert!(rows.logits.is_empty() && rows.hidden.is_empty());
    let mixed = [chunk(&ids[9..], 9, &blocks, Wanted::Last), chunk(&ids[..5], 0, &[7], Wanted::Hidden)];
    decoder.forward(&mixed, &mut rows).unwrap();
    assert_eq!(rows.logits, all[all.len() - vocab..]);
    assert_eq!(rows.hidden.len(), 5 * decoder.hidden_size());
    let adapted = Chunk { adapter: Some(AdapterId(1)), ..chunk(&ids[..1], 0, &blocks, Wanted::Last) };
    let error = decoder.forward(&[adapted], &mut rows).unwrap_err();
    assert!(matches!(error, GenerateError::UnknownAdapter(AdapterId(1))), "{error}");
}

/// Requests of all kinds in one call, more than a pass takes of each.
#[test]
fn what_is_too_much_for_one_pass_is_cut() {
    let _one = EMULATOR.lock();
    let _no_grad = tch::no_grad_guard();
    let network = &long_networks()[0];
    let ids = tokens(network, 5, 400);
    let (_, mut decoder) = decoder(network, false);
    let tables: Vec<Vec<u32>> = (0..4).map(|i| (13 * i..13 * i + 13).collect()).collect();
    let wanted = [Wanted::Hidden, Wanted::All, Wanted::Hidden, Wanted::Last];
    let chunks: Vec<Chunk> =
        tables.iter().zip(wanted).map(|(blocks, wanted)| chunk(&ids, 0, blocks, wanted)).collect();
    let mut together = Rows::default();
    decoder.forward(&chunks, &mut together).unwrap();
    let (mut hidden, mut logits) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let mut rows = Rows::default();
        decoder.forward(&[chunk], &mut rows).unwrap();
        hidden.extend(rows.hidden);
        logits.extend(rows.logits);
    }
    assert_eq!(hidden.len(), 800 * decoder.hidden_size());
    assert_eq!(logits.len(), 401 * decoder.vocab_size());
    assert!(together.hidden == hidden && together.logits == logits);
}
