//! What a CUDA device is and how its memory stands, for telemetry. The binary links no CUDA library: all of it goes through libtorch's
//! device interfaces, which exist once `libtorch_cuda.so` is loaded, and through the driver for a device's name.

use std::ffi::{CStr, c_char, c_int};

use crate::KernelError;
use crate::shim::{self, MemoryFields};

/// How the memory of a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaMemory {
    /// Bytes that no process uses.
    pub free_bytes: u64,
    /// Bytes of the device.
    pub total_bytes: u64,
    /// Bytes of this process's tensors.
    pub allocated_bytes: u64,
    /// The most that `allocated_bytes` was since the last [`reset_cuda_peak`].
    pub peak_allocated_bytes: u64,
    /// Bytes that libtorch's allocator holds.
    pub reserved_bytes: u64,
    /// The most that `reserved_bytes` was since the last [`reset_cuda_peak`].
    pub peak_reserved_bytes: u64,
}

/// The memory of a device.
///
/// # Errors
/// No such device.
pub fn cuda_memory(index: usize) -> Result<CudaMemory, KernelError> {
    let device = cuda_index("cuda_memory", index)?;
    let mut fields = MemoryFields::default();
    // SAFETY: the call writes the fields.
    shim::check("cuda_memory", unsafe { shim::cupola_cuda_memory(device, &raw mut fields) })?;
    Ok(CudaMemory {
        free_bytes: fields.free,
        total_bytes: fields.total,
        allocated_bytes: fields.allocated,
        peak_allocated_bytes: fields.peak_allocated,
        reserved_bytes: fields.reserved,
        peak_reserved_bytes: fields.peak_reserved,
    })
}

/// Sets the peaks of [`cuda_memory`] to what is in use now.
///
/// # Errors
/// No such device.
pub fn reset_cuda_peak(index: usize) -> Result<(), KernelError> {
    let device = cuda_index("reset_cuda_peak", index)?;
    shim::check("reset_cuda_peak", shim::cupola_cuda_reset_peak(device))
}

/// Waits until everything that was enqueued on a device is done: before a clock is read.
///
/// # Errors
/// No such device, or an error of a kernel that ran before.
pub fn synchronize_cuda(index: usize) -> Result<(), KernelError> {
    let device = cuda_index("synchronize_cuda", index)?;
    shim::check("synchronize_cuda", shim::cupola_cuda_synchronize(device))
}

/// The name of a device, such as `NVIDIA H100 80GB HBM3`.
///
/// # Errors
/// No such device, or a driver that does not answer.
pub fn cuda_name(index: usize) -> Result<String, KernelError> {
    let operation = "cuda_name";
    let device = cuda_index(operation, index)?;
    driver_name(device).map_err(|message| KernelError::NoCuda { operation, message })
}

/// The driver's own interface: stable, and without structs whose layout changes with its version.
fn driver_name(ordinal: c_int) -> Result<String, String> {
    type Init = unsafe extern "C" fn(flags: u32) -> c_int;
    type Get = unsafe extern "C" fn(device: *mut c_int, ordinal: c_int) -> c_int;
    type Name = unsafe extern "C" fn(name: *mut c_char, bytes: c_int, device: c_int) -> c_int;
    let succeeded = |function: &str, status: c_int| {
        if status == 0 { Ok(()) } else { Err(format!("{function} returned {status}")) }
    };
    let mut name = [0; 256];
    // SAFETY: the driver is the one that libtorch uses already; the three signatures are those of its header, unchanged since CUDA 2, and
    // `name` is terminated within its bounds.
    unsafe {
        let driver = libloading::Library::new("libcuda.so.1").map_err(|error| error.to_string())?;
        let init = driver.get::<Init>(b"cuInit\0").map_err(|error| error.to_string())?;
        let get = driver.get::<Get>(b"cuDeviceGet\0").map_err(|error| error.to_string())?;
        let name_of = driver.get::<Name>(b"cuDeviceGetName\0").map_err(|error| error.to_string())?;
        let mut device = 0;
        succeeded("cuInit", init(0))?;
        succeeded("cuDeviceGet", get(&raw mut device, ordinal))?;
        succeeded("cuDeviceGetName", name_of(name.as_mut_ptr(), 256, device))?;
        Ok(CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
    }
}

/// The number of a CUDA device that exists.
pub(crate) fn cuda_index(operation: &'static str, index: usize) -> Result<i32, KernelError> {
    if !tch::Cuda::is_available() {
        let message = "libtorch sees no CUDA device".to_owned();
        return Err(KernelError::NoCuda { operation, message });
    }
    let count = tch::Cuda::device_count();
    match i32::try_from(index) {
        Ok(device) if i64::from(device) < count => Ok(device),
        _ => Err(KernelError::NoCuda {
            operation,
            message: format!("there is no device {index} among {count}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_cuda_every_fact_is_an_error_that_says_so() {
        if crate::samples::has_cuda() {
            return println!("skipped: this machine has CUDA");
        }
        let errors = [
            cuda_memory(0).map(|_| ()).unwrap_err(),
            reset_cuda_peak(0).unwrap_err(),
            synchronize_cuda(0).unwrap_err(),
            cuda_name(0).map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().ends_with("needs CUDA: libtorch sees no CUDA device"), "{error}");
            assert!(!error.is_transient() && error.hint().is_some());
        }
    }

    #[test]
    fn with_cuda_the_facts_are_those_of_a_device() {
        if !crate::samples::has_cuda() {
            return println!("skipped: this machine has no CUDA");
        }
        reset_cuda_peak(0).unwrap();
        let before = cuda_memory(0).unwrap();
        let block = tch::Tensor::zeros([1 << 20], (tch::Kind::Float, tch::Device::Cuda(0)));
        synchronize_cuda(0).unwrap();
        let after = cuda_memory(0).unwrap();
        assert_eq!(after.allocated_bytes, before.allocated_bytes + (4 << 20));
        drop(block);
        assert_eq!(cuda_memory(0).unwrap().peak_allocated_bytes, after.peak_allocated_bytes);
        assert!(after.total_bytes > after.free_bytes && !cuda_name(0).unwrap().is_empty());
    }
}
