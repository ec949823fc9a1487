//! Networks against Hugging Face's classes, from the same weights and batch: logits, loss and every gradient.
//!
//! The fixtures and what they hold: `runtime/tests/fixtures/model/make.py`. In fp32 every weight's gradient is held on its own,
//! |g − g′| / |g′| < 1e-5; in bf16 the gradients of all weights end to end against those in fp32, < 1e-2, as near as PyTorch's own autocast comes.
//! Each holds on the CPU, and on CUDA where there is a device.

use std::path::{Path, PathBuf};

use cupola_kernels::Float32Matmul;
use cupola_specs::job::Precision;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use super::{Network, RowLayout, cross_entropy};

/// Every fixture.
pub(crate) const CASES: [&str; 13] = [
    "llama",
    "llama_biased",
    "llama_linear",
    "llama_dynamic",
    "llama_yarn",
    "llama_llama3",
    "qwen2",
    "qwen3",
    "mistral",
    "gpt2",
    "arcee",
    "nanochat",
    "cupola_nanochat",
];

/// The folder of a fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model").join(name)
}

/// What Hugging Face's class gives.
pub(super) struct Expected(Vec<u8>);

impl Expected {
    pub(super) fn of(name: &str) -> Self {
        Self(std::fs::read(fixture(name).join("expected.safetensors")).unwrap())
    }

    pub(super) fn get(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let kind = if view.dtype() == Dtype::I64 { Kind::Int64 } else { Kind::Float };
        let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        Tensor::from_data_size(view.data(), &size, kind)
    }
}

/// The CPU, and CUDA where there is a device.
fn devices() -> Vec<Device> {
    cupola_kernels::load_cuda();
    cupola_kernels::set_float32_matmul(Float32Matmul::Full).unwrap();
    if tch::Cuda::is_available() {
        return vec![Device::Cpu, Device::Cuda(0)];
    }
    println!("on CUDA: skipped, this machine has none");
    vec![Device::Cpu]
}

/// Every fixture on every device: the network there, and what is expected of it.
fn cases() -> impl Iterator<Item = (String, Network, Expected)> {
    devices().into_iter().flat_map(|device| {
        CASES.into_iter().map(move |name| {
            let network = Network::load(&fixture(name), device).unwrap();
            (format!("{name} on {device:?}"), network, Expected::of(name))
        })
    })
}

/// The loss and, on the CPU, the gradients by weight.
fn gradients(
    network: &Network,
    (tokens, targets): (&Tensor, &Tensor),
    layout: &RowLayout,
    precision: Precision,
) -> (f64, Vec<(String, Tensor)>) {
    let device = network.device();
    let (tokens, targets) = (tokens.to_device(device), targets.to_device(device));
    let loss = cross_entropy(network, &tokens, &targets, layout, precision).mean(Kind::Float);
    loss.backward();
    let take = |parameter: &super::Parameter| {
        let mut weight = parameter.tensor.shallow_clone();
        let grad = weight.grad().copy().to_device(Device::Cpu);
        weight.zero_grad();
        (parameter.name.clone(), grad)
    };
    (loss.double_value(&[]), network.parameters().iter().map(take).collect())
}

fn distance(got: &Tensor, wanted: &Tensor) -> f64 {
    ((got - wanted).norm() / wanted.norm()).double_value(&[])
}

/// The largest distance of a weight's gradient, and its name.
fn worst(found: &[(String, Tensor)], expected: &Expected, prefix: &str) -> (f64, String) {
    let of = |(name, grad): &(String, Tensor)| {
        (distance(grad, &expected.get(&format!("{prefix}grad.{name}"))), name.clone())
    };
    found.iter().map(of).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

#[test]
fn loss_and_every_gradient_equal_those_of_hugging_faces_classes() {
    for (name, network, expected) in cases() {
        let (tokens, targets) = (expected.get("tokens"), expected.get("targets"));
        let hidden = network.hidden(&tokens.to_device(network.device()), &RowLayout::Causal, Precision::Fp32);
        let logits = network.logits(&hidden).to_device(Device::Cpu);
        let far = (logits - expected.get("logits")).abs().max().double_value(&[]);
        assert!(far < 1e-4, "{name}: logits {far:e}");
        let (loss, found) = gradients(&network, (&tokens, &targets), &RowLayout::Causal, Precision::Fp32);
        let wanted = expected.get("loss").double_value(&[]);
        let loss = (loss - wanted).abs() / wanted;
        let (grad, at) = worst(&found, &expected, "");
        println!("{name} fp32: logits {far:.1e}, loss {loss:.1e}, gradients at most {grad:.1e} ({at})");
        assert!(loss < 1e-5 && grad < 1e-5, "{name}: loss {loss:e}, gradient of {at} {grad:e}");
    }
}

#[test]
fn gradients_in_bf16_are_as_near_as_autocasts() {
    for (name, network, expected) in cases() {
        let batch = (&expected.get("tokens"), &expected.get("targets"));
        let (loss, found) = gradients(&network, batch, &RowLayout::Causal, Precision::Bf16);
        let flat = |of: &dyn Fn(&(String, Tensor)) -> Tensor| {
            Tensor::cat(&found.iter().map(|pair| of(pair).view([-1])).collect::<Vec<_>>(), 0)
        };
        let got = flat(&|(_, grad)| grad.shallow_clone());
        let wanted = flat(&|(name, _)| expected.get(&format!("grad.{name}")));
        let far = distance(&got, &wanted);
        let autocast = expected.get("autocast").double_value(&[]);
        let wanted = expected.get("loss").double_value(&[]);
        let loss = (loss - wanted).abs() / wanted;
        println!("{name} bf16: loss {loss:.1e}, gradients {far:.1e}, autocast's {autocast:.1e}");
        assert!(
            loss < 1e-2 && far < 1e-2,
            "{name}: loss {loss:e}, gradients {far:e}, autocast's {autocast:e}"
        );
    }
}

/// The reference ran each document as a sequence of its own.
#[test]
fn packed_documents_have_the_gradients_of_separate_sequences() {
    for (name, network, expected) in cases() {
        let lengths = Vec::<i64>::try_from(&expected.get("lengths")).unwrap();
        let total: i64 = lengths.iter().sum();
        let row = |name: &str| expected.get(name).narrow(0, 0, 1).narrow(1, 0, total).contiguous();
        let of = |value: &dyn Fn(usize, i64) -> i64| {
            let all = lengths.iter().enumerate().flat_map(|(at, n)| (0..*n).map(move |i| (at, i)));
            Tensor::from_slice(&all.map(|(at, i)| value(at, i)).collect::<Vec<_>>()).view([1, total])
        };
        let place = |numbers: Tensor| numbers.to_device(network.device());
        let layout =
            RowLayout::Documents { segment: place(of(&|at, _| at as i64)), position: place(of(&|_, i| i)) };
        let batch = (&row("tokens"), &row("targets"));
        let (loss, found) = gradients(&network, batch, &layout, Precision::Fp32);
        let wanted = expected.get("documents.loss").double_value(&[]);
        let loss = (loss - wanted).abs() / wanted;
        let (grad, at) = worst(&found, &expected, "documents.");
        println!("{name} packed: loss {loss:.1e}, gradients at most {grad:.1e} ({at})");
        assert!(loss < 1e-5 && grad < 1e-5, "{name}: loss {loss:e}, gradient of {at} {grad:e}");
    }
}
