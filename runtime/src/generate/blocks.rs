//! The blocks of a KV cache: who holds which, and which hold a beginning that others may share.
//!
//! A full block is known by its tokens and by what stands before it, so that a sequence which begins alike finds it (Kwon et al. 2023,
//! arXiv:2309.06180; the chain of blocks as in SGLang's prefix cache, arXiv:2312.07104). The chain goes by numbers that are given once, and
//! tokens are compared: no hash stands for equality. A known block that nobody holds stays until its memory is needed, and the one that
//! was held least recently goes first. Nobody writes into a shared block, since only full ones are shared.
//!
//! Invariants: a block is free, or idle (known and unheld), or held by as many as its count says; a known block's tokens never change;
//! what is found was written within the same [`CacheSpace`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::AdapterId;

/// Who shares with whom: only requests of one scope and one adapter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheSpace {
    /// The scope that the request names.
    pub scope: Arc<str>,
    /// The adapter that it runs with.
    pub adapter: Option<AdapterId>,
}

/// Names the content of a full block and of all before it; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(u64);

impl ContentId {
    /// What stands before the first block.
    pub const NOTHING: Self = Self(0);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Content {
    before: ContentId,
    space: CacheSpace,
    tokens: Arc<[u32]>,
}

#[derive(Debug, Default)]
struct Block {
    holders: usize,
    known: Option<(Content, ContentId)>,
    /// When its last holder left it.
    idle_since: u64,
}

/// How many blocks are what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockCounts {
    /// Blocks in all.
    pub total: usize,
    /// Held by requests.
    pub used: usize,
    /// Held by nobody, but known: they may be found again, or be given away.
    pub cached: usize,
    /// Neither held nor known.
    pub free: usize,
}

/// All blocks of a cache.
#[derive(Debug)]
pub struct BlockPool {
    block_tokens: usize,
    blocks: Vec<Block>,
    free: BTreeSet<u32>,
    /// Known blocks that nobody holds, by when the last holder left.
    idle: BTreeMap<u64, u32>,
    known: HashMap<Content, u32>,
    /// Counts contents and departures.
    clock: u64,
}

impl BlockPool {
    /// `num_blocks` free blocks of `block_tokens` positions.
    pub fn new(num_blocks: usize, block_tokens: usize) -> Self {
        Self {
            block_tokens,
            blocks: (0..num_blocks).map(|_| Block::default()).collect(),
            free: (0..num_blocks as u32).collect(),
            idle: BTreeMap::new(),
            known: HashMap::new(),
            clock: 0,
        }
    }

    /// Positions of a block.
    pub fn block_tokens(&self) -> usize {
        self.block_tokens
    }

