//! A journal that is damaged before its end: what the database still has of it is put back, and only that.
//!
//! The chain proves that a restored record is the lost one to the byte, so this needs nobody's word. What can't be restored is lost only
//! where a person says so. The damaged file is kept beside the new one.

use super::database::Database;
use super::frame::push_frame;
use super::journal::{MAGIC, parse_record};
use super::migrate::replace;
use super::{Journal, JournalContents, Position, StateDir, StateError, StateLock, now_millis};

/// Opens the journal; one that is damaged before its end is restored first, where the database has what is missing.
pub(super) fn open_journal(
    dir: &StateDir,
    from: &Position,
) -> Result<(Journal, JournalContents), StateError> {
    match Journal::open(&dir.journal(), from) {
        Err(damage @ StateError::Journal { .. }) => {
            let Some(restored) = restore(dir)? else { return Err(damage) };
            tracing::warn!("{damage}: {restored} records were restored from the database");
            Journal::open(&dir.journal(), from)
        }
        opened => opened,
    }
}

/// Puts the damaged part back from the database; how many records. None where it has not all of them.
fn restore(dir: &StateDir) -> Result<Option<usize>, StateError> {
    let (bytes, mut here) = whole_part(dir)?;
    let Some(payloads) = missing(dir, &bytes, &here) else { return Ok(None) };
    let mut mended = MAGIC.to_vec();
    mended.extend_from_slice(&bytes[MAGIC.len()..here.end as usize]);
    for payload in &payloads {
        here.start = mended.len() as u64;
        here.head = push_frame(&mut mended, &here.head, payload);
        here.seq += 1;
        here.end = mended.len() as u64;
    }
    // The journal may be further than the database: what follows is whole, or a torn tail.
    let rest = end_of_whole_records(&bytes, here.clone());
    if rest.end > here.end {
        mended.extend_from_slice(&bytes[here.end as usize..rest.end as usize]);
    }
    keep_and_replace(dir, &mended)?;
    Ok(Some(payloads.len()))
}

/// The records that the journal has not after this place; none where nobody has all of them.
fn missing(dir: &StateDir, bytes: &[u8], here: &Position) -> Option<Vec<Vec<u8>>> {
    if here.seq > 0 && here.end == bytes.len() as u64 {
        // Only the magic is damaged.
        return Some(Vec::new());
    }
    Database::open(&dir.database()).ok()?.records_after(here).ok()?
}

/// Cuts a damaged journal before its damage: the records from there on are lost. How many records are left.
pub fn cut_damage(dir: &StateDir) -> Result<u64, StateError> {
    let _lock = StateLock::take(dir, "doctor", now_millis())?;
    let (bytes, here) = whole_part(dir)?;
    let mut kept = MAGIC.to_vec();
    kept.extend_from_slice(&bytes[MAGIC.len()..here.end as usize]);
    keep_and_replace(dir, &kept)?;
    // Both are of the history that was given up.
    super::recover::set_aside(dir)?;
    let _ = std::fs::remove_file(dir.snapshot());
    Ok(here.seq)
}

/// The journal's bytes, and the place behind the last record before the damage.
fn whole_part(dir: &StateDir) -> Result<(Vec<u8>, Position), StateError> {
    let path = dir.journal();
    let mut bytes = std::fs::read(&path).map_err(StateError::io(&path))?;
    bytes.resize(bytes.len().max(MAGIC.len()), 0);
    let here = end_of_whole_records(&bytes, Position::FIRST);
    Ok((bytes, here))
}

/// Goes on from a place for as long as whole records follow.
fn end_of_whole_records(bytes: &[u8], mut here: Position) -> Position {
    while let Some(rest) = bytes.get(here.end as usize..).filter(|rest| !rest.is_empty())
        && let Ok((_, next)) = parse_record(rest, &here, here.end)
    {
        here = next;
    }
    here
}

