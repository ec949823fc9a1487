//! Pairs of neighbouring symbols: how often each stands in the text, and where.
//!
//! Places are written once, when a pair arises, as a slice of one long list; some may no longer hold the pair when it is merged. A pair can arise again,
//! when two ways of merging spell the same token: then it has a further slice.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::words::{END, Words};

/// No further slice.
const NONE: u32 = u32::MAX;

/// Hashes the pairs of small numbers that the keys are. Symbols are numbered by training, so that no text chooses which keys meet.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// A pair of symbols as one number that sorts as the pair does.
pub(super) fn key_of(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    key: u64,
    count: u64,
    slice: Slice,
}

/// A slice of the list of places, and the number of the next one.
#[derive(Debug, Clone, Copy)]
struct Slice {
    start: usize,
    len: u32,
    more: u32,
}

/// A pair on the heap: the most frequent first, of equals the one with the smaller symbols. `index` is that of its [`Pair`].
type Entry = (u64, Reverse<u64>, u32);

/// All pairs that ever arose.
#[derive(Debug)]
pub(super) struct Pairs {
    known: Vec<Pair>,
    index: HashMap<u64, u32, BuildHasherDefault<PairHasher>>,
    places: Vec<u32>,
    more: Vec<Slice>,
    heap: BinaryHeap<Entry>,
    min_count: u64,
}

/// The most frequent pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Top {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) count: u64,
    index: u32,
}

impl Pairs {
    /// Counts the pairs of bytes, whose symbols are `first_byte` and the 255 numbers behind it. Pairs that stand less than `min_count` times are
    /// never the most frequent.
    pub(super) fn new(words: &Words, first_byte: u32, min_count: u64) -> Self {
        let dense = |left: u32, right: u32| ((left - first_byte) << 8 | (right - first_byte)) as usize;
        let mut sums = vec![(0_u64, 0_u32); 1 << 16];
        words.for_each_pair(|left, right, _, count| {
            let (sum, places) = &mut sums[dense(left, right)];
            *sum += u64::from(count);
            *places += 1;
        });
        let num_places: usize = sums.iter().map(|(_, places)| *places as usize).sum();
        let mut new = Self {
            known: Vec::new(),
            index: HashMap::default(),
            places: vec![0; num_places],
            more: Vec::new(),
            heap: BinaryHeap::new(),
            min_count: min_count.max(1),
        };
        let (mut next, mut start) = (vec![0_usize; 1 << 16], 0);
        for (dense, (count, len)) in sums.into_iter().enumerate().filter(|(_, (count, _))| *count > 0) {
            let key = key_of(first_byte + (dense >> 8) as u32, first_byte + (dense & 0xff) as u32);
            new.index.insert(key, new.known.len() as u32);
            new.known.push(Pair { key, count, slice: Slice { start, len, more: NONE } });
            next[dense] = start;
            start += len as usize;
        }
        words.for_each_pair(|left, right, at, _| {
            let next = &mut next[dense(left, right)];
            new.places[*next] = at;
            *next += 1;
        });
        let known = new.known.iter().enumerate().filter(|(_, pair)| pair.count >= new.min_count);
        new.heap = known.map(|(index, pair)| (pair.count, Reverse(pair.key), index as u32)).collect();
        new
    }

    /// Takes the most frequent pair off the heap. A count that has fallen since it was put there is corrected on the way: each correction answers to
    /// a merge that changed the count.
    pub(super) fn pop(&mut self) -> Option<Top> {
        while let Some((count, Reverse(key), index)) = self.heap.pop() {
            let current = self.known[index as usize].count;
            if current == count {
                return Some(Top { left: (key >> 32) as u32, right: key as u32, count, index });
            }
            // A count that has risen since has an entry of its own.
            if current < count && current >= self.min_count {
                self.heap.push((current, Reverse(key), index));
            }
        }
        None
    }

    /// Calls `each` with all places of a pair, which stands nowhere from now on.
    pub(super) fn take_places(&mut self, top: &Top, mut each: impl FnMut(u32)) {
        let pair = &mut self.known[top.index as usize];
        pair.count = 0;
        let mut slice = std::mem::replace(&mut pair.slice, Slice { start: 0, len: 0, more: NONE });
        loop {
            self.places[slice.range()].iter().for_each(|at| each(*at));
            if slice.more == NONE {
                break;
            }
            slice = self.more[slice.more as usize];
        }
    }

