//! The journal's end, and what `doctor` finds.

use serde_json::{Value, json};

use super::{Bundle, BundleError};
use crate::state::{Fact, Finding, Record, StateDir, holder, read_journal};

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
                lines.push_str(&without_people(record)?.to_string());
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

/// A record without the names of those who did something.
fn without_people(record: &Record) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(record)?;
    match &record.fact {
        Fact::Acted(_) => hide(&mut value, "user"),
        Fact::Noted { topic, .. } if topic == "promotion" => hide(&mut value, "by"),
        _ => {}
    }
    Ok(value)
}

/// Hides the texts of a key at any depth.
fn hide(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if name == key && value.is_string() {
                    *value = "[user]".into();
                } else {
                    hide(value, key);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, key)),
        _ => {}
    }
}

/// Adds `doctor.json`.
pub fn add_findings(bundle: &mut Bundle, findings: &[Finding]) -> Result<(), BundleError> {
    bundle.add_json("doctor.json", findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Act, Actor};

    #[test]
    fn nobody_is_named_in_what_is_sent_away() {
        let actor = Actor { user: "anna".into(), host: "desk".into(), ..Actor::default() };
        let act = Act { actor, verb: "gc".into(), ..Act::default() };
        let history = json!([{ "state": "promoted", "by": "anna@desk" }]);
        let value = json!({ "id": "aligned-1", "history": history });
        let note = Fact::Noted { topic: "promotion".into(), key: "aligned-1".into(), value };
        for fact in [Fact::Acted(Box::new(act)), note] {
            let text = without_people(&Record { seq: 1, at_millis: 1, fact, offset: 0 }).unwrap().to_string();
            assert!(!text.contains("anna") && text.contains("[user]"), "{text}");
        }
    }
}
