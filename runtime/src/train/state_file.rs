//! One file of a training state, in the safetensors format: tensors by name, beside what the run knows.
//!
//! A tensor is known by its name and its whole shape, never by the rank that holds it. A rank that holds a part writes that part as a flat
//! stretch, and the file says where it starts; whoever reads puts together what it needs from all files of the state. So a state
//! that some ranks wrote is read by any other number of ranks.
//!
//! A snapshot is the file as it will be, in memory: taking one copies each tensor once, and writing it needs nothing of the tensor library.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use cupola_specs::contract::StateShard;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use super::TrainError;
use crate::job::{JobError, PARTIAL, rename_durably, write_through};

/// Bytes that are hashed and written at a time.
const CHUNK: usize = 8 << 20;
/// Places of the file's own facts in the header.
const FACTS: &str = "facts";
const PARTS: &str = "parts";

/// Kinds of tensors that a state holds.
const KINDS: [(Kind, Dtype); 6] = [
    (Kind::Float, Dtype::F32),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Half, Dtype::F16),
    (Kind::Double, Dtype::F64),
    (Kind::Int64, Dtype::I64),
    (Kind::Uint8, Dtype::U8),
];

/// A tensor of a state, or the part of it that is held here.
#[derive(Debug)]
pub(super) struct StatePart {
    /// Its name.
    pub(super) name: String,
    /// Shape of the whole tensor.
    pub(super) shape: Vec<i64>,
    /// Where the part starts in the flattened tensor.
    pub(super) start: i64,
    /// The part, of any shape: the tensor itself, not a copy.
    pub(super) values: Tensor,
}

impl StatePart {
    /// A whole tensor.
    pub(super) fn whole((name, values): (String, Tensor)) -> Self {
        Self { name, shape: values.size(), start: 0, values }
    }

    fn is_whole(&self) -> bool {
        self.start == 0 && self.values.size() == self.shape
    }
}

/// A file in memory.
#[derive(Debug)]
pub(super) struct Snapshot {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl Snapshot {
    /// Copies tensors, with facts as JSON text; `room` is memory to copy into.
    pub(super) fn take(parts: &[StatePart], facts: &str, mut room: Vec<u8>) -> Result<Self, TrainError> {
        let mut entries = Map::new();
        let mut places = BTreeMap::new();
        let mut end = 0;
        for part in parts {
            let (kind, shape) = (part.values.kind(), part.values.size());
            let start = end;
            end += part.values.numel() * kind.elt_size_in_bytes();
            entries.insert(
                part.name.clone(),
                json!({"dtype": dtype(kind)?, "shape": shape, "data_offsets": [start, end]}),
            );
            if !part.is_whole() {
                places.insert(&part.name, Place { shape: part.shape.clone(), start: part.start });
            }
        }
        let places = serde_json::to_string(&places).map_err(|error| header_error(&error))?;
        let mut all = Map::from_iter([("__metadata__".to_owned(), json!({FACTS: facts, PARTS: places}))]);
        all.append(&mut entries);
        let mut text = serde_json::to_vec(&Value::Object(all)).map_err(|error| header_error(&error))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.append(&mut text);
        room.resize(end, 0);
        copy_out(parts, &mut room)?;
        Ok(Self { header, data: room })
    }

    /// Writes the file as `stem` with its rank and the beginning of its hash, and returns it with what was written.
    pub(super) fn write(&self, folder: &Path, stem: &str) -> Result<StateShard, JobError> {
        let partial = folder.join(format!("{stem}.{PARTIAL}"));
        let mut hasher = blake3::Hasher::new();
        write_through(&partial, |file| {
            for chunk in [&self.header, &self.data].into_iter().flat_map(|bytes| bytes.chunks(CHUNK)) {
                hasher.update(chunk);
                file.write_all(chunk)?;
            }
            Ok(())
        })?;
        let blake3 = hasher.finalize().to_hex().to_string();
        // The hash in the name keeps a state that is saved again from being neither the old nor the new one.
        let file = format!("{stem}-{}.safetensors", &blake3[..8]);
        rename_durably(&partial, &folder.join(&file))?;
        Ok(StateShard { file, blake3, size_bytes: (self.header.len() + self.data.len()) as u64 })
    }

