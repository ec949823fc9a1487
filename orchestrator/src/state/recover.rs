//! Journal and database at opening: whichever is behind is brought up from the other.

use super::ballast::is_disk_full;
use super::database::{Database, rows_of_records};
use super::frame::{HEADER, decode};
use super::open::replay;
use super::{Journal, JournalContents, Projection, Record, StateDir, StateError, read_journal};

/// Records of one transaction when a database is made again.
const REBUILD_CHUNK: usize = 512;

/// Opens the database and brings it up to the journal. Where it is ahead, the end of the journal was lost and is restored from it. One
/// that is broken or of another history is set aside and made again; one that a full disk can't take is neither.
pub(super) fn open_database(
    dir: &StateDir,
    (journal, contents): (&mut Journal, &mut JournalContents),
    projection: &mut Projection,
) -> Result<Database, StateError> {
    let opened = Database::open(&dir.database()).and_then(|database| {
        let agrees = bring_up(&database, (journal, contents), projection)?;
        Ok(agrees.then_some(database))
    });
    match opened {
        Ok(Some(database)) => return Ok(database),
        Err(StateError::Io { path, source }) if is_disk_full(&source) => {
            return Err(StateError::Io { path, source });
        }
        Ok(None) | Err(_) => {}
    }
    set_aside(dir)?;
    let database = Database::open(&dir.database())?;
    let records = read_journal(&dir.journal())?.records;
    project(&database, &records, projection, journal.position().head)?;
    Ok(database)
}

/// Whether the database and the journal could be made equal.
fn bring_up(
    database: &Database,
    (journal, contents): (&mut Journal, &mut JournalContents),
    projection: &mut Projection,
) -> Result<bool, StateError> {
    let here = journal.position().clone();
    let known = database.head()?;
    match known {
        Some((seq, head)) if seq == here.seq => Ok(head == here.head),
        None if here.seq == 0 => Ok(true),
        Some((seq, _)) if seq > here.seq => {
            let Some(payloads) = database.records_after(&here)? else { return Ok(false) };
            let mut offset = here.end;
            let mut restored = Vec::new();
            for payload in &payloads {
                let Ok(record) = decode(payload, offset) else { return Ok(false) };
                offset += (HEADER + payload.len()) as u64;
                restored.push(record);
            }
            journal.append(&payloads)?;
            replay(projection, &restored);
            tracing::warn!("{} records that the journal had lost were restored", restored.len());
            contents.records.extend(restored);
            contents.position = journal.position().clone();
            Ok(true)
        }
        // Behind by what a crash left between journal and database: the newest values of the missing rows bring it up.
        _ => {
            let seq = known.map_or(0, |(seq, _)| seq);
            let missing = contents.records.partition_point(|record| record.seq <= seq);
            let first = contents.records.get(missing).map_or(here.seq + 1, |record| record.seq);
            if first != seq + 1 {
                return Ok(false);
            }
            project(database, &contents.records[missing..], projection, here.head)?;
            Ok(true)
        }
    }
}

fn project(
    database: &Database,
    records: &[Record],
    projection: &Projection,
    head: [u8; 32],
) -> Result<(), StateError> {
    let chunks: Vec<&[Record]> = records.chunks(REBUILD_CHUNK).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let mut rows = rows_of_records(chunk, projection, head)?;
        if at + 1 < chunks.len() {
            // The head is what says that all is there: it comes with the last group.
            rows.pop();
        }
        database.write(&rows)?;
    }
    Ok(())
}

/// Moves the database out of the way, for whoever wants to know what became of it; the one before it goes.
pub(super) fn set_aside(dir: &StateDir) -> Result<(), StateError> {
    let (from, to) = (dir.database(), dir.root().join("db.set-aside"));
    if !from.exists() {
        return Ok(());
    }
    if to.exists() {
        std::fs::remove_dir_all(&to).map_err(StateError::io(&to))?;
    }
    std::fs::rename(&from, &to).map_err(StateError::io(&from))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::{Fact, State, StateDir, read_state};

    /// Needs the right to mount: says so where it has none.
    #[test]
    fn on_a_full_disk_state_opens_records_and_is_whole_again_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(folder.path()).output();
        if !mount.is_ok_and(|done| done.status.success()) {
            println!("skipped: a small file system can't be mounted here");
            return;
        }
        let tried = std::panic::catch_unwind(|| full_disk(folder.path()));
        Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
        tried.unwrap();
    }

    /// Larger than the rest of the page that the journal ends in, however it is packed.
    fn text(value: u64) -> String {
        let mut bytes = vec![0; 8 << 10];
        blake3::Hasher::new().update(&value.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes.iter().map(|byte| char::from(b'!' + byte % 90)).collect()
    }

    fn full_disk(root: &std::path::Path) {
        let dir = StateDir::new(&root.join("state"));
        let note = |value: u64| Fact::Noted {
            topic: "t".into(),
            key: format!("k{value}"),
            value: text(value).into(),
        };
        State::open(&dir, "test").unwrap().record(vec![note(0)]).unwrap();
        let fill = root.join("fill");
        // Runs until nothing more fits.
        let _ = Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", fill.display()))
            .arg("bs=4k")
            .output();
        for value in 1..4 {
            State::open(&dir, "test").unwrap().record(vec![note(value)]).unwrap();
        }
        assert!(!dir.ballast().exists(), "the ballast made the room");
        assert!(!dir.root().join("db.set-aside").exists(), "a full disk is no fault of the database");
        std::fs::remove_file(&fill).unwrap();
        State::open(&dir, "test").unwrap().record(vec![note(4)]).unwrap();
        assert!(dir.ballast().exists());
        let state = read_state(&dir).unwrap();
        assert!((0..5).all(|value| state.note("t", &format!("k{value}")) == Some(&text(value).into())));
        let findings = super::super::check_state(&dir, false).unwrap();
        assert!(findings.iter().any(|found| found.text.contains("agrees")), "{findings:?}");
    }
}
