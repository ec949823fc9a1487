//! Hooks on a parameter's gradient: called in backward as soon as the gradient is ready, so that communication overlaps with the rest.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use tch::Tensor;

use crate::KernelError;
use crate::error::panic_text;
use crate::shim::{self, Message, Raw};

/// A hook; it is removed when this value is dropped.
#[derive(Debug)]
#[must_use = "the hook is removed when this value is dropped"]
pub struct GradientHook {
    leaf: Tensor,
    id: u64,
}

/// Calls `ready` with the parameter each time that backward has added to its gradient (`parameter.grad()`): once for each call of backward,
/// whatever the number of its uses.
///
/// It runs on the thread of backward, which for CUDA is one of libtorch's. A closure that holds the parameter itself keeps both alive for as
/// long as the hook is there.
///
/// # Errors
/// A tensor that is no leaf or requires no gradient. In backward: an error or a panic of `ready` fails the call of backward with its words.
pub fn on_gradient<F>(parameter: &Tensor, ready: F) -> Result<GradientHook, KernelError>
where
    F: FnMut(&Tensor) -> Result<(), KernelError> + Send + 'static,
{
    let state: *mut Mutex<F> = Box::into_raw(Box::new(Mutex::new(ready)));
    let mut id = 0;
    // SAFETY: the shim owns `state` from here, whatever it returns, and passes it to `run_hook` and, once, to `drop_state`, both made for it.
    let message = unsafe {
        shim::cupola_gradient_hook_add(
            shim::raw(parameter),
            state.cast(),
            shim::drop_state::<Mutex<F>>,
            run_hook::<F>,
            &raw mut id,
        )
    };
    shim::check("on_gradient", message)?;
    Ok(GradientHook { leaf: parameter.shallow_clone(), id })
}

impl Drop for GradientHook {
    fn drop(&mut self) {
        // SAFETY: the leaf is alive. Removing cannot fail but for memory.
        let _removed =
            shim::text_of(unsafe { shim::cupola_gradient_hook_remove(shim::raw(&self.leaf), self.id) });
    }
}

unsafe extern "C" fn run_hook<F>(state: *mut c_void, leaf: Raw) -> Message
where
    F: FnMut(&Tensor) -> Result<(), KernelError> + Send + 'static,
{
    // SAFETY: the leaf passes to us; the state is the mutex of `on_gradient`, which lives while a call of it runs.
    let (leaf, hook) = unsafe { (shim::owned(leaf), &*state.cast::<Mutex<F>>()) };
    let recorded = shim::cupola_grad_mode();
    let returned = catch_unwind(AssertUnwindSafe(|| {
        // A hook whose callback calls backward would wait for itself.
        let mut ready = hook.try_lock().map_err(|_| KernelError::Callback {
            callback: "a gradient hook".to_owned(),
            message: "it runs already, or panicked before".to_owned(),
        })?;
        ready(&leaf)
    }));
    shim::cupola_set_grad_mode(recorded);
    let message = match returned {
        Ok(Ok(())) => return std::ptr::null_mut(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("a gradient hook: {}", panic_text(&*panic)),
    };
    shim::message_of(&message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tch::Kind;

    use super::*;
    use crate::samples::{leaf, wave};

    #[test]
    fn a_hook_sees_the_finished_gradient_once_for_each_backward_until_it_is_dropped() {
        let weight = leaf(&[4], 1);
        let seen: Arc<Mutex<Vec<Tensor>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let hook = on_gradient(&weight, move |parameter| {
            sink.lock().unwrap().push(parameter.grad().copy());
            Ok(())
        })
        .unwrap();
        let loss = || (&weight * &weight * 3.0 + &weight).sum(Kind::Float);
        loss().backward();
        loss().backward();
        let gradient = &weight.detach() * 6.0 + 1.0;
        {
            let seen = seen.lock().unwrap();
            assert_eq!(seen.len(), 2);
            for (count, seen) in [1.0, 2.0].into_iter().zip(seen.iter()) {
                assert!((seen - &gradient * count).abs().max().double_value(&[]) < 1e-5);
            }
        }
        drop(hook);
        loss().backward();
        assert_eq!(seen.lock().unwrap().len(), 2);
        assert_eq!(Arc::strong_count(&seen), 1, "the callback outlived its hook");
    }

    #[test]
    fn several_hooks_run_in_the_order_of_their_making_and_may_change_the_gradient() {
        let weight = leaf(&[2], 1);
        let halve = |parameter: &Tensor| {
            let _halved = parameter.grad().f_mul_scalar_(0.5)?;
            Ok(())
        };
        let increase = |parameter: &Tensor| {
            let _increased = parameter.grad().f_add_scalar_(1.0)?;
            Ok(())
        };
        let _hooks = [on_gradient(&weight, halve).unwrap(), on_gradient(&weight, increase).unwrap()];
        weight.sum(Kind::Float).backward();
        assert_eq!(weight.grad(), Tensor::from_slice(&[1.5f32, 1.5]));
    }

    #[test]
    fn an_error_or_a_panic_of_a_hook_fails_backward_with_its_words() {
        let weight = leaf(&[2], 1);
        let broken = KernelError::Invalid { operation: "bucket", message: "full".to_owned() };
        let mut broken = Some(broken);
        let hook = on_gradient(&weight, move |_| broken.take().map_or(Ok(()), Err)).unwrap();
        let error = weight.sum(Kind::Float).f_backward().unwrap_err();
        assert!(error.to_string().contains("bucket: full"), "{error}");
        weight.sum(Kind::Float).f_backward().unwrap();
        drop(hook);
        let _hook = on_gradient(&weight, |_| panic!("in the hook")).unwrap();
        let error = weight.sum(Kind::Float).f_backward().unwrap_err();
        assert!(error.to_string().contains("a gradient hook: in the hook"), "{error}");
    }

    #[test]
    fn only_leaves_that_need_a_gradient_have_hooks() {
        for tensor in [wave(&[2], 1), leaf(&[2], 1) * 2.0] {
            let error = on_gradient(&tensor, |_| Ok(())).unwrap_err();
            assert_eq!(
                error.to_string(),
                "on_gradient: a gradient hook needs a leaf that requires a gradient"
            );
        }
    }
}
