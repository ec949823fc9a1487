//! The file: a header, facts by name, the tensors' names, sizes and places, and their bytes.
//!
//! Layout of ggml's GGUF, version 3, little-endian (version 2 is read too): magic, version, number of tensors, number of facts; each fact a name, a type
//! and a value; each tensor a name, its sizes with the fastest first, a type and an offset; then, aligned, the bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::GgufError;
use super::quantize::BlockType;
use crate::model::ModelError;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
/// Bytes that the tensors are aligned to where the file says nothing else.
const ALIGNMENT: u64 = 32;
/// Most names, entries of a list and bytes of a string that are believed: more is a damaged file.
const MOST_ENTRIES: u64 = 1 << 28;
/// Arrays in arrays.
const DEEPEST: u32 = 4;

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    /// A whole number, whatever its width in the file; written as 32 bits.
    Count(u64),
    /// A whole number of a type with a sign, 32 bits wide; it is read as one where it is below zero.
    Signed(i64),
    /// A number.
    Number(f64),
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(String),
    /// Several of one type.
    List(Vec<Fact>),
}

impl Fact {
    pub(crate) fn count(&self) -> Option<u64> {
        if let Self::Count(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Count(value) => Some(*value as f64),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The number of a type of facts.
fn type_of(fact: &Fact) -> u32 {
    match fact {
        Fact::Count(_) => 4,
        Fact::Signed(_) => 5,
        Fact::Number(_) => 6,
        Fact::Flag(_) => 7,
        Fact::Text(_) => 8,
        Fact::List(_) => 9,
    }
}

/// A tensor that is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorPlan {
    pub(super) name: String,
    /// Sizes as torch has them: the fastest last.
    pub(super) size: Vec<u64>,
    pub(super) kind: BlockType,
}

impl TensorPlan {
    fn num_bytes(&self) -> u64 {
        self.kind.num_bytes(self.size.iter().product())
    }
}

/// Writes a file; `bytes_of` gives a tensor's bytes when its turn comes. It is on the disk when this returns.
pub(super) fn write(
    path: &Path,
    facts: &[(String, Fact)],
    tensors: &[TensorPlan],
    mut bytes_of: impl FnMut(&TensorPlan) -> Result<Vec<u8>, ModelError>,
) -> Result<(), ModelError> {
    let io = |error| ModelError::io(path, error);
    let mut head = Vec::new();
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    head.extend_from_slice(&(facts.len() as u64).to_le_bytes());
    for (name, fact) in facts {
        put_text(&mut head, name);
        head.extend_from_slice(&type_of(fact).to_le_bytes());
        put_fact(&mut head, fact);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_text(&mut head, &tensor.name);
        head.extend_from_slice(&(tensor.size.len() as u32).to_le_bytes());
        for size in tensor.size.iter().rev() {
            head.extend_from_slice(&size.to_le_bytes());
        }
        head.extend_from_slice(&tensor.kind.number().to_le_bytes());
        head.extend_from_slice(&u64::to_le_bytes(offset));
        offset += tensor.num_bytes().next_multiple_of(ALIGNMENT);
    }
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    file.write_all(&head).map_err(io)?;
    let mut place = head.len() as u64;
    for tensor in tensors {
        let start = place.next_multiple_of(ALIGNMENT);
        file.write_all(&vec![0; (start - place) as usize]).map_err(io)?;
        let bytes = bytes_of(tensor)?;
        file.write_all(&bytes).map_err(io)?;
        place = start + bytes.len() as u64;
    }
    let end = place.next_multiple_of(ALIGNMENT);
    file.write_all(&vec![0; (end - place) as usize]).map_err(io)?;
    file.flush().map_err(io)?;
    debug_assert_eq!(file.stream_position().ok(), Some(end));
    file.get_ref().sync_all().map_err(io)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_fact(out: &mut Vec<u8>, fact: &Fact) {
    match fact {
        Fact::Count(value) => out.extend_from_slice(&(*value as u32).to_le_bytes()),
        Fact::Signed(value) => out.extend_from_slice(&(*value as i32).to_le_bytes()),
        Fact::Number(value) => out.extend_from_slice(&(*value as f32).to_le_bytes()),
        Fact::Flag(value) => out.push(u8::from(*value)),
        Fact::Text(text) => put_text(out, text),
        Fact::List(list) => {
            let kind = list.first().map_or(8, type_of);
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for fact in list {
                put_fact(out, fact);
            }
        }
    }
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorPlace {
    /// Sizes as torch has them.
    pub(super) size: Vec<u64>,
    pub(super) kind: BlockType,
    /// First byte and number of bytes in the file.
    begin: usize,
    length: usize,
}

/// A file that is read: its bytes stay mapped.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    bytes: Mmap,
    facts: BTreeMap<String, Fact>,
    pub(super) tensors: BTreeMap<String, TensorPlace>,
}

impl Gguf {
    /// Whether a path is meant to be such a file: a file, not a folder, of that ending.
    pub(crate) fn is_named(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) && !path.is_dir()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// What is no whole file of versions 2 and 3, with a type that is not read.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|error| ModelError::io(path, error))?;
        if file.metadata().is_ok_and(|facts| facts.len() == 0) {
            return Err(broken(path, "it is empty"));
        }
        let bytes = cupola_kernels::map_file(&file).map_err(|error| ModelError::io(path, error))?;
        let (facts, tensors) = Reader { path, bytes: &bytes, place: 0 }.read()?;
        Ok(Self { path: path.to_path_buf(), bytes, facts, tensors })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A fact; none where the file does not have it.
    pub(crate) fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.get(name)
    }

    /// A tensor's bytes.
    pub(super) fn bytes_of(&self, tensor: &TensorPlace) -> &[u8] {
        &self.bytes[tensor.begin..tensor.begin + tensor.length]
    }
}

fn broken(path: &Path, message: &str) -> ModelError {
    GgufError::Broken { path: path.to_path_buf(), message: message.to_owned() }.into()
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    place: usize,
}

type Contents = (BTreeMap<String, Fact>, BTreeMap<String, TensorPlace>);

impl Reader<'_> {
    fn read(mut self) -> Result<Contents, ModelError> {
        if self.take(4)? != MAGIC {
            return Err(broken(self.path, "it does not begin with GGUF"));
        }
        let version = self.count32()?;
        if !(2..=VERSION).contains(&version) {
            return Err(broken(self.path, &format!("version {version}: expected 2 or 3")));
        }
        let (num_tensors, num_facts) = (self.entries()?, self.entries()?);
        let mut facts = BTreeMap::new();
        for _ in 0..num_facts {
            let name = self.text()?;
            let kind = self.count32()?;
            let fact = self.fact(kind, 0)?;
            facts.insert(name, fact);
        }
        let mut listed = Vec::new();
        for _ in 0..num_tensors {
            listed.push(self.tensor()?);
        }
        let alignment = facts.get("general.alignment").and_then(Fact::count).unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() {
            return Err(broken(self.path, &format!("alignment {alignment}: expected a power of two")));
        }
        let start = (self.place as u64).next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for (name, size, kind, offset) in listed {
            let elements = size.iter().try_fold(1u64, |all, size| all.checked_mul(*size));
            let elements = elements.filter(|elements| *elements < u64::from(u32::MAX) << 12);
            let elements =
                elements.ok_or_else(|| broken(self.path, &format!("tensor {name}: sizes {size:?}")))?;
            let row = size.last().copied().unwrap_or(1);
            if row % kind.block() != 0 {
                let message = format!("tensor {name}: rows of {row} are no whole blocks of {}", kind.block());
                return Err(broken(self.path, &message));
            }
            let (begin, length) = (start.saturating_add(offset), kind.num_bytes(elements));
            if begin.saturating_add(length) > self.bytes.len() as u64 {
                return Err(broken(self.path, &format!("it ends before tensor {name} does")));
            }
            let place = TensorPlace { size, kind, begin: begin as usize, length: length as usize };
            if tensors.insert(name.clone(), place).is_some() {
                return Err(broken(self.path, &format!("tensor {name} is there twice")));
            }
        }
        Ok((facts, tensors))
    }

    fn take(&mut self, count: usize) -> Result<&[u8], ModelError> {
        let end = self.place.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| broken(self.path, "it ends within its facts"))?;
        let taken = &self.bytes[self.place..end];
        self.place = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn count32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn count64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things that follow: each takes a byte at least.
    fn entries(&mut self) -> Result<u64, ModelError> {
        let count = self.count64()?;
        if count > MOST_ENTRIES || count > self.bytes.len() as u64 {
            return Err(broken(self.path, &format!("it says that {count} entries follow")));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, ModelError> {
        let length = self.entries()? as usize;
        let path = self.path;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| broken(path, "a text is no UTF-8"))
    }

    fn fact(&mut self, kind: u32, depth: u32) -> Result<Fact, ModelError> {
        let whole = |value: i64| u64::try_from(value).map_or(Fact::Signed(value), Fact::Count);
        Ok(match kind {
            0 => Fact::Count(u64::from(self.array::<1>()?[0])),
            1 => whole(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Fact::Count(u64::from(u16::from_le_bytes(self.array()?))),
            3 => whole(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Fact::Count(u64::from(self.count32()?)),
            5 => whole(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Fact::Number(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Fact::Flag(self.array::<1>()?[0] != 0),
            8 => Fact::Text(self.text()?),
            9 if depth < DEEPEST => {
                let kind = self.count32()?;
                let count = self.entries()?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.fact(kind, depth + 1)?);
                }
                Fact::List(list)
            }
            10 => Fact::Count(self.count64()?),
            11 => whole(i64::from_le_bytes(self.array()?)),
            12 => Fact::Number(f64::from_le_bytes(self.array()?)),
            other => return Err(broken(self.path, &format!("a fact of type {other}"))),
        })
    }

    fn tensor(&mut self) -> Result<(String, Vec<u64>, BlockType, u64), ModelError> {
        let name = self.text()?;
        let num_sizes = self.count32()?;
        if num_sizes == 0 || num_sizes > 4 {
            return Err(broken(self.path, &format!("tensor {name} has {num_sizes} sizes")));
        }
        let mut size = Vec::new();
        for _ in 0..num_sizes {
            size.insert(0, self.count64()?);
        }
        let number = self.count32()?;
        let kind = BlockType::of_number(number).ok_or_else(|| GgufError::Type {
            path: self.path.to_path_buf(),
            name: name.clone(),
            got: number,
            expected: BlockType::WORDS,
        })?;
        Ok((name, size, kind, self.count64()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(folder: &Path) -> PathBuf {
        let path = folder.join("x.gguf");
        let list = |words: &[&str]| Fact::List(words.iter().map(|word| Fact::from(*word)).collect());
        let facts = [
            ("general.architecture", Fact::from("llama")),
            ("llama.block_count", Fact::Count(3)),
            ("llama.rope.freq_base", Fact::Number(10_000.0)),
            ("tokenizer.ggml.add_bos_token", Fact::Flag(true)),
            ("tokenizer.ggml.tokens", list(&["a", "ß", ""])),
            ("x.negative", Fact::Signed(-7)),
        ];
        let facts = facts.map(|(name, fact)| (name.to_owned(), fact));
        let tensor =
            |name: &str, size: &[u64], kind| TensorPlan { name: name.into(), size: size.to_vec(), kind };
        let tensors = [tensor("one", &[3, 32], BlockType::Q8_0), tensor("two", &[5], BlockType::F32)];
        write(&path, &facts, &tensors, |plan| Ok(vec![plan.name.len() as u8; plan.num_bytes() as usize]))
            .unwrap();
        let read = Gguf::open(&path).unwrap();
        for (name, fact) in &facts {
            assert_eq!(read.fact(name), Some(fact), "{name}");
        }
        assert_eq!(read.tensors["one"].size, [3, 32]);
        assert_eq!(read.bytes_of(&read.tensors["one"]).len(), 3 * 34);
        assert_eq!(read.bytes_of(&read.tensors["two"]), [3; 20]);
        path
    }

    #[test]
    fn what_was_written_is_read() {
        sample(tempfile::tempdir().unwrap().path());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn a_cut_or_changed_file_never_panics(cut in 0usize..1000, at in 0usize..1000, byte in any::<u8>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = sample(folder.path());
            let whole = std::fs::read(&path).unwrap();
            let mut changed = whole.clone();
            let at = at % whole.len();
            changed[at] = byte;
            std::fs::write(&path, &changed).unwrap();
            let _ = Gguf::open(&path);
            let cut = cut % whole.len();
            std::fs::write(&path, &whole[..cut]).unwrap();
            // What is cut are at most the zeros behind the last tensor.
            prop_assert!(Gguf::open(&path).is_err() || whole.len() - cut <= 12, "{cut} of {}", whole.len());
        }
    }
}
