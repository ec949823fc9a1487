//! Optimiser steps of many parameters in one call (ATen's `_fused_adamw_` and `_fused_sgd_`), on CPU and CUDA.
//!
//! AdamW: "Decoupled Weight Decay Regularization" (Loshchilov and Hutter, 2019, arXiv 1711.05101); `amsgrad`: "On the Convergence of Adam
//! and Beyond" (Reddi et al., 2018, arXiv 1904.09237). The arithmetic is PyTorch's own kernel; it differs from the recurrence written out
//! operation by operation only in rounding (about one unit in the last place of float32 for each step).

use tch::Tensor;

use crate::KernelError;
use crate::shim::{self, AdamWFields, SgdFields};

/// The numbers of an AdamW step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate η.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled: a weight loses `lr · weight_decay` of itself.
    pub weight_decay: f64,
    /// Ascends instead of descends.
    pub maximize: bool,
}

/// The lists that an AdamW step reads and writes; one entry for each parameter in each.
#[derive(Debug)]
pub struct AdamWLists<'t> {
    /// Parameters.
    pub params: &'t mut [Tensor],
    /// Their gradients.
    pub grads: &'t [Tensor],
    /// First moments.
    pub exp_avgs: &'t mut [Tensor],
    /// Second moments.
    pub exp_avg_sqs: &'t mut [Tensor],
    /// The greatest second moments so far, for `amsgrad`.
    pub max_exp_avg_sqs: Option<&'t mut [Tensor]>,
}

/// Takes one AdamW step with all parameters, in place and outside of autograd.
///
/// `step` counts this step, from 1: it is the exponent of the bias correction.
///
/// # Shapes
/// Each gradient and moment has its parameter's shape; everything is on one device and, in each list, of one kind.
///
/// # Errors
/// Lists that do not fit together, parameters or moments that are not contiguous, `step` 0, or libtorch's refusal. Nothing is changed then.
pub fn fused_adamw(lists: AdamWLists<'_>, step: u64, numbers: &AdamW) -> Result<(), KernelError> {
    let operation = "fused_adamw";
    let AdamWLists { params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs } = lists;
    let amsgrad = max_exp_avg_sqs.is_some();
    let largest: &[Tensor] = max_exp_avg_sqs.map_or(&[], |list| &*list);
    if step == 0 {
        return Err(KernelError::Invalid { operation, message: "steps count from 1, got step 0".to_owned() });
    }
    fits(operation, params, [("exp_avgs", &*exp_avgs), ("exp_avg_sqs", &*exp_avg_sqs)])?;
    if amsgrad {
        fits(operation, params, [("max_exp_avg_sqs", largest)])?;
    }
    let grads = gradients(operation, params, grads)?;
    if params.is_empty() {
        return Ok(());
    }
    let AdamW { lr, beta1, beta2, eps, weight_decay, maximize } = *numbers;
    let (amsgrad, maximize) = (u8::from(amsgrad), u8::from(maximize));
    let fields = AdamWFields { lr, beta1, beta2, eps, weight_decay, step, amsgrad, maximize };
    let (params, grads) = (shim::raws(&*params), shim::raws(&grads));
    let (first, second, largest) = (shim::raws(&*exp_avgs), shim::raws(&*exp_avg_sqs), shim::raws(largest));
    // SAFETY: every list that is read has `params.len()` tensors of fitting shapes, and all outlive the call.
    let message = unsafe {
        shim::cupola_fused_adamw(
            params.as_ptr(),
            grads.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            largest.as_ptr(),
            params.len(),
            &raw const fields,
        )
    };
    shim::check(operation, message)
}

/// The numbers of a step of stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate η.
    pub lr: f64,
    /// Decay of the momentum; 0 is none.
    pub momentum: f64,
    /// How much of a gradient the momentum leaves out.
    pub dampening: f64,
    /// Added to the gradient as `weight_decay · weight`: not decoupled, as in PyTorch's SGD.
    pub weight_decay: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
    /// Ascends instead of descends.
    pub maximize: bool,
}

