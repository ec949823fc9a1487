//! Named weights, the group that decides their optimiser, and their seeded start.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

/// Which optimiser and learning rate a weight gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamGroup {
    /// Input embeddings.
    Embedding,
    /// Embeddings of tokens that layers add to their values.
    ValueEmbedding,
    /// Hidden matrices.
    Matrix,
    /// Gains and biases.
    Vector,
    /// The output projection.
    Head,
}

/// A named weight: an fp32 leaf that collects gradients.
#[derive(Debug)]
pub struct Parameter {
    /// Hugging Face's name.
    pub name: String,
    /// The weight; a shallow handle of the network's own.
    pub tensor: Tensor,
    /// Its group.
    pub group: ParamGroup,
}

impl Parameter {
    /// Another handle of the same weight.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { name: self.name.clone(), tensor: self.tensor.shallow_clone(), group: self.group }
    }
}

/// How a weight starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Init {
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform within ± this bound.
    Uniform(f64),
    /// All the same.
    Constant(f64),
}

impl Init {
    /// The weight of a name: its random stream depends on the seed and the name only, never on the order of creation.
    pub(super) fn tensor(self, name: &str, shape: &[i64], seed: u64, device: Device) -> Tensor {
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = match self {
            Self::Constant(value) => vec![value as f32; count as usize],
            Self::Normal(deviation) => {
                normal(name, seed, count as usize).map(|z| (z * deviation) as f32).collect()
            }
            Self::Uniform(bound) => {
                let mut random = stream(name, seed);
                (0..count).map(|_| ((unit(&mut random) * 2.0 - 1.0) * bound) as f32).collect()
            }
        };
        Tensor::from_slice(&values)
            .reshape(shape)
            .to_kind(Kind::Float)
            .to_device(device)
            .set_requires_grad(true)
    }
}

/// Makes or finds a weight by its name, shape, group and start.
pub(super) trait Source {
    /// The weight of a name.
    fn weight(&mut self, name: &str, shape: &[i64], group: ParamGroup, init: Init) -> Tensor;
}

fn stream(name: &str, seed: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// A number in (0, 1].
fn unit(random: &mut ChaCha8Rng) -> f64 {
    use rand::RngCore;
    ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Standard normal numbers by Box and Muller, in pairs.
fn normal(name: &str, seed: u64, count: usize) -> impl Iterator<Item = f64> {
    let mut random = stream(name, seed);
    (0..count.div_ceil(2))
        .flat_map(move |_| {
            let radius = (-2.0 * unit(&mut random).ln()).sqrt();
            let angle = std::f64::consts::TAU * unit(&mut random);
            [radius * angle.cos(), radius * angle.sin()]
        })
        .take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_name_give_the_same_bits_and_others_do_not() {
        let make = |name, seed| Init::Normal(0.5).tensor(name, &[64, 33], seed, Device::Cpu);
        assert!(make("a", 1).equal(&make("a", 1)));
        assert!(!make("a", 1).equal(&make("b", 1)) && !make("a", 1).equal(&make("a", 2)));
        let deviation = make("a", 1).std(true).double_value(&[]);
        assert!((deviation - 0.5).abs() < 0.03, "standard deviation {deviation}");
    }
}
