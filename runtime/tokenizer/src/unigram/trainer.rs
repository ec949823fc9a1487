//! Counts of pieces to a Unigram model: begin with too many tokens, and let those go whose loss costs least.
//!
//! Kudo, "Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates" (2018, arXiv:1804.10959), §3.2.
//! Alternately the expected number of each token is summed over all ways to cut the text (expectation), and becomes its new probability
//! (maximisation). The new probabilities are those of a Bayesian estimate, which takes a little from every token and most from the rare (Liang and
//! Klein, "Structured Bayesian Nonparametric Models with Variational Inference", 2007 tutorial). Then a share of the tokens goes: those without which
//! the text, cut at its best, is least less likely.
//!
//! Deviations: everything is over bytes, whose 256 tokens always stay; the last tokens too go by their loss, not by their score; and the scores
//! are fitted once more to the tokens that are left.

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::lattice::{Lattice, Viterbi};
use super::model::Unigram;
use super::seed::seeds;
use super::trie::Trie;
use crate::train::{Ended, PieceCounts, Tally, TrainError, TrainerSettings, bytes_in_order};

/// The text is cut into so many parts, whatever the number of threads: sums of floats depend on their order.
const PARTS: usize = 8;
/// A token that is expected less often than this goes.
const LEAST_EXPECTED: f64 = 0.5;
/// Training looks at a longer piece in parts of so many bytes: what it keeps of a piece is several numbers for each byte.
const MOST_PIECE_BYTES: usize = 1 << 14;
/// Rounds of expectation and maximisation between two cuts, and at the end.
const ROUNDS: usize = 2;
/// The share of tokens that a cut leaves.
const KEPT_SHARE: f64 = 0.75;
/// Scores are whole multiples of one by this: a decimal number of so few digits is read back as the same number by any reader of JSON.
const SCORE_STEPS: f64 = 1e9;

/// How a Unigram model is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct UnigramSettings {
    /// Bytes of the longest token.
    pub max_token_bytes: usize,
    /// Tokens to begin with, at most.
    pub seed_tokens: usize,
}

impl UnigramSettings {
    /// The most bytes that a token may have.
    pub const MOST_TOKEN_BYTES: usize = 256;
}

impl Default for UnigramSettings {
    /// Tokens of up to 32 bytes, a million to begin with.
    fn default() -> Self {
        Self { max_token_bytes: 32, seed_tokens: 1_000_000 }
    }
}

/// A model and how it came about.
#[derive(Debug, Clone)]
pub struct UnigramTrained {
    /// The model.
    pub model: Unigram,
    /// How often the text is expected to hold each token, by id; a special token's is zero.
    pub expected: Vec<f64>,
    /// Tokens that training began with.
    pub num_seeds: usize,
    /// The logarithm of the text's probability, summed over all ways to cut it, for each byte of the text. In nats.
    pub log_likelihood_per_byte: f64,
    /// The size that was asked for, in tokens.
    pub asked: usize,
    /// Why there are no more tokens.
    pub ended: Ended,
    /// What was counted.
    pub tally: Tally,
}

/// Trains on counts. `progress` hears after each round how many tokens there are: more than were asked for, until the last.
///
/// # Errors
/// [`TrainError::TooSmall`], [`TrainError::TooLarge`], [`TrainError::Special`], [`TrainError::Limit`], [`TrainError::Empty`].
pub fn train_unigram(
    pieces: &PieceCounts,
    settings: &TrainerSettings,
    unigram: &UnigramSettings,
    progress: &mut dyn FnMut(usize),
) -> Result<UnigramTrained, TrainError> {
    settings.check()?;
    let longest = unigram.max_token_bytes.min(settings.max_token_bytes.unwrap_or(usize::MAX));
    if longest == 0 || longest > UnigramSettings::MOST_TOKEN_BYTES {
        let (given, most) = (longest as u64, UnigramSettings::MOST_TOKEN_BYTES as u64);
        return Err(TrainError::Limit { field: "max_token_bytes", given, least: 1, most });
    }
    if pieces.is_empty() {
        return Err(TrainError::Empty);
    }
    let asked = settings.vocab_size - settings.specials.len();
    let mut table = Table::seeded(pieces, longest, unigram.seed_tokens.max(asked), &settings.specials);
    let num_seeds = table.tokens.len();
    loop {
        for _ in 0..ROUNDS {
            table.fit(pieces);
            progress(table.tokens.len());
        }
        if table.tokens.len() <= asked {
            break;
        }
        table.prune(pieces, asked);
    }
    Ok(table.finish(pieces, settings, num_seeds))
}

