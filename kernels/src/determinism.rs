//! Settings of the process that decide whether the same step gives the same bits, and in how many bits float32 is multiplied.

use tch::Kind;

use crate::KernelError;
use crate::shim;

/// The environment that deterministic mode on CUDA needs before the process starts: a fixed workspace for cuBLAS.
pub const DETERMINISTIC_ENVIRONMENT: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// Turns deterministic mode on or off: operations that have a deterministic form use it, and those that have none are errors.
///
/// # Errors
/// On a machine with CUDA, an environment other than [`DETERMINISTIC_ENVIRONMENT`] (or `:16:8`): cuBLAS would not be deterministic.
/// Nothing is changed then.
pub fn set_deterministic(on: bool) -> Result<(), KernelError> {
    let (variable, value) = DETERMINISTIC_ENVIRONMENT;
    if on && tch::Cuda::is_available() {
        let found = std::env::var(variable).unwrap_or_default();
        if found != value && found != ":16:8" {
            let found = if found.is_empty() { "not set".to_owned() } else { format!("`{found}`") };
            return Err(KernelError::Workspace { variable, value, found });
        }
    }
    shim::check("set_deterministic", shim::cupola_set_deterministic(u8::from(on)))
}

/// Whether deterministic mode is on.
pub fn is_deterministic() -> bool {
    shim::cupola_is_deterministic() != 0
}

/// How float32 matrices are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float32Matmul {
    /// In float32 (24 bits of mantissa).
    Full,
    /// In TensorFloat-32 where the device has it (11 bits): several times as fast on CUDA, and another result.
    Tf32,
}

/// Chooses how float32 matrices are multiplied, in cuBLAS and cuDNN. A process starts with TF32 allowed in cuDNN: call this at start.
///
/// # Errors
/// libtorch's refusal.
pub fn set_float32_matmul(precision: Float32Matmul) -> Result<(), KernelError> {
    shim::check("set_float32_matmul", shim::cupola_set_tf32(u8::from(precision == Float32Matmul::Tf32)))
}

/// How float32 matrices are multiplied.
pub fn float32_matmul() -> Float32Matmul {
    if shim::cupola_tf32_allowed() == 0 { Float32Matmul::Full } else { Float32Matmul::Tf32 }
}

/// libtorch's number of a kind that autocast computes in.
pub(crate) fn number_of(operation: &'static str, kind: Kind) -> Result<i32, KernelError> {
    match kind {
        Kind::Half => Ok(5),
        Kind::BFloat16 => Ok(15),
        other => Err(KernelError::Invalid {
            operation,
            message: format!("autocast to {other:?} is not supported"),
        }),
    }
}
