//! All ways to cut a piece into tokens: the sum over them, and the best of them.
//!
//! Sums are of probabilities, not of their logarithms: no exponential function inside the loop. A piece's probability falls below what a float holds
//! after some hundred bytes; so where all that lies ahead is tiny it is scaled up, and how often that happened is kept beside it. The work is one
//! step for each token that begins at each byte: linear in the piece, times the longest token.

use super::trie::Trie;

/// Below this a number is scaled.
const TINY: f64 = 1.0 / SCALE;
/// By this: 2 to the 300th.
const SCALE: f64 = f64::from_bits((1023 + 300) << 52);
/// Its logarithm.
const LN_SCALE: f64 = 300.0 * std::f64::consts::LN_2;

/// A token in a piece.
#[derive(Debug, Clone, Copy)]
struct Edge {
    start: u32,
    end: u32,
    token: u32,
}

/// A number and how often it was scaled up.
#[derive(Debug, Clone, Copy, Default)]
struct Scaled {
    value: f64,
    times: i32,
}

/// Room for the sums of one piece, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Lattice {
    edges: Vec<Edge>,
    forward: Vec<Scaled>,
    backward: Vec<Scaled>,
}

impl Lattice {
    /// Calls `each` with every token in the piece and its expected number there: the share of the piece's probability that goes through it.
    /// Returns the logarithm of the piece's probability. Every byte has to be a token of some probability.
    pub(super) fn expect(
        &mut self,
        trie: &Trie,
        probabilities: &[f64],
        piece: &[u8],
        mut each: impl FnMut(u32, f64),
    ) -> f64 {
        self.sum_forward(trie, probabilities, piece);
        self.sum_backward(probabilities, piece.len());
        let all = self.forward[piece.len()];
        if all.value <= 0.0 {
            return f64::NEG_INFINITY;
        }
        for edge in &self.edges {
            let (before, behind) = (self.forward[edge.start as usize], self.backward[edge.end as usize]);
            let mut share = before.value / all.value * probabilities[edge.token as usize] * behind.value;
            let times = before.times + behind.times - all.times;
            if times != 0 {
                share *= SCALE.powi(-times);
            }
            if share > 0.0 {
                each(edge.token, share.min(1.0));
            }
        }
        all.value.ln() - f64::from(all.times) * LN_SCALE
    }

    fn sum_forward(&mut self, trie: &Trie, probabilities: &[f64], piece: &[u8]) {
        self.edges.clear();
        self.forward.clear();
        self.forward.resize(piece.len() + 1, Scaled::default());
        self.forward[0].value = 1.0;
        let (mut times, mut reach) = (0, 0);
        for start in 0..piece.len() {
            if self.forward[start].value < TINY {
                let ahead = &mut self.forward[start..=reach.max(start)];
                if ahead.iter().all(|sum| sum.value < TINY) {
                    for sum in ahead.iter_mut() {
                        sum.value *= SCALE;
                    }
                    times += 1;
                }
            }
            self.forward[start].times = times;
            let before = self.forward[start].value;
            let (edges, forward) = (&mut self.edges, &mut self.forward);
            trie.for_each_prefix(&piece[start..], |len, token| {
                let end = start + len;
                forward[end].value += before * probabilities[token as usize];
                reach = reach.max(end);
                edges.push(Edge { start: start as u32, end: end as u32, token });
            });
        }
        self.forward[piece.len()].times = times;
    }

    fn sum_backward(&mut self, probabilities: &[f64], len: usize) {
        self.backward.clear();
        self.backward.resize(len + 1, Scaled::default());
        self.backward[len].value = 1.0;
        let mut times = 0;
        for edges in self.edges.chunk_by(|a, b| a.start == b.start).rev() {
            let start = edges[0].start as usize;
            let longest = edges.last().map_or(start, |edge| edge.end as usize);
            let sum = |behind: &[Scaled], times: i32| -> f64 {
                let value = |edge: &Edge| {
                    let behind = behind[edge.end as usize];
                    let value = behind.value * probabilities[edge.token as usize];
                    if behind.times == times { value } else { value * SCALE.powi(times - behind.times) }
                };
                edges.iter().map(value).sum()
            };
            let mut value = sum(&self.backward, times);
            if value < TINY
                && self.backward[start + 1..=longest].iter().all(|sum| sum.value < TINY || sum.times < times)
            {
                times += 1;
                value = sum(&self.backward, times);
            }
            self.backward[start] = Scaled { value, times };
        }
    }
}

/// Room for the search of the best way, used again for the next piece.
#[derive(Debug, Default, Clone)]
pub struct Viterbi {
    best: Vec<Best>,
}

/// The best way to a place: its score and its last token.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    start: u32,
    token: u32,
}

