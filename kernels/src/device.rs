//! What a CUDA device says of itself, by the driver's own library: libtorch's bindings have neither name nor memory.

use std::ffi::{CStr, c_char, c_int, c_uint};

use libloading::Library;

/// Room for a device's name.
const NAME_BYTES: usize = 256;

/// The driver's library. It is there wherever a CUDA device can be used.
#[derive(Debug)]
pub struct CudaDriver {
    library: Library,
}

impl CudaDriver {
    /// Opens and initialises it; none where there is no driver.
    pub fn open() -> Option<Self> {
        // SAFETY: the driver's initialisers have no side effect on this process but reserving its own state.
        let library = unsafe { Library::new("libcuda.so.1") }.ok()?;
        let driver = Self { library };
        // SAFETY: `cuInit(unsigned int)` as the driver's header declares it; 0 is its only flag.
        let code =
            unsafe { (driver.library.get::<unsafe extern "C" fn(c_uint) -> c_int>(b"cuInit\0").ok()?)(0) };
        (code == 0).then_some(driver)
    }

    /// The name of a device of those that this process sees.
    pub fn device_name(&self, index: usize) -> Option<String> {
        let mut device: c_int = 0;
        let mut name = [0 as c_char; NAME_BYTES];
        // SAFETY: `cuDeviceGet(CUdevice*, int)` and `cuDeviceGetName(char*, int, CUdevice)` as the driver's header declares them; both write
        // within what they are given.
        unsafe {
            let get = self
                .library
                .get::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(b"cuDeviceGet\0")
                .ok()?;
            let get_name = self
                .library
                .get::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(b"cuDeviceGetName\0")
                .ok()?;
            if get(&raw mut device, index as c_int) != 0
                || get_name(name.as_mut_ptr(), NAME_BYTES as c_int - 1, device) != 0
            {
                return None;
            }
        }
        // SAFETY: the array is zeroed and its last byte was never handed out, so the text ends within it.
        Some(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// Bytes of the device's memory that are taken, by this process and any other; of the device that the calling thread works on. None where
    /// it works on none.
    pub fn used_memory_bytes(&self) -> Option<u64> {
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: `cuMemGetInfo_v2(size_t*, size_t*)` as the driver's header declares it; it fails where no context is current.
        let code = unsafe {
            let info = self
                .library
                .get::<unsafe extern "C" fn(*mut usize, *mut usize) -> c_int>(b"cuMemGetInfo_v2\0")
                .ok()?;
            info(&raw mut free, &raw mut total)
        };
        (code == 0).then(|| total.saturating_sub(free) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_name_or_there_is_no_driver() {
        let Some(driver) = CudaDriver::open() else {
            eprintln!("skipped: there is no CUDA driver here");
            return;
        };
        assert!(driver.device_name(0).is_none_or(|name| !name.is_empty()));
        assert_eq!(driver.device_name(10_000), None);
    }
}