/// Tokens in training: the 256 bytes, then the others.
struct Table {
    tokens: Vec<Vec<u8>>,
    scores: Vec<f64>,
    expected: Vec<f64>,
    trie: Trie,
    log_likelihood: f64,
}

impl Table {
    fn seeded(pieces: &PieceCounts, longest: usize, most: usize, specials: &[String]) -> Self {
        let mut counts = [0_u64; 256];
        for (piece, count) in pieces.iter() {
            for byte in piece {
                counts[*byte as usize] += count;
            }
        }
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut weights: Vec<f64> = counts.iter().map(|count| (*count as f64).max(LEAST_EXPECTED)).collect();
        for seed in seeds(pieces, longest, most.saturating_sub(256)) {
            // Text must never become a special token.
            if !specials.iter().any(|special| special.as_bytes() == seed.bytes) {
                weights.push(seed.count as f64 * seed.bytes.len() as f64);
                tokens.push(seed.bytes);
            }
        }
        let all: f64 = weights.iter().sum();
        let scores = weights.iter().map(|weight| (weight / all).ln()).collect();
        Self::new(tokens, scores, weights)
    }

    fn new(tokens: Vec<Vec<u8>>, scores: Vec<f64>, expected: Vec<f64>) -> Self {
        let trie = Trie::new(tokens.iter().zip(0..).map(|(bytes, token)| (&bytes[..], token)));
        Self { tokens, scores, expected, trie, log_likelihood: 0.0 }
    }

    /// One round of expectation and maximisation. Tokens that are hardly expected go.
    fn fit(&mut self, pieces: &PieceCounts) {
        let (expected, log_likelihood) = self.expect(pieces);
        let kept: Vec<usize> = (0..self.tokens.len())
            .filter(|token| *token < 256 || expected[*token] >= LEAST_EXPECTED)
            .collect();
        let expected: Vec<f64> = kept.iter().map(|token| expected[*token].max(LEAST_EXPECTED)).collect();
        let all = digamma(expected.iter().sum());
        let scores = expected.iter().map(|count| digamma(*count) - all).collect();
        if kept.len() == self.tokens.len() {
            (self.scores, self.expected) = (scores, expected);
        } else {
            let tokens = kept.into_iter().map(|token| std::mem::take(&mut self.tokens[token])).collect();
            *self = Self::new(tokens, scores, expected);
        }
        self.log_likelihood = log_likelihood;
    }

