//! The device that answers are made on.

use cupola_kernels::CudaLibrary;
use tch::Device;

/// Why there is no CUDA device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCudaDevice {
    /// This is a build of libtorch for CPUs.
    #[error("libtorch has no CUDA half here (deploy/fetch-libtorch.sh cuda fetches it)")]
    Library,
    /// The CUDA half of libtorch is there and does not load.
    #[error("libtorch_cuda.so does not load: {0}")]
    Broken(String),
    /// It loads and finds nothing.
    #[error("no CUDA device is seen (nvidia-smi lists them)")]
    Device,
}

/// The first CUDA device; libtorch's CUDA half is loaded for it.
///
/// # Errors
/// Why there is none.
pub fn first_cuda_device() -> Result<Device, NoCudaDevice> {
    match cupola_kernels::load_cuda() {
        CudaLibrary::Absent => Err(NoCudaDevice::Library),
        CudaLibrary::Broken(message) => Err(NoCudaDevice::Broken(message)),
        CudaLibrary::Loaded if tch::Cuda::is_available() => Ok(Device::Cuda(0)),
        CudaLibrary::Loaded => Err(NoCudaDevice::Device),
    }
}
