//! Autocast: inside of a scope, matrix products and what PyTorch lists with them compute in bfloat16 from float32 weights; reductions and
//! losses stay in float32. tch's own `autocast` switches CUDA only.
//!
//! "Mixed Precision Training" (Micikevicius et al., 2018, arXiv 1710.03740); the lists of operations are libtorch's.

use std::marker::PhantomData;

use tch::{Device, Kind};

use crate::KernelError;
use crate::shim::{self, AutocastFields};

/// Autocast of this thread for one kind of device, for as long as the value lives.
///
/// Weights that are cast are cached until the outermost scope ends, so that each is cast once for each forward pass; a step that changes
/// weights therefore lies outside. Scopes nest, and end in the order opposite to their beginning.
#[derive(Debug)]
#[must_use = "autocast ends when this value is dropped"]
pub struct Autocast {
    on_cuda: u8,
    before: AutocastFields,
    // Autocast belongs to a thread.
    thread: PhantomData<*const ()>,
}

impl Autocast {
    /// Begins a scope in bfloat16.
    ///
    /// # Errors
    /// A device that has no autocast.
    pub fn bf16(device: Device) -> Result<Self, KernelError> {
        Self::begin(device, Some(Kind::BFloat16))
    }

    /// Begins a scope without autocast inside of one with it: for a part that needs float32.
    ///
    /// # Errors
    /// A device that has no autocast.
    pub fn off(device: Device) -> Result<Self, KernelError> {
        Self::begin(device, None)
    }

    fn begin(device: Device, kind: Option<Kind>) -> Result<Self, KernelError> {
        let on_cuda = match device {
            Device::Cpu => 0,
            Device::Cuda(_) => 1,
            other => {
                let message = format!("{other:?} has no autocast here");
                return Err(KernelError::Invalid { operation: "autocast", message });
            }
        };
        let before = fields(on_cuda)?;
        let mut now = AutocastFields { enabled: u8::from(kind.is_some()), ..before };
        if let Some(kind) = kind {
            now.kind = crate::determinism::number_of("autocast", kind)?;
        }
        shim::check("autocast", shim::cupola_autocast_enter())?;
        let scope = Self { on_cuda, before, thread: PhantomData };
        set_fields(on_cuda, now)?;
        Ok(scope)
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // What was in force a moment ago is not refused; a destructor could not say so either.
        let _restored = set_fields(self.on_cuda, self.before);
        let _left = shim::text_of(shim::cupola_autocast_leave());
    }
}

/// The autocast of this thread for CPU and CUDA, to be put in force again where a part of forward is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AutocastState([AutocastFields; 2]);

impl AutocastState {
    pub(crate) fn now() -> Result<Self, KernelError> {
        Ok(Self([fields(0)?, fields(1)?]))
    }

    /// The same without the cache, which holds results of operations outside of the repeated part.
    pub(crate) fn uncached(mut self) -> Self {
        for fields in &mut self.0 {
            fields.cached = 0;
        }
        self
    }

    /// Puts it in force for as long as the value lives.
    pub(crate) fn enter(self) -> Result<AutocastScope, KernelError> {
        let scope = AutocastScope(Self::now()?);
        self.apply()?;
        Ok(scope)
    }

    fn apply(self) -> Result<(), KernelError> {
        set_fields(0, self.0[0])?;
        set_fields(1, self.0[1])
    }
}

/// Restores what was in force before.
pub(crate) struct AutocastScope(AutocastState);

impl Drop for AutocastScope {
    fn drop(&mut self) {
        let _restored = self.0.apply();
    }
}

fn fields(on_cuda: u8) -> Result<AutocastFields, KernelError> {
    let mut fields = AutocastFields::default();
    // SAFETY: the call writes the fields.
    shim::check("autocast", unsafe { shim::cupola_autocast_get(on_cuda, &raw mut fields) })?;
    Ok(fields)
}

fn set_fields(on_cuda: u8, fields: AutocastFields) -> Result<(), KernelError> {
    // SAFETY: the call reads the fields.
    shim::check("autocast", unsafe { shim::cupola_autocast_set(on_cuda, &raw const fields) })
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::samples;

    #[test]
    fn products_are_bfloat16_inside_and_float32_outside() {
        let (x, weight) = (samples::wave(&[4, 8], 1), samples::leaf(&[8, 3], 2));
        {
            let _bf16 = Autocast::bf16(Device::Cpu).unwrap();
            let y = x.matmul(&weight); // [4, 3]
            assert_eq!(y.kind(), Kind::BFloat16);
            assert_eq!(y, x.to_kind(Kind::BFloat16).matmul(&weight.to_kind(Kind::BFloat16)));
            {
                let _full = Autocast::off(Device::Cpu).unwrap();
                assert_eq!(x.matmul(&weight).kind(), Kind::Float);
            }
            assert_eq!(x.matmul(&weight).kind(), Kind::BFloat16);
            y.to_kind(Kind::Float).square().sum(Kind::Float).backward();
        }
        assert_eq!(x.matmul(&weight).kind(), Kind::Float);
        assert_eq!(weight.grad().kind(), Kind::Float);
    }

    #[test]
    fn a_panic_ends_the_scope() {
        let caught = std::panic::catch_unwind(|| {
            let _bf16 = Autocast::bf16(Device::Cpu).unwrap();
            panic!("inside");
        });
        assert!(caught.is_err());
        assert_eq!(samples::wave(&[2, 2], 1).matmul(&samples::wave(&[2, 2], 2)).kind(), Kind::Float);
    }

    #[test]
    fn a_weight_that_changed_between_scopes_is_cast_again() {
        let x = samples::wave(&[2, 2], 1);
        let mut weight = samples::leaf(&[2, 2], 2);
        let product = |weight: &Tensor| {
            let _bf16 = Autocast::bf16(Device::Cpu).unwrap();
            x.matmul(weight).to_kind(Kind::Float)
        };
        let before = product(&weight);
        tch::no_grad(|| weight *= 2.0);
        assert_eq!(product(&weight), before * 2.0);
    }
}