    /// Blocks that hold this many tokens.
    pub fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_tokens)
    }

    /// Blocks that [`BlockPool::take`] can still give.
    pub fn num_available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// How many blocks are what.
    pub fn counts(&self) -> BlockCounts {
        let (total, cached, free) = (self.blocks.len(), self.idle.len(), self.free.len());
        BlockCounts { total, used: total - cached - free, cached, free }
    }

    /// The known blocks that `tokens` begin with, and the content of the last one. They are not held yet.
    pub fn find(&self, space: &CacheSpace, tokens: &[u32]) -> (Vec<u32>, ContentId) {
        let (mut blocks, mut before) = (Vec::new(), ContentId::NOTHING);
        for part in tokens.chunks_exact(self.block_tokens) {
            let content = Content { before, space: space.clone(), tokens: part.into() };
            let Some(&block) = self.known.get(&content) else { break };
            let Some((_, id)) = &self.blocks[block as usize].known else { break };
            before = *id;
            blocks.push(block);
        }
        (blocks, before)
    }

    /// How many of these blocks nobody holds.
    pub fn num_idle(&self, blocks: &[u32]) -> usize {
        blocks.iter().filter(|&&block| self.blocks[block as usize].holders == 0).count()
    }

    /// One more holder of a block that [`BlockPool::find`] gave.
    pub fn hold(&mut self, block: u32) {
        let held = &mut self.blocks[block as usize];
        if held.holders == 0 {
            self.idle.remove(&held.idle_since);
        }
        held.holders += 1;
    }

    /// A block for one holder: the lowest free one, or the one that was idle for longest.
    pub fn take(&mut self) -> Option<u32> {
        let block = match self.free.pop_first() {
            Some(block) => block,
            None => self.idle.pop_first()?.1,
        };
        let taken = &mut self.blocks[block as usize];
        if let Some((content, _)) = taken.known.take() {
            self.known.remove(&content);
        }
        taken.holders = 1;
        Some(block)
    }

    /// Makes a full block known, whose content follows `before`, and names it. Where another block has the same content, that one stays the
    /// one that is found.
    pub fn record(&mut self, block: u32, before: ContentId, space: &CacheSpace, tokens: &[u32]) -> ContentId {
        debug_assert_eq!(tokens.len(), self.block_tokens);
        let content = Content { before, space: space.clone(), tokens: tokens.into() };
        let same = self.known.get(&content).and_then(|&same| self.blocks[same as usize].known.as_ref());
        if let Some((_, id)) = same {
            return *id;
        }
        self.clock += 1;
        let id = ContentId(self.clock);
        self.known.insert(content.clone(), block);
        self.blocks[block as usize].known = Some((content, id));
        id
    }

    /// A holder leaves its blocks, given in the order of its table. The end of a sequence is given away before its beginning.
    pub fn leave(&mut self, blocks: &[u32]) {
        for &block in blocks.iter().rev() {
            let left = &mut self.blocks[block as usize];
            left.holders -= 1;
            if left.holders > 0 {
                continue;
            }
            if left.known.is_some() {
                self.clock += 1;
                left.idle_since = self.clock;
                self.idle.insert(self.clock, block);
            } else {
                self.free.insert(block);
            }
        }
    }

    /// Panics where the pool's books disagree with each other or with what `tables` hold.
    #[cfg(test)]
    pub(crate) fn check<'a>(&self, tables: impl Iterator<Item = &'a [u32]>) {
        let mut holders = vec![0; self.blocks.len()];
        for table in tables {
            let distinct: BTreeSet<&u32> = table.iter().collect();
            assert_eq!(distinct.len(), table.len(), "a block stands twice in one table");
            for &block in table {
                holders[block as usize] += 1;
            }
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let id = index as u32;
            assert_eq!(block.holders, holders[index], "block {index}");
            let is_idle = self.idle.get(&block.idle_since) == Some(&id);
            assert_eq!(self.free.contains(&id), block.holders == 0 && block.known.is_none(), "block {index}");
            assert_eq!(is_idle, block.holders == 0 && block.known.is_some(), "block {index}");
            if let Some((content, _)) = &block.known {
                assert_eq!(self.known.get(content), Some(&id));
            }
        }
        assert_eq!(self.known.len(), self.blocks.iter().filter(|block| block.known.is_some()).count());
        assert_eq!(self.num_available(), holders.iter().filter(|&&count| count == 0).count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(scope: &str) -> CacheSpace {
        CacheSpace { scope: scope.into(), adapter: None }
    }

    /// Takes and records the blocks of `tokens`.
    fn store(pool: &mut BlockPool, space: &CacheSpace, tokens: &[u32]) -> Vec<u32> {
        let mut before = ContentId::NOTHING;
        let size = pool.block_tokens();
        let parts = tokens.chunks_exact(size);
        let record = |part: &[u32]| {
            let block = pool.take().unwrap();
            before = pool.record(block, before, space, part);
            block
        };
        parts.map(record).collect()
    }

    #[test]
    fn a_beginning_is_found_within_its_space_only() {
        let mut pool = BlockPool::new(8, 2);
        let held = store(&mut pool, &space("a"), &[1, 2, 3, 4, 5, 6]);
        assert_eq!(pool.find(&space("a"), &[1, 2, 3, 4, 9, 9]).0, held[..2]);
        assert_eq!(pool.find(&space("a"), &[1, 2, 3]).0, held[..1]);
        // The same tokens behind others are other contents.
        assert!(pool.find(&space("a"), &[3, 4]).0.is_empty());
        assert!(pool.find(&space("b"), &[1, 2, 3, 4]).0.is_empty());
        let adapted = CacheSpace { adapter: Some(AdapterId(1)), ..space("a") };
        assert!(pool.find(&adapted, &[1, 2, 3, 4]).0.is_empty());
        pool.check([held.as_slice()].into_iter());
    }

    #[test]
    fn the_end_of_what_was_left_first_is_given_away_first() {
        let mut pool = BlockPool::new(4, 2);
        let first = store(&mut pool, &space(""), &[1, 2, 3, 4]);
        let second = store(&mut pool, &space(""), &[5, 6, 7, 8]);
        pool.leave(&first);
        pool.leave(&second);
        assert_eq!(pool.counts(), BlockCounts { total: 4, used: 0, cached: 4, free: 0 });
        assert_eq!(pool.take(), Some(first[1]));
        assert_eq!(pool.find(&space(""), &[1, 2, 3, 4]).0, first[..1]);
        pool.hold(first[0]);
        assert_eq!(pool.take(), Some(second[1]));
        assert_eq!(pool.take(), Some(second[0]));
        assert_eq!(pool.take(), None);
        pool.check([[first[1], first[0], second[1], second[0]].as_slice()].into_iter());
    }

    #[test]
    fn a_second_block_of_the_same_content_goes_back_to_the_free() {
        let mut pool = BlockPool::new(4, 2);
        let one = store(&mut pool, &space(""), &[1, 2, 3, 4]);
        let two = store(&mut pool, &space(""), &[1, 2, 5, 6]);
        // The second sequence's own first block is not known, but what follows it is found behind the known one.
        assert_eq!(pool.find(&space(""), &[1, 2, 5, 6]).0, [one[0], two[1]]);
        pool.check([one.as_slice(), two.as_slice()].into_iter());
        pool.leave(&two);
        assert_eq!(pool.counts(), BlockCounts { total: 4, used: 2, cached: 1, free: 1 });
        pool.check([one.as_slice()].into_iter());
    }

    #[test]
    fn what_is_given_away_takes_its_followers_out_of_reach() {
        let mut pool = BlockPool::new(3, 1);
        let blocks = store(&mut pool, &space(""), &[1, 2]);
        pool.hold(blocks[1]);
        pool.leave(&blocks);
        assert_eq!((pool.take(), pool.take()), (Some(2), Some(blocks[0])));
        // The first block's content is written anew, under a new number.
        pool.record(2, ContentId::NOTHING, &space(""), &[1]);
        assert_eq!(pool.find(&space(""), &[1, 2]).0, [2]);
        pool.check([[2, blocks[0], blocks[1]].as_slice()].into_iter());
    }
}
