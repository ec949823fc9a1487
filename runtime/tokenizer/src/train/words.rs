//! The pieces as symbols that grow together, all in one row of cells, one cell a byte.
//!
//! A symbol's number stands in the cell of its first byte, and how long it is in that of its last, so that both neighbours are one step away. The cells
//! between are marked and belong to no symbol. A cell that ends a piece stands before, between and behind the pieces, and pairs with nothing.
//! A cell also has its piece's count beside it, in the same line of the processor's cache.

use super::census::{PieceCounts, Tally};

/// The symbol that ends a piece.
pub(super) const END: u32 = INSIDE - 1;
/// Marks a cell that is no symbol's first; the other bits are the symbol's length if it is the last.
const INSIDE: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
struct Cell {
    symbol: u32,
    count: u32,
}

/// The row of cells.
#[derive(Debug)]
pub(super) struct Words {
    cells: Vec<Cell>,
}

/// Two symbols that became one: what stands around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merged {
    /// The symbol before, [`END`] if there is none.
    pub(super) before: u32,
    /// The cell of its first byte.
    pub(super) before_at: u32,
    /// The symbol behind, [`END`] if there is none.
    pub(super) after: u32,
    /// How often the piece stands in the text.
    pub(super) count: u32,
}

impl Words {
    /// `byte_ids` are the symbols of the bytes. Of pieces that need more cells than 31 bits can number, those that come last are left out, which the
    /// tally is told.
    pub(super) fn new(pieces: &PieceCounts, byte_ids: &[u32; 256], tally: &mut Tally) -> Self {
        let end = Cell { symbol: END, count: 0 };
        let mut cells = Vec::with_capacity((pieces.num_bytes() + pieces.len() + 1).min(END as usize));
        cells.push(end);
        for (piece, count) in pieces.iter().filter(|(piece, _)| piece.len() > 1) {
            // A count beyond 32 bits is that of several words that are alike.
            let copies = count.div_ceil(u64::from(u32::MAX));
            if cells.len() as u64 + copies * (piece.len() as u64 + 1) > u64::from(END) {
                tally.left_out_pieces += 1;
                tally.left_out_occurrences += count;
                continue;
            }
            let mut rest = count;
            while rest > 0 {
                let count = rest.min(u64::from(u32::MAX)) as u32;
                rest -= u64::from(count);
                cells.extend(piece.iter().map(|byte| Cell { symbol: byte_ids[*byte as usize], count }));
                cells.push(end);
            }
        }
        Self { cells }
    }

    /// Calls `each` with every pair of neighbouring cells that are both symbols: left, right, the left one's cell, count. For cells of one byte.
    pub(super) fn for_each_pair(&self, mut each: impl FnMut(u32, u32, u32, u32)) {
        for (at, two) in self.cells.windows(2).enumerate() {
            if two[0].symbol != END && two[1].symbol != END {
                each(two[0].symbol, two[1].symbol, at as u32, two[0].count);
            }
        }
    }

    /// Makes `left` of `left_bytes` at a cell, and `right` of `right_bytes` behind it, into `new`, if that is what stands there still.
    #[inline]
    pub(super) fn merge(&mut self, at: u32, left: (u32, u32), right: (u32, u32), new: u32) -> Option<Merged> {
        let at = at as usize;
        let second = at + left.1 as usize;
        let Cell { symbol, count } = self.cells[at];
        if symbol != left.0 || self.cells[second].symbol != right.0 {
            return None;
        }
        let behind = second + right.1 as usize;
        let after = self.cells[behind].symbol;
        self.cells[at].symbol = new;
        self.cells[second].symbol = INSIDE;
        self.cells[behind - 1].symbol = INSIDE | (left.1 + right.1);
        let mut before = self.cells[at - 1].symbol;
        let mut before_at = at - 1;
        if before & INSIDE != 0 {
            before_at = at - (before & !INSIDE) as usize;
            before = self.cells[before_at].symbol;
        }
        Some(Merged { before, before_at: before_at as u32, after, count })
    }
}
