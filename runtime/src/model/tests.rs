//! Networks against themselves: with a cache, against separate rows when packed, at a border of phases.

use cupola_specs::job::{Family, ModelShape, ModelType, Precision, RopeScaling};
use tch::{Device, Kind, Tensor};

use super::parity_tests::{CASES, fixture};
use super::{ModelError, Network, RowLayout, RowSlot, cross_entropy, depth_shape};

fn shape(family: Family) -> ModelShape {
    ModelShape {
        hidden_size: 32,
        intermediate_size: 48,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        ..depth_shape(family, 2, 24)
    }
}

/// A network whose every weight matters: fresh ones have outputs of zero.
fn network(family: Family) -> Network {
    varied(Network::init(&shape(family), 29, 5, Device::Cpu).unwrap())
}

fn varied(network: Network) -> Network {
    tch::no_grad(|| {
        for (place, parameter) in network.parameters().iter().enumerate() {
            let count = parameter.tensor.numel() as i64;
            let noise =
                (Tensor::arange(count, (Kind::Float, Device::Cpu)) * (1.7 + place as f64)).sin() * 0.2;
            let _ = parameter.tensor.shallow_clone().g_add_(&noise.view_as(&parameter.tensor));
        }
    });
    network
}

fn ids(count: i64) -> Tensor {
    Tensor::from_slice(&(0..count).map(|i| (i * 7 + i * i) % 29).collect::<Vec<_>>()).view([1, count])
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// A network whose cached steps are held against its full pass.
fn networks() -> Vec<(String, Network)> {
    let own = [Family::Transformer, Family::Lstm].map(|family| (format!("{family:?}"), network(family)));
    let loaded = CASES.map(|name| (name.to_owned(), Network::load(&fixture(name), Device::Cpu).unwrap()));
    own.into_iter().chain(loaded).collect()
}

#[test]
fn a_cache_changes_nothing() {
    for (name, network) in networks() {
        let _guard = tch::no_grad_guard();
        // A stretch that grows with the row has other frequencies in each longer row; it is generated within its positions.
        let positions = network.shape().max_position_embeddings as i64;
        let (long, short) = if positions < 16 { (5, 3) } else { (13, 6) };
        let vocab = network.vocab_size();
        let (a, b) = (ids(16).remainder(vocab), ids(24).remainder(vocab).narrow(1, 8, 9).contiguous());
        let full = |tokens: &Tensor, count: i64| {
            network.logits(&network.hidden(&tokens.narrow(1, 0, count), &RowLayout::Causal, Precision::Fp32))
        };
        let (full_a, full_b) = (full(&a, long + 3), full(&b, short + 3));
        // Two sequences of different lengths in slots out of order: prefilled one by one, then decoded together.
        let mut cache = network.new_cache(3, positions.min(16), Precision::Fp32);
        let slots = [RowSlot { slot: 2, start: 0 }, RowSlot { slot: 0, start: 0 }];
        for (tokens, slot, count) in [(&a, slots[0], long), (&b, slots[1], short)] {
            let _ = network.hidden_cached(&tokens.narrow(1, 0, count), &mut cache, &[slot], Precision::Fp32);
        }
        for step in 0..3 {
            let tokens = Tensor::cat(&[a.narrow(1, long + step, 1), b.narrow(1, short + step, 1)], 0);
            let rows = [RowSlot { slot: 2, start: long + step }, RowSlot { slot: 0, start: short + step }];
            let hidden = network.hidden_cached(&tokens, &mut cache, &rows, Precision::Fp32);
            let logits = network.logits(&hidden); // [2, 1, V]
            let far = apart(&logits.get(0), &full_a.get(0).narrow(0, long + step, 1))
                .max(apart(&logits.get(1), &full_b.get(0).narrow(0, short + step, 1)));
            assert!(far < 1e-5, "{name} step {step}: {far:e}");
        }
        // Several tokens at once behind what is there.
        let mut cache = network.new_cache(1, positions.min(16), Precision::Fp32);
        let first = RowSlot { slot: 0, start: 0 };
        let _ = network.hidden_cached(&a.narrow(1, 0, 2), &mut cache, &[first], Precision::Fp32);
        let row = RowSlot { slot: 0, start: 2 };
        let rest = network.hidden_cached(&a.narrow(1, 2, long + 1), &mut cache, &[row], Precision::Fp32);
        let far = apart(&network.logits(&rest), &full_a.narrow(1, 2, long + 1));
        assert!(far < 1e-5, "{name} behind two tokens: {far:e}");
    }
}

/// bf16 sees through the same window by products: blocks of queries leave out the keys before it.
#[test]
fn a_window_is_the_same_in_every_precision() {
    let shape = ModelShape {
        model_type: ModelType::Mistral,
        qk_norm: false,
        sliding_window: 70,
        max_position_embeddings: 600,
        ..shape(Family::Transformer)
    };
    let _guard = tch::no_grad_guard();
    let network = varied(Network::init(&shape, 29, 5, Device::Cpu).unwrap());
    let tokens = ids(600);
    let [fine, rough] = [Precision::Fp32, Precision::Bf16]
        .map(|precision| network.hidden(&tokens, &RowLayout::Causal, precision).to_kind(Kind::Float));
    let far = ((&fine - &rough).norm() / fine.norm()).double_value(&[]);
    assert!(far < 0.02, "{far:e}");
    // What lies before the window of every layer's window changes nothing.
    let other = Tensor::cat(&[&ids(300).remainder(5), &tokens.narrow(1, 300, 300)], 1);
    let changed = network.hidden(&other, &RowLayout::Causal, Precision::Fp32);
    let reach = 300 + 2 * 69;
    assert!(apart(&changed.narrow(1, reach, 100), &fine.narrow(1, reach, 100)) < 1e-6);
    assert!(apart(&changed.narrow(1, 300, 60), &fine.narrow(1, 300, 60)) > 1e-3);
}

#[test]
fn a_longer_context_is_as_if_it_had_been_there_from_the_start() {
    let short = network(Family::Transformer);
    let scaling = RopeScaling::Linear { factor: 2.0 };
    let long = ModelShape {
        rope_theta: 500.0,
        rope_scaling: scaling,
        max_position_embeddings: 48,
        ..short.shape().clone()
    };
    let long = varied(Network::init(&long, 29, 5, Device::Cpu).unwrap());
    let mut extended = short;
    extended.set_rope(500.0, scaling, 48).unwrap();
    assert_eq!(extended.shape(), long.shape());
    let hidden = |network: &Network| network.hidden(&ids(40), &RowLayout::Causal, Precision::Fp32);
    assert!(hidden(&extended).equal(&hidden(&long)));
    let mut learned = Network::load(&fixture("gpt2"), Device::Cpu).unwrap();
    let error = learned.set_rope(500.0, RopeScaling::Default, 64).unwrap_err();
    assert!(matches!(&error, ModelError::Shape(text) if text.contains("no rotary positions")), "{error}");
}

#[test]
fn packed_documents_equal_separate_rows() {
    let network = network(Family::Transformer);
    let tokens = ids(10);
    let segment = Tensor::from_slice(&[0i64, 0, 0, 0, 1, 1, 1, 2, 2, 2]).view([1, 10]);
    let position = Tensor::from_slice(&[0i64, 1, 2, 3, 0, 1, 2, 0, 1, 2]).view([1, 10]);
    let packed = network.hidden(&tokens, &RowLayout::Documents { segment, position }, Precision::Fp32);
    for (from, count) in [(0, 4), (4, 3), (7, 3)] {
        let alone = network.hidden(&tokens.narrow(1, from, count), &RowLayout::Causal, Precision::Fp32);
        let far = apart(&packed.narrow(1, from, count), &alone);
        assert!(far < 1e-5, "document at {from}: {far:e}");
    }
}

#[test]
fn the_first_loss_of_every_class_is_near_that_of_a_guess() {
    const VOCAB: i64 = 2048;
    let _guard = tch::no_grad_guard();
    let tokens = (ids(32) * 61).remainder(VOCAB);
    let targets = (ids(32) * 67 + 5).remainder(VOCAB);
    for model_type in
        [ModelType::Llama, ModelType::Qwen3, ModelType::Gpt2, ModelType::Arcee, ModelType::Nanochat]
    {
        for tie_word_embeddings in [false, true] {
            let shape = ModelShape {
                hidden_size: 1024,
                num_attention_heads: 16,
                num_key_value_heads: 16,
                tie_word_embeddings,
                ..ModelShape::plain(model_type)
            };
            let network = Network::init(&shape, VOCAB, 5, Device::Cpu).unwrap();
            let losses = cross_entropy(&network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32);
            let far = losses.mean(Kind::Float).double_value(&[]) - (VOCAB as f64).ln();
            assert!(far.abs() < 0.5, "{model_type:?}, tied: {tie_word_embeddings}: {far} from ln V");
        }
    }
}

#[test]
fn shapes_that_no_class_has_are_refused() {
    let plain = shape(Family::Transformer);
    let cases = [
        (ModelShape { qk_norm: false, ..plain.clone() }, "qwen3 always has qk_norm"),
        (ModelShape { mlp_bias: true, ..plain.clone() }, "qwen3 has no mlp_bias"),
        (ModelShape { value_embeddings: true, ..plain.clone() }, "has no value_embeddings"),
        (ModelShape { model_type: ModelType::Arcee, ..plain.clone() }, "arcee has another activation"),
        (ModelShape { num_key_value_heads: 3, ..plain.clone() }, "3 key and value heads for 4 heads"),
        (ModelShape { layer_types: Vec::new(), ..plain.clone() }, "layer_types is empty"),
        (ModelShape { head_dim: 7, ..plain }, "a head of 7 dimensions"),
    ];
    for (shape, wanted) in cases {
        let error = Network::init(&shape, 29, 5, Device::Cpu).unwrap_err();
        assert!(matches!(&error, ModelError::Shape(text) if text.contains(wanted)), "{wanted}: {error}");
    }
}

#[test]
fn sizes_from_a_shape_are_those_of_the_tensors_for_each_class() {
    use ModelType::{Arcee, Gpt2, Llama, Lstm, Mistral, Nanochat, Qwen2, Qwen3};
    for model_type in [Llama, Qwen2, Qwen3, Mistral, Gpt2, Arcee, Nanochat, Lstm] {
        let is_nanochat = model_type == Nanochat;
        let shape = ModelShape {
            num_hidden_layers: 3,
            value_embeddings: is_nanochat,
            residual_scalars: is_nanochat,
            max_position_embeddings: 16,
            ..ModelShape::plain(model_type)
        };
        let network = Network::init(&shape, 29, 1, Device::Cpu).unwrap();
        let counted = (network.num_params(), network.total_params());
        assert_eq!((shape.num_params(), shape.total_params(29)), counted, "{model_type:?}");
    }
}