    /// How often each token is expected, and the logarithm of the text's probability.
    fn expect(&self, pieces: &PieceCounts) -> (Vec<f64>, f64) {
        let probabilities: Vec<f64> = self.scores.iter().map(|score| score.exp()).collect();
        let sums: Vec<(Vec<f64>, f64)> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let (mut lattice, mut sums, mut log) =
                    (Lattice::default(), vec![0.0; self.tokens.len()], 0.0);
                for index in part_of(pieces, part) {
                    let (piece, count) = pieces.get(index);
                    let count = count as f64;
                    let mut each = |token: u32, share: f64| sums[token as usize] += share * count;
                    for part in piece.chunks(MOST_PIECE_BYTES) {
                        log += count * lattice.expect(&self.trie, &probabilities, part, &mut each);
                    }
                }
                (sums, log)
            })
            .collect();
        let (mut all, mut log) = (vec![0.0; self.tokens.len()], 0.0);
        for (sums, part_log) in sums {
            all.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
            log += part_log;
        }
        (all, log)
    }

    /// How often each token stands in the text when that is cut at its best.
    fn best_counts(&self, pieces: &PieceCounts) -> Vec<u64> {
        let counts: Vec<Vec<u64>> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let (mut viterbi, mut counts) = (Viterbi::default(), vec![0; self.tokens.len()]);
                for index in part_of(pieces, part) {
                    let (piece, count) = pieces.get(index);
                    for part in piece.chunks(MOST_PIECE_BYTES) {
                        viterbi.search(&self.trie, &self.scores, part, None, |token| {
                            counts[token as usize] += count;
                        });
                    }
                }
                counts
            })
            .collect();
        let mut all = vec![0; self.tokens.len()];
        for part in counts {
            all.iter_mut().zip(part).for_each(|(all, count)| *all += count);
        }
        all
    }

    /// Leaves at most three quarters of the tokens, at least `asked`: the bytes, and of the others those whose loss would cost most. What no text is
    /// cut into goes first.
    fn prune(&mut self, pieces: &PieceCounts, asked: usize) {
        let counts = self.best_counts(pieces);
        let all = counts.iter().sum::<u64>() as f64;
        let in_use = 256 + counts[256..].iter().filter(|count| **count > 0).count();
        let kept = asked.max(in_use.min((self.tokens.len() as f64 * KEPT_SHARE) as usize));
        let losses: Vec<f64> = (256..self.tokens.len() as u32)
            .into_par_iter()
            .map_init(Viterbi::default, |viterbi, token| self.loss(viterbi, &counts, all, token))
            .collect();
        let mut order: Vec<usize> = (256..self.tokens.len()).collect();
        order.sort_by(|a, b| {
            losses[b - 256].total_cmp(&losses[a - 256]).then_with(|| self.tokens[*a].cmp(&self.tokens[*b]))
        });
        order.truncate(kept.saturating_sub(256));
        order.sort_unstable();
        let kept: Vec<usize> = (0..256).chain(order).collect();
        let tokens = kept.iter().map(|token| std::mem::take(&mut self.tokens[*token])).collect();
        let scores = kept.iter().map(|token| self.scores[*token]).collect();
        let expected = kept.iter().map(|token| self.expected[*token]).collect();
        *self = Self::new(tokens, scores, expected);
    }

    /// How much less likely the text is, for each token of it, when a token is replaced by the best that is left, in nats.
    fn loss(&self, viterbi: &mut Viterbi, counts: &[u64], all: f64, token: u32) -> f64 {
        let count = counts[token as usize] as f64;
        let bytes = &self.tokens[token as usize];
        if count == 0.0 {
            // Nothing is lost. Of those that no text is cut into, the likelier ones go last.
            return self.scores[token as usize] - f64::from(1_u32 << 20);
        }
        let mut instead = Vec::new();
        viterbi.search(&self.trie, &self.scores, bytes, Some(token), |other| {
            instead.push(counts[other as usize] as f64 + count);
        });
        let all_then = all + count * (instead.len() as f64 - 1.0);
        let then: f64 = instead.iter().map(|count| (count / all_then).ln()).sum();
        count / all * ((count / all).ln() - then)
    }

    fn finish(
        mut self,
        pieces: &PieceCounts,
        settings: &TrainerSettings,
        num_seeds: usize,
    ) -> UnigramTrained {
        let mut order: Vec<usize> = bytes_in_order().map(usize::from).collect();
        let mut others: Vec<usize> = (256..self.tokens.len()).collect();
        others.sort_by(|a, b| {
            self.scores[*b].total_cmp(&self.scores[*a]).then_with(|| self.tokens[*a].cmp(&self.tokens[*b]))
        });
        order.append(&mut others);
        let specials = settings.specials.iter().map(|text| text.clone().into_bytes());
        let taken = order.iter().map(|token| std::mem::take(&mut self.tokens[*token]));
        let tokens: Vec<Vec<u8>> = specials.chain(taken).collect();
        let num_specials = settings.specials.len();
        let round = |score: f64| (score * SCORE_STEPS).round() / SCORE_STEPS;
        let zeros = || std::iter::repeat_n(0.0, num_specials);
        let scores = zeros().chain(order.iter().map(|token| round(self.scores[*token]))).collect();
        let expected = zeros().chain(order.iter().map(|token| self.expected[*token])).collect();
        let num_bytes: f64 = pieces.iter().map(|(piece, count)| piece.len() as f64 * count as f64).sum();
        let ended = if tokens.len() < settings.vocab_size { Ended::NoPairLeft } else { Ended::Full };
        let ids: Vec<u32> = (0..num_specials as u32).collect();
        UnigramTrained {
            model: Unigram::trained(tokens, scores, ids),
            expected,
            num_seeds,
            log_likelihood_per_byte: self.log_likelihood / num_bytes,
            asked: settings.vocab_size,
            ended,
            tally: pieces.tally(),
        }
    }
}

fn part_of(pieces: &PieceCounts, part: usize) -> std::ops::Range<usize> {
    pieces.len() * part / PARTS..pieces.len() * (part + 1) / PARTS
}

/// The logarithmic derivative of the gamma function: its asymptotic series from six on, below by its recurrence. For positive numbers.
fn digamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 6.0 {
        below += 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = inverse
        * (1.0 / 12.0
            - inverse * (1.0 / 120.0 - inverse * (1.0 / 252.0 - inverse * (1.0 / 240.0 - inverse / 132.0))));
    x.ln() - 0.5 / x - series - below
}
