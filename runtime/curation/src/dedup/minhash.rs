//! MinHash band keys of a text, in time linear in the text.
//!
//! **Shingles.** n-grams of the words of a text ([`words`](super::words)), as a set: a polynomial over the words' hashes, rolled from one to the next. A text
//! of fewer words than n is one shingle of all of them, so that equal short texts are found (datatrove passes them over); a text without words has no
//! signature.
//!
//! **Rows and bands.** With *b* bands of *r* rows, the classic method takes *b·r* hash functions and *b·r* minima for each shingle. Here
//! *r* functions suffice: each puts a shingle into one of *b* bins by its high bits and keeps the least of the remaining bits by bin (one-permutation
//! hashing: Li, Owen, Zhang 2012, arXiv:1208.1259). Band *i* is bin *i* of each of the *r* functions. So
//!
//! - a row agrees with probability *s*, the Jaccard similarity: the least element of a bin is any of the union's with equal chance;
//! - the *r* rows of a band come from *r* independent functions, so a band agrees with probability *sʳ* exactly. (Rows taken from one
//!   function would be drawn without replacement and agree less often, 13 % less for 50 shingles at s = 0.8, r = 8);
//! - the bins of one function are drawn without replacement: they are negatively associated (Joag-Dev, Proschan 1983, "Negative
//!   Association of Random Variables with Applications"), and so are the bands, so that at least one agrees no less often than by the theory's
//!   *1 − (1 − sʳ)ᵇ*.
//!
//! **Empty bins** (short texts) are filled as by Dahlgaard, Knudsen, Thorup 2017, "Fast Similarity Sketching" (arXiv:1704.04370): further
//! rounds with functions of their own fill only what is empty; behind *b* rounds each round serves one bin. Rows keep the probability *s*.
//! Plain densification (a neighbour's value) would make rows depend on each other.
//!
//! **The sketch** is one more such row of 128 bins, a byte each (b-bit minwise hashing: Li, König 2010, arXiv:0910.3349). As no band uses its function, it
//! estimates the similarity of a pair that the bands chose without their bias.

use xxhash_rust::xxh3::xxh3_64;

use super::error::DedupError;
use super::words::{WordSplitter, fold_multiply};

/// Bins of a sketch, a byte each.
pub const SKETCH_BYTES: usize = 128;
/// Bumped when the same text gives other keys.
const VERSION: u32 = 1;
/// Words that are gathered before their shingles are made.
const CHUNK_WORDS: usize = 1024;
/// With so many distinct shingles a bin, one that is empty has a probability below e⁻³².
const PLENTY_PER_BIN: usize = 32;
/// An empty bin. A shingle's value is this with probability 2⁻⁶⁴.
const EMPTY: u64 = u64::MAX;
/// Base of the polynomial over a shingle's words: odd, and of no structure.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// How near-duplicates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinHashParams {
    /// Words of a shingle, 1 to 64.
    pub ngram: usize,
    /// Bands, 1 to 16,384.
    pub bands: usize,
    /// Rows of a band, 1 to 256.
    pub rows: usize,
    /// Other seeds give other hash functions.
    pub seed: u64,
}

impl Default for MinHashParams {
    /// FineWeb's: 5-grams, 14 bands of 8 rows; half of the pairs at a similarity of 0.69 are found.
    fn default() -> Self {
        Self { ngram: 5, bands: 14, rows: 8, seed: 1 }
    }
}

impl MinHashParams {
    /// The theory's probability that a pair of similarity `jaccard` shares a band: 1 − (1 − sʳ)ᵇ.
    pub fn probability(&self, jaccard: f64) -> f64 {
        1.0 - (1.0 - jaccard.powi(self.rows as i32)).powi(self.bands as i32)
    }

    /// A fingerprint of what decides the keys.
    pub(super) fn fingerprint(&self) -> u64 {
        let Self { ngram, bands, rows, seed } = *self;
        xxh3_64(format!("minhash {VERSION} {ngram} {bands} {rows} {seed}").as_bytes())
    }

