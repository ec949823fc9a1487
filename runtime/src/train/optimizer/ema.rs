//! A moving average of the weights (Polyak averaging with decay), as `torch.optim.swa_utils` has it: the first time it is the weights, and from then on
//! decay · average + (1 - decay) · weights.

use cupola_specs::job::EmaParams;
use tch::Tensor;

use crate::model::Parameter;

/// The averages, one for each weight.
#[derive(Debug)]
pub(super) struct Ema {
    params: EmaParams,
    pub(super) averages: Vec<Tensor>,
}

impl Ema {
    /// Averages that have seen nothing.
    pub(super) fn new(params: EmaParams, parameters: &[Parameter]) -> Self {
        Self { params, averages: parameters.iter().map(|p| p.tensor.detach().copy()).collect() }
    }

    /// Takes the weights in where it is time, `count` updates being done.
    pub(super) fn take_in(&mut self, parameters: &[Parameter], count: u64) {
        let every = self.params.every_steps.max(1);
        if !count.is_multiple_of(every) {
            return;
        }
        for (average, parameter) in self.averages.iter_mut().zip(parameters) {
            let weight = parameter.tensor.detach();
            if count == every {
                average.copy_(&weight);
            } else {
                let _ = average.lerp_(&weight, 1.0 - self.params.decay);
            }
        }
    }

    /// Puts the averages in the weights' place, where there are any after `count` updates.
    pub(super) fn put(&self, parameters: &mut [Parameter], count: u64) {
        if count < self.params.every_steps {
            return;
        }
        for (average, parameter) in self.averages.iter().zip(parameters) {
            parameter.tensor.copy_(average);
        }
    }
}
