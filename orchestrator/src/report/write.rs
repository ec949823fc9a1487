//! Writing a report card.

use std::path::{Path, PathBuf};

use super::{Headline, ReportError, collect, headlines, html, markdown};
use crate::state::RunView;

/// What a report needs that a run does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportOptions {
    /// Price of a device for an hour, US dollars (`budget.usd_per_device_hour`); 0 where none is stated.
    pub usd_per_device_hour: f64,
    /// The time of the report, milliseconds since the Unix epoch.
    pub now_millis: i64,
    /// What was decided about the model that the spec serves, in one line; none where there was nothing to decide.
    pub served: Option<String>,
}

/// A written report card.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportFiles {
    /// The page.
    pub html: PathBuf,
    /// The Markdown file.
    pub markdown: PathBuf,
    /// Its headline results, to print.
    pub headlines: Vec<Headline>,
    /// The Markdown text.
    pub text: String,
}

/// Writes `report.html` and `report.md` of a run into `folder` (usually [`crate::state::StateDir::run`]); each file appears whole.
pub fn write_run_report(
    run: &RunView,
    options: &ReportOptions,
    folder: &Path,
) -> Result<ReportFiles, ReportError> {
    let facts = collect(run, options);
    let text = markdown::render(&facts);
    let page = html::render(&facts)?;
    std::fs::create_dir_all(folder).map_err(ReportError::io(folder))?;
    let html = folder.join("report.html");
    let markdown = folder.join("report.md");
    replace(&html, &page)?;
    replace(&markdown, &text)?;
    Ok(ReportFiles { html, markdown, headlines: headlines(&facts), text })
}

fn replace(path: &Path, text: &str) -> Result<(), ReportError> {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).map_err(ReportError::io(&draft))?;
    std::fs::rename(&draft, path).map_err(ReportError::io(path))
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn the_pages_can_be_looked_at() {
        // `CUPOLA_LOOK=DIR cargo test look` leaves the invented pages where a browser can open them.
        let Some(folder) = std::env::var_os("CUPOLA_LOOK").map(PathBuf::from) else { return };
        replace(&folder.join("report.html"), &html::render(&invented::facts()).unwrap()).unwrap();
        replace(&folder.join("failed.html"), &html::render(&invented::failed()).unwrap()).unwrap();
    }
}
