//! Journals of earlier schemas: rewritten once into the present one, with the old file kept beside it.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::frame::{FIRST_HEAD, frame, push_frame, unpack};
use super::journal::{MAGIC, sync_folder};
use super::{StateDir, StateError};

/// Steps of a plan in one record.
const PLAN_CHUNK: usize = 256;

/// Brings the journal of a folder to this version's schema. Gives the schema that it was of, where it was an older one.
pub(super) fn migrate(dir: &StateDir) -> Result<Option<u8>, StateError> {
    let path = dir.journal();
    match schema_of(&path) {
        Some(b'1') => {}
        Some(b'2') => return from_second(dir).map(|()| Some(2)),
        _ => return Ok(None),
    }
    let bytes = std::fs::read(&path).map_err(StateError::io(&path))?;
    let broken = |problem: &str| StateError::Journal {
        path: path.clone(),
        seq: 0,
        offset: 0,
        problem: format!("it can't be brought to this version: {problem}"),
    };
    let records = from_first(records_of(&bytes).map_err(|problem| broken(&problem))?, dir.root());
    let mut fresh = MAGIC.to_vec();
    let mut head = FIRST_HEAD;
    for record in &records {
        head = push_frame(&mut fresh, &head, &serde_json::to_vec(record)?);
    }
    let io = StateError::io;
    let kept = path.with_extension("schema-1");
    std::fs::write(&kept, &bytes).map_err(io(&kept))?;
    replace(dir, &fresh)?;
    Ok(Some(1))
}

/// The digit of a journal's schema; none where there is no journal.
fn schema_of(path: &Path) -> Option<u8> {
    let mut magic = [0; MAGIC.len()];
    std::fs::File::open(path).ok()?.read_exact(&mut magic).ok()?;
    magic.strip_prefix(b"cupolaJ").and_then(|rest| rest.first().copied())
}

/// Schema 2 to 3: records may be acts, which a version that knows none would take for a torn tail. What is there stays as it is, byte for
/// byte, so nothing is kept beside it.
fn from_second(dir: &StateDir) -> Result<(), StateError> {
    let path = dir.journal();
    let mut bytes = std::fs::read(&path).map_err(StateError::io(&path))?;
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    replace(dir, &bytes)
}

/// Puts another journal in place of the present one, whole or not at all.
pub(super) fn replace(dir: &StateDir, bytes: &[u8]) -> Result<(), StateError> {
    let (path, io) = (dir.journal(), StateError::io);
    let draft = path.with_extension("draft");
    std::fs::write(&draft, bytes).map_err(io(&draft))?;
    std::fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(io(&draft))?;
    std::fs::rename(&draft, &path).map_err(io(&path))?;
    sync_folder(dir.root()).map_err(io(dir.root()))
}

/// Records of a journal whatever they hold; a torn tail is left out.
fn records_of(bytes: &[u8]) -> Result<Vec<Map<String, Value>>, String> {
    let mut records = Vec::new();
    let mut at = MAGIC.len();
    while let Some((_, payload)) = frame(&bytes[at..]) {
        let record = serde_json::from_slice(&unpack(payload)?);
        records.push(record.map_err(|error| format!("record {}: {error}", records.len() + 1))?);
        at += super::frame::HEADER + payload.len();
    }
    Ok(records)
}

/// Schema 1 to 2: a fact is keyed by its name, the steps of a plan come together, attempts lie below the folder.
fn from_first(records: Vec<Map<String, Value>>, root: &Path) -> Vec<Value> {
    let mut fresh: Vec<Value> = Vec::new();
    let mut plan: Option<(i64, String, Vec<Value>)> = None;
    for record in records {
        let at = record.get("at_millis").and_then(Value::as_i64).unwrap_or(0);
        let Some(Value::Object(mut fact)) = record.get("fact").cloned() else { continue };
        let name =
            fact.shift_remove("fact").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        if name == "step_planned" {
            let run =
                fact.shift_remove("run").and_then(|run| run.as_str().map(str::to_owned)).unwrap_or_default();
            match &mut plan {
                Some((_, of, steps)) if *of == run && steps.len() < PLAN_CHUNK => steps.push(fact.into()),
                _ => {
                    push_plan(&mut fresh, plan.take());
                    plan = Some((at, run, vec![fact.into()]));
                }
            }
            continue;
        }
        push_plan(&mut fresh, plan.take());
        if name == "opened" {
            fact.insert("folder".to_owned(), json!({ "device": 0, "inode": 0 }));
        }
        if name.starts_with("attempt_")
            && let Some(dir) = fact.get("dir").and_then(Value::as_str)
        {
            let below = Path::new(dir).strip_prefix(root).unwrap_or(Path::new(dir));
            let below = Value::from(below.to_string_lossy());
            fact.insert("dir".to_owned(), below);
        }
        push(&mut fresh, at, &name, fact.into());
    }
    push_plan(&mut fresh, plan);
    fresh
}

