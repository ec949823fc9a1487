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

    /// Takes those weights in that are this rank's `own`, where it is time, `count` updates being done.
    pub(super) fn take_in(&mut self, parameters: &[Parameter], own: &[bool], count: u64) {
        let every = self.params.every_steps.max(1);
        if !count.is_multiple_of(every) {
            return;
        }
        let all = self.averages.iter_mut().zip(parameters).zip(own);
        for ((average, parameter), _) in all.filter(|(_, own)| **own) {
            let weight = parameter.tensor.detach();
            if count == every {
                average.copy_(&weight);
            } else {
                let _ = average.lerp_(&weight, 1.0 - self.params.decay);
            }
        }
    }

    /// Puts the averages of a whole state in the weights' place, where there are any after `count` updates.
    pub(super) fn put(&self, parameters: &mut [Parameter], state: &[(String, Tensor)], count: u64) {
        if count < self.params.every_steps {
            return;
        }
        for parameter in parameters {
            let name = state_name(&parameter.name);
            if let Some((_, average)) = state.iter().find(|(known, _)| *known == name) {
                parameter.tensor.copy_(average);
            }
        }
    }
}

/// What a state calls the average of a weight.
pub(super) fn state_name(weight: &str) -> String {
    format!("ema/{weight}")
}
