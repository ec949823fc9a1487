//! AdamW, Muon and gradient descent over the weights, and a moving average of them.
//!
//! Each weight has its update, peak rate, decay and epsilon from the start ([`OptimizerSettings`]); a step takes factors of them ([`Pace`]) and a factor of
//! the gradients. Weights of one AdamW setting are updated as one list, matrices of one shape go through Muon's iteration as one batch.
//!
//! A step that the loop leaves out does not come here: moments, average and their counts stay as they are, and only the schedules, which go by the
//! run's steps, move on.

mod adamw;
mod ema;
mod muon;
mod settings;
mod sgd;

use std::collections::BTreeMap;

use cupola_kernels::{Accumulate, foreach_norm};
use tch::{Kind, Tensor};

use self::adamw::{AdamwLists, AdamwStep};
use self::ema::Ema;
use self::settings::{Slot, Update};
use self::sgd::SgdStep;
use crate::model::Parameter;
use crate::train::TrainError;

pub use self::settings::{Factors, OptimizerSettings, Pace, Peaks, Scaling};

/// The optimisers' state.
#[derive(Debug)]
pub struct Optimizer {
    settings: OptimizerSettings,
    parameters: Vec<Parameter>,
    slots: Vec<Slot>,
    /// First moments (AdamW) or momentum (Muon, gradient descent), by parameter.
    first: Vec<Tensor>,
    /// Second moments; an empty tensor where AdamW does not step.
    second: Vec<Tensor>,
    ema: Option<Ema>,
    steps: u64,
}

impl Optimizer {
    /// Fresh state for these weights.
    pub fn new(parameters: Vec<Parameter>, settings: OptimizerSettings) -> Self {
        let slots: Vec<Slot> = parameters.iter().map(|parameter| settings.slot(parameter)).collect();
        let first = parameters.iter().map(|p| p.tensor.detach().zeros_like()).collect();
        let second = parameters
            .iter()
            .zip(&slots)
            .map(|(p, slot)| match slot.update {
                Update::Adamw => p.tensor.detach().zeros_like(),
                Update::Muon | Update::Sgd => Tensor::zeros([0], (Kind::Float, p.tensor.device())),
            })
            .collect();
        let ema = settings.ema.map(|params| Ema::new(params, &parameters));
        Self { settings, parameters, slots, first, second, ema, steps: 0 }
    }

    /// The weights.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Norm over all gradients; weights without a gradient count as zero.
    pub fn grad_norm(&self) -> Result<f64, TrainError> {
        let grads = self.parameters.iter().map(|parameter| parameter.tensor.grad());
        let grads: Vec<Tensor> = grads.filter(Tensor::defined).collect();
        Ok(foreach_norm(&grads, Accumulate::Float)?.f_double_value(&[])?)
    }

    /// One step with gradients scaled by `grad_scale`; gradients are cleared.
    pub fn step(&mut self, pace: Pace, grad_scale: f64) -> Result<(), TrainError> {
        let all = vec![true; self.parameters.len()];
        self.step_only(&all, pace, grad_scale)
    }

    /// Gives up the state of the weights that another rank steps.
    pub fn keep_only(&mut self, own: &[bool]) {
        let averages = self.ema.as_mut().map(|ema| &mut ema.averages);
        let states = [Some(&mut self.first), Some(&mut self.second), averages];
        for state in states.into_iter().flatten() {
            for (tensor, _) in state.iter_mut().zip(own).filter(|(_, own)| !**own) {
                *tensor = Tensor::zeros([0], (tensor.kind(), tensor.device()));
            }
        }
    }

    /// [`Optimizer::step`] of some of the weights; the gradients of all are cleared.
    pub fn step_only(&mut self, own: &[bool], pace: Pace, grad_scale: f64) -> Result<(), TrainError> {
        self.steps += 1;
        tch::no_grad(|| {
            let grads = self.parameters.iter().map(|parameter| parameter.tensor.grad());
            let grads: Vec<(usize, Tensor)> = grads
                .enumerate()
                .filter(|(index, grad)| own[*index] && grad.defined())
                .map(|(index, grad)| (index, grad * grad_scale))
                .collect();
            self.adamw(&grads, pace)?;
            self.muon(&grads, pace);
            self.sgd(&grads, pace);
            if let Some(ema) = &mut self.ema {
                ema.take_in(&self.parameters, own, self.steps);
            }
            Ok::<(), TrainError>(())
        })?;
        self.zero_grad();
        Ok(())
    }

