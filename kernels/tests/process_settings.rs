//! Settings of the whole process: a process of their own, since other tests compare bits.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use cupola_kernels::{
    Float32Matmul, float32_matmul, is_deterministic, load_cuda, set_deterministic, set_float32_matmul,
};
use tch::Tensor;

#[test]
fn the_switches_do_what_they_say() {
    set_float32_matmul(Float32Matmul::Tf32).unwrap();
    assert_eq!(float32_matmul(), Float32Matmul::Tf32);
    set_float32_matmul(Float32Matmul::Full).unwrap();
    assert_eq!(float32_matmul(), Float32Matmul::Full);
    load_cuda();
    if tch::Cuda::is_available() {
        return println!("skipped: on CUDA deterministic mode depends on the environment of the test");
    }
    assert!(!is_deterministic());
    set_deterministic(true).unwrap();
    assert!(is_deterministic());
    // An operation without a deterministic form is an error now, not a shrug.
    let numbers = Tensor::from_slice(&[1f32, 2.0, 3.0]);
    let refused = numbers.shallow_clone().f_put_(
        &Tensor::from_slice(&[0i64, 0]),
        &Tensor::from_slice(&[5f32, 6.0]),
        false,
    );
    assert!(refused.unwrap_err().to_string().contains("deterministic"));
    set_deterministic(false).unwrap();
    assert!(!is_deterministic());
}
