//! A piece to ids: the merge of lowest rank first, the leftmost of equals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::{NONE, Pairs};

/// A piece of up to this many bytes is merged by scanning, which has the least overhead; a longer one with a heap, in n log n.
const SCAN_BYTES: usize = 64;
/// No symbol.
const GONE: u32 = u32::MAX;

/// Memory that merging uses again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    symbols: Vec<u32>,
    pairs: Vec<u64>,
}

/// Appends what the merges make of a piece.
pub(super) fn merge(
    pairs: &Pairs,
    byte_ids: &[u32; 256],
    piece: &[u8],
    scratch: &mut Scratch,
    ids: &mut Vec<u32>,
) {
    scratch.symbols.clear();
    scratch.symbols.extend(piece.iter().map(|byte| byte_ids[usize::from(*byte)]));
    scratch.pairs.clear();
    scratch.pairs.extend(
        piece.iter().zip(&piece[1.min(piece.len())..]).map(|(left, right)| pairs.of_bytes(*left, *right)),
    );
    if piece.len() <= SCAN_BYTES {
        by_scan(pairs, scratch);
    } else {
        by_heap(pairs, scratch);
    }
    ids.extend(scratch.symbols.iter().filter(|id| **id != GONE));
}

/// Merges `scratch.symbols`, whose neighbours have the values `scratch.pairs`; symbols that went into the one before are [`GONE`].
fn by_scan(table: &Pairs, scratch: &mut Scratch) {
    let Scratch { symbols, pairs } = scratch;
    let count = symbols.len().min(SCAN_BYTES);
    // Who is next to whom: nothing moves, since pieces are short and a scan is cheap.
    let (mut next, mut previous) = ([0_u8; SCAN_BYTES], [0_u8; SCAN_BYTES + 1]);
    for at in 0..count {
        next[at] = at as u8 + 1;
        previous[at] = (at as u8).wrapping_sub(1);
    }
    loop {
        let (mut best, mut at) = (NONE, 0);
        for (place, value) in pairs.iter().enumerate() {
            // Strictly less: the leftmost of equals.
            let is_less = *value < best;
            best = if is_less { *value } else { best };
            at = if is_less { place } else { at };
        }
        if best == NONE || at >= count {
            return;
        }
        let right = usize::from(next[at]);
        let after = usize::from(next[right]);
        symbols[at] = best as u32;
        symbols[right] = GONE;
        next[at] = after as u8;
        previous[after] = at as u8;
        if let Some(value) = pairs.get_mut(right) {
            *value = NONE;
        }
        pairs[at] = symbols.get(after).map_or(NONE, |after| table.get(best as u32, *after));
        let before = usize::from(previous[at]);
        if before < count {
            pairs[before] = table.get(symbols[before], best as u32);
        }
    }
}

/// The same with a heap of merges.
fn by_heap(table: &Pairs, scratch: &mut Scratch) {
    let Scratch { symbols, pairs } = scratch;
    let count = symbols.len();
    let mut next: Vec<u32> = (1..=count as u32).collect();
    let mut previous: Vec<u32> = (0..count as u32).map(|at| at.wrapping_sub(1)).collect();
    let offers = pairs.iter().enumerate().filter(|(_, value)| **value != NONE);
    let mut heap: BinaryHeap<Reverse<(u32, u32)>> =
        offers.map(|(at, value)| Reverse(((value >> 32) as u32, at as u32))).collect();
    pairs.push(NONE);
    while let Some(Reverse((rank, left))) = heap.pop() {
        let at = left as usize;
        let value = pairs[at];
        // The pair that was offered may have changed since: its own offer then lies in the heap.
        if value == NONE || (value >> 32) as u32 != rank {
            continue;
        }
        let right = next[at] as usize;
        symbols[at] = value as u32;
        symbols[right] = GONE;
        pairs[right] = NONE;
        let after = next[right] as usize;
        next[at] = after as u32;
        if after < count {
            previous[after] = left;
        }
        // The two pairs that the new symbol is in: with the one after it, and with the one before it.
        let before = previous[at] as usize;
        for (left, right) in [(at, after), (before, at)] {
            if left < count {
                let value = if right < count { table.get(symbols[left], symbols[right]) } else { NONE };
                pairs[left] = value;
                if value != NONE {
                    heap.push(Reverse(((value >> 32) as u32, left as u32)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids 0 … 255 are the bytes; then aa, ab, aab, bb.
    fn letters() -> (Pairs, [u32; 256]) {
        let byte_ids = std::array::from_fn(|byte| byte as u32);
        let (a, b) = (u32::from(b'a'), u32::from(b'b'));
        (Pairs::new(&byte_ids, &[(a, a, 256), (a, b, 257), (256, b, 258), (b, b, 259)]), byte_ids)
    }

    fn merged(piece: &[u8], by: fn(&Pairs, &mut Scratch)) -> Vec<u32> {
        let (table, byte_ids) = letters();
        let symbols: Vec<u32> = piece.iter().map(|byte| byte_ids[usize::from(*byte)]).collect();
        let pairs = piece.windows(2).map(|pair| table.of_bytes(pair[0], pair[1])).collect();
        let mut scratch = Scratch { symbols, pairs };
        by(&table, &mut scratch);
        scratch.symbols.into_iter().filter(|id| *id != GONE).collect()
    }

    #[test]
    fn the_heap_and_the_scan_agree() {
        let mut state = 3_u64;
        for length in 1..=SCAN_BYTES {
            let piece: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if state >> 62 == 0 { b'b' } else { b'a' }
                })
                .collect();
            assert_eq!(merged(&piece, by_scan), merged(&piece, by_heap), "{piece:?}");
        }
    }

    #[test]
    fn equal_merges_go_from_the_left_and_lower_ranks_first() {
        assert_eq!(merged(b"aaab", by_scan), [256, 257]);
        assert_eq!(merged(b"aaab", by_heap), [256, 257]);
    }
}
