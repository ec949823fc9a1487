//! The CUDA driver by its C interface, opened at run time: the binary links no CUDA. It works in the primary context of a device, which is the
//! one that libtorch uses.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::{null, null_mut};

use libloading::os::unix::Library;

/// A status of the driver.
type Status = c_int;
/// An opaque handle: context, module, function, stream, graph.
pub(super) type Handle = *mut c_void;

/// `CUlaunchAttribute`: an identifier, padded to 8 bytes, and a union of 64 bytes.
#[repr(C)]
struct LaunchAttribute {
    id: c_int,
    padding: c_int,
    value: [c_int; 16],
}

/// `CUlaunchConfig`.
#[repr(C)]
struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const LaunchAttribute,
    num_attributes: c_uint,
}

/// A kernel may begin before the one before it has ended, and waits for it by itself.
const PROGRAMMATIC_STREAM_SERIALIZATION: c_int = 6;
const NON_BLOCKING: c_uint = 1;
const CAPTURE_OF_THIS_THREAD: c_int = 1;
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

/// The functions that are used here, with the signatures of the driver's header.
#[derive(Debug, Clone, Copy)]
struct Interface {
    init: unsafe extern "C" fn(c_uint) -> Status,
    error_string: unsafe extern "C" fn(Status, *mut *const c_char) -> Status,
    device_get: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    device_attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status,
    context_retain: unsafe extern "C" fn(*mut Handle, c_int) -> Status,
    context_release: unsafe extern "C" fn(c_int) -> Status,
    context_set: unsafe extern "C" fn(Handle) -> Status,
    module_load: unsafe extern "C" fn(*mut Handle, *const c_void) -> Status,
    module_unload: unsafe extern "C" fn(Handle) -> Status,
    module_function: unsafe extern "C" fn(*mut Handle, Handle, *const c_char) -> Status,
    stream_create: unsafe extern "C" fn(*mut Handle, c_uint) -> Status,
    stream_destroy: unsafe extern "C" fn(Handle) -> Status,
    stream_synchronize: unsafe extern "C" fn(Handle) -> Status,
    capture_begin: unsafe extern "C" fn(Handle, c_int) -> Status,
    capture_end: unsafe extern "C" fn(Handle, *mut Handle) -> Status,
    graph_instantiate: unsafe extern "C" fn(*mut Handle, Handle, u64) -> Status,
    graph_destroy: unsafe extern "C" fn(Handle) -> Status,
    graph_exec_destroy: unsafe extern "C" fn(Handle) -> Status,
    graph_launch: unsafe extern "C" fn(Handle, Handle) -> Status,
    launch: unsafe extern "C" fn(
        *const LaunchConfig,
        Handle,
        *const *const c_void,
        *const *const c_void,
    ) -> Status,
    host_alloc: unsafe extern "C" fn(*mut *mut c_void, usize) -> Status,
    host_free: unsafe extern "C" fn(*mut c_void) -> Status,
    copy_in: unsafe extern "C" fn(u64, *const c_void, usize, Handle) -> Status,
    copy_out: unsafe extern "C" fn(*mut c_void, u64, usize, Handle) -> Status,
}

