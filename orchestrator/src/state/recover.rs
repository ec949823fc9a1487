//! Journal and database at opening: whichever is behind is brought up from the other.

use super::database::{Database, rows_of_records};
use super::frame::{HEADER, decode};
use super::open::replay;
use super::{Journal, JournalContents, Projection, Record, StateDir, StateError, read_journal};

/// Records of one transaction when a database is made again.
const REBUILD_CHUNK: usize = 512;

/// Opens the database and brings it up to the journal. Where it is ahead, the end of the journal was lost and is restored from it. One
/// that is broken or of another history is set aside and made again.
pub(super) fn open_database(
    dir: &StateDir,
    (journal, contents): (&mut Journal, &mut JournalContents),
    projection: &mut Projection,
) -> Result<Database, StateError> {
    if let Ok(database) = Database::open(&dir.database())
        && bring_up(&database, (journal, contents), projection).unwrap_or(false)
    {
        return Ok(database);
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

pub(super) fn set_aside(dir: &StateDir) -> Result<(), StateError> {
    let from = dir.database();
    if !from.exists() {
        return Ok(());
    }
    let free = |number: &u32| {
        let to = dir.root().join(format!("db.set-aside-{number}"));
        (!to.exists()).then_some(to)
    };
    let to =
        (1..u32::MAX).find_map(|number| free(&number)).unwrap_or_else(|| dir.root().join("db.set-aside"));
    std::fs::rename(&from, &to).map_err(StateError::io(&from))
}