/// Takes one step of stochastic gradient descent with all parameters, in place and outside of autograd.
///
/// `momentum_buffers` is read and written only where there is momentum; in the first step (`is_first_step`) it is set to the gradient.
///
/// # Shapes
/// Each gradient and buffer has its parameter's shape; everything is on one device and, in each list, of one kind.
///
/// # Errors
/// As [`fused_adamw`]'s.
pub fn fused_sgd(
    params: &mut [Tensor],
    grads: &[Tensor],
    momentum_buffers: &mut [Tensor],
    is_first_step: bool,
    numbers: &Sgd,
) -> Result<(), KernelError> {
    let operation = "fused_sgd";
    let Sgd { lr, momentum, dampening, weight_decay, nesterov, maximize } = *numbers;
    if nesterov && (momentum <= 0.0 || dampening != 0.0) {
        let message = format!("Nesterov needs momentum and no dampening, got {momentum} and {dampening}");
        return Err(KernelError::Invalid { operation, message });
    }
    if momentum != 0.0 {
        fits(operation, params, [("momentum_buffers", &*momentum_buffers)])?;
    }
    let grads = gradients(operation, params, grads)?;
    if params.is_empty() {
        return Ok(());
    }
    let (nesterov, maximize, is_first_step) =
        (u8::from(nesterov), u8::from(maximize), u8::from(is_first_step));
    let fields = SgdFields { lr, momentum, dampening, weight_decay, nesterov, maximize, is_first_step };
    let (params, grads, buffers) = (shim::raws(&*params), shim::raws(&grads), shim::raws(&*momentum_buffers));
    // SAFETY: every list that is read has `params.len()` tensors of fitting shapes, and all outlive the call.
    let message = unsafe {
        shim::cupola_fused_sgd(
            params.as_ptr(),
            grads.as_ptr(),
            buffers.as_ptr(),
            params.len(),
            &raw const fields,
        )
    };
    shim::check(operation, message)
}

/// The kernels walk over memory as it lies, so shapes alone would not do.
fn fits<const N: usize>(
    operation: &'static str,
    params: &[Tensor],
    lists: [(&str, &[Tensor]); N],
) -> Result<(), KernelError> {
    let refuse = |message: String| Err(KernelError::Invalid { operation, message });
    for (index, param) in params.iter().enumerate() {
        if !param.is_contiguous() {
            return refuse(format!("parameter {index} is not contiguous"));
        }
        if param.device() != params[0].device() {
            return refuse(format!("parameters on {:?} and on {:?}", params[0].device(), param.device()));
        }
    }
    for (name, list) in lists {
        if list.len() != params.len() {
            return refuse(format!("{} parameters and {} {name}", params.len(), list.len()));
        }
        for (index, (param, tensor)) in params.iter().zip(list).enumerate() {
            if tensor.size() != param.size() || tensor.device() != param.device() || !tensor.is_contiguous() {
                let (got, expected) = (tensor.size(), param.size());
                return refuse(format!(
                    "{name} {index} is {got:?}, expected {expected:?}, contiguous and on the same device"
                ));
            }
        }
    }
    Ok(())
}

