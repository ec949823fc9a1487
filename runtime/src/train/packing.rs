//! Best-fit packing of documents into rows: whole wherever they fit.
//!
//! Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv:2404.10830): a document longer than a row is cut into full rows and a
//! rest; rests and short documents go, the longest first, to the fullest row with room for them. Where a row with just enough room is found in a
//! search tree over the room that is left (here an ordered map, of at most as many keys as a row has tokens), a packing of n pieces takes
//! n·log(T) steps.
//!
//! It depends on the documents' lengths and the row length alone: not on a seed, ranks or restarts. It is made when a stage starts, and holds
//! 16 bytes for each piece and 8 for each row: for 1e9 tokens in documents of 500 and rows of 512, about 60 MB.

use std::collections::BTreeMap;

/// Consecutive tokens of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first one's place in the shard.
    pub(super) start: u64,
    /// How many.
    pub(super) len: u32,
}

/// Rows of pieces.
#[derive(Debug, Default)]
pub(super) struct PackedRows {
    pieces: Vec<Piece>,
    /// Where each row's pieces begin in `pieces`, and where the last one's end.
    bounds: Vec<u64>,
}

impl PackedRows {
    /// Packs documents, given by start and length, into rows of `row_tokens`.
    pub(super) fn best_fit(documents: &[(u64, u64)], row_tokens: u32) -> Self {
        let width = u64::from(row_tokens);
        let mut packed = Self { pieces: Vec::new(), bounds: vec![0] };
        let mut rests = Vec::new();
        for &(start, len) in documents {
            for cut in 0..len / width {
                packed.pieces.push(Piece { start: start + cut * width, len: row_tokens });
                packed.bounds.push(packed.pieces.len() as u64);
            }
            let rest = len % width;
            if rest > 0 {
                rests.push(Piece { start: start + len - rest, len: rest as u32 });
            }
        }
        // Stable: pieces of one length stay in the documents' order.
        rests.sort_by_key(|piece| std::cmp::Reverse(piece.len));
        let (rows, num_rows) = place(&rests, row_tokens);
        packed.append(&rests, &rows, num_rows);
        packed
    }

    /// Appends `num_rows` rows; piece `i` is in row `rows[i]` of them, behind those before it.
    fn append(&mut self, pieces: &[Piece], rows: &[u32], num_rows: usize) {
        let begin = self.pieces.len();
        let mut next = vec![0u64; num_rows + 1];
        for row in rows {
            next[*row as usize + 1] += 1;
        }
        for row in 0..num_rows {
            next[row + 1] += next[row];
            self.bounds.push(begin as u64 + next[row + 1]);
        }
        self.pieces.resize(begin + pieces.len(), Piece { start: 0, len: 0 });
        for (piece, row) in pieces.iter().zip(rows) {
            let at = &mut next[*row as usize];
            self.pieces[begin + *at as usize] = *piece;
            *at += 1;
        }
    }

    /// How many rows there are.
    pub(super) fn num_rows(&self) -> u64 {
        self.bounds.len().saturating_sub(1) as u64
    }

    /// The pieces of a row, in order.
    pub(super) fn row(&self, row: u64) -> &[Piece] {
        let row = row as usize;
        &self.pieces[self.bounds[row] as usize..self.bounds[row + 1] as usize]
    }
}

/// The row of each piece, and how many rows that makes.
fn place(pieces: &[Piece], row_tokens: u32) -> (Vec<u32>, usize) {
    let mut open: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut rows = Vec::with_capacity(pieces.len());
    let mut num_rows = 0u32;
    for piece in pieces {
        let (row, room) = take_tightest(&mut open, piece.len).unwrap_or((num_rows, row_tokens));
        num_rows = num_rows.max(row + 1);
        if room > piece.len {
            open.entry(room - piece.len).or_default().push(row);
        }
        rows.push(row);
    }
    (rows, num_rows as usize)
}

/// The row with the least room of at least `len`, and its room.
fn take_tightest(open: &mut BTreeMap<u32, Vec<u32>>, len: u32) -> Option<(u32, u32)> {
    let (&room, rows) = open.range_mut(len..).next()?;
    let row = rows.pop()?;
    if rows.is_empty() {
        open.remove(&room);
    }
    Some((row, room))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn documents(lengths: &[u64]) -> Vec<(u64, u64)> {
        let mut start = 0;
        let place = |&len: &u64| {
            start += len;
            (start - len, len)
        };
        lengths.iter().map(place).collect()
    }

    #[test]
    fn the_longest_come_first_and_go_where_the_least_room_is_left() {
        let packed = PackedRows::best_fit(&documents(&[3, 6, 2, 25, 4, 5]), 10);
        // Of 25 two rows are full and 5 is left. Then 6; 5 and 5 together; 4 beside 6; 3 and 2 in a row of their own.
        let lengths: Vec<Vec<u32>> = (0..packed.num_rows())
            .map(|row| packed.row(row).iter().map(|piece| piece.len).collect())
            .collect();
        assert_eq!(lengths, [vec![10], vec![10], vec![6, 4], vec![5, 5], vec![3, 2]]);
        assert_eq!(packed.row(0)[0].start, 11);
        assert_eq!(packed.row(3).iter().map(|piece| piece.start).collect::<Vec<_>>(), [31, 40]);
    }

    /// Two million documents; memory is what is held, time is printed.
    #[test]
    fn a_billion_tokens_are_packed_into_full_rows_in_little_memory() {
        let lengths: Vec<u64> =
            (0..2_000_000u64).map(|i| 1 + (i * 2_654_435_761 % 1_048_576) * 998 / 1_048_576).collect();
        let documents = documents(&lengths);
        let begin = std::time::Instant::now();
        let packed = PackedRows::best_fit(&documents, 512);
        let secs = begin.elapsed().as_secs_f64();
        let tokens: u64 = lengths.iter().sum();
        let held = 16 * packed.pieces.capacity() + 8 * packed.bounds.capacity();
        let padding = 1.0 - tokens as f64 / (512 * packed.num_rows()) as f64;
        println!(
            "{tokens} tokens: {} rows, {:.3} % padding, {held} bytes, {secs:.2} s",
            packed.num_rows(),
            100.0 * padding
        );
        assert!(tokens > 990_000_000 && padding < 0.01 && held < 128 << 20, "{padding} {held}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_token_is_in_one_row_and_what_fits_is_whole(
            lengths in prop::collection::vec(1u64..70, 0..200), width in 1u32..40,
        ) {
            let documents = documents(&lengths);
            let packed = PackedRows::best_fit(&documents, width);
            let total: u64 = lengths.iter().sum();
            let mut seen = vec![0u8; total as usize];
            let mut pieces = 0;
            for row in 0..packed.num_rows() {
                let row = packed.row(row);
                prop_assert!(!row.is_empty() && row.iter().map(|piece| piece.len).sum::<u32>() <= width);
                for piece in row {
                    pieces += 1;
                    for at in piece.start..piece.start + u64::from(piece.len) {
                        seen[at as usize] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
            let cuts: u64 = lengths.iter().map(|len| len.div_ceil(u64::from(width))).sum();
            prop_assert_eq!(pieces, cuts, "no document is cut more often than its length asks for");
            // Two rows of rests that would fit into one are not left apart.
            let mut rooms: Vec<u32> = (0..packed.num_rows())
                .map(|row| packed.row(row).iter().map(|piece| piece.len).sum())
                .collect();
            rooms.sort_unstable();
            prop_assert!(rooms.len() < 2 || rooms[0] + rooms[1] > width);
        }
    }
}
