//! Adapters in the decoder: against the merged network in every class, against PEFT, and beside other rows.

use std::path::Path;

use cupola_kernels::decode::{Instructions, WeightFormat};
use cupola_specs::job::{LoraConfig, LoraTarget, Precision};
use safetensors::tensor::SafeTensors;
use tch::{Kind, Tensor};

use super::CpuDecoder;
use super::tests::{decoder, distance, load, reference, sets, tokens};
use crate::generate::{AdapterId, Chunk, Decoder, GenerateError, Rows, Wanted};
use crate::model::{CASES, Network, fixture};

/// The network of a case with adapters that do something.
fn adapted(name: &str, seed: u64, targets: &[LoraTarget]) -> Network {
    let mut network = load(name);
    let (rank, alpha, use_rslora) = (3 + seed, 5.0, seed.is_multiple_of(2));
    let params = LoraConfig { rank, alpha, use_rslora, targets: targets.to_vec(), dropout: 0.0 };
    network.adapt(&params, seed).unwrap();
    // Without the generator that all tests share.
    for (at, mut parameter) in network.trainable().into_iter().enumerate() {
        let count = parameter.tensor.numel() as i64;
        let waves = Tensor::arange(count, (Kind::Float, tch::Device::Cpu)) * 12.9898
            + (seed * 100) as f64
            + at as f64;
        let numbers = (waves.sin() * 437.585).sin() * 0.15;
        tch::no_grad(|| parameter.tensor.copy_(&numbers.view_as(&parameter.tensor)));
    }
    network
}

/// The decoder of a case with two adapters: one beside every matrix, the other beside some.
fn adapted_decoder(
    name: &str,
    format: WeightFormat,
    threads: usize,
    set: Instructions,
) -> (CpuDecoder, [Network; 2]) {
    let all = adapted(name, 1, &[LoraTarget::AllLinear]);
    let some = match name {
        "gpt2" => adapted(name, 2, &[LoraTarget::Q, LoraTarget::K, LoraTarget::V, LoraTarget::Down]),
        _ => adapted(name, 2, &[LoraTarget::V, LoraTarget::Up]),
    };
    let mut decoder = decoder(&load(name), format, threads, set);
    decoder.add_adapter(AdapterId(7), &all).unwrap();
    decoder.add_adapter(AdapterId(2), &some).unwrap();
    (decoder, [all, some])
}

const IDS: [Option<AdapterId>; 3] = [None, Some(AdapterId(7)), Some(AdapterId(2))];

/// Logits after every token of a sequence, alone and whole.
fn alone(decoder: &mut CpuDecoder, ids: &[u32], adapter: Option<AdapterId>) -> Vec<f32> {
    let mut rows = Rows::default();
    let chunk = Chunk { tokens: ids, start: 0, blocks: &[8, 3, 5], adapter, wanted: Wanted::All };
    decoder.forward(&[chunk], &mut rows).unwrap();
    rows.logits
}

#[test]
fn logits_equal_those_of_the_merged_network_in_every_class_and_by_every_set() {
    let _no_grad = tch::no_grad_guard();
    for name in CASES {
        let base = load(name);
        let ids = tokens(&base, 1);
        let [_, plain] = reference(&base, &ids, Precision::Fp32);
        for set in sets() {
            for (format, most) in [
                (WeightFormat::Fp32, 1e-5),
                (WeightFormat::Bf16, 0.0),
                (WeightFormat::Int8, 0.02),
                (WeightFormat::Int4, 0.2),
            ] {
                let (mut decoder, networks) = adapted_decoder(name, format, 2, set);
                for (network, adapter) in networks.iter().zip(&IDS[1..]) {
                    let merged = network.frozen(Precision::Fp32).unwrap();
                    let [_, exact] = reference(&merged, &ids, Precision::Fp32);
                    let [_, cast] = reference(&merged, &ids, Precision::Bf16);
                    let most =
                        if format == WeightFormat::Bf16 { 1.2 * distance(&cast, &exact) } else { most };
                    let far = distance(&alone(&mut decoder, &ids, *adapter), &exact);
                    let apart = distance(&plain, &exact);
                    println!(
                        "{name} {format:?} by {}: {far:.1e}; the adapter's own change {apart:.1e}",
                        set.name()
                    );
                    assert!(far < most, "{name} {format:?} by {}: {far:e} of {most:e}", set.name());
                    assert!(apart > 0.02, "{name}: an adapter that changes nothing: {apart:e}");
                }
            }
        }
    }
}

