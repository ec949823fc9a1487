//! What `doctor` does with state: verifying, making again, exporting.

use std::io::Write;

use serde::Serialize;

use super::database::Database;
use super::mend::open_journal;
use super::migrate::migrate;
use super::open::replay;
use super::recover::{open_database, set_aside};
use super::{Position, Projection, StateDir, StateError, StateLock, now_millis, read_journal, read_state};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether all is well.
    #[serde(rename = "ok")]
    pub is_good: bool,
    /// What was found.
    pub text: String,
}

impl Finding {
    /// All is well.
    pub fn good(text: impl Into<String>) -> Self {
        Self { is_good: true, text: text.into() }
    }

    /// Something is wrong.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { is_good: false, text: text.into() }
    }
}

/// Checks the whole journal, the snapshot and the database against it; makes the latter again where that is asked for or needed.
pub fn check_state(dir: &StateDir, rebuild: bool) -> Result<Vec<Finding>, StateError> {
    let _lock = StateLock::take(dir, "doctor", now_millis())?;
    let mut findings = Vec::new();
    if let Some(schema) = migrate(dir)? {
        findings.push(Finding::good(format!("journal: brought from schema {schema} to this version's")));
    }
    let (mut journal, mut contents) = open_journal(dir, &Position::FIRST)?;
    let mut projection = Projection::new(dir);
    replay(&mut projection, &contents.records);
    if contents.torn_bytes > 0 {
        let text = format!(
            "journal: dropped a torn tail of {} bytes that was never acknowledged",
            contents.torn_bytes
        );
        findings.push(Finding::good(text));
    }
    let before = contents.records.len();
    // Before a rebuild too: what the journal lost at its end is only there.
    let mut database = open_database(dir, (&mut journal, &mut contents), &mut projection)?;
    if rebuild {
        drop(database);
        set_aside(dir)?;
        // Only a shortcut: who needs one again writes it.
        let _ = std::fs::remove_file(dir.snapshot());
        database = open_database(dir, (&mut journal, &mut contents), &mut projection)?;
    }
    if contents.records.len() > before {
        let text =
            format!("journal: {} lost records restored from the database", contents.records.len() - before);
        findings.push(Finding::good(text));
    }
    findings.insert(0, Finding::good(format!("journal: {} records, chain whole", contents.records.len())));
    findings.extend(check_snapshot(dir, &projection));
    if database.agrees_with(&contents.records, &projection)? {
        let counts: Vec<String> =
            database.counts()?.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
        findings.push(Finding::good(format!("database: agrees with the journal ({})", counts.join(", "))));
    } else {
        drop(database);
        set_aside(dir)?;
        open_database(dir, (&mut journal, &mut contents), &mut projection)?;
        findings.push(Finding::good("database: differed from the journal; made again"));
    }
    Ok(findings)
}

/// A snapshot that gives anything but the journal would lie to every reader: it goes.
fn check_snapshot(dir: &StateDir, projection: &Projection) -> Option<Finding> {
    if !dir.snapshot().exists() {
        return None;
    }
    let agrees = read_state(dir).is_ok_and(|read| read == *projection);
    if agrees {
        return Some(Finding::good("snapshot: agrees with the journal"));
    }
    let gone = std::fs::remove_file(dir.snapshot()).is_ok();
    Some(Finding { is_good: gone, text: "snapshot: differed from the journal; deleted".to_owned() })
}

/// Writes every record of the journal, then every row of the database, as lines of JSON. The folder must be in nobody's use.
pub fn export_state(dir: &StateDir, to: &mut dyn Write) -> Result<(), StateError> {
    let _lock = StateLock::take(dir, "doctor", now_millis())?;
    let path = dir.root().to_path_buf();
    let mut result = Ok(());
    let mut line = |value: serde_json::Value| {
        if result.is_ok() {
            result = writeln!(to, "{value}");
        }
    };
    for record in read_journal(&dir.journal())?.records {
        line(serde_json::json!({ "journal": record }));
    }
    Database::open(&dir.database())?.export(&mut |tree, key, value| {
        let value: serde_json::Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        line(serde_json::json!({ "tree": tree, "key": key, "value": value }));
    })?;
    result.map_err(|source| StateError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, State};
    use super::*;

    #[test]
    fn a_rebuild_first_takes_back_what_only_the_database_has() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        let note = Fact::Noted { topic: "t".into(), key: "k".into(), value: 1.into() };
        state.record(vec![note]).unwrap();
        drop(state);
        let bytes = std::fs::read(dir.journal()).unwrap();
        std::fs::write(dir.journal(), &bytes[..bytes.len() - 20]).unwrap();
        let findings = check_state(&dir, true).unwrap();
        assert!(findings.iter().any(|found| found.text.contains("1 lost records restored")), "{findings:?}");
        assert_eq!(read_state(&dir).unwrap().note("t", "k"), Some(&1.into()));
    }
}
