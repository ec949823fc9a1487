//! The kernels' source compiles for every device and shape. What they compute is compared with networks in `runtime/`.

use std::path::PathBuf;

use super::{KernelShape, compile_with};

/// NVRTC from the wheel that `deploy/fetch-nvrtc.sh` fetches, or one of the system's.
fn nvrtc() -> Option<PathBuf> {
    std::env::var_os("CUPOLA_NVRTC").map(PathBuf::from)
}

#[test]
fn every_kernel_compiles_for_ampere_ada_hopper_and_blackwell() {
    let Some(nvrtc) = nvrtc() else {
        println!("skipped: CUPOLA_NVRTC names no libnvrtc.so (make test sets it)");
        return;
    };
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
    let Some(nvrtc) = nvrtc() else {
        println!("skipped: CUPOLA_NVRTC names no libnvrtc.so (make test sets it)");
        return;
    };
    let error = compile_with(&nvrtc, KernelShape { head_dim: 64, is_fp32: false }, 12).unwrap_err();
    assert!(error.contains("sm_12"), "{error}");
}