    /// Gives the memory back.
    pub(super) fn into_room(self) -> Vec<u8> {
        self.data
    }
}

/// Where a part lies in its tensor.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    shape: Vec<i64>,
    start: i64,
}

fn copy_out(parts: &[StatePart], room: &mut [u8]) -> Result<(), TrainError> {
    let mut rest = room;
    for part in parts {
        let flat = part.values.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
        let (here, after) = rest.split_at_mut(flat.numel() * flat.kind().elt_size_in_bytes());
        flat.f_copy_data_u8(here, flat.numel())?;
        rest = after;
    }
    Ok(())
}

fn dtype(kind: Kind) -> Result<Dtype, TrainError> {
    let known = KINDS.iter().find(|(of_tensor, _)| *of_tensor == kind);
    known
        .map(|(_, dtype)| *dtype)
        .ok_or_else(|| TrainError::Refused(format!("a state holds no tensors of kind {kind:?}")))
}

fn header_error(error: &serde_json::Error) -> TrainError {
    TrainError::Refused(format!("a state's header: {error}"))
}

/// A whole state, read: its files and what they say.
#[derive(Debug)]
pub(super) struct StateFiles {
    files: Vec<(PathBuf, Vec<u8>)>,
    facts: String,
}

impl StateFiles {
    /// Reads the files of a state; why they are not what was written, where they are not.
    pub(super) fn read(folder: &Path, shards: &[StateShard]) -> Result<Result<Self, String>, TrainError> {
        let mut files = Vec::with_capacity(shards.len());
        for shard in shards {
            let path = folder.join(&shard.file);
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if is_damage(&error) => return Ok(Err(format!("{}: {error}", shard.file))),
                Err(error) => return Err(JobError::io(&path, error).into()),
            };
            if bytes.len() as u64 != shard.size_bytes {
                let (expected, got) = (shard.size_bytes, bytes.len());
                return Ok(Err(format!("{}: expected {expected} bytes, got {got}", shard.file)));
            }
            let hash = blake3::hash(&bytes).to_hex();
            if hash.as_str() != shard.blake3 {
                return Ok(Err(format!("{}: expected blake3 {}, got {hash}", shard.file, shard.blake3)));
            }
            files.push((path, bytes));
        }
        let Some((path, bytes)) = files.first() else {
            return Ok(Err("a record without files: one of an earlier version".to_owned()));
        };
        let facts = fact(path, bytes, FACTS)?;
        Ok(Ok(Self { files, facts }))
    }

    /// What the run knew, as JSON text.
    pub(super) fn facts(&self) -> &str {
        &self.facts
    }

    /// The error of a state that says nothing that can be read.
    pub(super) fn error(&self, message: impl Into<String>) -> TrainError {
        let path = self.files.first().map(|(path, _)| path.clone()).unwrap_or_default();
        TrainError::Data { path, message: message.into() }
    }

    /// Copies into these tensors what the files hold of them. Nothing is written before all names and shapes are found to be the same.
    pub(super) fn load_into(&self, wanted: &mut [StatePart]) -> Result<(), TrainError> {
        let mut held: BTreeMap<String, Vec<Held<'_>>> = BTreeMap::new();
        for (path, bytes) in &self.files {
            for part in parts_of(path, bytes)? {
                held.entry(part.name.clone()).or_default().push(part);
            }
        }
        self.compare(wanted, &held)?;
        for part in wanted {
            let flat = part.values.f_view([-1])?;
            for from in held.get(&part.name).into_iter().flatten() {
                let (begin, end) = from.overlap(part);
                if begin < end {
                    let saved = Tensor::f_from_data_size(from.bytes, &[from.len], from.kind)?;
                    let saved = saved.f_narrow(0, begin - from.start, end - begin)?;
                    let mut to = flat.f_narrow(0, begin - part.start, end - begin)?;
                    tch::no_grad(|| to.f_copy_(&saved))?;
                }
            }
        }
        Ok(())
    }

    /// Refuses a state of other tensors.
    fn compare(
        &self,
        wanted: &[StatePart],
        held: &BTreeMap<String, Vec<Held<'_>>>,
    ) -> Result<(), TrainError> {
        let refuse = |message: String| Err(self.foreign(message));
        for part in wanted {
            let Some(found) = held.get(&part.name) else {
                return refuse(format!("no tensor {}", part.name));
            };
            if let Some(other) = found.iter().find(|other| other.shape != part.shape) {
                let (expected, got) = (&part.shape, &other.shape);
                return refuse(format!("tensor {}: expected shape {expected:?}, got {got:?}", part.name));
            }
            if let Some(other) = found.iter().find(|other| other.kind != part.values.kind()) {
                let (expected, got) = (part.values.kind(), other.kind);
                return refuse(format!("tensor {}: expected {expected:?}, got {got:?}", part.name));
            }
            let covered: i64 =
                found.iter().map(|other| other.overlap(part)).map(|(a, b)| (b - a).max(0)).sum();
            let expected = part.values.numel() as i64;
            if covered != expected {
                return refuse(format!(
                    "tensor {}: the files hold {covered} values of {expected}",
                    part.name
                ));
            }
        }
        match held.keys().find(|name| wanted.iter().all(|part| part.name != **name)) {
            Some(extra) => refuse(format!("the tensor {extra} has no place here")),
            None => Ok(()),
        }
    }

    /// The error of a state that belongs elsewhere.
    pub(super) fn foreign(&self, message: String) -> TrainError {
        let path = self.files.first().map(|(path, _)| path.clone()).unwrap_or_default();
        TrainError::ForeignState { path, message }
    }
}

