//! Sets of millions of texts in eight bytes each: sorted hashes.

use xxhash_rust::xxh3::xxh3_64;

/// A set of texts. Of 10 million, one text in 10¹² that is not in it seems to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Hashes {
    sorted: Vec<u64>,
}

impl Hashes {
    /// Adds a text; [`Self::finish`] comes before the first question.
    pub(super) fn add(&mut self, text: &str) {
        self.sorted.push(xxh3_64(text.as_bytes()));
    }

    /// Sorts what was added.
    pub(super) fn finish(&mut self) {
        self.sorted.sort_unstable();
        self.sorted.dedup();
        self.sorted.shrink_to_fit();
    }

    /// Whether a text is in it.
    pub(super) fn has(&self, text: &str) -> bool {
        self.sorted.binary_search(&xxh3_64(text.as_bytes())).is_ok()
    }

    /// Texts in it.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }
}
