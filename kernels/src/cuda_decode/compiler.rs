//! The kernels' source, compiled for the device at hand by NVRTC, which comes with libtorch's CUDA build.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use libloading::os::unix::Library;

use crate::cuda::libtorch_folder;

const SOURCE: [&str; 4] = [
    include_str!("../../cuda/primitives.cuh"),
    include_str!("../../cuda/elementwise.cuh"),
    include_str!("../../cuda/product.cuh"),
    include_str!("../../cuda/attention.cuh"),
];

/// What the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelShape {
    /// Width of a head, up to 256.
    pub head_dim: usize,
    /// Weights, keys and values in fp32, else in bf16.
    pub is_fp32: bool,
}

impl KernelShape {
    /// Width of a head in memory: whole chunks of 32.
    pub fn padded_dim(self) -> usize {
        self.head_dim.next_multiple_of(32)
    }

    /// What the source is compiled with.
    pub fn definitions(self) -> Vec<String> {
        let mut all = vec![format!("-DHEAD_CHUNKS={}", self.padded_dim() / 32)];
        if self.is_fp32 {
            all.push("-DFP32".to_owned());
        }
        all
    }
}

/// The kernels in CUDA C++, as one file.
pub fn kernel_source() -> String {
    SOURCE.concat()
}

type Status = c_int;
type Program = *mut c_void;

/// The functions that are used here, with the signatures of NVRTC's header.
struct Interface {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Status,
}

impl Interface {
    fn open(path: &Path) -> Result<Self, String> {
        hold_builtins(path);
        // SAFETY: NVRTC's initialisers touch nothing of this process, and the symbols have the signatures of its header. It stays open.
        unsafe {
            let library = Library::new(path).map_err(|error| error.to_string())?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get(concat!($name, "\0").as_bytes()).map_err(|error| error.to_string())?
                };
            }
            let interface = Self {
                create: symbol!("nvrtcCreateProgram"),
                destroy: symbol!("nvrtcDestroyProgram"),
                compile: symbol!("nvrtcCompileProgram"),
                log_size: symbol!("nvrtcGetProgramLogSize"),
                log: symbol!("nvrtcGetProgramLog"),
                cubin_size: symbol!("nvrtcGetCUBINSize"),
                cubin: symbol!("nvrtcGetCUBIN"),
            };
            std::mem::forget(library);
            Ok(interface)
        }
    }
}

/// NVRTC looks for its other half by name alone: where that lies beside it, it is opened first.
fn hold_builtins(path: &Path) {
    let Some(entries) = path.parent().and_then(|folder| folder.read_dir().ok()) else { return };
    let is_builtins = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with("libnvrtc-builtins.so"))
    };
    for entry in entries.flatten().filter(is_builtins) {
        // SAFETY: its initialisers touch nothing of this process. It stays open; where it cannot be opened NVRTC says what it lacks.
        if let Ok(library) = unsafe { Library::new(entry.path()) } {
            std::mem::forget(library);
        }
    }
}

/// Where NVRTC may lie: where the system looks, beside libtorch, in the package that PyPI's torch brings along, in a CUDA toolkit.
fn candidates() -> Vec<PathBuf> {
    const NAMES: [&str; 2] = ["libnvrtc.so.13", "libnvrtc.so.12"];
    let mut folders = vec![PathBuf::new()];
    if let Some(torch) = libtorch_folder() {
        folders.push(torch.clone());
        folders.extend(
            ["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"].map(|beside| torch.join("../..").join(beside)),
        );
    }
    folders.push("/usr/local/cuda/lib64".into());
    folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name))).collect()
}

/// Compiles the kernels for a compute capability (times 10).
pub(super) fn compile(shape: KernelShape, capability: i32) -> Result<Vec<u8>, String> {
    let mut errors = Vec::new();
    for path in candidates() {
        match Interface::open(&path) {
            Ok(nvrtc) => return compile_by(&nvrtc, shape, capability),
            Err(error) => errors.push(error),
        }
    }
    errors.dedup();
    Err(format!("NVRTC, the compiler of its kernels, is not there: {}", errors.join("; ")))
}

/// The same by the NVRTC at `path`, wherever there is a device.
///
/// # Errors
/// No NVRTC there; what it says of the source.
pub fn compile_with(path: &Path, shape: KernelShape, capability: i32) -> Result<Vec<u8>, String> {
    compile_by(&Interface::open(path)?, shape, capability)
}

fn compile_by(nvrtc: &Interface, shape: KernelShape, capability: i32) -> Result<Vec<u8>, String> {
    let text = |text: String| CString::new(text).map_err(|error| error.to_string());
    let source = text(kernel_source())?;
    let mut options = vec![
        text(format!("-arch=sm_{capability}"))?,
        text("-std=c++17".to_owned())?,
        // Which products are fused with a sum is written in the source: so every kernel rounds alike.
        text("-fmad=false".to_owned())?,
    ];
    for definition in shape.definitions() {
        options.push(text(definition)?);
    }
    let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = null_mut();
    // SAFETY: source and options end with zeros and live until the program is destroyed; sizes are NVRTC's own.
    unsafe {
        let status =
            (nvrtc.create)(&raw mut program, source.as_ptr(), c"decoder.cu".as_ptr(), 0, null(), null());
        if status != 0 {
            return Err(format!("nvrtcCreateProgram: status {status}"));
        }
        let status = (nvrtc.compile)(program, options.len() as c_int, options.as_ptr());
        let mut size = 0;
        let result = if status == 0 {
            (nvrtc.cubin_size)(program, &raw mut size);
            let mut image = vec![0_u8; size];
            (nvrtc.cubin)(program, image.as_mut_ptr().cast());
            Ok(image)
        } else {
            (nvrtc.log_size)(program, &raw mut size);
            let mut log = vec![0_u8; size];
            (nvrtc.log)(program, log.as_mut_ptr().cast());
            Err(format!(
                "the kernels do not compile: {}",
                String::from_utf8_lossy(&log).trim_end_matches('\0')
            ))
        };
        (nvrtc.destroy)(&raw mut program);
        result
    }
}
