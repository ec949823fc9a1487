//! The compiled kernels and the stream that they run in, on a device or emulated.

use std::cell::RefCell;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::compiler::{KernelShape, compile};
use super::driver::{Driver, Handle};
use super::emulator::Emulator;
use crate::KernelError;

/// The kernels, by their names in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    EmbedRows,
    NormRows,
    TurnHeads,
    /// Of fp32 weights.
    Product,
    /// Of bf16 weights and up to 8 rows, and so on.
    Product8,
    Product16,
    Product32,
    Product64,
    ProductMany,
    Attend,
    MergeParts,
}

impl Kernel {
    const OF_FP32: [Self; 5] =
        [Self::EmbedRows, Self::NormRows, Self::TurnHeads, Self::Product, Self::Attend];
    const OF_BF16: [Self; 10] = [
        Self::EmbedRows,
        Self::NormRows,
        Self::TurnHeads,
        Self::Product8,
        Self::Product16,
        Self::Product32,
        Self::Product64,
        Self::ProductMany,
        Self::Attend,
        Self::MergeParts,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::EmbedRows => "embed_rows",
            Self::NormRows => "norm_rows",
            Self::TurnHeads => "turn_heads",
            Self::Product => "product",
            Self::Product8 => "product_8",
            Self::Product16 => "product_16",
            Self::Product32 => "product_32",
            Self::Product64 => "product_64",
            Self::ProductMany => "product_many",
            Self::Attend => "attend",
            Self::MergeParts => "merge_parts",
        }
    }
}

/// A launch that was recorded.
#[derive(Debug)]
struct Launch {
    function: Handle,
    geometry: ([u32; 3], u32),
    arguments: Vec<u8>,
}

/// Launches that are run again as one.
#[derive(Debug)]
pub struct Graph(GraphKind);

#[derive(Debug)]
enum GraphKind {
    OnDevice(Handle),
    Emulated(Vec<Launch>),
}

// SAFETY: the handles belong to the process.
unsafe impl Send for Graph {}

#[derive(Debug)]
enum Backend {
    OnDevice { driver: Driver, module: Handle },
    Emulated { emulator: Emulator, recording: RefCell<Option<Vec<Launch>>> },
}

/// The kernels of one network, with memory of the host for what goes in and comes out.
#[derive(Debug)]
pub struct Program {
    backend: Backend,
    functions: Vec<(Kernel, Handle)>,
    shape: KernelShape,
    device: Device,
    staging: Option<(*mut u64, usize)>,
}

// SAFETY: as Driver and Emulator; the staging memory is this value's alone.
unsafe impl Send for Program {}

fn failed(message: String) -> KernelError {
    KernelError::NoCuda { operation: "the decoder of a CUDA device", message }
}

impl Program {
    /// Compiles the kernels for CUDA device `index`, which takes about a second.
    ///
    /// # Errors
    /// No such device, a head wider than 256, no NVRTC, a device older than Ampere (bf16 needs its matrix instructions).
    pub fn on_device(index: usize, shape: KernelShape) -> Result<Self, KernelError> {
        check(shape)?;
        let cuda = crate::device::cuda_index("the decoder of a CUDA device", index)?;
        let driver = Driver::open(cuda).map_err(failed)?;
        if driver.capability() < 80 {
            let (major, minor) = (driver.capability() / 10, driver.capability() % 10);
            return Err(failed(format!(
                "device {index} has compute capability {major}.{minor}; 8.0 is needed"
            )));
        }
        let image = compile(shape, driver.capability()).map_err(failed)?;
        let module = driver.load(&image).map_err(failed)?;
        Self::new(Backend::OnDevice { driver, module }, shape, Device::Cuda(index))
    }

    /// The kernels of a library that [`super::compile_emulated`] made, on memory of the processor.
    ///
    /// # Errors
    /// No such library, or one of other kernels.
    pub fn emulated(library: &Path, shape: KernelShape) -> Result<Self, KernelError> {
        check(shape)?;
        let emulator = Emulator::open(library).map_err(failed)?;
        Self::new(Backend::Emulated { emulator, recording: RefCell::new(None) }, shape, Device::Cpu)
    }

    fn new(backend: Backend, shape: KernelShape, device: Device) -> Result<Self, KernelError> {
        let mut program = Self { backend, functions: Vec::new(), shape, device, staging: None };
        let kernels: &[Kernel] = if shape.is_fp32 { &Kernel::OF_FP32 } else { &Kernel::OF_BF16 };
        for &kernel in kernels {
            let function = match &program.backend {
                Backend::OnDevice { driver, module } => driver.function(*module, kernel.name()),
                Backend::Emulated { emulator, .. } => emulator.function(kernel.name()),
            };
            program.functions.push((kernel, function.map_err(failed)?));
        }
        Ok(program)
    }

