//! Activation checkpointing: a part of the network keeps only its inputs and is computed again in backward.
//!
//! "Training Deep Nets with Sublinear Memory Cost" (Chen et al., 2016, arXiv 1604.06174). Unlike PyTorch's reentrant form, the parameters
//! that the part uses become inputs of its node: each gets its gradient once, when all parts that use it are done, so that gradient hooks
//! fire once for each backward; and it matters nothing whether an input needs a gradient. They are found by running forward with recording
//! on and walking the graph, which is freed before the part returns: at no time is more than one part's graph alive.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Tensor};

use crate::KernelError;
use crate::autocast::AutocastState;
use crate::error::panic_text;
use crate::function::{self, Backward, Forward, Function};
use crate::rng::{rng_state, set_rng_state};
use crate::shim::{self, GradMode, Raw};

/// Whether a repeated part draws random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Randomness {
    /// It draws none.
    None,
    /// It draws from the default generators of the CPU and of its inputs' device, as dropout does: they are put back for the repetition,
    /// which then draws the same, and set again to where backward found them.
    Restored,
}

/// Runs `part` and has backward run it again instead of keeping what it computed.
///
/// `part` sees its inputs as leaves and may use any parameters (leaves) that it captures. It must compute the same each time. Autocast is the
/// same in the repetition as now.
///
/// # Shapes
/// What `part` returns.
///
/// # Errors
/// `part`'s own error or panic, or a captured tensor that is the result of another operation (it has to be an input). In backward: the same,
/// a parameter changed in place since, or a graph of backward itself (`create_graph`), which is not supported.
pub fn recompute<F>(part: F, inputs: &[&Tensor], randomness: Randomness) -> Result<Vec<Tensor>, KernelError>
where
    F: Fn(&[Tensor]) -> Result<Vec<Tensor>, KernelError> + Send + 'static,
{
    if shim::cupola_grad_mode() == 0 {
        return run(&part, &inputs.iter().map(|input| input.shallow_clone()).collect::<Vec<_>>());
    }
    let generators = match randomness {
        Randomness::None => Vec::new(),
        Randomness::Restored => generators_of(inputs)?,
    };
    let autocast = AutocastState::now()?.uncached();
    let (outputs, leaves) = first_run(&part, inputs, autocast)?;
    let mut all: Vec<&Tensor> = inputs.to_vec();
    all.extend(&leaves);
    let repeat = Repeat { part, num_inputs: inputs.len(), outputs, generators, autocast };
    function::apply(repeat, &all)
}

/// The outputs without their graph, and the parameters that the part used.
fn first_run<F>(
    part: &F,
    inputs: &[&Tensor],
    autocast: AutocastState,
) -> Result<(Vec<Tensor>, Vec<Tensor>), KernelError>
where
    F: Fn(&[Tensor]) -> Result<Vec<Tensor>, KernelError>,
{
    let inputs = as_leaves(inputs.iter().copied())?;
    let since = shim::cupola_sequence();
    let outputs = {
        let _autocast = autocast.enter()?;
        run(part, &inputs)?
    };
    let mut leaves: Vec<Tensor> = Vec::new();
    let list = shim::raws(&outputs);
    // SAFETY: the outputs outlive the call, and `take_leaf` pushes to `leaves` while it runs.
    let message =
        unsafe { shim::cupola_leaves(list.as_ptr(), list.len(), since, (&raw mut leaves).cast(), take_leaf) };
    if let Some(message) = shim::text_of(message) {
        return Err(KernelError::Invalid { operation: "recompute", message });
    }
    leaves.retain(|leaf| !inputs.iter().any(|input| is_same(input, leaf)));
    let outputs = outputs.iter().map(Tensor::f_detach).collect::<Result<_, _>>()?;
    Ok((outputs, leaves))
}

unsafe extern "C" fn take_leaf(sink: *mut c_void, leaf: Raw) {
    // SAFETY: `sink` is the list of `first_run`, and the leaf passes to it.
    unsafe { (*sink.cast::<Vec<Tensor>>()).push(shim::owned(leaf)) };
}

/// The node of a repeated part; its inputs are the part's and then the parameters that it uses.
struct Repeat<F> {
    part: F,
    num_inputs: usize,
    outputs: Vec<Tensor>,
    generators: Vec<(Device, Vec<u8>)>,
    autocast: AutocastState,
}

