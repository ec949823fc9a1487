//! The sort at budgets of a few kilobytes, with damage and with crashes.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::dedup::error::{DedupError, Place};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    key: u32,
    value: u64,
}

integers!(Pair, b"tst1", key: u32, value: u64);

/// A record of any length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text(Vec<u8>);

impl Record for Text {
    const KIND: [u8; 4] = *b"tst2";

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.0);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        take_bytes(bytes).map(|bytes| Self(bytes.to_vec()))
    }

    fn heap_bytes(&self) -> usize {
        self.0.capacity()
    }
}

fn pairs(seed: u64, count: u64) -> Vec<Pair> {
    let pair = |at: u64| {
        let mixed = (at + seed * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Pair { key: (mixed >> 54) as u32, value: mixed >> 40 }
    };
    (0..count).map(pair).collect()
}

fn fill(sorter: &Sorter<Pair>, name: &str, records: &[Pair]) {
    let mut input = sorter.input(name).unwrap().unwrap();
    for record in records {
        input.push(*record).unwrap();
    }
    input.finish().unwrap();
}

fn all<R: Record>(sorted: &Sorted<R>) -> Result<Vec<R>, DedupError> {
    sorted.records()?.collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

#[test]
fn any_budget_threads_and_inputs_give_one_order() {
    let mut expected: Vec<Pair> =
        pairs(1, 5_000).into_iter().chain(pairs(2, 5_000)).chain(pairs(1, 500)).collect();
    let records = expected.clone();
    expected.sort_unstable();
    for (bytes, inputs, threads) in [(0, 1, 1), (4096, 3, 2), (20_000, 40, 7), (1 << 24, 2, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(bytes).with_writers(2);
        let sorter = Sorter::open(folder.path(), budget, 7).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            for (index, part) in records.chunks(records.len().div_ceil(inputs)).enumerate() {
                fill(&sorter, &format!("part {index}"), part);
            }
            let sorted = sorter.sorted().unwrap();
            assert_eq!(all(&sorted).unwrap(), expected);
            assert_eq!(sorter.num_records(), expected.len() as u64);
            let mut distinct = expected.clone();
            distinct.dedup();
            let found: Result<Vec<Pair>, _> = sorted.distinct().unwrap().collect();
            assert_eq!(found.unwrap(), distinct);
            // Merges that are there already give the same again.
            assert_eq!(all(&sorter.sorted().unwrap()).unwrap(), expected);
        });
    }
}

#[test]
fn a_spill_keeps_in_memory_what_fits_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut texts: Vec<Text> =
        pairs(3, 2_000).iter().map(|pair| Text(vec![pair.key as u8; pair.value as usize % 300])).collect();
    texts.push(Text(vec![b'x'; 100_000]));
    for (bytes, spills) in [(4096, true), (1 << 24, false)] {
        let place = folder.path().join("spill");
        let mut spill = Spill::new(&place, Budget::new(bytes)).unwrap();
        for text in &texts {
            spill.push(text.clone()).unwrap();
        }
        let sorted = spill.sorted().unwrap();
        assert_eq!(!files(&place, ".run").is_empty(), spills);
        let reader = sorted.records().unwrap();
        drop(sorted);
        let found: Vec<Text> = reader.map(Result::unwrap).collect();
        let mut expected = texts.clone();
        expected.sort();
        assert!(found == expected);
        assert!(!place.exists());
    }
}

#[test]
fn every_byte_that_differs_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Sorter::<Pair>::open(folder.path(), Budget::new(4096), 7);
    fill(&open().unwrap(), "one", &pairs(1, 250));
    let run = files(folder.path(), ".run").remove(0);
    let marker = files(folder.path(), ".done").remove(0);
    for path in [run, marker] {
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x20;
            fs::write(&path, &damaged).unwrap();
            let found = open().and_then(|sorter| all(&sorter.sorted()?));
            let error = found.expect_err(&format!("byte {at} of {}", path.display()));
            assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
            assert!(matches!(error, DedupError::Damaged { .. } | DedupError::OtherWork { .. }), "{error}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(open().and_then(|sorter| all(&sorter.sorted()?)).is_err());
        }
        let longer = [whole.as_slice(), b"x"].concat();
        fs::write(&path, longer).unwrap();
        assert!(open().and_then(|sorter| all(&sorter.sorted()?)).is_err());
        fs::write(&path, &whole).unwrap();
    }
    let mut found = all(&open().unwrap().sorted().unwrap()).unwrap();
    found.dedup();
    assert_eq!(found.len(), 250);
}

#[test]
fn a_damaged_block_is_named_and_a_lost_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sorter = Sorter::<Pair>::open(folder.path(), Budget::new(1 << 16), 7).unwrap();
    fill(&sorter, "one", &pairs(1, 1_000));
    let run = files(folder.path(), ".run").remove(0);
    let mut bytes = fs::read(&run).unwrap();
    bytes[3_000] ^= 1;
    fs::write(&run, &bytes).unwrap();
    let error = all(&sorter.sorted().unwrap()).unwrap_err();
    assert!(matches!(error, DedupError::Damaged { place: Place::Block(2), .. }), "{error}");
    fs::remove_file(&run).unwrap();
    assert!(sorter.sorted().and_then(|sorted| all(&sorted)).is_err());
}

#[test]
fn what_was_finished_stays_and_what_was_begun_goes() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Sorter::<Pair>::open(folder.path(), Budget::new(4096), 7).unwrap();
    let sorter = open();
    fill(&sorter, "one", &pairs(1, 1_000));
    let written: Vec<_> =
        files(folder.path(), "").iter().map(|path| fs::metadata(path).unwrap().modified().unwrap()).collect();
    // The process ends within an input: its runs are there, its marker is not.
    let mut begun = sorter.input("two").unwrap().unwrap();
    for record in pairs(2, 1_000) {
        begun.push(record).unwrap();
    }
    assert!(matches!(sorter.input("two"), Err(DedupError::OpenTwice { .. })));
    assert!(files(folder.path(), "").len() > written.len());
    std::mem::forget(begun);

    let sorter = open();
    let left: Vec<_> =
        files(folder.path(), "").iter().map(|path| fs::metadata(path).unwrap().modified().unwrap()).collect();
    assert_eq!(left, written);
    assert!(sorter.input("one").unwrap().is_none());
    fill(&sorter, "two", &pairs(2, 1_000));
    let mut expected: Vec<Pair> = pairs(1, 1_000).into_iter().chain(pairs(2, 1_000)).collect();
    expected.sort_unstable();
    assert_eq!(all(&sorter.sorted().unwrap()).unwrap(), expected);

    // Given up without a crash, it can be begun again.
    drop(sorter.input("three").unwrap());
    assert!(sorter.input("three").unwrap().is_some());
}

#[test]
fn other_settings_and_other_kinds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(&Sorter::open(folder.path(), Budget::new(0), 7).unwrap(), "one", &pairs(1, 10));
    let other = Sorter::<Pair>::open(folder.path(), Budget::new(0), 8).err();
    assert!(matches!(other, Some(DedupError::OtherWork { .. })));
    let other = Sorter::<Text>::open(folder.path(), Budget::new(0), 7).err();
    assert!(matches!(other, Some(DedupError::OtherWork { .. })));
}
