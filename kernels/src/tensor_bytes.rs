//! How many bytes of tensors a piece of work holds at most: exact, where resident memory is a matter of the allocator and of other threads.

use crate::KernelError;
use crate::shim;

/// Bytes of CPU tensors that a piece of work made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TensorBytes {
    /// The most that there were at once.
    pub peak: u64,
    /// Those that were still there at its end.
    pub left: u64,
}

/// Runs `work`, and counts the tensors that its thread makes and frees meanwhile; what was there before counts for nothing.
///
/// # Errors
/// The shim's.
pub fn tensor_bytes<T>(work: impl FnOnce() -> T) -> Result<(T, TensorBytes), KernelError> {
    let mut counting = Counting(std::ptr::null_mut());
    // SAFETY: the call writes the pointer, which `Counting` gives back once.
    shim::check("tensor_bytes", unsafe { shim::cupola_count_begin(&raw mut counting.0) })?;
    let result = work();
    let bytes = counting.end()?;
    Ok((result, bytes))
}

/// A count under way, which ends with it.
struct Counting(*mut std::ffi::c_void);

impl Counting {
    fn end(&mut self) -> Result<TensorBytes, KernelError> {
        let counter = std::mem::replace(&mut self.0, std::ptr::null_mut());
        let (mut peak, mut left) = (0, 0);
        // SAFETY: the counter is that of the count's beginning, on the same thread, and is not used again.
        let ended = unsafe { shim::cupola_count_end(counter, &raw mut peak, &raw mut left) };
        shim::check("tensor_bytes", ended)?;
        Ok(TensorBytes { peak: u64::try_from(peak).unwrap_or(0), left: u64::try_from(left).unwrap_or(0) })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if !self.0.is_null() {
            let _ended = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn what_is_held_at_once_is_counted_to_the_byte() {
        let make = |count: i64| Tensor::zeros([count], (Kind::Float, Device::Cpu));
        let before = make(1000);
        let (kept, bytes) = tensor_bytes(|| {
            drop(make(500));
            let both = (make(200), make(100));
            drop(before);
            both.0
        })
        .unwrap();
        assert_eq!(bytes, TensorBytes { peak: 2000, left: 800 });
        drop(kept);
        assert_eq!(tensor_bytes(|| ()).unwrap().1, TensorBytes::default(), "a count begins at nothing");
    }

    #[test]
    fn a_panic_ends_the_count() {
        let panicked = std::panic::catch_unwind(|| tensor_bytes(|| panic!("stop")));
        assert!(panicked.is_err());
        let ((), bytes) = tensor_bytes(|| ()).unwrap();
        assert_eq!(bytes, TensorBytes::default());
    }
}