impl<F> Function for Repeat<F>
where
    F: Fn(&[Tensor]) -> Result<Vec<Tensor>, KernelError> + Send + 'static,
{
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn forward(&mut self, context: &mut Forward, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
        for input in inputs {
            context.save(input);
        }
        Ok(std::mem::take(&mut self.outputs))
    }

    fn backward(
        &mut self,
        context: &Backward,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>, KernelError> {
        if shim::cupola_grad_mode() != 0 {
            let message =
                "a graph of backward (create_graph) is not supported through recomputation".to_owned();
            return Err(KernelError::Invalid { operation: "recompute", message });
        }
        let (inputs, parameters) = context.saved().split_at(self.num_inputs);
        let inputs = as_leaves(inputs)?;
        let outputs = {
            let _recorded = GradMode::set(true);
            let _autocast = self.autocast.enter()?;
            let _generators = Generators::put_back(&self.generators)?;
            run(&self.part, &inputs)?
        };
        if outputs.len() != grads.len() {
            let message =
                format!("{} outputs in forward and {} in its repetition", grads.len(), outputs.len());
            return Err(KernelError::Invalid { operation: "recompute", message });
        }
        let wanted: Vec<&Tensor> = inputs.iter().chain(parameters).collect();
        gradients(&outputs, grads, &wanted, context)
    }
}

/// The gradients of what is wanted, from those of the outputs.
fn gradients(
    outputs: &[Tensor],
    grads: &[Option<Tensor>],
    wanted: &[&Tensor],
    context: &Backward,
) -> Result<Vec<Option<Tensor>>, KernelError> {
    let pairs = outputs.iter().zip(grads).filter_map(|(output, grad)| Some((output, grad.as_ref()?)));
    let (outputs, grads): (Vec<&Tensor>, Vec<&Tensor>) =
        pairs.filter(|(output, _)| output.requires_grad()).unzip();
    let mut gradients: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
    let needed: Vec<usize> = (0..wanted.len())
        .filter(|index| context.needs_input_grad(*index) && wanted[*index].requires_grad())
        .collect();
    if outputs.is_empty() || needed.is_empty() {
        return Ok(gradients);
    }
    let (outputs, grads) = (shim::raws(outputs), shim::raws(grads));
    let inputs: Vec<Raw> = needed.iter().map(|index| shim::raw(wanted[*index])).collect();
    let mut results: Vec<Raw> = vec![std::ptr::null_mut(); inputs.len()];
    // SAFETY: all lists outlive the call; on success each result is null or a tensor that passes to us.
    unsafe {
        let message = shim::cupola_grad(
            outputs.as_ptr(),
            grads.as_ptr(),
            outputs.len(),
            inputs.as_ptr(),
            inputs.len(),
            results.as_mut_ptr(),
        );
        shim::check("recompute", message)?;
        for (index, result) in needed.into_iter().zip(results) {
            gradients[index] = (!result.is_null()).then(|| shim::owned(result));
        }
    }
    Ok(gradients)
}

fn run<F>(part: &F, inputs: &[Tensor]) -> Result<Vec<Tensor>, KernelError>
where
    F: Fn(&[Tensor]) -> Result<Vec<Tensor>, KernelError>,
{
    catch_unwind(AssertUnwindSafe(|| part(inputs))).map_err(|panic| KernelError::Callback {
        callback: "the recomputed part".to_owned(),
        message: panic_text(&*panic),
    })?
}

/// The tensors cut off from what made them.
fn as_leaves<'t>(tensors: impl IntoIterator<Item = &'t Tensor>) -> Result<Vec<Tensor>, KernelError> {
    let cut = |tensor: &Tensor| Ok(tensor.f_detach()?.set_requires_grad(tensor.requires_grad()));
    tensors.into_iter().map(cut).collect()
}

/// Whether both are the same tensor of libtorch, not only of equal value.
fn is_same(left: &Tensor, right: &Tensor) -> bool {
    // SAFETY: both pointers are at::Tensor*, whose only field is the pointer to the shared implementation.
    unsafe { *shim::raw(left).cast::<usize>() == *shim::raw(right).cast::<usize>() }
}

fn generators_of(inputs: &[&Tensor]) -> Result<Vec<(Device, Vec<u8>)>, KernelError> {
    let mut devices = vec![Device::Cpu];
    for input in inputs {
        if !devices.contains(&input.device()) {
            devices.push(input.device());
        }
    }
    devices.into_iter().map(|device| Ok((device, rng_state(device)?))).collect()
}

/// Generators put back for a repetition; set to where they were found when dropped.
struct Generators(Vec<(Device, Vec<u8>)>);

