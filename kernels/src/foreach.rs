//! Operations over many tensors at once: on CUDA one kernel for a whole model, on the CPU one call. All of them work outside of autograd.

use tch::{Device, Tensor};

use crate::KernelError;
use crate::shim::{self, Raw};

/// In what precision squares are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    /// In float32, as PyTorch's `clip_grad_norm_` does.
    Float,
    /// In float64: the same for any grouping of the tensors up to 1e-15.
    Double,
}

/// The L2 norm of all elements of all tensors together.
///
/// # Shapes
/// Tensors of any shapes and floating kinds on one device → a scalar on that device (no synchronisation), float32 or float64 as accumulated.
///
/// # Errors
/// Tensors on several devices, or libtorch's refusal. Of no tensors the norm is 0.
pub fn foreach_norm(tensors: &[Tensor], accumulate: Accumulate) -> Result<Tensor, KernelError> {
    let in_double = accumulate == Accumulate::Double;
    let Some(first) = tensors.first() else {
        let kind = if in_double { tch::Kind::Double } else { tch::Kind::Float };
        return Ok(Tensor::f_zeros([0; 0], (kind, Device::Cpu))?);
    };
    one_device("foreach_norm", first.device(), tensors)?;
    let list = shim::raws(tensors);
    let mut norm: Raw = std::ptr::null_mut();
    // SAFETY: the tensors outlive the call, which writes one tensor of its own on success.
    unsafe {
        let message =
            shim::cupola_foreach_norm(list.as_ptr(), list.len(), u8::from(in_double), &raw mut norm);
        shim::check("foreach_norm", message)?;
        Ok(shim::owned(norm))
    }
}

/// Multiplies each tensor by a number, in place.
///
/// # Errors
/// libtorch's refusal, for a fraction and integer tensors for example.
pub fn foreach_scale_(tensors: &mut [Tensor], factor: f64) -> Result<(), KernelError> {
    if tensors.is_empty() {
        return Ok(());
    }
    let list = shim::raws(&*tensors);
    // SAFETY: the tensors outlive the call.
    shim::check("foreach_scale_", unsafe { shim::cupola_foreach_scale(list.as_ptr(), list.len(), factor) })
}

/// Multiplies each tensor by a scalar tensor of the same device, in place: clipping without waiting for the norm.
///
/// # Shapes
/// `factor` is `[]`.
///
/// # Errors
/// A factor that is no scalar, or libtorch's refusal.
pub fn foreach_scale_by_(tensors: &mut [Tensor], factor: &Tensor) -> Result<(), KernelError> {
    let operation = "foreach_scale_by_";
    if factor.dim() != 0 {
        return Err(KernelError::Invalid {
            operation,
            message: format!("the factor has shape {:?}, expected []", factor.size()),
        });
    }
    if tensors.is_empty() {
        return Ok(());
    }
    one_device(operation, factor.device(), tensors)?;
    let list = shim::raws(&*tensors);
    // SAFETY: the tensors outlive the call.
    let message = unsafe { shim::cupola_foreach_scale_by(list.as_ptr(), list.len(), shim::raw(factor)) };
    shim::check(operation, message)
}

/// `tensor += weight · (end − tensor)` for each pair, in place: an exponential moving average of weights.
///
/// # Shapes
/// Both lists have the same shapes, kinds and devices.
///
/// # Errors
/// Lists of different lengths or shapes, or libtorch's refusal.
pub fn foreach_lerp_(tensors: &mut [Tensor], ends: &[Tensor], weight: f64) -> Result<(), KernelError> {
    same_shapes("foreach_lerp_", tensors, ends)?;
    if tensors.is_empty() {
        return Ok(());
    }
    let (list, ends) = (shim::raws(&*tensors), shim::raws(ends));
    // SAFETY: both lists have the same length and outlive the call.
    let message = unsafe { shim::cupola_foreach_lerp(list.as_ptr(), ends.as_ptr(), list.len(), weight) };
    shim::check("foreach_lerp_", message)
}

/// Copies each source into its tensor, in place, across kinds and devices: float32 masters into bfloat16 weights.
///
/// # Errors
/// Lists of different lengths or shapes, or libtorch's refusal.
pub fn foreach_copy_(tensors: &mut [Tensor], sources: &[Tensor]) -> Result<(), KernelError> {
    same_shapes("foreach_copy_", tensors, sources)?;
    if tensors.is_empty() {
        return Ok(());
    }
    let (list, sources) = (shim::raws(&*tensors), shim::raws(sources));
    // SAFETY: both lists have the same length and outlive the call.
    shim::check("foreach_copy_", unsafe {
        shim::cupola_foreach_copy(list.as_ptr(), sources.as_ptr(), list.len())
    })
}

