//! A short piece as two integers.

/// Most bytes of a short piece: the sixteenth holds their number.
pub(super) const SHORT_BYTES: usize = 15;

/// The bytes of a short piece, zeros behind them, and their number in the last byte: equal if and only if the pieces are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Key {
    low: u64,
    high: u64,
}

impl PartialEq for Key {
    /// Both halves are compared whatever the first says: a branch between them would be guessed wrong.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        (self.low ^ other.low) | (self.high ^ other.high) == 0
    }
}

impl Eq for Key {}

/// Which bits of the two halves belong to a piece of so many bytes.
const MASKS: [(u64, u64); SHORT_BYTES + 1] = {
    let mut masks = [(0, 0); SHORT_BYTES + 1];
    let mut len = 0;
    while len <= SHORT_BYTES {
        masks[len] = if len < 8 { ((1 << (8 * len)) - 1, 0) } else { (u64::MAX, (1 << (8 * (len - 8))) - 1) };
        len += 1;
    }
    masks
};

impl Key {
    /// The key of `text[at..end]`; none where it is longer.
    #[inline(always)]
    pub(super) fn of(text: &[u8], at: usize, end: usize) -> Option<Self> {
        let len = end.wrapping_sub(at);
        let (low_mask, high_mask) = *MASKS.get(len)?;
        let both = match text.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
            Some(bytes) => u128::from_le_bytes(*bytes),
            None => near_the_end(text, at),
        };
        let (low, high) = (both as u64, (both >> 64) as u64);
        Some(Self { low: low & low_mask, high: (high & high_mask) | ((len as u64) << 56) })
    }

    /// Whether this is no piece at all.
    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.high == 0
    }

    /// A hash, of which the upper bits are the best.
    #[inline(always)]
    pub(super) fn hash(self) -> u64 {
        let low = u128::from(self.low ^ 0x9e37_79b9_7f4a_7c15);
        let product = low * u128::from(self.high ^ 0xd134_2543_de82_ef95);
        ((product >> 64) as u64) ^ product as u64
    }
}

#[cold]
fn near_the_end(text: &[u8], at: usize) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(text.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_where_pieces_do_and_do_not_see_what_follows() {
        let text = b"ab\0\0abab\0cdefghijklmnopqrstuvwxyz";
        let mut seen: Vec<(Vec<u8>, Key)> = Vec::new();
        for at in 0..text.len() {
            for end in at + 1..=(at + SHORT_BYTES).min(text.len()) {
                let key = Key::of(text, at, end).unwrap();
                assert_eq!(Key::of(&text[at..end], 0, end - at).unwrap(), key);
                seen.push((text[at..end].to_vec(), key));
            }
        }
        for (piece, key) in &seen {
            assert!(seen.iter().all(|(other, its)| (other == piece) == (its == key)));
        }
        assert_eq!(Key::of(text, 0, 16), None);
    }
}
