//! A decoder without a network: its logits are a hash of all tokens that it reads through the blocks, so that a block that is lost, written by
//! another or shared wrongly changes what it says.

use super::{AdapterId, Chunk, Decoder, GenerateError, Positions, Rows, Wanted};

/// Sizes of a [`FakeDecoder`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct FakeDecoder {
    pub vocab_size: usize,
    pub num_blocks: usize,
    pub block_tokens: usize,
    pub max_len: usize,
    pub positions: Positions,
}

impl FakeDecoder {
    pub(crate) fn paged(num_blocks: usize, block_tokens: usize, max_len: usize) -> Fake {
        Fake::new(Self { vocab_size: 50, num_blocks, block_tokens, max_len, positions: Positions::Apart })
    }

    pub(crate) fn whole(slots: usize, max_len: usize, positions: Positions) -> Fake {
        Fake::new(Self { vocab_size: 50, num_blocks: slots, block_tokens: max_len, max_len, positions })
    }
}

/// The decoder and its memory: a token for each place of each block, with the adapter that wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    sizes: FakeDecoder,
    memory: Vec<Option<(u32, Option<AdapterId>)>>,
    /// Calls so far, and tokens that ran in them.
    pub calls: usize,
    pub tokens: usize,
    /// Logits of a token in this many are NaN.
    pub spoils: Option<u64>,
}

impl Fake {
    fn new(sizes: FakeDecoder) -> Self {
        let memory = vec![None; sizes.num_blocks * sizes.block_tokens];
        Self { sizes, memory, calls: 0, tokens: 0, spoils: None }
    }

    fn place(&self, chunk: &Chunk<'_>, position: usize) -> usize {
        let size = self.sizes.block_tokens;
        chunk.blocks[position / size] as usize * size + position % size
    }

    /// Logits after `position`, a few of them likely, by what stands before.
    fn logits(&self, chunk: &Chunk<'_>, position: usize) -> impl Iterator<Item = f32> {
        let mut hash = 0x9e37_79b9_7f4a_7c15u64;
        for before in 0..=position {
            let (token, adapter) =
                self.memory[self.place(chunk, before)].expect("a position is read that nobody wrote");
            assert_eq!(adapter, chunk.adapter, "keys and values of another adapter");
            hash = mixed(hash ^ u64::from(token) ^ adapter.map_or(0, |id| 1 + u64::from(id.0)) << 40);
        }
        let is_spoilt = self.spoils.is_some_and(|one_in| hash.is_multiple_of(one_in));
        (0..self.sizes.vocab_size as u64).map(move |token| {
            let value = (mixed(hash.wrapping_add(token)) % 1000) as f32 / 100.0;
            if is_spoilt && token == 0 { f32::NAN } else { value }
        })
    }
}

fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Decoder for Fake {
    fn vocab_size(&self) -> usize {
        self.sizes.vocab_size
    }

    fn hidden_size(&self) -> usize {
        1
    }

    fn max_len(&self) -> usize {
        self.sizes.max_len
    }

    fn block_tokens(&self) -> usize {
        self.sizes.block_tokens
    }

    fn num_blocks(&self) -> usize {
        self.sizes.num_blocks
    }

    fn positions(&self) -> Positions {
        self.sizes.positions
    }

    fn has_adapter(&self, adapter: AdapterId) -> bool {
        adapter.0 < 2
    }

    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError> {
        self.calls += 1;
        rows.logits.clear();
        rows.hidden.clear();
        // A place that two chunks write would be read wrongly by one of them: all write first.
        for chunk in chunks {
            assert!(!chunk.tokens.is_empty(), "a chunk without a token");
            let is_whole =
                self.sizes.positions == Positions::Apart || chunk.start == 0 || chunk.tokens.len() < 9;
            assert!(is_whole, "a prompt that is cut");
            self.tokens += chunk.tokens.len();
            for (position, &token) in (chunk.start..).zip(chunk.tokens) {
                let place = self.place(chunk, position);
                self.memory[place] = Some((token, chunk.adapter));
            }
        }
        for chunk in chunks {
            let end = chunk.start + chunk.tokens.len();
            let asked = match chunk.wanted {
                Wanted::Nothing => end..end,
                Wanted::Last => end - 1..end,
                Wanted::All => chunk.start..end,
                Wanted::Hidden => {
                    rows.hidden.extend((chunk.start..end).map(|position| position as f32));
                    end..end
                }
            };
            for position in asked {
                let logits: Vec<f32> = self.logits(chunk, position).collect();
                rows.logits.extend(logits);
            }
        }
        Ok(())
    }
}
