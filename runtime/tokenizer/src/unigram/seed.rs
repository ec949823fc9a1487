//! The tokens to begin with: the substrings of pieces that cover most of the text.
//!
//! All suffixes of all different pieces are sorted, as far as the longest token reaches. In that order the occurrences of a substring stand side by
//! side, and one walk with a stack visits every substring that is not always followed by the same byte: the inner nodes of the suffix tree, as
//! the enhanced suffix array has them (Abouelhoda, Kurtz and Ohlebusch, "Replacing suffix trees with enhanced suffix arrays", 2004).
//! A substring that is always followed by the same byte is worth less than the longer one.
//!
//! A seed begins and ends between characters. What no seed covers is left to the single bytes.

use rayon::slice::ParallelSliceMut;

use crate::train::PieceCounts;

/// A substring and how often it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
}

/// A suffix of a piece: its first bytes as a number, the piece, and where it begins there.
#[derive(Debug, Clone, Copy)]
struct Suffix {
    head: u64,
    piece: u32,
    start: u32,
}

/// A substring on the stack: the first `depth` bytes of a suffix, which stand `count` times so far.
#[derive(Debug, Clone, Copy)]
struct Node {
    depth: usize,
    count: u64,
    at: Suffix,
}

/// The `most` substrings of two bytes or more with the greatest product of count and length, in the order of their bytes; of equals those whose bytes
/// come first. `longest` is in bytes; a substring that stands once is none.
pub(super) fn seeds(pieces: &PieceCounts, longest: usize, most: usize) -> Vec<Seed> {
    let text = |suffix: &Suffix| {
        let piece = pieces.get(suffix.piece as usize).0;
        let start = suffix.start as usize;
        &piece[start..piece.len().min(start + longest)]
    };
    let suffixes = sorted_suffixes(pieces, text);
    let mut found: Vec<(u128, Node)> = Vec::new();
    let order = |a: &(u128, Node), b: &(u128, Node)| {
        b.0.cmp(&a.0).then_with(|| text(&a.1.at)[..a.1.depth].cmp(&text(&b.1.at)[..b.1.depth]))
    };
    let keep_best = |found: &mut Vec<(u128, Node)>| {
        if most > 0 && found.len() > most {
            found.select_nth_unstable_by(most - 1, order);
        }
        found.truncate(most);
    };
    let mut emit = |node: Node, parent_depth: usize| {
        let depth = whole_characters(text(&node.at), node.depth);
        if depth > parent_depth && depth > 1 && node.count > 1 {
            let worth = u128::from(node.count) * depth as u128;
            found.push((worth, Node { depth, ..node }));
            if found.len() / 4 > most {
                keep_best(&mut found);
            }
        }
    };
    let root = Node { depth: 0, count: 0, at: Suffix { head: 0, piece: 0, start: 0 } };
    let mut stack = vec![root];
    for (index, suffix) in suffixes.iter().enumerate() {
        let bytes = text(suffix);
        let count = pieces.get(suffix.piece as usize).1;
        match stack.last_mut() {
            Some(top) if top.depth == bytes.len() => top.count += count,
            _ => stack.push(Node { depth: bytes.len(), count, at: *suffix }),
        }
        let shared = suffixes.get(index + 1).map_or(0, |next| shared_bytes(bytes, text(next)));
        close(&mut stack, shared, &mut emit);
    }
    keep_best(&mut found);
    let mut seeds: Vec<Seed> = found
        .iter()
        .map(|(_, node)| Seed { bytes: text(&node.at)[..node.depth].to_vec(), count: node.count })
        .collect();
    seeds.par_sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
    seeds
}

