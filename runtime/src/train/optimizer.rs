//! AdamW and Muon over the parameter groups.
//!
//! AdamW: Loshchilov and Hutter 2017 (arXiv:1711.05101). Muon: Jordan et al. 2024, momentum of a hidden matrix made orthogonal by Newton and
//! Schulz's iteration; here with Nesterov momentum 0.95 and the step scaled by √max(1, rows/columns). Matrices of one shape go through the
//! iteration as one batch.
//!
//! Shapes: `N` matrices, `R` rows, `C` columns.

use std::collections::BTreeMap;

use cupola_specs::job::{MatrixOptimizer, Precision};
use tch::{Kind, Tensor};

use crate::model::{ParamGroup, Parameter};

/// Muon's momentum.
const MOMENTUM: f64 = 0.95;
/// Newton–Schulz rounds.
const ROUNDS: usize = 5;
/// The quintic's coefficients (Jordan 2024).
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// Resolved settings of the optimisers.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerSettings {
    /// Optimiser of hidden matrices.
    pub matrices: MatrixOptimizer,
    /// Peak learning rate of AdamW's parameters.
    pub lr: f64,
    /// Peak learning rate of Muon's parameters.
    pub matrix_lr: f64,
    /// Factor of `lr` for input embeddings.
    pub embedding_factor: f64,
    /// Decoupled weight decay of hidden matrices.
    pub weight_decay: f64,
    /// AdamW's betas.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Number format of Muon's iteration.
    pub precision: Precision,
}

/// The optimisers' state.
#[derive(Debug)]
pub struct Optimizer {
    settings: OptimizerSettings,
    parameters: Vec<Parameter>,
    /// First moments (AdamW) or momentum (Muon), by parameter.
    first: Vec<Tensor>,
    /// Second moments; an empty tensor where Muon steps.
    second: Vec<Tensor>,
    steps: u64,
}

impl Optimizer {
    /// Fresh state for these weights.
    pub fn new(parameters: Vec<Parameter>, settings: OptimizerSettings) -> Self {
        let first = parameters.iter().map(|p| p.tensor.detach().zeros_like()).collect();
        let second = parameters
            .iter()
            .map(|p| {
                if steps_by_muon(&settings, p) {
                    Tensor::zeros([0], (Kind::Float, p.tensor.device()))
                } else {
                    p.tensor.detach().zeros_like()
                }
            })
            .collect();
        Self { settings, parameters, first, second, steps: 0 }
    }

    /// The weights.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Norm over all gradients; weights without a gradient count as zero.
    pub fn grad_norm(&self) -> f64 {
        tch::no_grad(|| {
            let squares: Vec<Tensor> = self
                .parameters
                .iter()
                .map(|p| p.tensor.grad())
                .filter(Tensor::defined)
                .map(|grad| grad.square().sum(Kind::Float))
                .collect();
            if squares.is_empty() {
                0.0
            } else {
                Tensor::stack(&squares, 0).sum(Kind::Float).sqrt().double_value(&[])
            }
        })
    }

    /// One step with gradients scaled by `grad_scale` and peak rates by `lr_factor`; gradients are cleared.
    pub fn step(&mut self, lr_factor: f64, grad_scale: f64) {
        let all = vec![true; self.parameters.len()];
        self.step_only(&all, lr_factor, grad_scale);
    }

    /// Gives up the state of the weights that another rank steps.
    pub fn keep_only(&mut self, own: &[bool]) {
        for index in (0..self.parameters.len()).filter(|index| !own[*index]) {
            for state in [&mut self.first[index], &mut self.second[index]] {
                *state = Tensor::zeros([0], (state.kind(), state.device()));
            }
        }
    }