impl Generators {
    fn put_back(states: &[(Device, Vec<u8>)]) -> Result<Self, KernelError> {
        let mut found = Self(Vec::with_capacity(states.len()));
        for (device, state) in states {
            found.0.push((*device, rng_state(*device)?));
            set_rng_state(*device, state)?;
        }
        Ok(found)
    }
}

impl Drop for Generators {
    fn drop(&mut self) {
        for (device, state) in &self.0 {
            // A state that the same generator gave a moment ago is not refused.
            let _restored = set_rng_state(*device, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::Kind;

    use super::*;
    use crate::autocast::Autocast;
    use crate::on_gradient;
    use crate::samples::{alone_with_the_generator, leaf, wave};

    /// Weights of two layers; a block is `gelu(x · a) · b + x`.
    fn weights() -> [Tensor; 2] {
        [leaf(&[8, 16], 1), leaf(&[16, 8], 2)]
    }

    fn block(x: &Tensor, [a, b]: &[Tensor; 2]) -> Tensor {
        x.matmul(a).gelu("none").matmul(b) + x
    }

    fn recomputed(x: &Tensor, weights: &[Tensor; 2], calls: &Arc<AtomicUsize>) -> Tensor {
        let (captured, calls) = ([weights[0].shallow_clone(), weights[1].shallow_clone()], Arc::clone(calls));
        let part = move |inputs: &[Tensor]| {
            calls.fetch_add(1, Ordering::SeqCst);
            Ok(vec![block(&inputs[0], &captured)])
        };
        recompute(part, &[x], Randomness::None).unwrap().remove(0)
    }

    #[test]
    fn gradients_are_the_plain_ones_to_the_bit_whether_or_not_the_input_needs_one() {
        for input_needs in [true, false] {
            let calls = Arc::new(AtomicUsize::new(0));
            let input = || leaf(&[4, 8], 3).set_requires_grad(input_needs);
            let (x, own) = (input(), weights());
            let loss = recomputed(&recomputed(&x, &own, &calls), &own, &calls).square().mean(Kind::Float);
            assert_eq!(calls.load(Ordering::SeqCst), 2);
            loss.backward();
            assert_eq!(calls.load(Ordering::SeqCst), 4, "each part ran again once");
            let (plain_x, plain) = (input(), weights());
            let expected = block(&block(&plain_x, &plain), &plain).square().mean(Kind::Float);
            expected.backward();
            assert_eq!(loss, expected);
            assert_eq!(own.map(|weight| weight.grad()), plain.map(|weight| weight.grad()));
            if input_needs {
                assert_eq!(x.grad(), plain_x.grad());
            }
        }
    }

    #[test]
    fn a_part_inside_a_part_works() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (x, own) = (leaf(&[4, 8], 3), weights());
        let (inner, inner_calls) = ([own[0].shallow_clone(), own[1].shallow_clone()], Arc::clone(&calls));
        let part = move |inputs: &[Tensor]| Ok(vec![recomputed(&inputs[0], &inner, &inner_calls).tanh()]);
        recompute(part, &[&x], Randomness::None).unwrap()[0].sum(Kind::Float).backward();
        let (plain_x, plain) = (leaf(&[4, 8], 3), weights());
        block(&plain_x, &plain).tanh().sum(Kind::Float).backward();
        assert_eq!(x.grad(), plain_x.grad());
        assert_eq!(own.map(|weight| weight.grad()), plain.map(|weight| weight.grad()));
    }

    /// A doubling that is counted for as long as its node lives.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Function for Counted {
        fn name(&self) -> &'static str {
            "counted"
        }

        fn forward(&mut self, _: &mut Forward, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(vec![inputs[0] * 2.0])
        }

        fn backward(
            &mut self,
            _: &Backward,
            grads: &[Option<Tensor>],
        ) -> Result<Vec<Option<Tensor>>, KernelError> {
            Ok(vec![grads[0].as_ref().map(|grad| grad * 2.0)])
        }
    }