/// Whether a file that cannot be read is one that is damaged, rather than one that this process may not read.
pub(super) fn is_damage(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// A part of a tensor in a file.
struct Held<'f> {
    name: String,
    shape: Vec<i64>,
    start: i64,
    len: i64,
    kind: Kind,
    bytes: &'f [u8],
}

impl Held<'_> {
    /// The stretch of the flattened tensor that both hold; empty where its end is not after its begin.
    fn overlap(&self, part: &StatePart) -> (i64, i64) {
        let end = part.start + part.values.numel() as i64;
        (self.start.max(part.start), (self.start + self.len).min(end))
    }
}

fn parts_of<'f>(path: &Path, bytes: &'f [u8]) -> Result<Vec<Held<'f>>, TrainError> {
    let wrong = |message: String| TrainError::Data { path: path.to_path_buf(), message };
    let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(error.to_string()))?;
    let places: BTreeMap<String, Place> =
        serde_json::from_str(&fact(path, bytes, PARTS)?).map_err(|error| wrong(error.to_string()))?;
    let mut parts = Vec::new();
    for (name, view) in file.iter() {
        let own: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        let len = own.iter().product();
        let (shape, start) = places.get(name).map_or((own, 0), |place| (place.shape.clone(), place.start));
        let known = KINDS.iter().find(|(_, dtype)| *dtype == view.dtype());
        let Some((kind, _)) = known.copied() else {
            return Err(wrong(format!("tensor {name}: kind {:?} is none of a state", view.dtype())));
        };
        parts.push(Held { name: name.to_owned(), shape, start, len, kind, bytes: view.data() });
    }
    Ok(parts)
}

