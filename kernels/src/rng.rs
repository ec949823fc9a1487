//! The state of torch's default generators, which dropout and initialisation draw from: part of an exact checkpoint.

use tch::Device;

use crate::KernelError;
use crate::shim;

/// The state of the default generator of a device (5,056 bytes on the CPU, 16 on CUDA).
///
/// # Errors
/// No such device.
pub fn rng_state(device: Device) -> Result<Vec<u8>, KernelError> {
    let index = index_of("rng_state", device)?;
    let (mut bytes, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: on success the call wrote a block of `count` bytes that is ours.
    unsafe {
        shim::check("rng_state", shim::cupola_rng_get(index, &raw mut bytes, &raw mut count))?;
        Ok(shim::owned_bytes(bytes, count))
    }
}

/// Puts the default generator of a device into a state that [`rng_state`] gave.
///
/// # Errors
/// No such device, or bytes that are no state of its generator.
pub fn set_rng_state(device: Device, state: &[u8]) -> Result<(), KernelError> {
    let index = index_of("set_rng_state", device)?;
    // SAFETY: the bytes are copied before the call returns.
    shim::check("set_rng_state", unsafe { shim::cupola_rng_set(index, state.as_ptr(), state.len()) })
}

/// The shim's number of a device: −1 is the CPU.
pub(crate) fn index_of(operation: &'static str, device: Device) -> Result<i32, KernelError> {
    match device {
        Device::Cpu => Ok(-1),
        Device::Cuda(index) => crate::device::cuda_index(operation, index),
        other => Err(KernelError::Invalid { operation, message: format!("{other:?} has no generator here") }),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn a_restored_state_draws_the_same_numbers() {
        let draw = || Tensor::randn([33], (Kind::Float, Device::Cpu));
        let _alone = crate::samples::alone_with_the_generator();
        tch::manual_seed(7);
        let _odd_number_of_draws = draw();
        let state = rng_state(Device::Cpu).unwrap();
        let (first, second) = (draw(), draw());
        set_rng_state(Device::Cpu, &state).unwrap();
        assert_eq!((draw(), draw()), (first, second));
        assert_eq!(state.len(), 5056);
    }

    #[test]
    fn other_bytes_are_refused() {
        let error = set_rng_state(Device::Cpu, &[1, 2, 3]).unwrap_err();
        assert!(error.to_string().starts_with("set_rng_state: "), "{error}");
    }

    #[test]
    fn cudas_generator_is_restored_too() {
        if !crate::samples::has_cuda() {
            return println!("skipped: this machine has no CUDA");
        }
        let device = Device::Cuda(0);
        let draw = || Tensor::randn([33], (Kind::Float, device));
        let _alone = crate::samples::alone_with_the_generator();
        let state = rng_state(device).unwrap();
        let first = draw();
        set_rng_state(device, &state).unwrap();
        assert_eq!(draw(), first);
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        if crate::samples::has_cuda() {
            return println!("skipped: this machine has CUDA");
        }
        let error = rng_state(Device::Cuda(0)).unwrap_err();
        assert!(matches!(error, KernelError::NoCuda { operation: "rng_state", .. }), "{error}");
    }
}