    #[test]
    fn nothing_of_a_part_stays_between_forward_and_backward_or_after() {
        let alive = Arc::new(AtomicUsize::new(0));
        let (x, counted) = (leaf(&[3], 1), Arc::clone(&alive));
        let part = move |inputs: &[Tensor]| function::apply(Counted(Arc::clone(&counted)), &[&inputs[0]]);
        let outputs = recompute(part, &[&x], Randomness::None).unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 0, "the graph of the first run is alive");
        outputs[0].sum(Kind::Float).backward();
        assert_eq!(x.grad(), x.ones_like() * 2.0);
        assert_eq!(alive.load(Ordering::SeqCst), 0, "the graph of the repetition is alive");
        drop(outputs);
        assert_eq!(Arc::strong_count(&alive), 1, "the part outlived its node");
    }

    #[test]
    fn a_parameter_of_two_parts_is_ready_once() {
        let (calls, ready) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (x, own) = (wave(&[4, 8], 3), weights());
        let counted = Arc::clone(&ready);
        let _hook = on_gradient(&own[0], move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        recomputed(&recomputed(&x, &own, &calls), &own, &calls).sum(Kind::Float).backward();
        assert_eq!(ready.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn dropout_draws_the_same_again_and_leaves_the_generator_where_it_was() {
        let _alone = alone_with_the_generator();
        let gradient = |is_recomputed: bool| {
            tch::manual_seed(5);
            let x = leaf(&[64], 3);
            let part = |inputs: &[Tensor]| Ok(vec![inputs[0].dropout(0.5, true).square()]);
            let y = if is_recomputed {
                recompute(part, &[&x], Randomness::Restored).unwrap().remove(0)
            } else {
                part(&[x.shallow_clone()]).unwrap().remove(0)
            };
            let between = wave(&[64], 1).dropout(0.5, true);
            (y * between).sum(Kind::Float).backward();
            (x.grad(), Tensor::rand([4], (Kind::Float, Device::Cpu)))
        };
        assert_eq!(gradient(true), gradient(false));
    }

    #[test]
    fn autocast_is_the_same_in_the_repetition() {
        let gradient = |is_recomputed: bool| {
            let (calls, x, own) = (Arc::new(AtomicUsize::new(0)), leaf(&[4, 8], 3), weights());
            let loss = {
                let _bf16 = Autocast::bf16(Device::Cpu).unwrap();
                let y = if is_recomputed { recomputed(&x, &own, &calls) } else { block(&x, &own) };
                y.to_kind(Kind::Float).sum(Kind::Float)
            };
            loss.backward();
            [x.grad(), own[0].grad(), own[1].grad()]
        };
        assert_eq!(gradient(true), gradient(false));
    }

    #[test]
    fn what_cannot_be_repeated_is_refused_with_words() {
        let outside = leaf(&[3], 1) * 2.0;
        let part = move |inputs: &[Tensor]| Ok(vec![&inputs[0] * &outside]);
        let error = recompute(part, &[&leaf(&[3], 2)], Randomness::None).unwrap_err().to_string();
        assert!(error.starts_with("recompute: it uses the result of MulBackward"), "{error}");

        let weight = leaf(&[3], 1);
        let mut captured = weight.shallow_clone();
        let x = leaf(&[3], 2);
        let y = recompute(move |inputs| Ok(vec![&inputs[0] * &weight]), &[&x], Randomness::None).unwrap();
        tch::no_grad(|| captured += 1.0);
        let error = y[0].sum(Kind::Float).f_backward().unwrap_err().to_string();
        assert!(error.contains("modified by an inplace operation"), "{error}");

        let twice = recompute(|inputs| Ok(vec![inputs[0].square()]), &[&x], Randomness::None).unwrap();
        let error =
            Tensor::f_run_backward(&[twice[0].sum(Kind::Float)], &[&x], true, true).unwrap_err().to_string();
        assert!(error.contains("create_graph"), "{error}");

        let failing = |_: &[Tensor]| -> Result<Vec<Tensor>, KernelError> { panic!("oh no") };
        let error = recompute(failing, &[&x], Randomness::None).unwrap_err().to_string();
        assert_eq!(error, "the recomputed part: oh no");
    }

    #[test]
    fn without_recording_the_part_just_runs() {
        let y = tch::no_grad(|| {
            recompute(|inputs| Ok(vec![inputs[0].exp()]), &[&leaf(&[3], 1)], Randomness::None)
        });
        assert_eq!(y.unwrap()[0], leaf(&[3], 1).exp().detach());
    }

    #[test]
    fn an_output_that_nothing_uses_has_no_part_in_the_gradient() {
        let x = leaf(&[3], 1);
        let part =
            |inputs: &[Tensor]| Ok(vec![inputs[0].exp(), inputs[0].square(), inputs[0].to_kind(Kind::Int64)]);
        let outputs = recompute(part, &[&x], Randomness::None).unwrap();
        outputs[1].sum(Kind::Float).backward();
        assert_eq!(x.grad(), &x.detach() * 2.0);
        assert!(!outputs[2].requires_grad());
    }
}
