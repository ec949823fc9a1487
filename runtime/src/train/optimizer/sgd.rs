//! Gradient descent with momentum as PyTorch has it, without dampening; weight decay is decoupled, as for every optimiser here.

use tch::Tensor;

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct SgdStep {
    pub(super) lr: f64,
    pub(super) weight_decay: f64,
    pub(super) momentum: f64,
    pub(super) nesterov: bool,
}

/// One step of one weight.
pub(super) fn step(weight: &mut Tensor, grad: &Tensor, buffer: &mut Tensor, numbers: SgdStep) {
    let SgdStep { lr, weight_decay, momentum, nesterov } = numbers;
    if weight_decay > 0.0 {
        let _ = weight.g_mul_scalar_(1.0 - lr * weight_decay);
    }
    let _ = buffer.g_mul_scalar_(momentum);
    let _ = buffer.g_add_(grad);
    let _ = if nesterov {
        weight.g_sub_(&((grad + &*buffer * momentum) * lr))
    } else {
        weight.g_sub_(&(&*buffer * lr))
    };
}