fn sorted_suffixes<'t>(pieces: &'t PieceCounts, text: impl Fn(&Suffix) -> &'t [u8] + Sync) -> Vec<Suffix> {
    let mut suffixes = Vec::with_capacity(pieces.num_bytes());
    for (index, (piece, _)) in pieces.iter().enumerate() {
        for start in (0..piece.len()).filter(|start| !continues(piece[*start])) {
            let mut head = [0; 8];
            let rest = &piece[start..piece.len().min(start + 8)];
            head[..rest.len()].copy_from_slice(rest);
            suffixes.push(Suffix {
                head: u64::from_be_bytes(head),
                piece: index as u32,
                start: start as u32,
            });
        }
    }
    // Suffixes that are equal as far as tokens reach may come in any order: their counts are added.
    suffixes.par_sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| text(a).cmp(text(b))));
    suffixes
}

/// Takes off the stack what the next suffix does not begin with, and leaves what it shares with the last one on top.
fn close(stack: &mut Vec<Node>, shared: usize, emit: &mut impl FnMut(Node, usize)) {
    while let Some(node) = stack.pop_if(|node| node.depth > shared) {
        let below = stack.last().map_or(0, |node| node.depth);
        emit(node, below.max(shared));
        match stack.last_mut() {
            Some(parent) if parent.depth >= shared => parent.count += node.count,
            _ => stack.push(Node { depth: shared, ..node }),
        }
    }
}

/// Whether a byte goes on with a character of UTF-8.
fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// At most `depth` bytes that end between characters.
fn whole_characters(bytes: &[u8], depth: usize) -> usize {
    let mut depth = depth;
    while depth > 0 && bytes.get(depth).is_some_and(|byte| continues(*byte)) {
        depth -= 1;
    }
    // At the end of what tokens reach, the last character may be cut.
    let Some(first) = bytes[..depth].iter().rposition(|byte| !continues(*byte)) else { return 0 };
    let width = match bytes[first] {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    if depth - first >= width { depth } else { first }
}

fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// All substrings of whole characters that do not always go on alike, by counting each one.
    fn slow(words: &[(&str, u64)], longest: usize) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut followers: BTreeMap<&str, BTreeSet<Option<char>>> = BTreeMap::new();
        for (word, count) in words {
            let cuts: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
            for (index, start) in cuts.iter().enumerate() {
                for end in &cuts[index + 1..] {
                    if end - start <= longest {
                        *counts.entry(&word[*start..*end]).or_default() += count;
                        let next = word[*end..].chars().next();
                        let reaches = next.is_some_and(|next| end - start + next.len_utf8() <= longest);
                        followers.entry(&word[*start..*end]).or_default().insert(next.filter(|_| reaches));
                    }
                }
            }
        }
        let kept = counts.into_iter().filter(|(text, count)| {
            *count > 1 && text.len() > 1 && (followers[text].len() > 1 || followers[text].contains(&None))
        });
        kept.map(|(text, count)| (text.to_owned(), count)).collect()
    }

    #[test]
    fn seeds_are_the_substrings_that_go_on_differently() {
        let words = [
            (" banana", 3),
            (" bandana", 2),
            (" ban", 1),
            ("ana", 4),
            ("日本語", 2),
            ("日本", 1),
            ("日曜", 1),
            ("aaaa", 1),
            ("a\u{0}a", 2),
        ];
        for longest in [2, 3, 5, 6, 9, 40] {
            let pieces = words.iter().map(|(word, count)| (word.as_bytes(), *count)).collect();
            let found: BTreeMap<String, u64> = seeds(&pieces, longest, usize::MAX)
                .into_iter()
                .map(|seed| (String::from_utf8(seed.bytes).unwrap(), seed.count))
                .collect();
            assert_eq!(found, slow(&words, longest), "{longest}");
        }
    }

    #[test]
    fn the_ones_that_cover_most_stay() {
        let words = [(&b"abcdef"[..], 2_u64), (b"abxy", 10), (b"xyz", 10)];
        let found = seeds(&words.into_iter().collect(), 16, 2);
        let texts: Vec<&[u8]> = found.iter().map(|seed| &seed.bytes[..]).collect();
        assert_eq!(texts, [&b"abxy"[..], b"xy"]);
    }
}
