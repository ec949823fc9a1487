//! Functions with a gradient of their own: forward and backward in Rust, the node between them in libtorch's graph.

use std::ffi::{CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;

use crate::KernelError;
use crate::error::panic_text;
use crate::shim::{self, GradMode, Message, Raw};

/// A function with a gradient of its own.
///
/// It is `Send`, since CUDA's backward runs on a thread of libtorch, and is dropped with the node of the graph that it made. One value serves
/// one call of [`apply`]; what forward computes for backward that is no tensor it keeps in itself.
pub trait Function: Send + 'static {
    /// What errors and profiles call it.
    fn name(&self) -> &'static str;

    /// Computes the outputs, outside of autograd. `inputs` must not be changed.
    ///
    /// # Errors
    /// Whatever stops it; [`apply`] returns it.
    fn forward(&mut self, context: &mut Forward, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError>;

    /// Computes a gradient for each input from those of the outputs.
    ///
    /// A gradient of an output that nothing used is `None`; so may be the result for an input that [`Backward::needs_input_grad`] denies.
    /// Where the caller of backward keeps a graph of it (`create_graph`), operations here are recorded, so that composed of differentiable
    /// ones it can be differentiated again.
    ///
    /// # Errors
    /// Whatever stops it; the call of backward fails with its words.
    fn backward(
        &mut self,
        context: &Backward,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>, KernelError>;
}

/// What forward has at hand.
#[derive(Debug)]
pub struct Forward {
    saved: Vec<Tensor>,
    needs: Vec<bool>,
}

impl Forward {
    /// Keeps a tensor for backward: an input, an output or one in between. libtorch watches it: changed in place before backward, it is an
    /// error there, and it is freed after backward unless the graph is kept.
    pub fn save(&mut self, tensor: &Tensor) {
        self.saved.push(tensor.shallow_clone());
    }

    /// Whether an input can get a gradient at all.
    pub fn needs_input_grad(&self, index: usize) -> bool {
        self.needs.get(index).copied().unwrap_or(false)
    }
}

/// What backward has at hand.
#[derive(Debug)]
pub struct Backward {
    saved: Vec<Tensor>,
    needs: Vec<bool>,
}

impl Backward {
    /// What forward saved, in its order.
    pub fn saved(&self) -> &[Tensor] {
        &self.saved
    }

    /// Whether this backward uses the gradient of an input.
    pub fn needs_input_grad(&self, index: usize) -> bool {
        self.needs.get(index).copied().unwrap_or(false)
    }
}

/// Applies a function to tensors and hangs its backward behind the outputs.
///
/// # Errors
/// Forward's, a panic of forward, an input that forward changed in place, or libtorch's refusal.
pub fn apply<F: Function>(mut function: F, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
    let name = function.name();
    let recorded = shim::cupola_grad_mode() != 0;
    let needs = inputs.iter().map(|input| recorded && input.requires_grad()).collect();
    let mut context = Forward { saved: Vec::new(), needs };
    let versions = versions_of(inputs)?;
    let outputs = {
        let _unrecorded = GradMode::set(false);
        catch_unwind(AssertUnwindSafe(|| function.forward(&mut context, inputs)))
    };
    let outputs = outputs.map_err(|panic| callback_error(name, "forward", panic_text(&*panic)))??;
    if versions != versions_of(inputs)? {
        let message = "forward changed an input in place, which its backward could not see".to_owned();
        return Err(KernelError::Invalid { operation: name, message });
    }
    attach(function, inputs, &outputs, &context.saved)?;
    Ok(outputs)
}

/// Hangs the backward of `function` behind `outputs`.
fn attach<F: Function>(
    function: F,
    inputs: &[&Tensor],
    outputs: &[Tensor],
    saved: &[Tensor],
) -> Result<(), KernelError> {
    let name = function.name();
    let label = CString::new(name).map_err(|error| callback_error(name, "name", error.to_string()))?;
    let inputs = shim::raws(inputs.iter().copied());
    let (outputs, saved) = (shim::raws(outputs), shim::raws(saved));
    let state: *mut F = Box::into_raw(Box::new(function));
    // SAFETY: the lists outlive the call. The shim owns `state` from here, whatever it returns: it passes it to `run_backward` for one
    // thread at a time and to `drop_state` once, both made for this `F`.
    let message = unsafe {
        shim::cupola_attach(
            inputs.as_ptr(),
            inputs.len(),
            outputs.as_ptr(),
            outputs.len(),
            saved.as_ptr(),
            saved.len(),
            label.as_ptr(),
            state.cast(),
            shim::drop_state::<F>,
            run_backward::<F>,
        )
    };
    shim::check("apply", message)
}

/// What libtorch calls in backward.
unsafe extern "C" fn run_backward<F: Function>(
    state: *mut c_void,
    grads: *mut Raw,
    num_grads: usize,
    saved: *mut Raw,
    num_saved: usize,
    needed: *const u8,
    results: *mut Raw,
    num_results: usize,
) -> Message {
    // SAFETY: the pointers and counts are those of the shim's vectors; grads and saved tensors pass to this function, each once.
    let (grads, context, results) = unsafe {
        let take = |raw: &Raw| (!raw.is_null()).then(|| shim::owned(*raw));
        let grads: Vec<Option<Tensor>> = slice(grads, num_grads).iter().map(take).collect();
        let saved = slice(saved, num_saved).iter().map(|raw| shim::owned(*raw)).collect();
        let needs = slice(needed, num_results).iter().map(|needed| *needed != 0).collect();
        let results: &mut [Raw] =
            if num_results == 0 { &mut [] } else { std::slice::from_raw_parts_mut(results, num_results) };
        (grads, Backward { saved, needs }, results)
    };
    // SAFETY: the shim holds the boxed function and calls for one thread at a time.
    let function = unsafe { &mut *state.cast::<F>() };
    let recorded = shim::cupola_grad_mode();
    let returned = catch_unwind(AssertUnwindSafe(|| {
        let gradients = function.backward(&context, &grads)?;
        // Freed here, so that a panic of a destructor ends here too.
        drop((context, grads));
        Ok::<_, KernelError>(gradients)
    }));
    shim::cupola_set_grad_mode(recorded);
    let error = match returned {
        Err(panic) => callback_error(function.name(), "backward", panic_text(&*panic)),
        Ok(Err(error)) => callback_error(function.name(), "backward", error.to_string()),
        Ok(Ok(gradients)) if gradients.len() != num_results => {
            let message = format!("{} gradients for {num_results} inputs", gradients.len());
            callback_error(function.name(), "backward", message)
        }
        Ok(Ok(gradients)) => {
            for (result, gradient) in results.iter_mut().zip(gradients) {
                *result = gradient.map_or(std::ptr::null_mut(), give);
            }
            return std::ptr::null_mut();
        }
    };
    shim::message_of(&error.to_string())
}

/// A list of the shim, which may be null where it is empty.
///
/// # Safety
/// `list` holds `count` values that nobody changes while the slice lives.
unsafe fn slice<'a, T>(list: *const T, count: usize) -> &'a [T] {
    // SAFETY: as the caller promises.
    if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(list, count) } }
}

