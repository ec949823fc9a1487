//! Best-fit packing: whole sequences into rows, so that little of a row is padding and no sequence is ever cut.
//!
//! Source: Ding et al., Fewer Truncations Improve Language Modeling (2024, arXiv:2404.10830), best-fit decreasing. Sequences in one
//! row do not see each other: the row's segments restart positions and attention (`RowLayout::Documents`).
//!
//! Invariant: every sequence is in exactly one row, and no row is longer than `row_tokens`.

use std::collections::BTreeMap;

/// Packs sequences of the given lengths into rows of at most `row_tokens`; each row lists the indices of its sequences. The longest
/// goes first, each into the fullest row that still has room. The result depends on the lengths alone.
///
/// A sequence longer than a row must not be given: it gets a row of its own, which is then too long.
pub fn pack_best_fit(lengths: &[usize], row_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Rows by the room that they have left, oldest first.
    let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in order {
        let length = lengths[index];
        let room = by_room.range(length..).next().map(|(room, _)| *room);
        let found = room.and_then(|room| Some((by_room.get_mut(&room)?.pop()?, room)));
        let (row, room) = found.unwrap_or((rows.len(), row_tokens));
        if row == rows.len() {
            rows.push(Vec::new());
        }
        if by_room.get(&room).is_some_and(Vec::is_empty) {
            by_room.remove(&room);
        }
        rows[row].push(index);
        by_room.entry(room.saturating_sub(length)).or_default().push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fullest_row_with_room_takes_the_next_one() {
        // 6 opens a row with 4 left, 5 one with 5 left; 4 fits the first exactly.
        assert_eq!(pack_best_fit(&[4, 5, 6], 10), vec![vec![2, 0], vec![1]]);
    }

    proptest! {
        #[test]
        fn each_sequence_is_in_one_row_and_no_row_is_too_long(lengths in prop::collection::vec(1usize..64, 0..80)) {
            let rows = pack_best_fit(&lengths, 64);
            let mut seen: Vec<usize> = rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                prop_assert!(row.iter().map(|&index| lengths[index]).sum::<usize>() <= 64);
            }
            // Two rows under half full could have been one.
            let half = rows.iter().filter(|row| row.iter().map(|&i| lengths[i]).sum::<usize>() < 32).count();
            prop_assert!(half <= 1);
        }
    }
}