    /// What the kernels were compiled for.
    pub fn shape(&self) -> KernelShape {
        self.shape
    }

    /// Where the memory lies that they work on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The format of weights, keys and values.
    pub fn kind(&self) -> Kind {
        if self.shape.is_fp32 { Kind::Float } else { Kind::BFloat16 }
    }

    /// Works from this thread on; whatever thread made it.
    ///
    /// # Errors
    /// The driver's.
    pub fn make_current(&self) -> Result<(), KernelError> {
        match &self.backend {
            Backend::OnDevice { driver, .. } => driver.make_current().map_err(failed),
            Backend::Emulated { .. } => Ok(()),
        }
    }

    /// The address of a tensor that a kernel may read or write up to `least` numbers of.
    ///
    /// # Panics
    /// Where the tensor is another one than the kernels work on: an error of the caller's.
    pub(super) fn address(&self, tensor: &Tensor, kind: Kind, least: usize) -> u64 {
        assert!(
            tensor.device() == self.device
                && tensor.kind() == kind
                && tensor.is_contiguous()
                && tensor.numel() >= least,
            "a kernel of {:?} was given {tensor:?} for {least} numbers of {kind:?}",
            self.device
        );
        tensor.data_ptr() as u64
    }

    /// Enqueues a kernel.
    ///
    /// # Safety
    /// `arguments` is the kernel's own structure, and its addresses hold what the kernel reads and writes.
    pub(super) unsafe fn launch<A>(
        &self,
        kernel: Kernel,
        geometry: ([u32; 3], u32),
        arguments: &A,
    ) -> Result<(), KernelError> {
        if geometry.0.contains(&0) {
            return Ok(());
        }
        // SAFETY: a structure without references as its bytes; padding is never read as a number.
        let bytes =
            unsafe { std::slice::from_raw_parts(std::ptr::from_ref(arguments).cast::<u8>(), size_of::<A>()) };
        let function = self
            .functions
            .iter()
            .find(|(of, _)| *of == kernel)
            .map(|(_, function)| *function)
            .ok_or_else(|| failed(format!("{} was not compiled for {:?}", kernel.name(), self.shape)))?;
        match &self.backend {
            Backend::OnDevice { driver, .. } => driver.launch(function, geometry, bytes).map_err(failed),
            Backend::Emulated { recording, .. } => {
                match &mut *recording.borrow_mut() {
                    Some(launches) => {
                        launches.push(Launch { function, geometry, arguments: bytes.to_vec() });
                    }
                    None => Emulator::launch(function, geometry, bytes),
                }
                Ok(())
            }
        }
    }

    /// Records what `enqueue` launches, without running it.
    ///
    /// # Errors
    /// What `enqueue` gives; the driver's.
    pub fn record(&self, enqueue: impl FnOnce() -> Result<(), KernelError>) -> Result<Graph, KernelError> {
        match &self.backend {
            Backend::OnDevice { driver, .. } => {
                driver.begin_capture().map_err(failed)?;
                let enqueued = enqueue();
                let graph = driver.end_capture().map_err(failed);
                enqueued?;
                Ok(Graph(GraphKind::OnDevice(graph?)))
            }
            Backend::Emulated { recording, .. } => {
                recording.replace(Some(Vec::new()));
                let enqueued = enqueue();
                let launches = recording.take().unwrap_or_default();
                enqueued?;
                Ok(Graph(GraphKind::Emulated(launches)))
            }
        }
    }

    /// Enqueues what was recorded.
    ///
    /// # Errors
    /// The driver's.
    pub fn replay(&self, graph: &Graph) -> Result<(), KernelError> {
        match (&self.backend, &graph.0) {
            (Backend::OnDevice { driver, .. }, GraphKind::OnDevice(graph)) => {
                driver.launch_graph(*graph).map_err(failed)
            }
            (Backend::Emulated { .. }, GraphKind::Emulated(launches)) => {
                for launch in launches {
                    Emulator::launch(launch.function, launch.geometry, &launch.arguments);
                }
                Ok(())
            }
            _ => Err(failed("a graph of another program".to_owned())),
        }
    }

    /// Gives a graph's memory back.
    pub fn forget(&self, graph: Graph) {
        if let (Backend::OnDevice { driver, .. }, GraphKind::OnDevice(graph)) = (&self.backend, graph.0) {
            driver.drop_graph(graph);
        }
    }