    /// [`Optimizer::step`] of some of the weights; the gradients of all are cleared.
    pub fn step_only(&mut self, own: &[bool], lr_factor: f64, grad_scale: f64) {
        self.steps += 1;
        tch::no_grad(|| {
            let mut muon: BTreeMap<Vec<i64>, Vec<(usize, Tensor)>> = BTreeMap::new();
            for index in 0..self.parameters.len() {
                let grad = self.parameters[index].tensor.grad();
                if !own[index] || !grad.defined() {
                    continue;
                }
                let grad = grad * grad_scale;
                if steps_by_muon(&self.settings, &self.parameters[index]) {
                    let update = self.nesterov(index, &grad);
                    muon.entry(update.size()).or_default().push((index, update));
                } else {
                    self.adamw(index, &grad, lr_factor);
                }
            }
            for (size, updates) in muon {
                self.orthogonal_step(&size, &updates, lr_factor);
            }
        });
        self.zero_grad();
    }

    /// Forgets the gradients.
    pub fn zero_grad(&mut self) {
        for parameter in &mut self.parameters {
            parameter.tensor.zero_grad();
        }
    }

    fn adamw(&mut self, index: usize, grad: &Tensor, lr_factor: f64) {
        let parameter = &mut self.parameters[index];
        let [beta1, beta2] = self.settings.betas;
        let group = match parameter.group {
            ParamGroup::Embedding => self.settings.embedding_factor,
            ParamGroup::Matrix | ParamGroup::Vector | ParamGroup::Head => 1.0,
        };
        let lr = self.settings.lr * lr_factor * group;
        if parameter.group == ParamGroup::Matrix && self.settings.weight_decay > 0.0 {
            let _ = parameter.tensor.g_mul_scalar_(1.0 - lr * self.settings.weight_decay);
        }
        let (m, v) = (&mut self.first[index], &mut self.second[index]);
        let _ = m.lerp_(grad, 1.0 - beta1);
        let _ = v.g_mul_scalar_(beta2);
        let _ = v.addcmul_(&(grad * (1.0 - beta2)), grad);
        let (fix1, fix2) = (1.0 - beta1.powf(self.steps as f64), 1.0 - beta2.powf(self.steps as f64));
        let denominator = v.sqrt() / fix2.sqrt() + self.settings.eps;
        let _ = parameter.tensor.addcdiv_(&(&*m * (-lr / fix1)), &denominator);
    }

    /// Moves the momentum and looks one step ahead.
    fn nesterov(&mut self, index: usize, grad: &Tensor) -> Tensor {
        let momentum = &mut self.first[index];
        let _ = momentum.lerp_(grad, 1.0 - MOMENTUM);
        grad.lerp(momentum, MOMENTUM)
    }

    fn orthogonal_step(&mut self, size: &[i64], updates: &[(usize, Tensor)], lr_factor: f64) {
        let stacked = Tensor::stack(&updates.iter().map(|(_, update)| update).collect::<Vec<_>>(), 0); // [N, R, C]
        let directions = orthogonalize(&stacked, self.settings.precision); // [N, R, C]
        let lr = self.settings.matrix_lr * lr_factor;
        let scale = (size[0] as f64 / size[1] as f64).max(1.0).sqrt();
        for (place, (index, _)) in updates.iter().enumerate() {
            let weight = &mut self.parameters[*index].tensor;
            if self.settings.weight_decay > 0.0 {
                let _ = weight.g_mul_scalar_(1.0 - lr * self.settings.weight_decay);
            }
            let _ = weight.g_sub_(&(directions.get(place as i64) * (lr * scale)));
        }
    }

    /// Tensors of the state by name, in a fixed order, for a checkpoint.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::with_capacity(3 * self.parameters.len());
        for ((parameter, first), second) in self.parameters.iter().zip(&self.first).zip(&self.second) {
            all.push((format!("weight/{}", parameter.name), parameter.tensor.detach()));
            all.push((format!("first/{}", parameter.name), first.shallow_clone()));
            if second.numel() > 0 {
                all.push((format!("second/{}", parameter.name), second.shallow_clone()));
            }
        }
        all
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Says how many steps a restored state had done.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}