    /// Forgets the gradients.
    pub fn zero_grad(&mut self) {
        for parameter in &mut self.parameters {
            parameter.tensor.zero_grad();
        }
    }

    /// Ends the run: the average of the weights in this whole state, where one is kept, takes their place.
    pub fn finish(&mut self, state: &[(String, Tensor)]) {
        if let Some(ema) = &self.ema {
            tch::no_grad(|| ema.put(&mut self.parameters, state, self.steps));
        }
    }

    /// Those of the gradients that an update is for.
    fn of<'g>(&self, update: Update, grads: &'g [(usize, Tensor)]) -> Vec<(Slot, usize, &'g Tensor)> {
        let all = grads.iter().map(|(index, grad)| (self.slots[*index], *index, grad));
        all.filter(|(slot, _, _)| slot.update == update).collect()
    }

    fn adamw(&self, grads: &[(usize, Tensor)], pace: Pace) -> Result<(), TrainError> {
        let mut lists: Vec<(Slot, AdamwLists)> = Vec::new();
        for (slot, index, grad) in self.of(Update::Adamw, grads) {
            let at = lists.iter().position(|(known, _)| *known == slot).unwrap_or_else(|| {
                lists.push((slot, AdamwLists::default()));
                lists.len() - 1
            });
            let list = &mut lists[at].1;
            list.weights.push(self.parameters[index].tensor.shallow_clone());
            list.grads.push(grad.shallow_clone());
            list.first.push(self.first[index].shallow_clone());
            list.second.push(self.second[index].shallow_clone());
        }
        for (slot, mut list) in lists {
            let numbers = AdamwStep {
                lr: slot.lr * pace.lr,
                weight_decay: slot.weight_decay * pace.weight_decay,
                betas: self.settings.betas,
                eps: slot.eps,
                count: self.steps,
            };
            adamw::step(&mut list, numbers)?;
        }
        Ok(())
    }

    fn muon(&mut self, grads: &[(usize, Tensor)], pace: Pace) {
        let momentum = self.settings.momentum * pace.momentum;
        let mut shapes: BTreeMap<Vec<i64>, Vec<(Slot, usize, Tensor)>> = BTreeMap::new();
        for (slot, index, grad) in self.of(Update::Muon, grads) {
            let update = muon::momentum(&mut self.first[index], grad, momentum, self.settings.nesterov);
            shapes.entry(update.size()).or_default().push((slot, index, update));
        }
        for (size, updates) in shapes {
            let stacked: Vec<&Tensor> = updates.iter().map(|(_, _, update)| update).collect();
            let stacked = Tensor::stack(&stacked, 0); // [N, R, C]
            let directions =
                muon::orthogonalize(&stacked, self.settings.orthogonalization, self.settings.precision); // [N, R, C]
            for (place, (slot, index, _)) in updates.iter().enumerate() {
                let lr = slot.lr * pace.lr;
                let decay = slot.weight_decay * pace.weight_decay;
                let weight = &mut self.parameters[*index].tensor;
                if decay > 0.0 {
                    let _ = weight.g_mul_scalar_(1.0 - lr * decay);
                }
                let scale = muon::step_scale(size[0], size[1]);
                let _ = weight.g_sub_(&(directions.get(place as i64) * (lr * scale)));
            }
        }
    }

    fn sgd(&mut self, grads: &[(usize, Tensor)], pace: Pace) {
        for (slot, index, grad) in self.of(Update::Sgd, grads) {
            let numbers = SgdStep {
                lr: slot.lr * pace.lr,
                weight_decay: slot.weight_decay * pace.weight_decay,
                momentum: self.settings.momentum * pace.momentum,
                nesterov: self.settings.nesterov,
            };
            sgd::step(&mut self.parameters[index].tensor, grad, &mut self.first[index], numbers);
        }
    }

    /// Tensors of the state by name, in a fixed order, for a checkpoint.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::with_capacity(4 * self.parameters.len());
        for (index, parameter) in self.parameters.iter().enumerate() {
            let (name, second) = (&parameter.name, &self.second[index]);
            all.push((format!("weight/{name}"), parameter.tensor.detach()));
            all.push((format!("first/{name}"), self.first[index].shallow_clone()));
            if second.numel() > 0 {
                all.push((format!("second/{name}"), second.shallow_clone()));
            }
            if let Some(ema) = &self.ema {
                all.push((ema::state_name(name), ema.averages[index].shallow_clone()));
            }
        }
        all
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Says how many steps a restored state had done.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}

#[cfg(test)]
mod tests;
