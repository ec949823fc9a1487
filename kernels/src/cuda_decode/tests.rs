//! The kernels' source compiles for every device and shape. What they compute is compared with networks in `runtime/`.

use std::path::{Path, PathBuf};

use super::{KernelShape, compile_with};

/// NVRTC of the Python packages that `make test` fetches.
fn nvrtc() -> Option<PathBuf> {
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/lib").read_dir().ok();
    let found = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: .venv with NVRTC is missing; `make test` sets it up");
    }
    found
}

#[test]
fn every_kernel_compiles_for_ampere_ada_hopper_and_blackwell() {
    let Some(nvrtc) = nvrtc() else { return };
    for capability in [80, 89, 90, 100] {
        for head_dim in [64, 80, 128, 256] {
            for is_fp32 in [false, true] {
                let shape = KernelShape { head_dim, is_fp32 };
                let image = compile_with(&nvrtc, shape, capability).unwrap();
                assert_eq!(&image[..4], b"\x7fELF", "{shape:?} for {capability}");
            }
        }
    }
}

#[test]
fn what_nvrtc_says_of_a_wrong_device_is_told() {
    let Some(nvrtc) = nvrtc() else { return };
    let error = compile_with(&nvrtc, KernelShape { head_dim: 64, is_fp32: false }, 12).unwrap_err();
    assert!(error.contains("arch"), "{error}");
}
