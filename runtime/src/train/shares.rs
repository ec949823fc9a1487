//! The optimiser's state, shared out between ranks weight by weight: ZeRO's first stage (Rajbhandari et al. 2019, arXiv:1910.02054).
//!
//! Each rank holds the moments and averages of its own weights alone, steps those, and sends them to the others. The weights and their gradients are
//! whole on every rank, so that norms and steps are what they are without shares, to the bit.

use tch::{Device, Kind, Tensor};

use super::ranks::Ranks;
use super::{Optimizer, Pace, TrainError};

/// What a state's names begin with where they are of a weight itself.
const WEIGHT: &str = "weight/";

/// Who holds what of an optimiser's state.
#[derive(Debug)]
pub(super) struct Shares {
    ranks: Ranks,
    /// The rank that steps each weight, where they are shared out.
    owners: Option<Vec<usize>>,
    /// Whether this rank steps each weight.
    own: Vec<bool>,
    /// Every tensor of the state, in its order.
    entries: Vec<Entry>,
}

/// A tensor of the state.
#[derive(Debug)]
struct Entry {
    name: String,
    size: Vec<i64>,
    options: (Kind, Device),
    /// The rank that holds it, where not all do.
    owner: Option<usize>,
}

impl Shares {
    /// Shares a fresh state out, where `zero` is not 0 and there are several ranks.
    pub(super) fn of(ranks: &Ranks, optimizer: &mut Optimizer, zero: u32) -> Self {
        let is_shared = zero > 0 && !ranks.is_alone();
        let owners = is_shared.then(|| share_out(optimizer, ranks.count()));
        let place = |name: &str| {
            let weight = name.split_once('/').map_or(name, |(_, weight)| weight);
            optimizer.parameters().iter().position(|parameter| parameter.name == weight)
        };
        let entry = |(name, tensor): (String, Tensor)| {
            let of_rank = owners.as_ref().and_then(|owners| place(&name).map(|at| owners[at]));
            let owner = of_rank.filter(|_| !name.starts_with(WEIGHT));
            Entry { size: tensor.size(), options: (tensor.kind(), tensor.device()), owner, name }
        };
        let entries = optimizer.state().into_iter().map(entry).collect();
        let own: Vec<bool> = match &owners {
            Some(owners) => owners.iter().map(|owner| *owner == ranks.rank()).collect(),
            None => vec![true; optimizer.parameters().len()],
        };
        if is_shared {
            optimizer.keep_only(&own);
        }
        Self { ranks: ranks.clone(), owners, own, entries }
    }

    /// The whole state to load into: what this rank holds itself, and room for what others do.
    pub(super) fn to_fill(&self, optimizer: &Optimizer) -> Vec<(String, Tensor)> {
        let mut held = optimizer.state().into_iter().peekable();
        let entries = self.entries.iter().map(|entry| {
            let is_here = |(name, tensor): &(String, Tensor)| {
                *name == entry.name && (entry.owner.is_none() || tensor.size() == entry.size)
            };
            // The state's order is the same; what is given up is left out of it, or empty.
            while held.peek().is_some_and(|(name, _)| *name == entry.name) {
                if let Some(found) = held.next().filter(is_here) {
                    return found;
                }
            }
            (entry.name.clone(), Tensor::zeros(entry.size.as_slice(), entry.options))
        });
        entries.collect()
    }

    /// The whole state on the first rank, for a checkpoint or the end of the run; nothing on the others.
    pub(super) fn gather(&self, optimizer: &Optimizer) -> Result<Vec<(String, Tensor)>, TrainError> {
        if self.owners.is_none() {
            return Ok(if self.ranks.is_first() { optimizer.state() } else { Vec::new() });
        }
        let mut whole = Vec::new();
        for (entry, (name, mut tensor)) in self.entries.iter().zip(self.to_fill(optimizer)) {
            if let Some(owner) = entry.owner.filter(|owner| *owner != 0) {
                self.ranks.broadcast(&mut tensor, owner)?;
            }
            if self.ranks.is_first() {
                whole.push((name, tensor));
            }
        }
        Ok(whole)
    }

    /// Gives every rank what the first one loaded.
    pub(super) fn hand_out(&self, state: Vec<(String, Tensor)>) -> Result<(), TrainError> {
        for (_, mut tensor) in state {
            self.ranks.broadcast(&mut tensor, 0)?;
        }
        Ok(())
    }

    /// Steps this rank's weights and takes in those of the others.
    pub(super) fn step(
        &self,
        optimizer: &mut Optimizer,
        (pace, grad_scale): (Pace, f64),
    ) -> Result<(), TrainError> {
        optimizer.step_only(&self.own, pace, grad_scale)?;
        let Some(owners) = &self.owners else { return Ok(()) };
        for rank in 0..self.ranks.count() {
            let of_rank = optimizer.parameters().iter().zip(owners).filter(|(_, owner)| **owner == rank);
            let weights: Vec<Tensor> = of_rank.map(|(parameter, _)| parameter.tensor.detach()).collect();
            if weights.is_empty() {
                continue;
            }
            let rows: Vec<Tensor> = weights.iter().map(|weight| weight.reshape([-1])).collect();
            let mut flat = Tensor::f_cat(&rows, 0)?;
            self.ranks.broadcast(&mut flat, rank)?;
            let mut start = 0;
            for mut weight in weights {
                let length = weight.numel() as i64;
                let sent = flat.f_narrow(0, start, length)?.f_view_as(&weight)?;
                tch::no_grad(|| weight.f_copy_(&sent))?;
                start += length;
            }
        }
        Ok(())
    }
}

/// Weights to ranks, the largest first and each to the rank with the fewest values.
fn share_out(optimizer: &Optimizer, count: usize) -> Vec<usize> {
    let sizes: Vec<usize> = optimizer.parameters().iter().map(|parameter| parameter.tensor.numel()).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(sizes[*index]), *index));
    let mut held = vec![0usize; count];
    let mut owners = vec![0; sizes.len()];
    for index in order {
        let least = (0..count).min_by_key(|rank| (held[*rank], *rank)).unwrap_or(0);
        owners[index] = least;
        held[least] += sizes[index];
    }
    owners
}