impl Interface {
    fn open() -> Result<Self, String> {
        // SAFETY: the driver's initialisers touch nothing of this process, and the symbols have the signatures of its header, whose
        // versions (`_v2`) are named. The library stays open.
        unsafe {
            let library = Library::new("libcuda.so.1").map_err(|error| error.to_string())?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get(concat!($name, "\0").as_bytes()).map_err(|error| error.to_string())?
                };
            }
            let interface = Self {
                init: symbol!("cuInit"),
                error_string: symbol!("cuGetErrorString"),
                device_get: symbol!("cuDeviceGet"),
                device_attribute: symbol!("cuDeviceGetAttribute"),
                context_retain: symbol!("cuDevicePrimaryCtxRetain"),
                context_release: symbol!("cuDevicePrimaryCtxRelease_v2"),
                context_set: symbol!("cuCtxSetCurrent"),
                module_load: symbol!("cuModuleLoadData"),
                module_unload: symbol!("cuModuleUnload"),
                module_function: symbol!("cuModuleGetFunction"),
                stream_create: symbol!("cuStreamCreate"),
                stream_destroy: symbol!("cuStreamDestroy_v2"),
                stream_synchronize: symbol!("cuStreamSynchronize"),
                capture_begin: symbol!("cuStreamBeginCapture_v2"),
                capture_end: symbol!("cuStreamEndCapture"),
                graph_instantiate: symbol!("cuGraphInstantiateWithFlags"),
                graph_destroy: symbol!("cuGraphDestroy"),
                graph_exec_destroy: symbol!("cuGraphExecDestroy"),
                graph_launch: symbol!("cuGraphLaunch"),
                launch: symbol!("cuLaunchKernelEx"),
                host_alloc: symbol!("cuMemAllocHost_v2"),
                host_free: symbol!("cuMemFreeHost"),
                copy_in: symbol!("cuMemcpyHtoDAsync_v2"),
                copy_out: symbol!("cuMemcpyDtoHAsync_v2"),
            };
            std::mem::forget(library);
            Ok(interface)
        }
    }

    fn check(&self, function: &str, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        let mut text: *const c_char = null();
        // SAFETY: the driver writes the address of a constant text, or null.
        let words = unsafe {
            (self.error_string)(status, &raw mut text);
            if text.is_null() { "unknown error".into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        Err(format!("{function}: {words} ({status})"))
    }
}

/// A device's primary context with a stream of its own.
#[derive(Debug)]
pub(super) struct Driver {
    interface: Interface,
    device: c_int,
    context: Handle,
    stream: Handle,
    /// Compute capability times 10.
    capability: i32,
}

// SAFETY: the driver's handles belong to the process, not to a thread; the context is made current before each use.
unsafe impl Send for Driver {}

impl Driver {
    /// Takes device `index`.
    pub(super) fn open(index: i32) -> Result<Self, String> {
        let interface = Interface::open()?;
        let mut driver =
            Self { interface, device: 0, context: null_mut(), stream: null_mut(), capability: 0 };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: every pointer is to a local or a field; the context and the stream are released when the value is dropped.
        unsafe {
            interface.check("cuInit", (interface.init)(0))?;
            interface.check("cuDeviceGet", (interface.device_get)(&raw mut driver.device, index))?;
            let device = driver.device;
            let attribute = interface.device_attribute;
            interface
                .check("cuDeviceGetAttribute", attribute(&raw mut major, COMPUTE_CAPABILITY_MAJOR, device))?;
            interface
                .check("cuDeviceGetAttribute", attribute(&raw mut minor, COMPUTE_CAPABILITY_MINOR, device))?;
            interface.check(
                "cuDevicePrimaryCtxRetain",
                (interface.context_retain)(&raw mut driver.context, device),
            )?;
            driver.make_current()?;
            interface
                .check("cuStreamCreate", (interface.stream_create)(&raw mut driver.stream, NON_BLOCKING))?;
        }
        driver.capability = major * 10 + minor;
        Ok(driver)
    }

    /// Compute capability times 10: 90 is Hopper.
    pub(super) fn capability(&self) -> i32 {
        self.capability
    }

    /// Works in this context from this thread on.
    pub(super) fn make_current(&self) -> Result<(), String> {
        // SAFETY: the context is retained while this value lives.
        self.interface.check("cuCtxSetCurrent", unsafe { (self.interface.context_set)(self.context) })
    }

    /// Loads compiled kernels.
    pub(super) fn load(&self, image: &[u8]) -> Result<Handle, String> {
        let mut module = null_mut();
        // SAFETY: the image is a whole cubin, which says its own length.
        let status = unsafe { (self.interface.module_load)(&raw mut module, image.as_ptr().cast()) };
        self.interface.check("cuModuleLoadData", status)?;
        Ok(module)
    }

    pub(super) fn unload(&self, module: Handle) {
        // SAFETY: the module is of this context and its kernels have ended.
        unsafe { (self.interface.module_unload)(module) };
    }

    pub(super) fn function(&self, module: Handle, name: &str) -> Result<Handle, String> {
        let mut function = null_mut();
        let text = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: the module is loaded; the name ends with a zero.
        let status = unsafe { (self.interface.module_function)(&raw mut function, module, text.as_ptr()) };
        self.interface.check(&format!("cuModuleGetFunction {name}"), status)?;
        Ok(function)
    }

    /// Enqueues a kernel whose one argument is `arguments`.
    pub(super) fn launch(
        &self,
        function: Handle,
        (grid, threads): ([u32; 3], u32),
        arguments: &[u8],
    ) -> Result<(), String> {
        let overlap = LaunchAttribute {
            id: PROGRAMMATIC_STREAM_SERIALIZATION,
            padding: 0,
            value: std::array::from_fn(|at| c_int::from(at == 0)),
        };
        let config = LaunchConfig {
            grid,
            block: [threads, 1, 1],
            shared: 0,
            stream: self.stream,
            attributes: &raw const overlap,
            num_attributes: c_uint::from(self.capability >= 90),
        };
        let parameters = [arguments.as_ptr().cast::<c_void>()];
        // SAFETY: the driver copies configuration and arguments before it returns; the kernel's one parameter is of this type, as the
        // caller knows.
        let status =
            unsafe { (self.interface.launch)(&raw const config, function, parameters.as_ptr(), null()) };
        self.interface.check("cuLaunchKernelEx", status)
    }

    /// Copies from pinned memory to the device's memory, in the stream's order.
    ///
    /// # Safety
    /// Both hold `bytes` bytes, and the source stays as it is until the stream has passed.
    pub(super) unsafe fn copy_in(&self, to: u64, from: *const u8, bytes: usize) -> Result<(), String> {
        // SAFETY: by the caller.
        let status = unsafe { (self.interface.copy_in)(to, from.cast(), bytes, self.stream) };
        self.interface.check("cuMemcpyHtoDAsync", status)
    }

    /// Copies from the device's memory, in the stream's order.
    ///
    /// # Safety
    /// Both hold `bytes` bytes, and nobody reads the target before the stream has passed.
    pub(super) unsafe fn copy_out(&self, to: *mut u8, from: u64, bytes: usize) -> Result<(), String> {
        // SAFETY: by the caller.
        let status = unsafe { (self.interface.copy_out)(to.cast(), from, bytes, self.stream) };
        self.interface.check("cuMemcpyDtoHAsync", status)
    }

    /// Waits until all that was enqueued is done.
    pub(super) fn synchronize(&self) -> Result<(), String> {
        // SAFETY: the stream is of this context.
        self.interface
            .check("cuStreamSynchronize", unsafe { (self.interface.stream_synchronize)(self.stream) })
    }

    /// What is enqueued from now on is kept and not run.
    pub(super) fn begin_capture(&self) -> Result<(), String> {
        // SAFETY: the stream is of this context and captures nothing yet.
        let status = unsafe { (self.interface.capture_begin)(self.stream, CAPTURE_OF_THIS_THREAD) };
        self.interface.check("cuStreamBeginCapture", status)
    }

    /// Makes what was kept a graph that can be launched.
    pub(super) fn end_capture(&self) -> Result<Handle, String> {
        let (mut graph, mut ready) = (null_mut(), null_mut());
        // SAFETY: a capture was begun; the graph is no longer needed once it is instantiated.
        unsafe {
            self.interface
                .check("cuStreamEndCapture", (self.interface.capture_end)(self.stream, &raw mut graph))?;
            let status = (self.interface.graph_instantiate)(&raw mut ready, graph, 0);
            (self.interface.graph_destroy)(graph);
            self.interface.check("cuGraphInstantiate", status)?;
        }
        Ok(ready)
    }

    pub(super) fn launch_graph(&self, graph: Handle) -> Result<(), String> {
        // SAFETY: the graph was made by this driver and is not dropped.
        self.interface.check("cuGraphLaunch", unsafe { (self.interface.graph_launch)(graph, self.stream) })
    }

    pub(super) fn drop_graph(&self, graph: Handle) {
        // SAFETY: the graph was made by this driver; who drops it has waited for it.
        unsafe { (self.interface.graph_exec_destroy)(graph) };
    }

    /// Memory of the host that copies go to and from without a detour.
    pub(super) fn pinned(&self, bytes: usize) -> Result<*mut u64, String> {
        let mut memory = null_mut();
        // SAFETY: the driver writes the address.
        let status = unsafe { (self.interface.host_alloc)(&raw mut memory, bytes.max(1)) };
        self.interface.check("cuMemAllocHost", status)?;
        Ok(memory.cast())
    }

    pub(super) fn drop_pinned(&self, memory: *mut u64) {
        // SAFETY: the memory is of `pinned`.
        unsafe { (self.interface.host_free)(memory.cast()) };
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: what is not null was made in `open`, and nothing uses it any more.
        unsafe {
            if !self.stream.is_null() && self.make_current().is_ok() {
                (self.interface.stream_destroy)(self.stream);
            }
            if !self.context.is_null() {
                (self.interface.context_release)(self.device);
            }
        }
    }
}