/// The gradients as they lie beside their parameters.
fn gradients(
    operation: &'static str,
    params: &[Tensor],
    grads: &[Tensor],
) -> Result<Vec<Tensor>, KernelError> {
    fits(operation, params, [])?;
    if grads.len() != params.len() {
        let message = format!("{} parameters and {} gradients", params.len(), grads.len());
        return Err(KernelError::Invalid { operation, message });
    }
    let mut list = Vec::with_capacity(grads.len());
    for (index, (param, grad)) in params.iter().zip(grads).enumerate() {
        if !grad.defined() || grad.size() != param.size() || grad.device() != param.device() {
            let message = format!("gradient {index} is missing or of another shape than {:?}", param.size());
            return Err(KernelError::Invalid { operation, message });
        }
        list.push(grad.f_detach()?.f_contiguous()?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const NUMBERS: AdamW =
        AdamW { lr: 3e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, maximize: false };

    fn random(seed: i64) -> Vec<Tensor> {
        [&[5i64, 3][..], &[17], &[2, 3, 4]]
            .into_iter()
            .map(|shape| crate::samples::wave(shape, seed))
            .collect()
    }

    fn zeros(like: &[Tensor], kind: Kind) -> Vec<Tensor> {
        like.iter().map(|tensor| tensor.zeros_like().to_kind(kind)).collect()
    }

    fn furthest(left: &[Tensor], right: &[Tensor]) -> f64 {
        let pairs = left.iter().zip(right);
        pairs.map(|(left, right)| (left - right).abs().max().double_value(&[])).fold(0.0, f64::max)
    }

    /// The recurrence in float64, operation by operation.
    fn plain_adamw(
        params: &mut [Tensor],
        grads: &[Tensor],
        state: &mut [Vec<Tensor>; 3],
        step: u64,
        amsgrad: bool,
    ) {
        let AdamW { lr, beta1, beta2, eps, weight_decay, .. } = NUMBERS;
        let (correction1, correction2) = (1.0 - beta1.powf(step as f64), 1.0 - beta2.powf(step as f64));
        for (i, param) in params.iter_mut().enumerate() {
            let grad = grads[i].to_kind(Kind::Double);
            state[0][i] = &state[0][i] * beta1 + &grad * (1.0 - beta1);
            state[1][i] = &state[1][i] * beta2 + grad.square() * (1.0 - beta2);
            state[2][i] = state[2][i].maximum(&state[1][i]);
            let second = if amsgrad { &state[2][i] } else { &state[1][i] };
            let denominator = (second / correction2).sqrt() + eps;
            *param = &*param * (1.0 - lr * weight_decay) - &state[0][i] / denominator * (lr / correction1);
        }
    }

    #[test]
    fn adamw_follows_the_plain_recurrence_with_and_without_amsgrad() {
        for amsgrad in [false, true] {
            let mut params = random(1);
            let mut moments =
                [zeros(&params, Kind::Float), zeros(&params, Kind::Float), zeros(&params, Kind::Float)];
            let mut plain: Vec<Tensor> = params.iter().map(|param| param.to_kind(Kind::Double)).collect();
            let mut plain_moments =
                [zeros(&plain, Kind::Double), zeros(&plain, Kind::Double), zeros(&plain, Kind::Double)];
            for step in 1..=20 {
                let grads = random(100 + step as i64);
                let [first, second, largest] = &mut moments;
                let lists = AdamWLists {
                    params: &mut params,
                    grads: &grads,
                    exp_avgs: first,
                    exp_avg_sqs: second,
                    max_exp_avg_sqs: amsgrad.then_some(largest),
                };
                fused_adamw(lists, step, &NUMBERS).unwrap();
                plain_adamw(&mut plain, &grads, &mut plain_moments, step, amsgrad);
                let distance = furthest(&params, &plain);
                // Parameters are below 1, where half a unit in the last place is 3e-8: two roundings a step.
                let bound = 1.2e-7 * (step as f64).sqrt();
                assert!(distance < bound, "amsgrad {amsgrad}: {distance:e} after {step} steps");
            }
            assert!(furthest(&params, &random(1)) > 1e-3, "the parameters did not move");
        }
    }

    #[test]
    fn the_same_step_gives_the_same_bits() {
        let run = || {
            let (mut params, grads) = (random(1), random(2));
            let (mut first, mut second) = (zeros(&params, Kind::Float), zeros(&params, Kind::Float));
            let lists = AdamWLists {
                params: &mut params,
                grads: &grads,
                exp_avgs: &mut first,
                exp_avg_sqs: &mut second,
                max_exp_avg_sqs: None,
            };
            fused_adamw(lists, 1, &NUMBERS).unwrap();
            params
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn a_gradient_that_lies_otherwise_in_memory_is_read_by_its_shape() {
        let step = |grad: Tensor| {
            let mut params = vec![Tensor::ones([3, 2], (Kind::Float, Device::Cpu))];
            fused_sgd(
                &mut params,
                &[grad],
                &mut [],
                true,
                &Sgd {
                    lr: 1.0,
                    momentum: 0.0,
                    dampening: 0.0,
                    weight_decay: 0.0,
                    nesterov: false,
                    maximize: false,
                },
            )
            .unwrap();
            params.remove(0)
        };
        let grad = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]).tr(); // [3, 2]
        assert!(!grad.is_contiguous());
        assert_eq!(step(grad.shallow_clone()), step(grad.contiguous()));
    }

    #[test]
    fn sgd_follows_the_plain_recurrence() {
        let numbers = Sgd {
            lr: 0.1,
            momentum: 0.9,
            dampening: 0.0,
            weight_decay: 0.01,
            nesterov: true,
            maximize: false,
        };
        let mut params = random(1);
        let mut buffers = zeros(&params, Kind::Float);
        let mut plain: Vec<Tensor> = params.iter().map(|param| param.to_kind(Kind::Double)).collect();
        let mut plain_buffers = zeros(&plain, Kind::Double);
        for step in 0..10 {
            let grads = random(50 + step);
            fused_sgd(&mut params, &grads, &mut buffers, step == 0, &numbers).unwrap();
            for (i, param) in plain.iter_mut().enumerate() {
                let grad = grads[i].to_kind(Kind::Double) + &*param * numbers.weight_decay;
                plain_buffers[i] =
                    if step == 0 { grad.copy() } else { &plain_buffers[i] * numbers.momentum + &grad };
                *param -= (grad + &plain_buffers[i] * numbers.momentum) * numbers.lr;
            }
        }
        let single: Vec<Tensor> = plain.iter().map(|param| param.to_kind(Kind::Float)).collect();
        let distance = furthest(&params, &single);
        assert!(distance < 2e-6, "{distance:e} after 10 steps");
    }

    #[test]
    fn lists_that_do_not_fit_are_refused_and_change_nothing() {
        let (mut params, grads) = (random(1), random(2));
        let (mut first, mut second) = (zeros(&params, Kind::Float), zeros(&params, Kind::Float));
        let mut step = |params: &mut [Tensor], grads: &[Tensor], step| {
            let lists = AdamWLists {
                params,
                grads,
                exp_avgs: &mut first,
                exp_avg_sqs: &mut second,
                max_exp_avg_sqs: None,
            };
            fused_adamw(lists, step, &NUMBERS).unwrap_err().to_string()
        };
        assert_eq!(step(&mut params, &grads[1..], 1), "fused_adamw: 3 parameters and 2 gradients");
        assert_eq!(step(&mut params, &grads, 0), "fused_adamw: steps count from 1, got step 0");
        let mut wide = random(1);
        wide[0] = wide[0].tr();
        assert_eq!(step(&mut wide, &grads, 1), "fused_adamw: parameter 0 is not contiguous");
        assert_eq!(params, random(1));
    }
}