    fn check(&self) -> Result<(), DedupError> {
        let limits = [("ngram", self.ngram, 64), ("bands", self.bands, 16_384), ("rows", self.rows, 256)];
        for (field, got, most) in limits {
            if got == 0 || got > most {
                return Err(DedupError::Parameter {
                    field,
                    expected: format!("1 to {most}"),
                    got: got.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Makes band keys of texts. One serves any number of threads, each with its [`Scratch`].
#[derive(Debug)]
pub struct MinHasher {
    params: MinHashParams,
    words: WordSplitter,
    /// BASE to the power of `ngram`.
    leaving: u64,
    /// Distinct shingles that are kept for further rounds.
    kept_shingles: usize,
}

/// Memory for one text at a time: some hundred kilobytes, whatever the text's length.
#[derive(Debug, Default)]
pub struct Scratch {
    words: Vec<u64>,
    shingle: u64,
    num_words: u64,
    /// Shingles; the first `num_taken` are in the bins already.
    shingles: Vec<u64>,
    num_taken: usize,
    has_plenty: bool,
    /// By row: its bins; behind them those of the sketch.
    bins: Vec<u64>,
    round: Vec<u64>,
    keys: Vec<u64>,
    sketch: Vec<u8>,
}

/// What stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// A key by band: two texts share a band where these are equal.
    pub keys: &'a [u64],
    /// The sketch, [`SKETCH_BYTES`].
    pub sketch: &'a [u8],
    /// Words of the text.
    pub num_words: u64,
}

impl MinHasher {
    /// Checks the parameters and makes the tables.
    pub fn new(params: MinHashParams) -> Result<Self, DedupError> {
        params.check()?;
        let leaving = (0..params.ngram).fold(1u64, |power, _| power.wrapping_mul(BASE));
        let kept_shingles = 2 * PLENTY_PER_BIN * params.bands.max(SKETCH_BYTES);
        Ok(Self { params, words: WordSplitter::new(), leaving, kept_shingles })
    }

    /// Its parameters.
    pub fn params(&self) -> &MinHashParams {
        &self.params
    }

    /// The signature of a text; none for a text without words.
    pub fn signature<'a>(&self, text: &str, scratch: &'a mut Scratch) -> Option<Signature<'a>> {
        let Scratch { bins, .. } = scratch;
        bins.clear();
        bins.resize(self.params.rows * self.params.bands + SKETCH_BYTES, EMPTY);
        self.read(text, scratch, |scratch| {
            self.take_shingles(scratch);
            if !scratch.has_plenty {
                scratch.shingles.sort_unstable();
                scratch.shingles.dedup();
                scratch.has_plenty = scratch.shingles.len() > self.kept_shingles / 2;
            }
            if scratch.has_plenty {
                scratch.shingles.clear();
            }
            scratch.num_taken = scratch.shingles.len();
        });
        if scratch.num_words == 0 {
            return None;
        }
        self.take_shingles(scratch);
        if !scratch.has_plenty {
            self.fill_empty(scratch);
        }
        self.conclude(scratch);
        Some(Signature { keys: &scratch.keys, sketch: &scratch.sketch, num_words: scratch.num_words })
    }

    /// The Jaccard similarity of two texts' shingles; 1 where neither has any.
    pub fn jaccard(&self, one: &str, other: &str) -> f64 {
        let (one, other) = (self.shingles(one), self.shingles(other));
        let mut others = other.iter().peekable();
        let mut both = 0usize;
        for shingle in &one {
            while others.next_if(|next| *next < shingle).is_some() {}
            both += usize::from(others.next_if_eq(&shingle).is_some());
        }
        let either = one.len() + other.len() - both;
        if either == 0 { 1.0 } else { both as f64 / either as f64 }
    }

    /// The distinct shingles of a text as hashes, ascending.
    pub fn shingles(&self, text: &str) -> Vec<u64> {
        let mut scratch = Scratch::default();
        self.read(text, &mut scratch, |_| {});
        let mut shingles = std::mem::take(&mut scratch.shingles);
        shingles.sort_unstable();
        shingles.dedup();
        shingles
    }

    /// Makes the shingles of a text; `full` is to make room when there are more than are kept.
    fn read(&self, text: &str, scratch: &mut Scratch, mut full: impl FnMut(&mut Scratch)) {
        scratch.words.clear();
        scratch.shingles.clear();
        (scratch.shingle, scratch.num_words, scratch.num_taken, scratch.has_plenty) = (0, 0, 0, false);
        self.words.each(text, |word| {
            scratch.words.push(word);
            if scratch.words.len() == CHUNK_WORDS + self.params.ngram {
                self.roll(scratch);
                if scratch.shingles.len() >= self.kept_shingles {
                    full(scratch);
                }
            }
        });
        self.roll(scratch);
        if scratch.num_words > 0 && scratch.num_words < self.params.ngram as u64 {
            scratch.shingles.push(scratch.shingle);
        }
    }

    /// Turns gathered words into shingles; the last `ngram` words stay, as what leaves the next shingles.
    fn roll(&self, scratch: &mut Scratch) {
        let ngram = self.params.ngram;
        let Scratch { words, shingles, shingle, num_words, .. } = scratch;
        // Words at the front that are in the shingle already.
        let in_shingle = (*num_words).min(ngram as u64) as usize;
        for &word in words.iter().skip(in_shingle).take(ngram - in_shingle) {
            *shingle = shingle.wrapping_mul(BASE).wrapping_add(word);
            *num_words += 1;
            if *num_words == ngram as u64 {
                shingles.push(*shingle);
            }
        }
        let Some(entering) = words.get(ngram..) else { return };
        let mut rolled = *shingle;
        shingles.extend(entering.iter().zip(words.iter()).map(|(entering, leaving)| {
            rolled = rolled
                .wrapping_mul(BASE)
                .wrapping_add(*entering)
                .wrapping_sub(leaving.wrapping_mul(self.leaving));
            rolled
        }));
        *shingle = rolled;
        *num_words += entering.len() as u64;
        let rest = words.len() - ngram;
        words.drain(..rest);
    }

    /// Puts new shingles into the bins of all rows.
    fn take_shingles(&self, scratch: &mut Scratch) {
        let new = &scratch.shingles[scratch.num_taken..];
        for (row, bins) in self.rows(&mut scratch.bins).enumerate() {
            put(new, self.function(row, 0), bins);
        }
        scratch.num_taken = scratch.shingles.len();
    }

    /// Fills empty bins by further rounds over all distinct shingles.
    fn fill_empty(&self, scratch: &mut Scratch) {
        let Scratch { shingles, bins, round, .. } = scratch;
        for (row, bins) in self.rows(bins).enumerate() {
            for number in 1..=2 * bins.len() {
                if !bins.contains(&EMPTY) {
                    break;
                }
                let function = self.function(row, number as u64);
                round.clear();
                round.resize(bins.len(), EMPTY);
                match number.checked_sub(bins.len() + 1) {
                    None => put(shingles, function, round),
                    Some(bin) => put(shingles, function, &mut round[bin..=bin]),
                }
                for (bin, value) in bins.iter_mut().zip(round.iter()) {
                    if *bin == EMPTY {
                        *bin = *value;
                    }
                }
            }
        }
    }

    /// Makes keys and sketch of the bins.
    fn conclude(&self, scratch: &mut Scratch) {
        let Scratch { bins, keys, sketch, .. } = scratch;
        let bands = self.params.bands;
        let (rows, sketch_bins) = bins.split_at(self.params.rows * bands);
        keys.clear();
        keys.extend((0..bands).map(|band| {
            let values = rows.iter().skip(band).step_by(bands);
            values.fold(BASE, |key, value| fold_multiply(key ^ value, BASE).rotate_left(29) ^ value)
        }));
        sketch.clear();
        // A least value's high bits are mostly zeros and its low bits are those of the number of bins: the product has them all.
        sketch.extend(sketch_bins.iter().map(|value| (value.wrapping_mul(BASE) >> 56) as u8));
    }

    /// The bins of each row; the last are those of the sketch.
    fn rows<'b>(&self, bins: &'b mut [u64]) -> impl Iterator<Item = &'b mut [u64]> {
        let (rows, sketch) = bins.split_at_mut(self.params.rows * self.params.bands);
        rows.chunks_exact_mut(self.params.bands).chain([sketch])
    }

    /// The constants of a row's function in a round.
    fn function(&self, row: usize, round: u64) -> (u64, u64) {
        let seed = fold_multiply(self.params.seed ^ BASE, 0xbf58_476d_1ce4_e5b9);
        let at = mixed(seed ^ mixed((row as u64) << 32 | round));
        (at, mixed(at ^ BASE) | 1)
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): neighbouring numbers become unlike.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(BASE);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Puts shingles into bins. A hash times the number of bins has the bin above 64 bits and the value below.
fn put(shingles: &[u64], (mask, factor): (u64, u64), bins: &mut [u64]) {
    let num_bins = bins.len() as u64;
    for &shingle in shingles {
        let hash = fold_multiply(shingle ^ mask, factor);
        let spread = u128::from(hash) * u128::from(num_bins);
        if let Some(bin) = bins.get_mut((spread >> 64) as usize) {
            *bin = (*bin).min(spread as u64);
        }
    }
}

/// The Jaccard similarity of two texts as their sketches tell it: no bias, and a standard deviation of √(s(1 − s)/128), 0.044 at most. Below zero
/// counts as zero.
pub fn sketch_jaccard(one: &[u8], other: &[u8]) -> f64 {
    let equal = one.iter().zip(other).filter(|(one, other)| one == other).count() as f64;
    let share = equal / one.len().max(1) as f64;
    // Bytes of two values that differ are equal once in 256 times.
    ((share - 1.0 / 256.0) / (1.0 - 1.0 / 256.0)).max(0.0)
}
