//! The linker drops `libtorch_cuda.so`, since no symbol of it is named: it is opened at start where there is one.

use std::ffi::OsStr;
use std::path::Path;

/// What became of the CUDA half of libtorch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaLibrary {
    /// It is loaded; whether a device can be used is libtorch's to say.
    Loaded,
    /// There is none beside libtorch: this is a CPU build.
    Absent,
    /// There is one and it does not load, with the linker's words.
    Broken(String),
}

/// Opens `libtorch_cuda.so` for the whole process, from the folder of the libtorch in use.
pub fn load_cuda() -> CudaLibrary {
    match libtorch_folder() {
        Some(folder) => load(&folder.join("libtorch_cuda.so")),
        None => CudaLibrary::Absent,
    }
}

fn load(library: &Path) -> CudaLibrary {
    if !library.exists() {
        return CudaLibrary::Absent;
    }
    let flags = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_GLOBAL;
    let name: &OsStr = library.as_os_str();
    // SAFETY: the library lies beside the libtorch that this process is linked to and is of the same build; its initialisers only
    // register operators. It is never closed.
    match unsafe { libloading::os::unix::Library::open(Some(name), flags) } {
        Ok(handle) => {
            std::mem::forget(handle);
            CudaLibrary::Loaded
        }
        Err(error) => CudaLibrary::Broken(error.to_string()),
    }
}

/// The folder of the `libtorch_cpu.so` that this process has mapped.
pub(crate) fn libtorch_folder() -> Option<std::path::PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    let path = Path::new(&line[line.find('/')?..]);
    path.parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_absent_and_a_wrong_one_is_broken() {
        let folder = std::env::temp_dir();
        assert_eq!(load(&folder.join("no-such-libtorch_cuda.so")), CudaLibrary::Absent);
        let file = folder.join(format!("cupola-not-a-library-{}.so", std::process::id()));
        std::fs::write(&file, b"not ELF").unwrap();
        assert!(matches!(load(&file), CudaLibrary::Broken(_)));
        std::fs::remove_file(file).unwrap();
    }
}
