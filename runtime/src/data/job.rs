//! The data step.

use cupola_specs::job::DataParams;

use super::DataError;
use crate::job::{StepContext, Summary};

/// Curates the job's source files into a corpus.
pub fn run(_ctx: &StepContext, params: &DataParams) -> Result<Summary, DataError> {
    Err(DataError::NoFiles { source_name: params.sources.iter().map(|s| s.name.as_str()).collect() })
}
