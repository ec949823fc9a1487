//! The pages that reference works cite, as a set that tells whether a page is among them.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::urls::canonical_url;

/// Addresses of millions of pages: eight bytes each. Two different addresses are taken for one once in 2^64 pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSet {
    /// Sorted.
    hashes: Vec<u64>,
}

impl LinkSet {
    /// The set of some canonical addresses, as [`extract_links`](super::extract_links) gives them.
    ///
    /// # Errors
    /// The first error among them.
    pub fn new(links: impl IntoIterator<Item = io::Result<String>>) -> io::Result<Self> {
        let hash = |link: io::Result<String>| Ok(xxh3_64(link?.as_bytes()));
        let mut hashes = links.into_iter().map(hash).collect::<io::Result<Vec<u64>>>()?;
        hashes.sort_unstable();
        hashes.dedup();
        hashes.shrink_to_fit();
        Ok(Self { hashes })
    }

    /// Adds those of another source.
    pub fn merge(&mut self, other: &Self) {
        self.hashes.extend_from_slice(&other.hashes);
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    /// Whether a page is among them, however its address is spelled.
    pub fn contains(&self, address: &str) -> bool {
        canonical_url(address)
            .is_some_and(|link| self.hashes.binary_search(&xxh3_64(link.as_bytes())).is_ok())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}