impl Viterbi {
    /// Calls `each` with the tokens of the best way, the last one first, and returns its score: the sum of the tokens'. `without` is a token that
    /// may not be used. Of equally good ways to a place the one with the longest last token stays. No way at all is no token and no score.
    pub(super) fn search(
        &mut self,
        trie: &Trie,
        scores: &[f64],
        piece: &[u8],
        without: Option<u32>,
        mut each: impl FnMut(u32),
    ) -> Option<f64> {
        self.best.clear();
        self.best
            .resize(piece.len() + 1, Best { score: f64::NEG_INFINITY, start: u32::MAX, token: u32::MAX });
        self.best[0].score = 0.0;
        for start in 0..piece.len() {
            let before = self.best[start].score;
            if start > 0 && self.best[start].start == u32::MAX {
                continue;
            }
            let best = &mut self.best;
            trie.for_each_prefix(&piece[start..], |len, token| {
                let score = scores[token as usize] + before;
                let place = &mut best[start + len];
                if without != Some(token) && (place.start == u32::MAX || score > place.score) {
                    *place = Best { score, start: start as u32, token };
                }
            });
        }
        let last = self.best[piece.len()];
        let mut at = piece.len();
        while at > 0 {
            let Best { start, token, .. } = self.best[at];
            if start == u32::MAX {
                return None;
            }
            each(token);
            at = start as usize;
        }
        Some(last.score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to cut a piece, with its probability.
    fn ways(keys: &[(&[u8], f64)], piece: &[u8]) -> Vec<(Vec<u32>, f64)> {
        if piece.is_empty() {
            return vec![(Vec::new(), 1.0)];
        }
        let mut all = Vec::new();
        for (token, (bytes, probability)) in keys.iter().enumerate() {
            if let Some(rest) = piece.strip_prefix(*bytes) {
                for (mut tokens, other) in ways(keys, rest) {
                    tokens.insert(0, token as u32);
                    all.push((tokens, probability * other));
                }
            }
        }
        all
    }

    const KEYS: [(&[u8], f64); 6] =
        [(b"a", 0.3), (b"b", 0.2), (b"ab", 0.25), (b"aba", 0.1), (b"ba", 0.05), (b"bab", 0.1)];

    fn trie() -> Trie {
        Trie::new(KEYS.iter().zip(0..).map(|((bytes, _), token)| (*bytes, token)))
    }

    #[test]
    fn sums_and_the_best_are_those_of_all_ways_one_by_one() {
        let probabilities = KEYS.map(|(_, probability)| probability);
        let scores = probabilities.map(f64::ln);
        for piece in [&b"a"[..], b"ab", b"abab", b"babaab", b"abaababba"] {
            let all = ways(&KEYS, piece);
            let sum: f64 = all.iter().map(|(_, probability)| probability).sum();
            let mut expected = [0.0; 6];
            for (tokens, probability) in &all {
                for token in tokens {
                    expected[*token as usize] += probability / sum;
                }
            }
            let mut found = [0.0; 6];
            let log = Lattice::default()
                .expect(&trie(), &probabilities, piece, |token, share| found[token as usize] += share);
            assert!((log - sum.ln()).abs() < 1e-12);
            assert!(expected.iter().zip(found).all(|(a, b)| (a - b).abs() < 1e-12), "{expected:?} {found:?}");
            let best = all.iter().map(|(_, probability)| *probability).fold(0.0, f64::max);
            let score = Viterbi::default().search(&trie(), &scores, piece, None, |_| {}).unwrap();
            assert!((score - best.ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn a_long_piece_neither_vanishes_nor_overflows() {
        let probabilities = [1e-9, 1e-12, 1e-15, 1e-9, 1e-6, 1e-30];
        let short = b"abbabaabab".repeat(3);
        let long = short.repeat(200);
        let mut lattice = Lattice::default();
        let mut shares = [0.0; 6];
        let log =
            lattice.expect(&trie(), &probabilities, &long, |token, share| shares[token as usize] += share);
        // Each byte is covered once, whatever the way.
        let covered: f64 =
            shares.iter().zip(KEYS).map(|(share, (bytes, _))| share * bytes.len() as f64).sum();
        assert!((covered - long.len() as f64).abs() < 1e-6, "{covered}");
        let once = lattice.expect(&trie(), &probabilities, &short, |_, _| {});
        assert!(log.is_finite() && log < 150.0 * once, "{log} {once}");
    }

    #[test]
    fn a_piece_that_no_token_covers_has_no_way() {
        assert_eq!(Viterbi::default().search(&trie(), &[0.0; 6], b"abc", None, |_| {}), None);
        assert_eq!(Viterbi::default().search(&trie(), &[0.0; 6], b"a", Some(0), |_| {}), None);
        assert_eq!(Viterbi::default().search(&trie(), &[0.0; 6], b"", None, |_| {}), Some(0.0));
    }
}