/// Replaces the journal; the damaged one stays beside it.
fn keep_and_replace(dir: &StateDir, bytes: &[u8]) -> Result<(), StateError> {
    let (path, damaged) = (dir.journal(), dir.journal().with_extension("damaged"));
    match std::fs::remove_file(&damaged) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(StateError::Io { path: damaged, source });
        }
        _ => {}
    }
    std::fs::hard_link(&path, &damaged).map_err(StateError::io(&damaged))?;
    replace(dir, bytes)
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, Projection, State, read_state};
    use super::*;

    fn note(value: u64) -> Fact {
        Fact::Noted { topic: "t".into(), key: format!("k{value}"), value: value.into() }
    }

    fn written(count: u64) -> (tempfile::TempDir, StateDir, Projection) {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        for value in 0..count {
            state.record(vec![note(value)]).unwrap();
        }
        let projection = state.projection().clone();
        (folder, dir, projection)
    }

    fn holds_all(projection: &Projection, count: u64) -> bool {
        (0..count).all(|value| projection.note("t", &format!("k{value}")) == Some(&value.into()))
    }

    #[test]
    fn a_byte_flipped_anywhere_in_the_journal_comes_back_from_the_database() {
        let (_folder, dir, before) = written(12);
        let whole = std::fs::read(dir.journal()).unwrap();
        for at in (0..whole.len()).step_by(11) {
            let mut damaged = std::fs::read(dir.journal()).unwrap();
            damaged[at] ^= 0x10;
            std::fs::write(dir.journal(), &damaged).unwrap();
            if at == MAGIC.len() - 1 {
                // Another version of the schema, for all that anybody can tell.
                std::fs::write(dir.journal(), &whole).unwrap();
            }
            let state = State::open(&dir, "test").unwrap();
            assert!(holds_all(state.projection(), 12), "byte {at}");
            assert!(state.epoch() > before.epoch());
            drop(state);
            assert!(std::fs::read(dir.journal()).unwrap().starts_with(&whole), "byte {at}");
        }
        assert!(dir.journal().with_extension("damaged").exists());
    }

    #[test]
    fn a_database_that_is_not_free_at_once_is_waited_for() {
        let (_folder, dir, _) = written(9);
        let mut bytes = std::fs::read(dir.journal()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(dir.journal(), &bytes).unwrap();
        let file = std::fs::File::open(dir.database().join("db")).unwrap();
        file.try_lock().unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            drop(file);
        });
        let state = State::open(&dir, "test").unwrap();
        assert!(holder.is_finished());
        assert!(holds_all(state.projection(), 9));
        assert!(!dir.root().join("db.set-aside").exists());
    }

    #[test]
    fn records_that_only_the_journal_has_stay_when_an_earlier_one_is_restored() {
        let (_folder, dir, _) = written(4);
        let database = dir.root().join("db.before");
        std::process::Command::new("cp").arg("-a").arg(dir.database()).arg(&database).status().unwrap();
        let early = std::fs::metadata(dir.journal()).unwrap().len() as usize;
        let mut state = State::open(&dir, "test").unwrap();
        (4..9).for_each(|value| state.record(vec![note(value)]).unwrap());
        drop(state);
        std::fs::remove_dir_all(dir.database()).unwrap();
        std::fs::rename(&database, dir.database()).unwrap();
        let mut bytes = std::fs::read(dir.journal()).unwrap();
        bytes[early - 30] ^= 1;
        std::fs::write(dir.journal(), &bytes).unwrap();
        assert!(holds_all(State::open(&dir, "test").unwrap().projection(), 9));
    }

    #[test]
    fn without_the_database_damage_is_an_error_until_a_person_gives_up_what_follows() {
        let (_folder, dir, _) = written(9);
        std::fs::remove_dir_all(dir.database()).unwrap();
        let mut bytes = std::fs::read(dir.journal()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(dir.journal(), &bytes).unwrap();
        assert!(matches!(State::open(&dir, "test"), Err(StateError::Journal { .. })));
        assert_eq!(std::fs::read(dir.journal()).unwrap(), bytes, "nothing was changed");
        let kept = cut_damage(&dir).unwrap();
        assert!((2..9).contains(&kept), "{kept}");
        drop(State::open(&dir, "test").unwrap());
        assert_eq!(read_state(&dir).unwrap().note("t", "k8"), None);
        assert_eq!(std::fs::read(dir.journal().with_extension("damaged")).unwrap(), bytes);
    }
}
