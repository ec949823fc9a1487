//! Tensors for this crate's tests. The default generator belongs to the process, and tests run side by side: few of them may use it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

/// Numbers between −1 and 1 without a generator.
pub(crate) fn wave(shape: &[i64], seed: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    let place = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + seed as f64 * 78.233;
    (place.sin() * 437.585).sin().to_kind(Kind::Float).reshape(shape)
}

/// A leaf that requires a gradient.
pub(crate) fn leaf(shape: &[i64], seed: i64) -> Tensor {
    wave(shape, seed).set_requires_grad(true)
}

/// Keeps other tests away from the default generator.
pub(crate) fn alone_with_the_generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this machine has a CUDA device that libtorch can use.
pub(crate) fn has_cuda() -> bool {
    crate::load_cuda() == crate::CudaLibrary::Loaded && tch::Cuda::is_available()
}
