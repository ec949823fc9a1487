//! What must hold before a run of any stage is worth its time: a step's gradient does not depend on how the step is cut into micro-batches.

use cupola_specs::job::Precision;
use tch::{Kind, Tensor};

use super::{Objective, TrainError};

/// Checks that a step of `items` items has the same loss and gradient in one micro-batch and in one for each item; `step` gives both for
/// micro-batches of some items, by [`step_gradient`]. Returns how far the gradients are apart, relative to their norm. Where one item is all that
/// a forward pass takes, there is nothing to compare.
pub fn accumulation_self_test(
    items: u64,
    precision: Precision,
    step: &mut dyn FnMut(u64) -> Result<(f64, Tensor), TrainError>,
) -> Result<f64, TrainError> {
    if items < 2 {
        return Ok(0.0);
    }
    let (loss, together) = step(items)?;
    let (sum, apart) = step(1)?;
    let difference = ((&together - &apart).norm() / (together.norm() + 1e-12)).f_double_value(&[])?;
    let limit = if precision == Precision::Bf16 { 0.05 } else { 1e-3 };
    let fail = |message: String| Err(TrainError::SelfTest { test: "accumulation", message });
    if difference.is_nan() || difference > limit {
        return fail(format!("gradients differ by {difference:.1e}, at most {limit:.0e} is rounding"));
    }
    let apart = (loss - sum).abs() / loss.abs().max(1.0);
    if apart.is_nan() || apart > limit {
        return fail(format!("losses are {loss} and {sum}, at most {limit:.0e} is rounding"));
    }
    Ok(difference)
}

/// Loss of a step and the gradients of all its weights, end to end; those without one count as zero. The gradients are cleared.
///
/// # Shapes
/// `[P]`, the number of all parameters.
pub fn step_gradient(objective: &mut dyn Objective, step: u64) -> Result<(f64, Tensor), TrainError> {
    let mut sum = 0.0;
    for micro in 0..objective.micro_batches(step) {
        let part = objective.loss(step, micro)?;
        if part.tokens == 0 {
            return Err(TrainError::NoLoss { step, micro });
        }
        sum += part.loss.f_double_value(&[])?;
        part.loss.f_backward()?;
    }
    let mut flat = Vec::new();
    for mut parameter in objective.parameters() {
        let grad = parameter.tensor.grad();
        let grad = if grad.defined() { grad } else { parameter.tensor.detach().zeros_like() };
        flat.push(tch::no_grad(|| grad.f_view([-1])?.f_to_kind(Kind::Float)?.f_add_scalar(0.0))?);
        parameter.tensor.zero_grad();
    }
    Ok((sum, Tensor::f_cat(&flat, 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ParamGroup, Parameter};
    use crate::train::{Curves, StepLoss};

    /// Squares of one weight at four places of uneven size, in micro-batches of one place or two.
    struct Squares {
        weight: Tensor,
        places_each: u64,
        by_micro_batch: bool,
    }

    impl Objective for Squares {
        fn parameters(&self) -> Vec<Parameter> {
            let tensor = self.weight.shallow_clone();
            vec![Parameter { name: "w".into(), tensor, group: ParamGroup::Vector }]
        }

        fn micro_batches(&self, _step: u64) -> u64 {
            4 / self.places_each
        }

        fn loss(&mut self, _step: u64, micro: u64) -> Result<StepLoss, TrainError> {
            const TOKENS: [f64; 4] = [1.0, 7.0, 2.0, 3.0];
            let places = (micro * self.places_each) as usize..((micro + 1) * self.places_each) as usize;
            let here: f64 = TOKENS[places.clone()].iter().sum();
            let micro_batches = 4.0 / self.places_each as f64;
            // Divided by its own tokens, a micro-batch of few tokens weighs as much as one of many.
            let divisor = if self.by_micro_batch { here * micro_batches } else { TOKENS.iter().sum() };
            let sum: Tensor = places.map(|at| (&self.weight - at as f64).square() * TOKENS[at]).sum();
            Ok(StepLoss {
                loss: sum.sum(Kind::Float) / divisor,
                auxiliary: None,
                tokens: here as u64,
                metrics: Vec::new(),
                data_secs: 0.0,
            })
        }

        fn row_names(&mut self, _step: u64, _micro: u64) -> Vec<String> {
            Vec::new()
        }

        fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
            Ok(())
        }

        fn data_cursor(&self, _done: u64) -> u64 {
            0
        }
    }

    #[test]
    fn a_loss_that_is_divided_by_its_micro_batchs_tokens_is_found() {
        let test = |by_micro_batch| {
            let weight = Tensor::from_slice(&[0.5f32]).set_requires_grad(true);
            let squares =
                |places_each| Squares { weight: weight.shallow_clone(), places_each, by_micro_batch };
            let result = accumulation_self_test(4, Precision::Fp32, &mut |places_each| {
                step_gradient(&mut squares(places_each), 0)
            });
            assert!(weight.grad().equal(&weight.detach().zeros_like()));
            result
        };
        assert!(test(false).unwrap() < 1e-6);
        let error = test(true).unwrap_err();
        assert!(matches!(error, TrainError::SelfTest { test: "accumulation", .. }), "{error}");
    }
}
