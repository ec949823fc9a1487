//! The Markdown file.

use super::ReportFacts;

pub(super) fn render(_facts: &ReportFacts) -> String {
    String::new()
}
