//! Where a suite stands in its step: its inputs' role and its words for errors.

use super::{EvalError, EvalModel};
use crate::job::StepContext;

/// One suite of a step.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'c> {
    /// The step.
    pub ctx: &'c StepContext,
    /// The suite's index in the spec.
    pub index: usize,
}

impl Suite<'_> {
    /// The role of its corpus and the label of its files.
    pub fn role(&self) -> String {
        format!("suite.{}", self.index)
    }

    /// The seed of one of its random streams.
    pub fn seed(&self, purpose: &str) -> u64 {
        self.ctx.seed(&format!("suite {} {purpose}", self.index))
    }

    /// The model of a name.
    pub fn model<'m>(&self, models: &'m [EvalModel], name: &str) -> Result<&'m EvalModel, EvalError> {
        models.iter().find(|model| model.name == name).ok_or_else(|| EvalError::UnknownModel {
            suite: self.index,
            model: name.to_owned(),
            known: models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The error of a suite without anything to measure.
    pub fn nothing(&self, name: &'static str, message: String) -> EvalError {
        EvalError::NothingToMeasure { suite: self.index, name, message }
    }

    /// The error of a model that no item fits.
    pub fn nothing_fits(&self, name: &'static str, model: &EvalModel, num_items: usize) -> EvalError {
        EvalError::NothingFits {
            suite: self.index,
            name,
            model: model.name.clone(),
            num_items,
            context: model.context,
        }
    }

    /// Says how many items a model could not read.
    pub fn warn_too_long(&self, name: &str, model: &EvalModel, too_long: usize) {
        if too_long > 0 {
            let message = format!(
                "suites[{}] ({name}): {too_long} items are longer than the {} tokens of {} and were left out",
                self.index, model.context, model.name
            );
            self.ctx.events().warning("too_long", message);
        }
    }
}