    /// Memory of the host for copies.
    fn staging(&mut self, bytes: usize) -> Result<*mut u64, KernelError> {
        if let Some((memory, size)) = self.staging
            && size >= bytes
        {
            return Ok(memory);
        }
        self.drop_staging();
        let bytes = bytes.next_power_of_two();
        let memory = match &self.backend {
            Backend::OnDevice { driver, .. } => driver.pinned(bytes).map_err(failed)?,
            Backend::Emulated { .. } => {
                Box::leak(vec![0_u64; bytes.div_ceil(8)].into_boxed_slice()).as_mut_ptr()
            }
        };
        self.staging = Some((memory, bytes));
        Ok(memory)
    }

    fn drop_staging(&mut self) {
        if let Some((memory, bytes)) = self.staging.take() {
            match &self.backend {
                Backend::OnDevice { driver, .. } => driver.drop_pinned(memory),
                // SAFETY: the memory was leaked with this very length in `staging`.
                Backend::Emulated { .. } => drop(unsafe {
                    Box::from_raw(std::ptr::slice_from_raw_parts_mut(memory, bytes.div_ceil(8)))
                }),
            }
        }
    }

    /// Enqueues a copy of `numbers` to the beginning of `to`. Nothing else may be copied before the next [`Self::download`] or
    /// [`Self::synchronize`].
    ///
    /// # Errors
    /// The driver's.
    pub fn upload(&mut self, to: &Tensor, numbers: &[i32]) -> Result<(), KernelError> {
        let (address, bytes) = (self.address(to, Kind::Int, numbers.len()), size_of_val(numbers));
        let staging = self.staging(bytes)?;
        // SAFETY: both hold as many bytes; nobody else has the staging memory, and the caller waits before the next copy.
        unsafe {
            let staging = staging.cast::<u8>();
            std::ptr::copy_nonoverlapping(numbers.as_ptr().cast::<u8>(), staging, bytes);
            match &self.backend {
                Backend::OnDevice { driver, .. } => {
                    driver.copy_in(address, staging, bytes).map_err(failed)?;
                }
                Backend::Emulated { .. } => std::ptr::copy_nonoverlapping(staging, address as *mut u8, bytes),
            }
        }
        Ok(())
    }

    /// Waits for what was enqueued, and appends the first `count` numbers of `from` to `out`.
    ///
    /// # Errors
    /// The driver's, those of kernels that were enqueued before among them.
    pub fn download(&mut self, from: &Tensor, count: usize, out: &mut Vec<f32>) -> Result<(), KernelError> {
        let (address, bytes) = (self.address(from, Kind::Float, count), count * size_of::<f32>());
        // What was enqueued may still read the staging memory, which may move.
        if self.staging.is_none_or(|(_, size)| size < bytes) {
            self.synchronize()?;
        }
        let staging = self.staging(bytes)?;
        // SAFETY: both hold as many bytes; the stream orders the copy after what was copied in, and it is over before the memory is read.
        unsafe {
            match &self.backend {
                Backend::OnDevice { driver, .. } => {
                    driver.copy_out(staging.cast(), address, bytes).map_err(failed)?;
                }
                Backend::Emulated { .. } => {
                    std::ptr::copy_nonoverlapping(address as *const u8, staging.cast(), bytes);
                }
            }
            self.synchronize()?;
            out.extend_from_slice(std::slice::from_raw_parts(staging.cast::<f32>(), count));
        }
        Ok(())
    }

    /// Waits until everything that was enqueued is done.
    ///
    /// # Errors
    /// The driver's, those of kernels that were enqueued before among them.
    pub fn synchronize(&self) -> Result<(), KernelError> {
        match &self.backend {
            Backend::OnDevice { driver, .. } => driver.synchronize().map_err(failed),
            Backend::Emulated { .. } => Ok(()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let is_current = self.make_current().is_ok() && self.synchronize().is_ok();
        if is_current {
            self.drop_staging();
            if let Backend::OnDevice { driver, module } = &self.backend {
                driver.unload(*module);
            }
        }
    }
}

fn check(shape: KernelShape) -> Result<(), KernelError> {
    if shape.head_dim == 0 || shape.head_dim > 256 {
        let message = format!("heads of {} dimensions; 1 to 256 are supported", shape.head_dim);
        return Err(KernelError::Invalid { operation: "the decoder of a CUDA device", message });
    }
    Ok(())
}
