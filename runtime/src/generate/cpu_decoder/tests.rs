//! The decoder against the network's own forward pass, for every class of the parity fixtures.

use cupola_kernels::decode::{Instructions, WeightFormat};
use cupola_specs::job::Precision;
use tch::{Kind, Tensor};

use super::{CpuDecoder, CpuDecoderConfig};
use crate::generate::{AdapterId, Chunk, Decoder, GenerateError, Rows, Wanted};
use crate::model::{CASES, Network, RowLayout, fixture};

pub(super) fn load(name: &str) -> Network {
    Network::load(&fixture(name), tch::Device::Cpu).unwrap()
}

pub(super) fn decoder(
    network: &Network,
    format: WeightFormat,
    threads: usize,
    set: Instructions,
) -> CpuDecoder {
    let max_len = network.shape().max_position_embeddings as usize;
    let config = CpuDecoderConfig { format, num_blocks: 64, max_len, threads };
    CpuDecoder::with_instructions(network, config, set).unwrap()
}

/// Tokens of a sequence: as many as the network has positions, 70 at most.
pub(super) fn tokens(network: &Network, seed: u32) -> Vec<u32> {
    let length = (network.shape().max_position_embeddings as u32).min(70);
    (0..length).map(|i| (i * 37 + i * i * 11 + seed * 101) % network.vocab_size() as u32).collect()
}

/// What the network gives for a sequence: hidden states and logits.
pub(super) fn reference(network: &Network, ids: &[u32], precision: Precision) -> [Vec<f32>; 2] {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let hidden = network.hidden(&Tensor::from_slice(&ids).view([1, -1]), &RowLayout::Causal, precision);
    let logits = network.logits(&hidden);
    let flat = |x: Tensor| Vec::<f32>::try_from(&x.to_kind(Kind::Float).contiguous().view([-1])).unwrap();
    [flat(hidden), flat(logits)]
}

/// Logits after every token, the sequence cut into chunks of `cut` tokens beside `others` other sequences.
fn logits(decoder: &mut CpuDecoder, ids: &[u32], cut: usize, others: usize, blocks: &[u32]) -> Vec<f32> {
    let (mut all, mut rows) = (Vec::new(), Rows::default());
    let tables: Vec<Vec<u32>> =
        (0..others as u32).map(|i| vec![20 + 3 * i, 21 + 3 * i, 22 + 3 * i]).collect();
    for start in (0..ids.len()).step_by(cut) {
        let end = ids.len().min(start + cut);
        let mut chunks: Vec<Chunk> = tables
            .iter()
            .map(|blocks| Chunk {
                tokens: &ids[..7],
                start: 0,
                blocks,
                adapter: None,
                wanted: Wanted::Nothing,
            })
            .collect();
        chunks.push(Chunk { tokens: &ids[start..end], start, blocks, adapter: None, wanted: Wanted::All });
        decoder.forward(&chunks, &mut rows).unwrap();
        all.extend_from_slice(&rows.logits);
    }
    all
}

