//! AdamW: Loshchilov and Hutter 2017 (arXiv:1711.05101), by PyTorch's own fused kernel.

use cupola_kernels::{AdamW, AdamWLists, KernelError, fused_adamw};
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

/// One step of every weight of the lists.
pub(super) fn step(lists: &mut AdamwLists, numbers: AdamwStep) -> Result<(), KernelError> {
    let AdamwStep { lr, weight_decay, betas: [beta1, beta2], eps, count } = numbers;
    let lists = AdamWLists {
        params: &mut lists.weights,
        grads: &lists.grads,
        exp_avgs: &mut lists.first,
        exp_avg_sqs: &mut lists.second,
        max_exp_avg_sqs: None,
    };
    fused_adamw(lists, count, &AdamW { lr, beta1, beta2, eps, weight_decay, maximize: false })
}
