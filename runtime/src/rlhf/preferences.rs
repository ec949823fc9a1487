//! Pairs out of scored answers: of a prompt's samples the best and the worst, unless they tie.
//!
//! Taking the extremes of several samples widens the margin and so lowers the label noise: the labeler's score is only a proxy.

use cupola_specs::artifact::{PreferencePair, PreferenceStatistics};

use super::Prompt;

/// An answer with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The text.
    pub text: String,
    /// Its length.
    pub num_tokens: usize,
    /// Whether it was cut: a cut answer is never the chosen one, since its end was never written.
    pub truncated: bool,
    /// The labeler's score.
    pub score: f64,
}

/// Collects pairs and counts what happened on the way.
#[derive(Debug, Default)]
pub struct PairCollector {
    labeler: &'static str,
    min_margin: f64,
    pairs: Vec<PreferencePair>,
    ties: u64,
    prompts: u64,
    truncated: u64,
    chosen: Sums,
    rejected: Sums,
}

/// Sums over one side of the pairs.
#[derive(Debug, Default)]
struct Sums {
    tokens: f64,
    score: f64,
}

impl PairCollector {
    /// A collector for a labeler; a pair needs a margin above 0 and of at least `min_margin`.
    pub fn new(labeler: &'static str, min_margin: f64) -> Self {
        Self { labeler, min_margin, ..Self::default() }
    }

    /// Pairs so far.
    pub fn num_pairs(&self) -> u64 {
        self.pairs.len() as u64
    }

    /// Ties so far.
    pub fn num_ties(&self) -> u64 {
        self.ties
    }

    /// Takes a prompt's candidates; ties go. Of equal scores the earlier candidate counts.
    pub fn add(&mut self, prompt: &Prompt, candidates: &[Candidate]) {
        self.prompts += 1;
        self.truncated += candidates.iter().filter(|candidate| candidate.truncated).count() as u64;
        let whole = candidates.iter().filter(|candidate| !candidate.truncated && !candidate.text.is_empty());
        let best = whole.reduce(|best, next| if next.score > best.score { next } else { best });
        let worst =
            candidates.iter().reduce(|worst, next| if next.score < worst.score { next } else { worst });
        let pair = best.zip(worst).filter(|(best, worst)| {
            let margin = best.score - worst.score;
            margin > 0.0 && margin >= self.min_margin && best.text != worst.text
        });
        let Some((best, worst)) = pair else {
            self.ties += 1;
            return;
        };
        for (sums, side) in [(&mut self.chosen, best), (&mut self.rejected, worst)] {
            sums.tokens += side.num_tokens as f64;
            sums.score += side.score;
        }
        self.pairs.push(PreferencePair {
            prompt: prompt.text.clone(),
            chosen: best.text.clone(),
            rejected: worst.text.clone(),
            margin: Some(best.score - worst.score),
            labeler: self.labeler.to_owned(),
            votes: [1, 0],
        });
    }

    /// Splits the pairs, each of another prompt, into training and held-out ones. The prompts came in a seeded order, so the last
    /// ones are a random choice.
    pub fn finish(
        mut self,
        validation: f64,
    ) -> (Vec<PreferencePair>, Vec<PreferencePair>, PreferenceStatistics) {
        let total = self.pairs.len();
        let held_out = ((total as f64 * validation).round() as usize).min(total.saturating_sub(1));
        let mean = |sum: f64| sum / total.max(1) as f64;
        let statistics = PreferenceStatistics {
            prompts: self.prompts,
            pairs: (total - held_out) as u64,
            validation_pairs: held_out as u64,
            ties: self.ties,
            truncated_answers: self.truncated,
            mean_chosen_tokens: mean(self.chosen.tokens),
            mean_rejected_tokens: mean(self.rejected.tokens),
            mean_chosen_score: mean(self.chosen.score),
            mean_rejected_score: mean(self.rejected.score),
        };
        let validation = self.pairs.split_off(total - held_out);
        (self.pairs, validation, statistics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(text: &str, score: f64, truncated: bool) -> Candidate {
        Candidate { text: text.into(), num_tokens: text.len(), truncated, score }
    }

    #[test]
    fn the_extremes_make_the_pair_and_a_cut_answer_is_never_chosen() {
        let prompt = Prompt { name: "p".into(), text: "p".into(), reference: "r".into() };
        let mut pairs = PairCollector::new("reference", 0.1);
        pairs.add(
            &prompt,
            &[candidate("a", 0.4, false), candidate("b", 0.9, true), candidate("c", 0.2, false)],
        );
        pairs.add(&prompt, &[candidate("a", 0.40, false), candidate("b", 0.35, false)]);
        pairs.add(&prompt, &[candidate("a", 0.4, true), candidate("b", 0.1, true)]);
        pairs.add(&prompt, &[candidate("a", 0.1, true), candidate("b", 0.8, false)]);
        assert_eq!((pairs.num_pairs(), pairs.num_ties()), (2, 2));
        let (train, held_out, statistics) = pairs.finish(0.5);
        assert_eq!((train[0].chosen.as_str(), train[0].rejected.as_str()), ("a", "c"));
        assert_eq!((held_out[0].chosen.as_str(), held_out[0].rejected.as_str()), ("b", "a"));
        assert_eq!((statistics.prompts, statistics.truncated_answers), (4, 4));
        assert!((statistics.mean_chosen_score - 0.6).abs() < 1e-12);
    }
}