/// The distance of two lists by their norm.
pub(super) fn distance(got: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let far: f64 = got.iter().zip(wanted).map(|(a, b)| square(a - b)).sum();
    (far / wanted.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
}

pub(super) fn sets() -> impl Iterator<Item = Instructions> {
    Instructions::ALL.into_iter().filter(|set| {
        if !set.is_available() {
            println!("{}: skipped, this machine lacks it", set.name());
        }
        set.is_available()
    })
}

#[test]
fn logits_and_hidden_states_equal_the_networks_in_every_class_and_by_every_set() {
    let _no_grad = tch::no_grad_guard();
    for name in CASES {
        let network = load(name);
        let ids = tokens(&network, 1);
        let [hidden, exact] = reference(&network, &ids, Precision::Fp32);
        let [_, cast] = reference(&network, &ids, Precision::Bf16);
        let autocast = distance(&cast, &exact);
        for set in sets() {
            for (format, most) in [
                (WeightFormat::Fp32, 1e-5),
                (WeightFormat::Bf16, 1.2 * autocast),
                (WeightFormat::Int8, 0.015),
                (WeightFormat::Int4, 0.15),
            ] {
                let mut decoder = decoder(&network, format, 2, set);
                let far = distance(&logits(&mut decoder, &ids, 70, 0, &[4, 1, 9]), &exact);
                println!("{name} {format:?} by {}: logits {far:.1e}; autocast's {autocast:.1e}", set.name());
                assert!(far < most, "{name} {format:?} by {}: {far:e}", set.name());
                if format == WeightFormat::Fp32 {
                    let mut rows = Rows::default();
                    let chunk = Chunk {
                        tokens: &ids,
                        start: 0,
                        blocks: &[4, 1, 9],
                        adapter: None,
                        wanted: Wanted::Hidden,
                    };
                    decoder.forward(&[chunk], &mut rows).unwrap();
                    assert!(rows.logits.is_empty());
                    let far = distance(&rows.hidden, &hidden);
                    assert!(far < 1e-5, "{name}: hidden states {far:e}");
                }
            }
        }
    }
}

#[test]
fn any_cut_any_company_any_blocks_and_any_number_of_threads_give_the_same_bits() {
    let _no_grad = tch::no_grad_guard();
    for name in CASES {
        let network = load(name);
        let ids = tokens(&network, 2);
        for set in sets() {
            for format in WeightFormat::ALL {
                let mut one = decoder(&network, format, 1, set);
                let whole = logits(&mut one, &ids, ids.len(), 0, &[0, 1, 2]);
                let mut two = decoder(&network, format, 2, set);
                for (cut, others, blocks) in [(1, 0, [5, 3, 8]), (7, 3, [2, 1, 0]), (33, 9, [9, 4, 6])] {
                    let cut_up = logits(&mut two, &ids, cut, others, &blocks);
                    assert!(cut_up == whole, "{name} {format:?} by {}: chunks of {cut}", set.name());
                }
            }
        }
    }
}

#[test]
fn only_what_is_wanted_is_given_and_it_is_the_same() {
    let _no_grad = tch::no_grad_guard();
    let network = load("qwen3");
    let ids = tokens(&network, 3);
    let mut decoder = decoder(&network, WeightFormat::Bf16, 2, Instructions::best());
    let all = logits(&mut decoder, &ids, ids.len(), 0, &[0, 1, 2]);
    let (vocab, blocks) = (decoder.vocab_size(), [3, 4, 5]);
    let chunk = |start: usize, end: usize, wanted| Chunk {
        tokens: &ids[start..end],
        start,
        blocks: &blocks,
        adapter: None,
        wanted,
    };
    let mut rows = Rows::default();
    decoder.forward(&[chunk(0, 9, Wanted::Nothing)], &mut rows).unwrap();
    assert!(rows.logits.is_empty() && rows.hidden.is_empty());
    decoder.forward(&[chunk(9, 12, Wanted::Last)], &mut rows).unwrap();
    assert!(rows.logits == all[11 * vocab..12 * vocab]);
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    let network = load("llama");
    let mut decoder = decoder(&network, WeightFormat::Bf16, 1, Instructions::best());
    let adapter = Some(AdapterId(3));
    let chunk = Chunk { tokens: &[1], start: 0, blocks: &[0], adapter, wanted: Wanted::Last };
    let error = decoder.forward(&[chunk], &mut Rows::default()).unwrap_err();
    assert!(matches!(error, GenerateError::UnknownAdapter(AdapterId(3))), "{error}");
    let shape = crate::model::depth_shape(cupola_specs::job::Family::Lstm, 1, 64);
    let lstm = Network::init(&shape, 32, 1, tch::Device::Cpu).unwrap();
    let config = CpuDecoderConfig { format: WeightFormat::Fp32, num_blocks: 1, max_len: 64, threads: 1 };
    assert!(matches!(CpuDecoder::new(&lstm, config), Err(GenerateError::Unsupported(_))));
    let config = CpuDecoderConfig { max_len: 1 << 20, ..config };
    assert!(matches!(
        CpuDecoder::new(&network, config),
        Err(GenerateError::Setting { field: "max_len", .. })
    ));
    let broken = load("llama");
    let _ = tch::no_grad(|| broken.parameters()[3].tensor.shallow_clone().fill_(f64::NAN));
    let config = CpuDecoderConfig { max_len: 32, ..config };
    assert!(matches!(CpuDecoder::new(&broken, config), Err(GenerateError::Unsupported(_))));
}
