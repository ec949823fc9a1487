//! Snapshots: the projection at one place of the journal, so that nobody has to replay a long one from its start.
//!
//! `magic · CRC32C u32 · postcard(position) · postcard(root, facts)`. A snapshot is only a shortcut: one that is missing, damaged, of
//! another version or of another journal costs time and nothing else. Short journals have none.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::journal::{Position, is_position_of};
use super::projection::Facts;
use super::{Projection, StateDir};

/// The first bytes; the last digit is the version of what follows.
const MAGIC: &[u8; 8] = b"cupolaS1";
const HEADER: usize = MAGIC.len() + 4;

/// Reads the snapshot of a state folder; none where there is none that its journal goes on from.
pub(super) fn read_snapshot(dir: &StateDir) -> Option<(Projection, Position)> {
    let bytes = std::fs::read(dir.snapshot()).ok()?;
    let body = bytes.strip_prefix(MAGIC)?;
    let (crc, body) = body.split_first_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (position, rest) = postcard::take_from_bytes::<Position>(body).ok()?;
    if !is_position_of(&dir.journal(), &position) {
        return None;
    }
    let (root, mut facts) = postcard::from_bytes::<(PathBuf, Facts)>(rest).ok()?;
    if root != dir.root() {
        facts.rebase(&root, dir.root());
    }
    Some((Projection::from_facts(dir, facts), position))
}

/// Writes a snapshot by rename and gives its length; not durable before the system writes it back, which is as good as none.
pub(super) fn write_snapshot(projection: &Projection, position: &Position) -> std::io::Result<u64> {
    let encoded = || -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = vec![0; HEADER];
        bytes = postcard::to_extend(position, bytes)?;
        postcard::to_extend(&(projection.dir().root(), projection.facts()), bytes)
    };
    let mut bytes = encoded().map_err(std::io::Error::other)?;
    let crc = crc32c::crc32c(&bytes[HEADER..]);
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[MAGIC.len()..HEADER].copy_from_slice(&crc.to_le_bytes());
    let path = projection.dir().snapshot();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(&bytes)?;
    draft.persist(&path).map_err(|error| error.error)?;
    Ok(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, Journal};
    use super::*;

    fn house() -> (tempfile::TempDir, StateDir, Projection, Position) {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let (mut journal, _) = Journal::open(&dir.journal(), &Position::FIRST).unwrap();
        let value = serde_json::json!({ "a": [1, 2.5, "x"] });
        let note = Fact::Noted { topic: "t".into(), key: "k".into(), value };
        let mut projection = Projection::new(&dir);
        let (records, payloads) = journal.encode(vec![note], 1).unwrap();
        journal.append(&payloads).unwrap();
        projection.apply(&records[0]);
        (folder, dir, projection, journal.position().clone())
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written_and_any_flipped_byte_makes_it_none() {
        let (_folder, dir, projection, position) = house();
        write_snapshot(&projection, &position).unwrap();
        assert_eq!(read_snapshot(&dir), Some((projection, position)));
        let bytes = std::fs::read(dir.snapshot()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(dir.snapshot(), damaged).unwrap();
            assert_eq!(read_snapshot(&dir), None, "byte {at}");
        }
    }

    #[test]
    fn a_snapshot_of_another_or_a_cut_journal_is_none() {
        let (_folder, dir, projection, position) = house();
        write_snapshot(&projection, &position).unwrap();
        let bytes = std::fs::read(dir.journal()).unwrap();
        std::fs::write(dir.journal(), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read_snapshot(&dir), None);
        std::fs::remove_file(dir.journal()).unwrap();
        Journal::open(&dir.journal(), &Position::FIRST).unwrap();
        assert_eq!(read_snapshot(&dir), None);
    }
}