fn steps_by_muon(settings: &OptimizerSettings, parameter: &Parameter) -> bool {
    settings.matrices == MatrixOptimizer::Muon && parameter.group == ParamGroup::Matrix
}

/// The nearest semi-orthogonal matrix of each, by Newton and Schulz: singular values go to about 1.
///
/// # Shapes
/// `[N, R, C]` → `[N, R, C]` in fp32.
pub(super) fn orthogonalize(matrices: &Tensor, precision: Precision) -> Tensor {
    let tall = matrices.size()[1] > matrices.size()[2];
    let wide = if tall { matrices.transpose(1, 2) } else { matrices.shallow_clone() };
    let norm = wide.square().sum_dim_intlist([1i64, 2].as_slice(), true, Kind::Float).sqrt() + 1e-7; // [N, 1, 1]
    let kind = if precision == Precision::Bf16 { Kind::BFloat16 } else { Kind::Float };
    let mut x = (wide / norm).to_kind(kind); // [N, min, max]
    let [a, b, c] = QUINTIC;
    for _ in 0..ROUNDS {
        let gram = x.bmm(&x.transpose(1, 2)); // [N, min, min]
        let polynomial = &gram * b + gram.bmm(&gram) * c;
        x = &x * a + polynomial.bmm(&x);
    }
    let x = x.to_kind(Kind::Float);
    if tall { x.transpose(1, 2) } else { x }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn settings(matrices: MatrixOptimizer) -> OptimizerSettings {
        OptimizerSettings {
            matrices,
            lr: 0.01,
            matrix_lr: 0.02,
            embedding_factor: 1.0,
            weight_decay: 0.1,
            betas: [0.9, 0.95],
            eps: 1e-8,
            precision: Precision::Fp32,
        }
    }

    fn parameter(values: &[f32], size: &[i64]) -> Parameter {
        let tensor = Tensor::from_slice(values).reshape(size).set_requires_grad(true);
        Parameter { name: "w".into(), tensor, group: ParamGroup::Matrix }
    }

    #[test]
    fn adamw_equals_the_written_out_recurrence() {
        // The published recurrence in f64, on gradient = weight.
        let weight = parameter(&[1.0, -2.0, 0.5, 3.0], &[2, 2]);
        let handle = weight.tensor.shallow_clone();
        let mut optimizer = Optimizer::new(vec![weight], settings(MatrixOptimizer::Adamw));
        let mut expected = [1.0f64, -2.0, 0.5, 3.0];
        let (mut m, mut v) = ([0.0f64; 4], [0.0f64; 4]);
        for step in 1..=5 {
            (&handle * &handle * 0.5).sum(Kind::Float).backward();
            optimizer.step(1.0, 1.0);
            for i in 0..4 {
                let grad = expected[i];
                expected[i] *= 1.0 - 0.01 * 0.1;
                m[i] = 0.9 * m[i] + 0.1 * grad;
                v[i] = 0.95 * v[i] + 0.05 * grad * grad;
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.95f64.powi(step)));
                expected[i] -= 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        let got = Vec::<f32>::try_from(handle.detach().view([-1])).unwrap();
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} {expected}");
        }
    }

    #[test]
    fn muon_moves_every_direction_alike() {
        let random = Tensor::from_slice(
            &(0..6 * 48).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect::<Vec<_>>(),
        )
        .reshape([1, 6, 48]);
        for matrices in [random.shallow_clone(), random.transpose(1, 2).contiguous()] {
            let directions = orthogonalize(&matrices, Precision::Fp32).get(0);
            let singular = Vec::<f32>::try_from(directions.svd(true, false).1).unwrap();
            assert!(singular.iter().all(|&s| (0.6..1.3).contains(&s)), "{singular:?}");
        }
        assert_eq!(random.device(), Device::Cpu);
    }
}
