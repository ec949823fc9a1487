//! AdamW: Loshchilov and Hutter 2017 (arXiv:1711.05101), in the order of operations of PyTorch.

use tch::Tensor;

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdamwStep {
    pub(super) lr: f64,
    pub(super) weight_decay: f64,
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    /// The how manieth update this is, from 1.
    pub(super) count: u64,
}

/// Weights that share their numbers, each with its gradient and moments.
#[derive(Debug, Default)]
pub(super) struct AdamwLists {
    pub(super) weights: Vec<Tensor>,
    pub(super) grads: Vec<Tensor>,
    pub(super) first: Vec<Tensor>,
    pub(super) second: Vec<Tensor>,
}

/// One step of every weight of the lists: the place where a fused kernel steps in.
pub(super) fn step(lists: &mut AdamwLists, numbers: AdamwStep) {
    let AdamwStep { lr, weight_decay, betas: [beta1, beta2], eps, count } = numbers;
    let (fix1, fix2) = (1.0 - beta1.powf(count as f64), 1.0 - beta2.powf(count as f64));
    let moments = lists.first.iter_mut().zip(&mut lists.second);
    for ((weight, grad), (m, v)) in lists.weights.iter_mut().zip(&lists.grads).zip(moments) {
        if weight_decay > 0.0 {
            let _ = weight.g_mul_scalar_(1.0 - lr * weight_decay);
        }
        let _ = m.lerp_(grad, 1.0 - beta1);
        let _ = v.g_mul_scalar_(beta2);
        let _ = v.addcmul_(&(grad * (1.0 - beta2)), grad);
        let denominator = v.sqrt() / fix2.sqrt() + eps;
        let _ = weight.addcdiv_(&(&*m * (-lr / fix1)), &denominator);
    }
}