#[test]
fn logits_equal_pefts() {
    let _no_grad = tch::no_grad_guard();
    for (name, of) in [("llama", "llama"), ("rslora", "llama_biased"), ("gpt2", "gpt2")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lora").join(name);
        let base = Network::load(&fixture(of), tch::Device::Cpu).unwrap();
        let adapters = Network::adapters_of(&folder, base.shape(), base.vocab_size()).unwrap();
        let mut decoder = decoder(&base, WeightFormat::Fp32, 2, Instructions::best());
        decoder.add_adapter(AdapterId(0), &adapters).unwrap();
        let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (ids, wanted) = (file.tensor("tokens").unwrap(), file.tensor("logits").unwrap());
        let ids: Vec<u32> =
            ids.data().chunks_exact(8).map(|id| u32::from(id[0]) + 256 * u32::from(id[1])).collect();
        let wanted: Vec<f32> =
            wanted.data().chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect();
        let [rows, length] = file.tensor("tokens").unwrap().shape().try_into().unwrap();
        let got: Vec<f32> = (0..rows)
            .flat_map(|row| alone(&mut decoder, &ids[row * length..][..length], Some(AdapterId(0))))
            .collect();
        let far = distance(&got, &wanted);
        println!("{name}: {far:.1e} from PEFT's logits");
        assert!(far < 1e-5, "{name}: {far:e}");
    }
}

#[test]
fn mixed_rows_have_the_bits_of_each_alone_and_rows_without_an_adapter_those_of_a_decoder_without() {
    let _no_grad = tch::no_grad_guard();
    for name in ["llama", "qwen3", "gpt2", "nanochat"] {
        let network = load(name);
        let ids = [tokens(&network, 2), tokens(&network, 3), tokens(&network, 4)];
        let vocab = network.vocab_size() as usize;
        for set in sets() {
            for format in WeightFormat::ALL {
                let (mut one, _) = adapted_decoder(name, format, 1, set);
                let whole: Vec<Vec<f32>> = (0..3).map(|at| alone(&mut one, &ids[at], IDS[at])).collect();
                let bare = alone(&mut decoder(&network, format, 1, set), &ids[0], None);
                assert!(bare == whole[0], "{name} {format:?}: rows without an adapter");
                let (mut two, _) = adapted_decoder(name, format, 2, set);
                for cut in [1, 5, 40] {
                    let tables = [[0, 1, 2], [9, 4, 6], [20, 30, 10]];
                    let mut rows = Rows::default();
                    for start in (0..ids[0].len()).step_by(cut) {
                        let range = start..ids[0].len().min(start + cut);
                        let chunks: Vec<Chunk> = (0..3)
                            .map(|at| Chunk {
                                tokens: &ids[at][range.clone()],
                                start,
                                blocks: &tables[at],
                                adapter: IDS[at],
                                wanted: Wanted::All,
                            })
                            .collect();
                        two.forward(&chunks, &mut rows).unwrap();
                        let each = rows.logits.chunks_exact(range.len() * vocab);
                        for (at, got) in each.enumerate() {
                            let wanted = &whole[at][range.start * vocab..range.end * vocab];
                            assert!(got == wanted, "{name} {format:?} by {}: cut {cut}, {at}", set.name());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let mut decoder = decoder(&load("llama"), WeightFormat::Fp32, 1, Instructions::best());
    let mut refused = |network: &Network| match decoder.add_adapter(AdapterId(1), network) {
        Err(GenerateError::Unsupported(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(&load("llama")).contains("without adapters"));
    assert!(refused(&adapted("qwen3", 1, &[LoraTarget::Q])).contains("another shape"));
    let broken = adapted("llama", 1, &[LoraTarget::Q]);
    let _ = tch::no_grad(|| broken.trainable()[0].tensor.shallow_clone().fill_(f64::INFINITY));
    assert!(refused(&broken).contains("not finite"));
    decoder.add_adapter(AdapterId(1), &adapted("llama", 1, &[LoraTarget::Q])).unwrap();
    assert!(decoder.add_adapter(AdapterId(1), &adapted("llama", 2, &[LoraTarget::Q])).is_err());
    assert!(decoder.has_adapter(AdapterId(1)) && !decoder.has_adapter(AdapterId(0)));
}