fn push_plan(fresh: &mut Vec<Value>, plan: Option<(i64, String, Vec<Value>)>) {
    if let Some((at, run, steps)) = plan {
        push(fresh, at, "steps_planned", json!({ "run": run, "steps": steps }));
    }
}

fn push(fresh: &mut Vec<Value>, at: i64, name: &str, body: Value) {
    let mut fact = Map::new();
    fact.insert(name.to_owned(), body);
    fresh.push(json!({ "seq": fresh.len() + 1, "at_millis": at, "fact": fact }));
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, State, read_state};
    use super::*;

    #[test]
    fn a_journal_of_schema_2_is_read_as_it_is_and_takes_acts() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let note = Fact::Noted { topic: "t".into(), key: "k".into(), value: 1.into() };
        State::open(&dir, "test").unwrap().record(vec![note]).unwrap();
        let mut bytes = std::fs::read(dir.journal()).unwrap();
        bytes[7] = b'2';
        std::fs::write(dir.journal(), &bytes).unwrap();
        assert_eq!(read_state(&dir).unwrap().note("t", "k"), Some(&1.into()));
        let mut state = State::open(&dir, "test").unwrap();
        state.record(vec![Fact::Acted(Box::default())]).unwrap();
        drop(state);
        assert_eq!(read_state(&dir).unwrap().note("t", "k"), Some(&1.into()));
        let after = std::fs::read(dir.journal()).unwrap();
        assert_eq!((&after[..8], &after[8..bytes.len()]), (&b"cupolaJ3"[..], &bytes[8..]));
    }

    #[test]
    fn a_journal_of_schema_1_is_brought_to_this_one_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let step = |name: &str| {
            json!({ "fact": "step_planned", "run": "t-1", "name": name, "job": name, "kind": "fit",
                "fingerprint": name.repeat(64), "code_version": 1, "params": {}, "inputs": {}, "needs": [],
                "sources": {}, "seed": 1, "cores": 1, "cached": false, "reason": "never ran" })
        };
        let facts = [
            json!({ "fact": "opened", "epoch": 1, "pid": 1, "host": "h", "version": "0" }),
            json!({ "fact": "run_created", "run": "t-1", "spec_name": "t", "spec_path": "t.yaml", "plan_hash": "p" }),
            step("a"),
            step("b"),
            json!({ "fact": "attempt_intended", "run": "t-1", "step": "b", "number": 1, "token": "1.1",
                "dir": dir.root().join("runs/t-1/b/attempt-1") }),
            json!({ "fact": "attempt_ended", "run": "t-1", "step": "b", "token": "1.1", "peak_rss_bytes": 5,
                "outcome": { "outcome": "cancelled" }, "cpu_millis": 7 }),
        ];
        let mut bytes = b"cupolaJ1".to_vec();
        let mut head = FIRST_HEAD;
        for (at, fact) in facts.iter().enumerate() {
            let record = json!({ "seq": at + 1, "at_millis": 9, "fact": fact });
            head = push_frame(&mut bytes, &head, &serde_json::to_vec(&record).unwrap());
        }
        std::fs::create_dir_all(dir.root()).unwrap();
        std::fs::write(dir.journal(), &bytes).unwrap();
        drop(State::open(&dir, "test").unwrap());
        let projection = read_state(&dir).unwrap();
        assert_eq!(projection.epoch(), 2);
        let run = projection.run("t-1").unwrap();
        assert_eq!(run.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(projection.attempts(&"b".repeat(64))[0].dir, dir.root().join("runs/t-1/b/attempt-1"));
        assert_eq!(projection.planned_step("t-1", "b").unwrap().unwrap().reason, "never ran");
        assert_eq!(std::fs::read(dir.root().join("journal.schema-1")).unwrap(), bytes);
    }
}
