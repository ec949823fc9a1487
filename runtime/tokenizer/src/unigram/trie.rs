//! Which tokens begin at a byte: a double array (Aoe, "An Efficient Digital Search Algorithm by Using a Double-Array Structure", 1989), with exclusive
//! or for the step, so that the children of a state lie in one block of 256 slots.

/// No token, or no parent.
const NONE: u32 = u32::MAX;
/// Blocks that are tried for the children of a state before a new one is begun.
const OPEN_BLOCKS: usize = 12;

#[derive(Debug, Clone, Copy)]
struct State {
    /// The child by byte `b` is in slot `base ^ b`.
    base: u32,
    parent: u32,
    token: u32,
}

/// Byte strings, each with its number.
#[derive(Debug, Clone)]
pub(super) struct Trie {
    states: Vec<State>,
}

impl Trie {
    /// Strings with their numbers. Of equal strings the last number counts; the empty string is none.
    pub(super) fn new<'k>(keys: impl Iterator<Item = (&'k [u8], u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> = keys.filter(|(bytes, _)| !bytes.is_empty()).collect();
        keys.sort_by(|a, b| a.0.cmp(b.0));
        let mut builder = Builder { states: Vec::new(), open: Vec::new() };
        builder.new_block();
        builder.states[0].parent = 0;
        // Keys by range, what they have in common, and the state that stands for it.
        let mut rest = vec![(0..keys.len(), 0_usize, 0_u32)];
        while let Some((mut range, depth, state)) = rest.pop() {
            while !range.is_empty() && keys[range.start].0.len() == depth {
                builder.states[state as usize].token = keys[range.start].1;
                range.start += 1;
            }
            let groups: Vec<(u8, usize)> = keys[range.clone()]
                .chunk_by(|a, b| a.0[depth] == b.0[depth])
                .map(|group| (group[0].0[depth], group.len()))
                .collect();
            if groups.is_empty() {
                continue;
            }
            let base = builder.place(&groups, state);
            let mut start = range.start;
            for (byte, len) in groups {
                rest.push((start..start + len, depth + 1, base ^ u32::from(byte)));
                start += len;
            }
        }
        Self { states: builder.states }
    }

    /// Calls `each` with the length and the number of every string that `bytes` begins with, the shortest first.
    #[inline]
    pub(super) fn for_each_prefix(&self, bytes: &[u8], mut each: impl FnMut(usize, u32)) {
        let (mut at, mut base) = (0, self.states[0].base);
        for (depth, byte) in bytes.iter().enumerate() {
            let next = base ^ u32::from(*byte);
            let Some(state) = self.states.get(next as usize).filter(|state| state.parent == at && next != 0)
            else {
                return;
            };
            if state.token != NONE {
                each(depth + 1, state.token);
            }
            (at, base) = (next, state.base);
        }
    }
}

/// A double array in the making: its slots, and the blocks in which some are free.
struct Builder {
    states: Vec<State>,
    open: Vec<usize>,
}

impl Builder {
    fn new_block(&mut self) -> usize {
        let block = self.states.len() >> 8;
        self.states.resize(self.states.len() + 256, State { base: 0, parent: NONE, token: NONE });
        self.open.push(block);
        if self.open.len() > OPEN_BLOCKS {
            self.open.remove(0);
        }
        block
    }

    fn is_free(&self, slot: usize) -> bool {
        self.states[slot].parent == NONE
    }

    /// Finds slots for the children of a state and takes them.
    fn place(&mut self, children: &[(u8, usize)], parent: u32) -> u32 {
        let first = children[0].0 as usize;
        let fits = |builder: &Self, base: usize| {
            children.iter().all(|(byte, _)| builder.is_free(base ^ *byte as usize))
        };
        let found = self.open.iter().find_map(|block| {
            let slots = (block << 8..(block + 1) << 8).filter(|slot| self.is_free(*slot));
            slots.map(|slot| slot ^ first).find(|base| fits(self, *base))
        });
        // In an empty block any base fits, except that slot 0 is the root's.
        let base = found.unwrap_or_else(|| self.new_block() << 8);
        for (byte, _) in children {
            self.states[base ^ *byte as usize].parent = parent;
        }
        self.states[parent as usize].base = base as u32;
        base as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn prefixes(trie: &Trie, text: &[u8]) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        trie.for_each_prefix(text, |len, token| found.push((len, token)));
        found
    }

    #[test]
    fn all_strings_that_a_text_begins_with_are_found() {
        let keys: [&[u8]; 6] = [b"a", b"abc", b"ab\0", b"b", b"", b"\0"];
        let trie = Trie::new(keys.iter().zip(0..).map(|(key, number)| (*key, number)));
        assert_eq!(prefixes(&trie, b"abcd"), [(1, 0), (3, 1)]);
        assert_eq!(prefixes(&trie, b"ab\0"), [(1, 0), (3, 2)]);
        assert_eq!(prefixes(&trie, b"\0\0"), [(1, 5)]);
        assert_eq!(prefixes(&trie, b"c"), []);
        assert_eq!(prefixes(&trie, b""), []);
        assert_eq!(prefixes(&Trie::new(std::iter::empty()), b"a\0"), []);
    }

    #[test]
    fn it_answers_as_a_map_does() {
        let mut state = 5_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as usize
        };
        let key = |next: &mut dyn FnMut() -> usize| -> Vec<u8> {
            let wide = next().is_multiple_of(3);
            (0..=(next() % 6)).map(|_| if wide { next() as u8 } else { b'a' + (next() % 3) as u8 }).collect()
        };
        let keys: HashMap<Vec<u8>, u32> = (0..6000).map(|number| (key(&mut next), number)).collect();
        let mut sorted: Vec<_> = keys.iter().collect();
        sorted.sort();
        let trie = Trie::new(sorted.into_iter().map(|(bytes, number)| (&bytes[..], *number)));
        for _ in 0..6000 {
            let text = [key(&mut next), key(&mut next)].concat();
            let expected: Vec<(usize, u32)> = (1..=text.len())
                .filter_map(|len| keys.get(&text[..len]).map(|number| (len, *number)))
                .collect();
            assert_eq!(prefixes(&trie, &text), expected);
        }
    }
}
