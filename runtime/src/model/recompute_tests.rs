//! Blocks that backward computes again: the bits of those that keep everything, and the memory that they take.

use cupola_kernels::{TensorBytes, tensor_bytes};
use cupola_specs::job::{Family, LoraConfig, LoraTarget, Precision, Recompute};
use tch::{Device, Kind, Tensor};

use super::parity_tests::{CASES, Expected, fixture};
use super::{Network, Parameter, RowLayout, cross_entropy, depth_shape};

/// Several documents in each row, none longer than the network has positions.
fn documents(tokens: &Tensor, network: &Network) -> RowLayout {
    let (batch, time) = tokens.size2().unwrap();
    let length = (time / 3).min(network.shape().max_position_embeddings as i64);
    let place = Tensor::arange(time, (Kind::Int64, Device::Cpu)).expand([batch, time], false);
    RowLayout::Documents { position: place.remainder(length), segment: place.floor_divide_scalar(length) }
}

/// The loss and the gradients of two micro-batches, each of whose passes is numbered.
fn trained(
    network: &mut Network,
    (tokens, layout): (&Tensor, &RowLayout),
    precision: Precision,
    recompute: Recompute,
) -> Vec<Tensor> {
    network.set_recompute(recompute);
    let targets = tokens.roll([1], [1]);
    let mut results = Vec::new();
    for micro in 0..2 {
        let loss = network.training_pass(3, micro, || {
            cross_entropy(network, tokens, &targets, layout, precision).mean(Kind::Float)
        });
        loss.backward();
        results.push(loss.detach());
    }
    for mut parameter in network.trainable() {
        results.push(parameter.tensor.grad().copy());
        parameter.tensor.zero_grad();
    }
    results
}

/// Whether every tensor has the same bits, signs of zero and NaNs aside: no NaN is equal to another.
fn differing(network: &mut Network, tokens: &Tensor, layout: &RowLayout, precision: Precision) -> usize {
    let plain = trained(network, (tokens, layout), precision, Recompute::None);
    let again = trained(network, (tokens, layout), precision, Recompute::Blocks);
    assert_eq!(plain.len(), again.len());
    assert!(plain.iter().skip(2).any(|grad| grad.abs().max().double_value(&[]) > 0.0), "no gradient");
    plain.iter().zip(&again).filter(|(plain, again)| plain != again).count()
}

#[test]
fn every_class_has_the_bits_of_a_pass_that_keeps_everything() {
    for name in CASES {
        let tokens = Expected::of(name).get("tokens");
        let mut network = Network::load(&fixture(name), Device::Cpu).unwrap();
        for precision in [Precision::Fp32, Precision::Bf16] {
            for layout in [RowLayout::Causal, documents(&tokens, &network)] {
                let differ = differing(&mut network, &tokens, &layout, precision);
                assert_eq!(differ, 0, "{name}, {precision:?}, {layout:?}");
            }
        }
    }
}

#[test]
fn an_lstm_has_the_bits_of_a_pass_that_keeps_everything() {
    let mut network = Network::init(&depth_shape(Family::Lstm, 3, 64), 50, 1, Device::Cpu).unwrap();
    stirred(network.parameters());
    let tokens = Tensor::arange(60, (Kind::Int64, Device::Cpu)).remainder(50).view([3, 20]);
    for precision in [Precision::Fp32, Precision::Bf16] {
        assert_eq!(differing(&mut network, &tokens, &RowLayout::Causal, precision), 0, "{precision:?}");
    }
}

#[test]
fn adapters_drop_out_the_same_when_they_are_computed_again() {
    for (name, targets) in [("llama", vec![LoraTarget::AllLinear]), ("gpt2", vec![LoraTarget::Down])] {
        let tokens = Expected::of(name).get("tokens");
        let mut network = Network::load(&fixture(name), Device::Cpu).unwrap();
        let params = LoraConfig { rank: 4, alpha: 8.0, use_rslora: false, targets, dropout: 0.3 };
        network.adapt(&params, 5).unwrap();
        stirred(&network.trainable());
        network.drop_out_from(7);
        for precision in [Precision::Fp32, Precision::Bf16] {
            let differ = differing(&mut network, &tokens, &RowLayout::Causal, precision);
            assert_eq!(differ, 0, "{name}, {precision:?}");
        }
        // Another pass drops out another share: what is equal above is not so because nothing drops out.
        let (targets, layout) = (tokens.roll([1], [1]), RowLayout::Causal);
        let loss = |micro| {
            network.training_pass(3, micro, || {
                cross_entropy(&network, &tokens, &targets, &layout, Precision::Fp32).mean(Kind::Float)
            })
        };
        assert_ne!(loss(0), loss(1), "{name}");
    }
}

/// A fresh network's outputs are zero, and what nobody reads has no gradient.
fn stirred(parameters: &[Parameter]) {
    for (place, parameter) in parameters.iter().enumerate() {
        let places = Tensor::arange(parameter.tensor.numel() as i64, (Kind::Float, Device::Cpu));
        let noise = ((places * 12.9898 + place as f64).sin() * 43_758.545).frac() * 0.1;
        let noise = noise.view_as(&parameter.tensor);
        let _ = tch::no_grad(|| parameter.tensor.shallow_clone().g_add_(&noise));
    }
}

/// Bytes of tensors in forward and backward of a micro-batch, gradients counted.
fn bytes(network: &mut Network, tokens: &Tensor, precision: Precision, recompute: Recompute) -> TensorBytes {
    network.set_recompute(recompute);
    let targets = tokens.roll([1], [1]);
    let pass = || {
        let loss = cross_entropy(network, tokens, &targets, &RowLayout::Causal, precision).mean(Kind::Float);
        loss.backward();
    };
    let bytes = tensor_bytes(pass).unwrap().1;
    for mut parameter in network.trainable() {
        parameter.tensor.zero_grad();
    }
    bytes
}

#[test]
fn memory_falls_to_one_block_and_what_goes_into_each() {
    let (depth, batch, time) = (8, 4, 128);
    for family in [Family::Transformer, Family::Lstm] {
        let mut network = Network::init(&depth_shape(family, depth, 128), 256, 1, Device::Cpu).unwrap();
        stirred(network.parameters());
        let tokens = Tensor::arange(batch * time, (Kind::Int64, Device::Cpu)).remainder(251);
        let tokens = tokens.view([batch, time]);
        for precision in [Precision::Fp32, Precision::Bf16] {
            // The first pass makes the gradients, which stay.
            let _ = bytes(&mut network, &tokens, precision, Recompute::None);
            let plain = bytes(&mut network, &tokens, precision, Recompute::None).peak;
            let again = bytes(&mut network, &tokens, precision, Recompute::Blocks).peak;
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "{family:?} of {depth} layers, {precision:?}: peak {:.2} MiB of tensors, {:.2} with blocks computed again",
                mib(plain),
                mib(again)
            );
            assert!(again * 2 < plain, "{family:?}, {precision:?}: {again} of {plain}");
        }
    }
}
