//! Long substrings that stand in the corpus more than once (Lee et al. 2021, "Deduplicating Training Data Makes Language Models Better",
//! arXiv:2107.06499).
//!
//! A place is *repeated* where the `min_bytes` bytes from it on stand at an earlier place of its group too, earlier by document, then by place,
//! and the two do not overlap. All bytes of repeated places go; so of each long substring the first occurrence stays, unless
//! it lies in a longer one that has an earlier one itself. Ends are moved inwards to characters.
//!
//! **Method.** Texts are cut into pieces that overlap by `min_bytes − 1` bytes, so that each place has its bytes within one. Pieces are sorted by
//! group and document and gathered into blocks. A suffix array and its longest common prefixes (libsais) put places with the same bytes
//! beside each other. A group that fits one block takes one suffix array; one of *k* blocks takes *k·(k + 1)/2*, one for each two blocks. So memory
//! is bounded whatever the corpus, and time grows with the square of a group's size over the block's: 1/32 of the budget, 512 MiB at most. The
//! result is the same for every budget.

mod block;
mod ranges;

use std::path::{Path, PathBuf};

use self::block::{Block, BlockFile, Piece};
use self::ranges::{RangeRecord, cuts};
pub use self::ranges::{SubstringCut, SubstringCuts};
use super::error::DedupError;
use super::sort::{Budget, Input, Sorter, Spill};

/// Parts of the budget that go into a block: two blocks' text, eight bytes of suffix array and prefixes for each byte, and what reads and
/// writes beside them.
const BLOCKS_PER_BUDGET: usize = 32;
/// The most a block may hold: two fit 31 bits.
const MAX_BLOCK_BYTES: usize = 1 << 29;
/// The most a piece may hold, bytes.
const MAX_PIECE_BYTES: usize = 64 << 10;

/// Finds repeated substrings across and within documents.
#[derive(Debug)]
pub struct SubstringDedup {
    folder: PathBuf,
    min_bytes: usize,
    block_bytes: usize,
    budget: Budget,
    pieces: Sorter<Piece>,
}

impl SubstringDedup {
    /// About 50 tokens of English, the length that Lee et al. chose.
    pub const DEFAULT_MIN_BYTES: usize = 200;

    /// Works in a folder of its own, which will hold the texts. `min_bytes` is the length from which a substring counts, 16 to 65,536.
    pub fn open(folder: &Path, budget: Budget, min_bytes: usize) -> Result<Self, DedupError> {
        if !(16..=1 << 16).contains(&min_bytes) {
            let expected = "16 to 65536 bytes".into();
            return Err(DedupError::Parameter { field: "min_bytes", expected, got: min_bytes.to_string() });
        }
        let block_bytes = (budget.bytes() / BLOCKS_PER_BUDGET).clamp(8 * min_bytes, MAX_BLOCK_BYTES);
        let pieces = Sorter::open(&folder.join("pieces"), budget, min_bytes as u64)?;
        Ok(Self { folder: folder.to_path_buf(), min_bytes, block_bytes, budget, pieces })
    }

    /// Begins an input; none where it was finished already.
    pub fn input(&self, name: &str) -> Result<Option<SubstringInput<'_>>, DedupError> {
        let piece_bytes = (self.block_bytes / 4).min(MAX_PIECE_BYTES + self.min_bytes);
        let form = |input| SubstringInput { input, piece_bytes, min_bytes: self.min_bytes };
        Ok(self.pieces.input(name)?.map(form))
    }

    /// What goes, in document order.
    pub fn finish(&self) -> Result<SubstringCuts, DedupError> {
        let mut found = Spill::new(&self.folder.join("ranges"), self.budget.part(4))?;
        let mut block = Block::default();
        let mut spooled: Vec<BlockFile> = Vec::new();
        for piece in self.pieces.sorted()?.distinct()? {
            let piece = piece?;
            if block.group().is_some_and(|group| group != piece.group) {
                self.end_group(&mut block, &mut spooled, &mut found)?;
            } else if block.num_bytes() + piece.text.len() >= self.block_bytes && !block.is_empty() {
                spooled.push(self.spool(&mut block, spooled.len())?);
            }
            block.push(&piece);
        }
        self.end_group(&mut block, &mut spooled, &mut found)?;
        cuts(&found.sorted()?)
    }

    fn spool(&self, block: &mut Block, number: usize) -> Result<BlockFile, DedupError> {
        let folder = self.folder.join(format!("block-{number}"));
        BlockFile::write(&folder, &std::mem::take(block), self.budget.part(8))
    }

    /// Finds what repeats in a group, each block against itself and those before it.
    fn end_group(
        &self,
        block: &mut Block,
        spooled: &mut Vec<BlockFile>,
        found: &mut Spill<RangeRecord>,
    ) -> Result<(), DedupError> {
        if spooled.is_empty() {
            let only = std::mem::take(block);
            let repeated = only.repeated(None, self.min_bytes)?;
            return only.ranges(&repeated, self.min_bytes).try_for_each(|range| found.push(range));
        }
        spooled.push(self.spool(block, spooled.len())?);
        for (number, file) in spooled.iter().enumerate() {
            let later = file.read()?;
            let mut repeated = later.repeated(None, self.min_bytes)?;
            for earlier in &spooled[..number] {
                let places = later.repeated(Some(&earlier.read()?), self.min_bytes)?;
                repeated.iter_mut().zip(places).for_each(|(all, place)| *all |= place);
            }
            later.ranges(&repeated, self.min_bytes).try_for_each(|range| found.push(range))?;
        }
        spooled.clear();
        Ok(())
    }
}

/// An input of [`SubstringDedup`].
#[derive(Debug)]
pub struct SubstringInput<'a> {
    input: Input<'a, Piece>,
    piece_bytes: usize,
    min_bytes: usize,
}

impl SubstringInput<'_> {
    /// Adds a document by its text.
    pub fn add(&mut self, document: u64, group: u32, text: &str) -> Result<(), DedupError> {
        let bytes = text.as_bytes();
        let mut offset = 0;
        // What is shorter has no place that could be repeated.
        while bytes.len() - offset >= self.min_bytes {
            let end = (offset + self.piece_bytes).min(bytes.len());
            let text = bytes[offset..end].into();
            self.input.push(Piece { group, document, offset: offset as u64, text })?;
            offset = end + 1 - self.min_bytes;
        }
        Ok(())
    }

    /// Ends the input.
    pub fn finish(self) -> Result<(), DedupError> {
        self.input.finish()
    }
}