    /// Enters a pair that arose `count` times, at the last `len` places of the list. `is_new` if it can't have been there before.
    fn arise(&mut self, key: u64, count: u64, places: Range<usize>, is_new: bool) -> u32 {
        let slice = Slice { start: places.start, len: places.len() as u32, more: NONE };
        let next = self.known.len() as u32;
        let index = if is_new {
            self.index.insert(key, next);
            next
        } else {
            *self.index.entry(key).or_insert(next)
        };
        if index == next {
            self.known.push(Pair { key, count, slice });
        } else {
            let pair = &mut self.known[index as usize];
            pair.count += count;
            let earlier = std::mem::replace(&mut pair.slice, slice);
            if earlier.len > 0 {
                pair.slice.more = self.more.len() as u32;
                self.more.push(earlier);
            }
        }
        index
    }

    fn subtract(&mut self, key: u64, count: u64) {
        if let Some(index) = self.index.get(&key) {
            let pair = &mut self.known[*index as usize];
            pair.count = pair.count.saturating_sub(count);
        }
    }
}

impl Slice {
    fn range(self) -> Range<usize> {
        self.start..self.start + self.len as usize
    }
}

/// What stood on one side of the pairs that a merge replaced, grouped by symbol: each group is a new pair, and as many of an old one that are gone.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// The group of a symbol, by its number; [`NONE`] between merges.
    group_of: Vec<u32>,
    groups: Vec<Group>,
    /// Group and place of each new pair.
    found: Vec<(u32, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    symbol: u32,
    len: u32,
    count: u64,
    /// Where the next place goes.
    next: usize,
    index: u32,
}

impl Side {
    /// Makes room for symbols below `num_symbols`.
    pub(super) fn grow(&mut self, num_symbols: usize) {
        if self.group_of.len() < num_symbols {
            self.group_of.resize(num_symbols, NONE);
        }
    }

    /// A symbol that stands beside a new one. The new pair's place is `at`.
    #[inline]
    pub(super) fn add(&mut self, symbol: u32, at: u32, count: u32) {
        if symbol == END {
            return;
        }
        let mut group = self.group_of[symbol as usize];
        if group == NONE {
            group = self.groups.len() as u32;
            self.group_of[symbol as usize] = group;
            self.groups.push(Group { symbol, len: 0, count: 0, next: 0, index: NONE });
        }
        let entry = &mut self.groups[group as usize];
        entry.len += 1;
        entry.count += u64::from(count);
        self.found.push((group, at));
    }

    /// Enters the new pairs, whose keys `key` makes of the neighbour's symbol. Pairs for which it makes none are too long to be a token.
    pub(super) fn enter(&mut self, pairs: &mut Pairs, is_new: bool, key: impl Fn(u32) -> Option<u64>) {
        let mut start = pairs.places.len();
        for group in &mut self.groups {
            if let Some(key) = key(group.symbol) {
                group.next = start;
                start += group.len as usize;
                group.index = pairs.arise(key, group.count, group.next..start, is_new);
            }
        }
        pairs.places.resize(start, 0);
        for (group, at) in &self.found {
            let group = &mut self.groups[*group as usize];
            if group.index != NONE {
                pairs.places[group.next] = *at;
                group.next += 1;
            }
        }
    }

    /// Takes the counts off the pairs that are gone, whose keys `key` makes of the neighbour's symbol.
    pub(super) fn subtract(&self, pairs: &mut Pairs, key: impl Fn(u32) -> u64) {
        for group in &self.groups {
            pairs.subtract(key(group.symbol), group.count);
        }
    }

    /// Puts the new pairs on the heap and forgets them.
    pub(super) fn offer(&mut self, pairs: &mut Pairs) {
        for group in self.groups.drain(..) {
            self.group_of[group.symbol as usize] = NONE;
            if group.index == NONE {
                continue;
            }
            let Pair { key, count, .. } = pairs.known[group.index as usize];
            if count >= pairs.min_count {
                pairs.heap.push((count, Reverse(key), group.index));
            }
        }
        self.found.clear();
    }
}
