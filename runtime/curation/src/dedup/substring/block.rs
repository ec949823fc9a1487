//! Pieces of texts that are compared at once.

use std::path::Path;

use libsais::SuffixArrayConstruction;

use super::super::error::DedupError;
use super::super::sort::{Budget, Record, Sorted, Spill, take, take_bytes};
use super::ranges::RangeRecord;

/// Stands behind each piece; UTF-8 has no such byte.
const SEPARATOR: u8 = 0xff;

/// A stretch of a document's text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub(super) group: u32,
    pub(super) document: u64,
    /// Where it begins in the document, bytes.
    pub(super) offset: u64,
    pub(super) text: Box<[u8]>,
}

impl Record for Piece {
    const KIND: [u8; 4] = *b"pce1";

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.group.to_le_bytes());
        bytes.extend_from_slice(&self.document.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&(self.text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.text);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            group: u32::from_le_bytes(take(bytes)?),
            document: u64::from_le_bytes(take(bytes)?),
            offset: u64::from_le_bytes(take(bytes)?),
            text: take_bytes(bytes)?.into(),
        })
    }

    fn heap_bytes(&self) -> usize {
        self.text.len()
    }
}

/// Where a piece begins in a block, and what it is a piece of.
#[derive(Debug, Clone, Copy)]
struct Head {
    start: usize,
    group: u32,
    document: u64,
    offset: u64,
}

/// Pieces of one group, in order, each with a separator behind it.
#[derive(Debug, Default)]
pub(super) struct Block {
    text: Vec<u8>,
    heads: Vec<Head>,
}

impl Block {
    pub(super) fn push(&mut self, piece: &Piece) {
        let Piece { group, document, offset, ref text } = *piece;
        self.heads.push(Head { start: self.text.len(), group, document, offset });
        self.text.extend_from_slice(text);
        self.text.push(SEPARATOR);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    pub(super) fn group(&self) -> Option<u32> {
        self.heads.first().map(|head| head.group)
    }

    pub(super) fn num_bytes(&self) -> usize {
        self.text.len()
    }

    /// By byte: whether what begins there is repeated: from `earlier`, or from this block where that is none.
    pub(super) fn repeated(&self, earlier: Option<&Self>, min_bytes: usize) -> Result<Vec<bool>, DedupError> {
        let mut repeated = vec![false; self.text.len()];
        let joined;
        let (text, before) = match earlier {
            None => (&self.text, 0),
            Some(earlier) => {
                joined = [earlier.text.as_slice(), &self.text].concat();
                (&joined, earlier.text.len())
            }
        };
        if text.is_empty() {
            return Ok(repeated);
        }
        let failed = |what| DedupError::SuffixArray { num_bytes: text.len(), what };
        let suffixes = SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded();
        let suffixes = suffixes.run().map_err(|error| failed(error.to_string()))?;
        let prefixes = suffixes.plcp_construction().single_threaded();
        let prefixes = prefixes.run().map_err(|error| failed(error.to_string()))?;
        let (places, common) = (prefixes.suffix_array(), prefixes.plcp());
        let is_joined = |place: &i32| common[*place as usize] >= min_bytes as i32;
        // A run of places, all but the first of which share enough with the one before, is one substring's.
        let mut start = 0;
        while start < places.len() {
            let length = places[start + 1..].iter().take_while(|place| is_joined(place)).count();
            let same = &places[start..=start + length];
            start += length + 1;
            if length == 0 {
                continue;
            }
            let first = same.iter().min().map_or(0, |place| *place as usize);
            let is_within_piece = text.get(first..first + min_bytes).is_some_and(|s| !s.contains(&SEPARATOR));
            if !is_within_piece || earlier.is_some() && first >= before {
                continue;
            }
            let whole = earlier.unwrap_or(self).place(first);
            for place in same.iter().filter_map(|place| (*place as usize).checked_sub(before)) {
                let (document, offset) = self.place(place);
                repeated[place] |= document != whole.0 || offset >= whole.1 + min_bytes as u64;
            }
        }
        Ok(repeated)
    }

    /// The ranges of documents that repeated places cover.
    pub(super) fn ranges<'a>(
        &'a self,
        repeated: &'a [bool],
        min_bytes: usize,
    ) -> impl Iterator<Item = RangeRecord> + 'a {
        let mut places = repeated.iter().enumerate().filter_map(|(place, is)| is.then_some(place)).peekable();
        std::iter::from_fn(move || {
            let start = places.next()?;
            let mut last = start;
            // Places of two pieces are never closer than `min_bytes`: a piece ends without any.
            while let Some(next) = places.next_if(|next| *next < last + min_bytes) {
                last = next;
            }
            let (document, offset) = self.place(start);
            Some(RangeRecord { document, start: offset, end: offset + (last - start + min_bytes) as u64 })
        })
    }

    /// The document of a byte, and its place there.
    fn place(&self, at: usize) -> (u64, u64) {
        let head = self.heads[..self.heads.partition_point(|head| head.start <= at)].last();
        head.map_or((0, 0), |head| (head.document, head.offset + (at - head.start) as u64))
    }
}

/// A block on disk.
#[derive(Debug)]
pub(super) struct BlockFile(Sorted<Piece>);

impl BlockFile {
    pub(super) fn write(folder: &Path, block: &Block, budget: Budget) -> Result<Self, DedupError> {
        let mut spill = Spill::new(folder, budget)?;
        let ends = block.heads.iter().skip(1).map(|head| head.start).chain([block.text.len()]);
        for (head, end) in block.heads.iter().zip(ends) {
            let text = block.text[head.start..end - 1].into();
            let Head { group, document, offset, .. } = *head;
            spill.push(Piece { group, document, offset, text })?;
        }
        Ok(Self(spill.sorted_on_disk()?))
    }

    pub(super) fn read(&self) -> Result<Block, DedupError> {
        let mut block = Block::default();
        for piece in self.0.records()? {
            block.push(&piece?);
        }
        Ok(block)
    }
}
