//! Snapshots: the projection at one place of the journal, so that nobody has to replay a long one from its start.
//!
//! `magic · CRC32C u32 · length u32 · table · outline · rest`, in postcard. The outline holds what can still change: runs, their steps, and
//! the attempts of steps without an artifact; who only wants to see how a run stands reads no more. A snapshot is only a shortcut: one that
//! is missing, damaged, of another version or of another journal costs time and nothing else. Short journals have none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cupola_specs::contract::CheckpointRecord;
use serde::{Deserialize, Serialize};

use super::journal::{Position, is_position_of};
use super::projection::Facts;
use super::{ArtifactView, AttemptView, FolderId, Projection, RunRow, StateDir};

/// The first bytes; the last digit is the version of what follows.
const MAGIC: &[u8; 8] = b"cupolaS3";
const HEADER: usize = MAGIC.len() + 8;

/// What lies where.
#[derive(Debug, Serialize, Deserialize)]
struct Table {
    position: Position,
    root: PathBuf,
    outline: Section,
    rest: Section,
}

#[derive(Debug, Serialize, Deserialize)]
struct Section {
    length: u64,
    checksum: u32,
}

/// What can still change.
#[derive(Serialize, Deserialize)]
struct Outline<Folder, Runs, Attempts> {
    seq: u64,
    epoch: u64,
    folder: Folder,
    runs: Runs,
    /// Of fingerprints without an artifact.
    attempts: Attempts,
}

/// Everything else.
#[derive(Serialize, Deserialize)]
struct Rest<Attempts, Artifacts, Checkpoints> {
    attempts: Attempts,
    artifacts: Artifacts,
    checkpoints: Checkpoints,
    /// As JSON text: the snapshot's format can't tell types by itself.
    notes: String,
}

type Attempts = BTreeMap<String, Vec<AttemptView>>;
type OwnedOutline = Outline<FolderId, Vec<RunRow>, Attempts>;
type OwnedRest = Rest<Attempts, BTreeMap<String, ArtifactView>, BTreeMap<String, CheckpointRecord>>;

/// Reads the snapshot of a state folder; none where there is none that its journal goes on from.
pub(super) fn read_snapshot(dir: &StateDir) -> Option<(Projection, Position)> {
    let mut file = File::open(dir.snapshot()).ok()?;
    let table = read_table(&mut file, dir)?;
    let mut facts = read_facts(&mut file, &table)?;
    let rest: OwnedRest = postcard::from_bytes(&read_section(&mut file, &table.rest)?).ok()?;
    facts.attempts.extend(rest.attempts);
    facts.artifacts = rest.artifacts;
    facts.checkpoints = rest.checkpoints;
    facts.notes = serde_json::from_str(&rest.notes).ok()?;
    Some(finish(dir, table, facts))
}

/// Reads its outline alone.
pub(super) fn read_outline(dir: &StateDir) -> Option<(Projection, Position)> {
    let mut file = File::open(dir.snapshot()).ok()?;
    let table = read_table(&mut file, dir)?;
    let facts = read_facts(&mut file, &table)?;
    Some(finish(dir, table, facts))
}

fn finish(dir: &StateDir, table: Table, mut facts: Facts) -> (Projection, Position) {
    if table.root != dir.root() {
        facts.rebase(&table.root, dir.root());
    }
    (Projection::from_facts(dir, facts), table.position)
}

fn read_table(file: &mut File, dir: &StateDir) -> Option<Table> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let header = header.strip_prefix(MAGIC)?;
    let (checksum, length) = header.split_first_chunk::<4>()?;
    let length = u64::from(u32::from_le_bytes(*length.first_chunk()?));
    let bytes = read_section(file, &Section { length, checksum: u32::from_le_bytes(*checksum) })?;
    let table: Table = postcard::from_bytes(&bytes).ok()?;
    is_position_of(&dir.journal(), &table.position).then_some(table)
}

fn read_facts(file: &mut File, table: &Table) -> Option<Facts> {
    let outline: OwnedOutline = postcard::from_bytes(&read_section(file, &table.outline)?).ok()?;
    Some(Facts {
        seq: outline.seq,
        epoch: outline.epoch,
        folder: outline.folder,
        runs: outline.runs,
        attempts: outline.attempts,
        ..Facts::default()
    })
}

/// Reads the next section of a snapshot, if it is whole.
fn read_section(file: &mut File, section: &Section) -> Option<Vec<u8>> {
    // A damaged length must not claim memory.
    let length = section.length.min(file.metadata().ok()?.len());
    let mut bytes = Vec::with_capacity(usize::try_from(length).ok()?);
    file.take(section.length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == section.length && crc32c::crc32c(&bytes) == section.checksum).then_some(bytes)
}

/// Writes a snapshot by rename and gives its length; not durable before the system writes it back, which is as good as none.
pub(super) fn write_snapshot(projection: &Projection, position: &Position) -> std::io::Result<u64> {
    let [table, outline, rest] = encode(projection, position).map_err(std::io::Error::other)?;
    let path = projection.dir().snapshot();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(MAGIC)?;
    draft.write_all(&crc32c::crc32c(&table).to_le_bytes())?;
    draft.write_all(&(table.len() as u32).to_le_bytes())?;
    for part in [&table, &outline, &rest] {
        draft.write_all(part)?;
    }
    draft.persist(&path).map_err(|error| error.error)?;
    Ok((HEADER + table.len() + outline.len() + rest.len()) as u64)
}

/// Table, outline and rest.
fn encode(projection: &Projection, position: &Position) -> Result<[Vec<u8>; 3], postcard::Error> {
    let facts = projection.facts();
    let (settled, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
        facts.attempts.iter().partition(|(fingerprint, _)| facts.artifacts.contains_key(*fingerprint));
    let outline = postcard::to_stdvec(&Outline {
        seq: facts.seq,
        epoch: facts.epoch,
        folder: &facts.folder,
        runs: &facts.runs,
        attempts: open,
    })?;
    let rest = postcard::to_stdvec(&Rest {
        attempts: settled,
        artifacts: &facts.artifacts,
        checkpoints: &facts.checkpoints,
        notes: serde_json::to_string(&facts.notes).map_err(|_| postcard::Error::SerdeSerCustom)?,
    })?;
    let section = |bytes: &[u8]| Section { length: bytes.len() as u64, checksum: crc32c::crc32c(bytes) };
    let table = postcard::to_stdvec(&Table {
        position: position.clone(),
        root: projection.dir().root().to_path_buf(),
        outline: section(&outline),
        rest: section(&rest),
    })?;
    Ok([table, outline, rest])
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
        assert_eq!(read_snapshot(&dir), Some((projection, position.clone())));
        let (outline, at) = read_outline(&dir).unwrap();
        assert_eq!((outline.seq(), outline.note("t", "k"), at), (1, None, position));
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