/// Sets each tensor to 0, in place.
///
/// # Errors
/// libtorch's refusal.
pub fn foreach_zero_(tensors: &mut [Tensor]) -> Result<(), KernelError> {
    if tensors.is_empty() {
        return Ok(());
    }
    let list = shim::raws(&*tensors);
    // SAFETY: the tensors outlive the call.
    shim::check("foreach_zero_", unsafe { shim::cupola_foreach_zero(list.as_ptr(), list.len()) })
}

fn one_device(operation: &'static str, device: Device, tensors: &[Tensor]) -> Result<(), KernelError> {
    match tensors.iter().find(|tensor| tensor.device() != device) {
        None => Ok(()),
        Some(other) => {
            let message = format!("tensors on {device:?} and on {:?}", other.device());
            Err(KernelError::Invalid { operation, message })
        }
    }
}

fn same_shapes(operation: &'static str, tensors: &[Tensor], others: &[Tensor]) -> Result<(), KernelError> {
    if tensors.len() != others.len() {
        let message = format!("lists of {} and of {} tensors", tensors.len(), others.len());
        return Err(KernelError::Invalid { operation, message });
    }
    for (index, (tensor, other)) in tensors.iter().zip(others).enumerate() {
        if tensor.size() != other.size() {
            let message = format!("tensor {index} is {:?}, its partner {:?}", tensor.size(), other.size());
            return Err(KernelError::Invalid { operation, message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn lists() -> Vec<Tensor> {
        [&[3i64, 4][..], &[7], &[1, 2, 5]].into_iter().map(|shape| crate::samples::wave(shape, 1)).collect()
    }

    #[test]
    fn the_norm_of_many_is_the_norm_of_their_concatenation() {
        let tensors = lists();
        let flat = Tensor::cat(&tensors.iter().map(|tensor| tensor.reshape(-1i64)).collect::<Vec<_>>(), 0);
        let expected = flat.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[]);
        let double = foreach_norm(&tensors, Accumulate::Double).unwrap();
        assert_eq!(double.kind(), Kind::Double);
        assert!((double.double_value(&[]) / expected - 1.0).abs() < 1e-15);
        let float = foreach_norm(&tensors, Accumulate::Float).unwrap();
        assert_eq!(float.kind(), Kind::Float);
        assert!((float.double_value(&[]) / expected - 1.0).abs() < 1e-6);
        assert!(foreach_norm(&[], Accumulate::Float).unwrap().double_value(&[]).abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn the_norm_of_bfloat16_is_added_up_in_the_wider_kind() {
        let ones = Tensor::ones([1 << 20], (Kind::BFloat16, Device::Cpu));
        for accumulate in [Accumulate::Float, Accumulate::Double] {
            let norm = foreach_norm(std::slice::from_ref(&ones), accumulate).unwrap().double_value(&[]);
            assert!((norm - 1024.0).abs() < 1e-3, "{norm}");
        }
    }

    #[test]
    fn scaling_and_lerp_are_the_plain_operations() {
        let plain = lists();
        let mut scaled = lists();
        foreach_scale_(&mut scaled, 0.25).unwrap();
        let mut by = lists();
        foreach_scale_by_(&mut by, &Tensor::from(0.25f32)).unwrap();
        let mut moved = lists();
        foreach_lerp_(&mut moved, &scaled, 0.1).unwrap();
        for (((plain, scaled), by), moved) in plain.iter().zip(&scaled).zip(&by).zip(&moved) {
            assert_eq!(*scaled, plain * 0.25);
            assert_eq!(by, scaled);
            assert_eq!(*moved, plain.lerp(scaled, 0.1));
        }
        foreach_zero_(&mut scaled).unwrap();
        assert!(scaled.iter().all(|tensor| tensor.abs().max().double_value(&[]) == 0.0));
    }

    #[test]
    fn masters_are_rounded_into_weights_of_another_kind() {
        let masters = lists();
        let mut weights: Vec<Tensor> =
            masters.iter().map(|master| master.zeros_like().to_kind(Kind::BFloat16)).collect();
        foreach_copy_(&mut weights, &masters).unwrap();
        for (weight, master) in weights.iter().zip(&masters) {
            assert_eq!(*weight, master.to_kind(Kind::BFloat16));
        }
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let error = foreach_lerp_(&mut lists(), &lists()[1..], 0.5).unwrap_err().to_string();
        assert_eq!(error, "foreach_lerp_: lists of 3 and of 2 tensors");
        let mut wide = vec![Tensor::zeros([2], (Kind::Float, Device::Cpu))];
        let error = foreach_copy_(&mut wide, &[Tensor::zeros([3], (Kind::Float, Device::Cpu))])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "foreach_copy_: tensor 0 is [2], its partner [3]");
        assert!(foreach_scale_by_(&mut lists(), &Tensor::from_slice(&[1f32, 2.0])).is_err());
    }
}