/// Passes a tensor to the shim.
fn give(mut tensor: Tensor) -> Raw {
    let raw = tensor.as_mut_ptr().cast();
    std::mem::forget(tensor);
    raw
}

fn versions_of(tensors: &[&Tensor]) -> Result<Vec<i64>, KernelError> {
    let version_of = |tensor: &&Tensor| {
        let mut version = 0;
        // SAFETY: the call reads the tensor and writes the version.
        shim::check("apply", unsafe { shim::cupola_version(shim::raw(tensor), &raw mut version) })?;
        Ok(version)
    };
    tensors.iter().map(version_of).collect()
}

fn callback_error(name: &str, part: &str, message: String) -> KernelError {
    KernelError::Callback { callback: format!("{part} of {name}"), message }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::{Kind, TchError};

    use super::*;
    use crate::samples::{leaf, wave};

    /// `x · sigmoid(x) · y` by hand; counts how many of it are alive.
    struct SiluProduct(Arc<AtomicUsize>);

    impl SiluProduct {
        fn new(alive: &Arc<AtomicUsize>) -> Self {
            alive.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(alive))
        }
    }

    impl Drop for SiluProduct {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Function for SiluProduct {
        fn name(&self) -> &'static str {
            "silu_product"
        }

        fn forward(&mut self, context: &mut Forward, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
            context.save(inputs[0]);
            context.save(inputs[1]);
            Ok(vec![inputs[0] * inputs[0].sigmoid() * inputs[1]])
        }

        fn backward(
            &mut self,
            context: &Backward,
            grads: &[Option<Tensor>],
        ) -> Result<Vec<Option<Tensor>>, KernelError> {
            let [x, y] = context.saved() else { panic!("two tensors were saved") };
            let Some(grad) = &grads[0] else { return Ok(vec![None, None]) };
            let sigmoid = x.sigmoid();
            let slope = &sigmoid * (x * (1.0 - &sigmoid) + 1.0);
            let needs = |index| context.needs_input_grad(index);
            Ok(vec![needs(0).then(|| grad * y * slope), needs(1).then(|| grad * x * &sigmoid)])
        }
    }

    fn plain(x: &Tensor, y: &Tensor) -> Tensor {
        x * x.sigmoid() * y
    }

    fn one(mut outputs: Vec<Tensor>) -> Tensor {
        assert_eq!(outputs.len(), 1);
        outputs.remove(0)
    }

    fn assert_near(left: &Tensor, right: &Tensor) {
        let distance = (left - right).abs().max().double_value(&[]);
        assert!(distance < 1e-6, "{distance:e}");
    }

    #[test]
    fn gradients_are_autograds_and_nothing_leaks() {
        let alive = Arc::new(AtomicUsize::new(0));
        for (x_needs, y_needs) in [(true, true), (true, false), (false, true), (false, false)] {
            let make =
                || (leaf(&[3, 4], 1).set_requires_grad(x_needs), leaf(&[3, 4], 2).set_requires_grad(y_needs));
            let ((x, y), (plain_x, plain_y)) = (make(), make());
            let output = one(apply(SiluProduct::new(&alive), &[&x, &y]).unwrap());
            let expected = plain(&plain_x, &plain_y);
            assert_eq!(output, expected);
            assert_eq!(output.requires_grad(), x_needs || y_needs);
            if x_needs || y_needs {
                // Used twice: the node sees the sum of both gradients.
                (output.square() + &output).sum(Kind::Float).backward();
                (expected.square() + &expected).sum(Kind::Float).backward();
            }
            for (tensor, plain) in [(&x, &plain_x), (&y, &plain_y)] {
                assert_eq!(tensor.grad().defined(), plain.grad().defined());
                if plain.grad().defined() {
                    assert_near(&tensor.grad(), &plain.grad());
                }
            }
            drop(output);
            assert_eq!(alive.load(Ordering::SeqCst), 0, "the function outlived its node");
        }
    }

    #[test]
    fn a_kept_graph_runs_twice_and_a_freed_one_is_an_error() {
        let alive = Arc::new(AtomicUsize::new(0));
        let (x, y) = (leaf(&[5], 1), leaf(&[5], 2));
        let loss = one(apply(SiluProduct::new(&alive), &[&x, &y]).unwrap()).sum(Kind::Float);
        let first = Tensor::run_backward(&[&loss], &[&x, &y], true, false);
        let second = Tensor::run_backward(&[&loss], &[&x, &y], false, false);
        assert_eq!(first, second);
        let third = Tensor::f_run_backward(&[&loss], &[&x, &y], false, false).unwrap_err();
        assert!(third.to_string().contains("second time"), "{third}");
    }

    #[test]
    fn backward_of_differentiable_operations_can_be_differentiated_again() {
        let alive = Arc::new(AtomicUsize::new(0));
        let second_order = |output: &Tensor, x: &Tensor| {
            let first = Tensor::run_backward(&[output.sum(Kind::Float)], &[x], true, true);
            Tensor::run_backward(&[first[0].square().sum(Kind::Float)], &[x], false, false).remove(0)
        };
        let (x, y) = (leaf(&[6], 1), wave(&[6], 2));
        let own = second_order(&one(apply(SiluProduct::new(&alive), &[&x, &y]).unwrap()), &x);
        assert_near(&own, &second_order(&plain(&x, &y), &x));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn without_recording_there_is_no_node() {
        let alive = Arc::new(AtomicUsize::new(0));
        let (x, y) = (leaf(&[2], 1), leaf(&[2], 2));
        let output = tch::no_grad(|| one(apply(SiluProduct::new(&alive), &[&x, &y]).unwrap()));
        assert!(!output.requires_grad());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    /// Splits its input into itself, its double and a whole number; saves an output.
    struct Fork;

    impl Function for Fork {
        fn name(&self) -> &'static str {
            "fork"
        }

        fn forward(&mut self, context: &mut Forward, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
            let double = inputs[0] * 2.0;
            context.save(&double);
            Ok(vec![inputs[0].shallow_clone(), double, inputs[0].to_kind(Kind::Int64)])
        }

        fn backward(
            &mut self,
            context: &Backward,
            grads: &[Option<Tensor>],
        ) -> Result<Vec<Option<Tensor>>, KernelError> {
            assert!(context.saved()[0].requires_grad() && grads[2].is_none());
            let parts =
                [grads[0].as_ref().map(Tensor::shallow_clone), grads[1].as_ref().map(|grad| grad * 2.0)];
            Ok(vec![parts.into_iter().flatten().reduce(|left, right| left + right)])
        }
    }

    #[test]
    fn undefined_gradients_arrive_as_none_and_an_input_may_be_an_output() {
        for used in [vec![0], vec![1], vec![0, 1]] {
            let x = leaf(&[4], 3);
            let outputs = apply(Fork, &[&x]).unwrap();
            assert!(!outputs[2].requires_grad());
            let loss =
                used.iter().map(|index| outputs[*index].sum(Kind::Float)).reduce(|left, right| left + right);
            loss.unwrap().backward();
            let expected: f64 = used.iter().map(|index| if *index == 0 { 1.0 } else { 2.0 }).sum();
            assert_eq!(x.grad(), x.ones_like() * expected);
        }
    }

    #[test]
    fn a_saved_tensor_that_was_changed_is_an_error() {
        let alive = Arc::new(AtomicUsize::new(0));
        let (x, mut y) = (leaf(&[2], 1), wave(&[2], 2));
        let output = one(apply(SiluProduct::new(&alive), &[&x, &y]).unwrap());
        y += 1.0;
        let error = output.sum(Kind::Float).f_backward().unwrap_err();
        assert!(error.to_string().contains("modified by an inplace operation"), "{error}");
    }

    /// Fails in the way that it is told.
    struct Failing(&'static str, Arc<AtomicUsize>);

    impl Drop for Failing {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
            assert_ne!(self.0, "drop panics", "in drop");
        }
    }

    impl Function for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        fn forward(&mut self, _: &mut Forward, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
            match self.0 {
                "forward errs" => Err(KernelError::Tch(TchError::Torch("bad input".to_owned()))),
                "forward panics" => panic!("at the disco"),
                "forward changes" => {
                    let _changed = inputs[0].detach().fill_(0.0);
                    Ok(vec![inputs[0] * 2.0])
                }
                _ => Ok(vec![inputs[0] * 2.0]),
            }
        }

        fn backward(
            &mut self,
            _: &Backward,
            grads: &[Option<Tensor>],
        ) -> Result<Vec<Option<Tensor>>, KernelError> {
            let grad = grads[0].as_ref().map(Tensor::shallow_clone);
            match self.0 {
                "backward errs" => Err(KernelError::Tch(TchError::Torch("no gradient today".to_owned()))),
                "backward panics" => panic!("number {}", 42),
                "too many" => Ok(vec![grad, None]),
                "wrong shape" => Ok(vec![grad.map(|grad| grad.narrow(0, 0, 2))]),
                _ => Ok(vec![grad]),
            }
        }
    }

    #[test]
    fn errors_and_panics_of_callbacks_come_out_as_errors_with_their_words() {
        let alive = Arc::new(AtomicUsize::new(0));
        let run = |way: &'static str| {
            alive.fetch_add(1, Ordering::SeqCst);
            let x = leaf(&[3], 1);
            let outputs = match apply(Failing(way, Arc::clone(&alive)), &[&x]) {
                Ok(outputs) => outputs,
                Err(error) => return error.to_string(),
            };
            outputs[0].sum(Kind::Float).f_backward().err().map_or_else(String::new, |error| error.to_string())
        };
        assert_eq!(run("forward errs"), "libtorch: Internal torch error: bad input");
        assert_eq!(run("forward panics"), "forward of failing: at the disco");
        assert!(run("forward changes").starts_with("failing: forward changed an input in place"));
        assert!(
            run("backward errs")
                .contains("backward of failing: libtorch: Internal torch error: no gradient today")
        );
        assert!(run("backward panics").contains("backward of failing: number 42"));
        assert!(run("too many").contains("backward of failing: 2 gradients for 1 inputs"));
        assert!(run("wrong shape").contains("shape"), "{}", run("wrong shape"));
        assert_eq!(run("drop panics"), "");
        assert_eq!(run("nothing"), "");
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        // A panic in a callback does not leave recording off or on.
        assert!((leaf(&[1], 1) * 2.0).requires_grad());
    }

    #[test]
    fn backward_runs_on_another_thread_than_forward() {
        let alive = Arc::new(AtomicUsize::new(0));
        let (x, y) = (leaf(&[3], 1), leaf(&[3], 2));
        let loss = one(apply(SiluProduct::new(&alive), &[&x, &y]).unwrap()).sum(Kind::Float);
        std::thread::spawn(move || loss.backward()).join().unwrap();
        assert!(x.grad().defined());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}
