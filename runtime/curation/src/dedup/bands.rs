//! Band files: who shares a band with whom, and what clusters that makes.

use std::path::{Path, PathBuf};

use super::clusters::{Clusters, Grouping, Groups, members};
use super::components::{Edge, Label, components};
use super::error::DedupError;
use super::minhash::{MinHashParams, SKETCH_BYTES, Signature};
use super::sort::{Budget, Input, Sorted, Sorter, Spill, integers};
use super::verify::{PairReport, SketchRecord, Verification, verify};

/// A document in a bucket: the documents of a group that have one key in a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct BandRecord {
    band: u16,
    group: u32,
    key: u64,
    document: u64,
}

integers!(BandRecord, b"bnd1", band: u16, group: u32, key: u64, document: u64);

/// Gathers the band keys of a corpus, and finds its clusters of near-duplicates. 22 bytes a band and document on disk, 308 for 14 bands.
#[derive(Debug)]
pub struct BandFiles {
    folder: PathBuf,
    budget: Budget,
    verification: Verification,
    bands: Sorter<BandRecord>,
    sketches: Option<Sorter<SketchRecord>>,
}

impl BandFiles {
    /// Works in a folder of its own. A folder with keys made by other parameters is an error.
    pub fn open(
        folder: &Path,
        budget: Budget,
        params: &MinHashParams,
        verification: Verification,
    ) -> Result<Self, DedupError> {
        let settings = params.fingerprint();
        let has_sketches = verification != Verification::Off;
        let part = if has_sketches { budget.part(2) } else { budget };
        let open_sketches = || Sorter::open(&folder.join("sketches"), part, settings);
        Ok(Self {
            folder: folder.to_path_buf(),
            budget,
            verification,
            bands: Sorter::open(&folder.join("bands"), part, settings)?,
            sketches: has_sketches.then(open_sketches).transpose()?,
        })
    }

    /// Begins an input; none where it was finished already.
    pub fn input(&self, name: &str) -> Result<Option<BandInput<'_>>, DedupError> {
        let bands = self.bands.input(name)?;
        let sketches = match &self.sketches {
            Some(sketches) => sketches.input(name)?,
            None => None,
        };
        let is_finished = bands.is_none() && sketches.is_none();
        Ok((!is_finished).then_some(BandInput { bands, sketches }))
    }

    /// The clusters of near-duplicates: documents that are joined by pairs, however many lie between.
    pub fn finish(&self) -> Result<Clusters, DedupError> {
        let (mut edges, mut num_edges) = self.edges()?;
        let mut pairs = PairReport { num_pairs: num_edges, num_kept: num_edges, by_jaccard: None };
        if let Some(sketches) = &self.sketches {
            let room = (self.folder.as_path(), self.budget.part(2));
            (edges, pairs) = verify(&edges, &sketches.sorted()?, self.verification, room)?;
            num_edges = pairs.num_kept;
        }
        let labels = components(edges, num_edges, &self.folder, self.budget)?;
        let grouping: Grouping<Label> = Grouping {
            is_same: |one, next| one.cluster == next.cluster,
            is_other: |one, next| one.document != next.document,
        };
        let groups = Groups::new(&labels, grouping)?;
        let folder = self.folder.join("members");
        let members = members(groups, &folder, self.budget.part(2), |label| label.document)?;
        Ok(Clusters { members, pairs })
    }

    /// Pairs of the first document of each bucket with each other one in it, and their number.
    fn edges(&self) -> Result<(Sorted<Edge>, u64), DedupError> {
        let mut spill = Spill::new(&self.folder.join("edges"), self.budget.part(2))?;
        let mut first: Option<BandRecord> = None;
        for record in self.bands.sorted()?.records()? {
            let record = record?;
            match first {
                Some(first) if is_one_bucket(&first, &record) => {
                    if record.document != first.document {
                        spill.push(Edge { one: first.document, other: record.document })?;
                    }
                }
                _ => first = Some(record),
            }
        }
        let edges = spill.sorted()?;
        let mut num_edges = 0;
        for edge in edges.distinct()? {
            edge?;
            num_edges += 1;
        }
        Ok((edges, num_edges))
    }
}

fn is_one_bucket(one: &BandRecord, other: &BandRecord) -> bool {
    (one.band, one.group, one.key) == (other.band, other.group, other.key)
}

/// An input of [`BandFiles`].
#[derive(Debug)]
pub struct BandInput<'a> {
    /// None where a run before this one finished them and not the others.
    bands: Option<Input<'a, BandRecord>>,
    sketches: Option<Input<'a, SketchRecord>>,
}

impl BandInput<'_> {
    /// Adds a document by its signature.
    pub fn add(&mut self, document: u64, group: u32, signature: &Signature<'_>) -> Result<(), DedupError> {
        if let Some(bands) = &mut self.bands {
            for (band, &key) in (0u16..).zip(signature.keys) {
                bands.push(BandRecord { band, group, key, document })?;
            }
        }
        if let Some(sketches) = &mut self.sketches {
            let mut sketch = [0; SKETCH_BYTES];
            for (byte, &value) in sketch.iter_mut().zip(signature.sketch) {
                *byte = value;
            }
            sketches.push(SketchRecord { document, sketch })?;
        }
        Ok(())
    }

    /// Ends the input.
    pub fn finish(self) -> Result<(), DedupError> {
        self.bands.map_or(Ok(()), Input::finish)?;
        self.sketches.map_or(Ok(()), Input::finish)
    }
}