fn fact(path: &Path, bytes: &[u8], name: &str) -> Result<String, TrainError> {
    let wrong = |message: String| TrainError::Data { path: path.to_path_buf(), message };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| wrong(error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|facts| facts.get(name));
    text.cloned().ok_or_else(|| wrong(format!("no {name} in the header")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32], shape: &[i64]) -> Tensor {
        Tensor::from_slice(values).reshape(shape)
    }

    fn part(name: &str, shape: &[i64], start: i64, values: Tensor) -> StatePart {
        StatePart { name: name.into(), shape: shape.to_vec(), start, values }
    }

    fn read(folder: &Path, shards: &[StateShard]) -> StateFiles {
        StateFiles::read(folder, shards).unwrap().unwrap()
    }

    #[test]
    fn what_three_ranks_wrote_is_read_by_one_and_by_two() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<f32> = (0..7).map(|i| i as f32).collect();
        // A matrix in three uneven stretches, and a vector that only the second rank holds.
        let shards: Vec<StateShard> = [(0, 3), (3, 2), (5, 2)]
            .into_iter()
            .enumerate()
            .map(|(rank, (start, len))| {
                let values = tensor(&all[start as usize..(start + len) as usize], &[len]);
                let mut parts = vec![part("m", &[7, 1], start, values)];
                if rank == 1 {
                    parts.push(StatePart::whole(("v".into(), tensor(&[9.0, 8.0], &[2]))));
                }
                let snapshot = Snapshot::take(&parts, "{}", Vec::new()).unwrap();
                snapshot.write(folder.path(), &format!("step-1-{rank}of3")).unwrap()
            })
            .collect();
        let state = read(folder.path(), &shards);
        let (m, v) = (Tensor::zeros([7, 1], (Kind::Float, Device::Cpu)), tensor(&[0.0; 2], &[2]));
        let mut whole =
            [("m".to_owned(), m.shallow_clone()), ("v".to_owned(), v.shallow_clone())].map(StatePart::whole);
        state.load_into(&mut whole).unwrap();
        assert_eq!(Vec::<f32>::try_from(m.view([-1])).unwrap(), all);
        assert_eq!(Vec::<f32>::try_from(&v).unwrap(), [9.0, 8.0]);
        for (start, len) in [(0i64, 4i64), (4, 3)] {
            let mine = Tensor::zeros([len], (Kind::Float, Device::Cpu));
            let other = tensor(&[0.0; 2], &[2]);
            let mut wanted = vec![part("m", &[7, 1], start, mine.shallow_clone()), part("v", &[2], 0, other)];
            state.load_into(&mut wanted).unwrap();
            assert_eq!(Vec::<f32>::try_from(&mine).unwrap(), all[start as usize..(start + len) as usize]);
        }
        let lacking = read(folder.path(), &shards[..2]);
        let error = lacking.load_into(&mut whole).unwrap_err().to_string();
        assert!(error.contains("5 values of 7"), "{error}");
    }

    #[test]
    fn a_state_of_other_tensors_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let parts = [StatePart::whole(("a".into(), tensor(&[1.0; 4], &[2, 2])))];
        let shard = Snapshot::take(&parts, "{}", Vec::new()).unwrap().write(folder.path(), "s").unwrap();
        let state = read(folder.path(), &[shard]);
        let mine = tensor(&[0.0; 4], &[2, 2]);
        for (wanted, needle) in [
            (vec![part("b", &[2, 2], 0, mine.shallow_clone())], "no tensor b"),
            (vec![part("a", &[4], 0, mine.view([4]))], "expected shape [4]"),
            (vec![part("a", &[2, 2], 0, mine.to_kind(Kind::Double))], "expected Double"),
            (vec![], "a has no place"),
        ] {
            let mut wanted = wanted;
            let error = state.load_into(&mut wanted).unwrap_err();
            assert!(matches!(error, TrainError::ForeignState { .. }));
            assert!(error.to_string().contains(needle), "{error}");
        }
        assert!(mine.equal(&mine.zeros_like()));
    }

    #[test]
    fn every_kind_comes_back_and_a_changed_byte_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let values = tensor(&[1.5, -2.25, 3.0], &[3]);
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half, Kind::Double, Kind::Int64, Kind::Uint8] {
            let saved = values.abs().to_kind(kind);
            let parts = [StatePart::whole(("a".into(), saved.shallow_clone()))];
            let snapshot = Snapshot::take(&parts, "{}", vec![7; 100]).unwrap();
            let shard = snapshot.write(folder.path(), "s").unwrap();
            let back = saved.zeros_like();
            let mut wanted = [StatePart::whole(("a".into(), back.shallow_clone()))];
            read(folder.path(), std::slice::from_ref(&shard)).load_into(&mut wanted).unwrap();
            assert_eq!(back, saved, "{kind:?}");
            let path = folder.path().join(&shard.file);
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let why = StateFiles::read(folder.path(), &[shard]).unwrap().unwrap_err();
            assert!(why.contains("expected blake3"), "{why}");
        }
    }
}
