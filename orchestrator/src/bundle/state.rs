//! The journal's end, and what `doctor` finds.

use serde_json::json;

use super::{Bundle, BundleError};
use crate::state::{Finding, StateDir, holder, read_journal};

/// Adds `journal.jsonl`, the newest records that `max_bytes` hold, and `journal.json`, how the journal and the files beside it stand.
/// Call it before anything that may mend the state folder.
pub fn add_journal(bundle: &mut Bundle, dir: &StateDir, max_bytes: usize) -> Result<(), BundleError> {
    let length = |path| std::fs::metadata(path).map(|data| data.len()).ok();
    let mut facts = json!({
        "holder": holder(dir),
        "journal_bytes": length(dir.journal()),
        "snapshot_bytes": length(dir.snapshot()),
        "ballast_bytes": length(dir.ballast()),
        "database": dir.database().is_dir(),
    });
    if !dir.journal().exists() {
        bundle.leave_out("journal.jsonl", "there is no journal yet");
        return bundle.add_json("journal.json", &facts);
    }
    match read_journal(&dir.journal()) {
        Ok(contents) => {
            facts["records"] = contents.records.len().into();
            facts["torn_bytes"] = contents.torn_bytes.into();
            let mut lines = String::new();
            for record in &contents.records {
                lines.push_str(&serde_json::to_string(record)?);
                lines.push('\n');
            }
            bundle.add_end("journal.jsonl", &lines, max_bytes);
        }
        Err(error) => {
            facts["problem"] = error.to_string().into();
            bundle.leave_out("journal.jsonl", &format!("it can't be read: {error}"));
        }
    }
    bundle.add_json("journal.json", &facts)
}

/// Adds `doctor.json`.
pub fn add_findings(bundle: &mut Bundle, findings: &[Finding]) -> Result<(), BundleError> {
    bundle.add_json("doctor.json", findings)
}
