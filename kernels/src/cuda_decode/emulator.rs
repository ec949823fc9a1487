//! The kernels compiled for the processor (`kernels/cuda/emulated.h`), which run thread by thread: the same source without a device.

use std::path::Path;

use libloading::os::unix::Library;

use super::compiler::{KernelShape, kernel_source};
use super::driver::Handle;

/// A kernel compiled for the processor: its arguments, its grid, its threads.
type Emulated = unsafe extern "C" fn(*const u8, *const u32, u32);

/// A library of emulated kernels.
#[derive(Debug)]
pub(super) struct Emulator(Library);

impl Emulator {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: the library is the kernels' source, whose initialisers set up a few static values.
        unsafe { Library::new(path) }.map(Self).map_err(|error| error.to_string())
    }

    pub(super) fn function(&self, name: &str) -> Result<Handle, String> {
        // SAFETY: the address is only kept; `launch` says what it is called with.
        let symbol = unsafe { self.0.get::<Emulated>(name.as_bytes()) }.map_err(|error| error.to_string())?;
        Ok(*symbol as Handle)
    }

    /// Runs a kernel to its end.
    pub(super) fn launch(function: Handle, (grid, threads): ([u32; 3], u32), arguments: &[u8]) {
        // SAFETY: every address comes from `function`, whose symbols have this signature; the arguments are the kernel's, as the caller
        // knows, and the library is open.
        unsafe {
            let kernel: Emulated = std::mem::transmute(function);
            kernel(arguments.as_ptr(), grid.as_ptr(), threads);
        }
    }
}

/// Compiles the kernels for the processor into `folder` with the C++ compiler `c++`: for tests.
///
/// # Errors
/// The files cannot be written; what the compiler says.
pub fn compile_emulated(folder: &Path, shape: KernelShape) -> Result<std::path::PathBuf, String> {
    let failed = |error: std::io::Error| error.to_string();
    let library = folder.join(format!("{}.so", shape.definitions().concat().replace('=', "-")));
    let (source, header) = (library.with_extension("cpp"), folder.join("emulated.h"));
    std::fs::write(&source, kernel_source()).map_err(failed)?;
    std::fs::write(&header, include_str!("../../cuda/emulated.h")).map_err(failed)?;
    let output = std::process::Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
        .args(["-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-w", "-U_FORTIFY_SOURCE"])
        .args(shape.definitions())
        .arg("-include")
        .args([&header, &source])
        .arg("-o")
        .arg(&library)
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(library)
}
