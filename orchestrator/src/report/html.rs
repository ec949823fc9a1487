//! The page.

use super::{ReportError, ReportFacts};

pub(super) fn render(_facts: &ReportFacts) -> Result<String, ReportError> {
    Ok(String::new())
}
