//! The values that are kept of every document: with them a changed threshold filters again without the text.
//!
//! A rule that takes lines out makes a new text. Each text has values of its own, a *stage*: those of stage 0 are of the text as it
//! came, those of stage 1 of what the first such rule left. Stage 0 has every value; a later one has those that rules behind it need.

use std::collections::BTreeMap;

use cupola_specs::job::Signal;
use serde::{Deserialize, Serialize};

/// Values of one text; what was not measured is NaN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values([f64; Signal::ALL.len()]);

impl Default for Values {
    fn default() -> Self {
        Self([f64::NAN; Signal::ALL.len()])
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        // What neither has is the same in both.
        self.0.iter().zip(&other.0).all(|(left, right)| left.to_bits() == right.to_bits())
    }
}

impl Values {
    /// A value; none where it was not measured.
    pub(super) fn get(&self, signal: Signal) -> Option<f64> {
        Some(self.0[signal as usize]).filter(|value| !value.is_nan())
    }

    /// Sets a value.
    pub(super) fn set(&mut self, signal: Signal, value: f64) {
        self.0[signal as usize] = value;
    }

    /// Sets a share; of nothing it is 0.
    pub(super) fn set_share(&mut self, signal: Signal, part: u64, whole: u64) {
        self.set(signal, if whole == 0 { 0.0 } else { part as f64 / whole as f64 });
    }
}

/// A document's values, stage by stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Signals {
    /// How they were measured: values that were measured otherwise are not compared with a threshold.
    pub(super) measured: u64,
    pub(super) stages: Vec<Values>,
}

impl Signals {
    /// A value of a stage by name; none where it was not measured.
    pub fn get(&self, stage: usize, name: &str) -> Option<f64> {
        self.stages.get(stage)?.get(Signal::of(name)?)
    }

    /// Stages: one, and one more for each rule set that takes lines out.
    pub fn num_stages(&self) -> usize {
        self.stages.len()
    }

    /// All values: stage, name, value.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'static str, f64)> + '_ {
        self.stages.iter().enumerate().flat_map(|(stage, values)| {
            Signal::ALL.iter().filter_map(move |signal| Some((stage, signal.name(), values.get(*signal)?)))
        })
    }
}

/// As they are written down: names and values.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// How they were measured.
    measured: u64,
    /// Values by name, stage by stage.
    stages: Vec<BTreeMap<String, f64>>,
}

impl From<Signals> for Stored {
    fn from(signals: Signals) -> Self {
        let mut stages = vec![BTreeMap::new(); signals.stages.len()];
        for (stage, name, value) in signals.iter() {
            stages[stage].insert(name.to_owned(), value);
        }
        Self { measured: signals.measured, stages }
    }
}

impl TryFrom<Stored> for Signals {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let mut stages = vec![Values::default(); stored.stages.len()];
        for (values, by_name) in stages.iter_mut().zip(stored.stages) {
            for (name, value) in by_name {
                let signal = Signal::of(&name).ok_or_else(|| format!("there is no signal `{name}`"))?;
                values.set(signal, value);
            }
        }
        Ok(Self { measured: stored.measured, stages })
    }
}
