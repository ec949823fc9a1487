//! How much each word of a question tells, in nats.

use std::collections::HashMap;

/// The most common words of English, most common first. Their frequency follows Zipf's law closely enough: `0.1 / (rank + 1.3)`.
const COMMON: &str = "the of and to a in is that it for was on as with be by he his i at are this not have from but or had they you \
    which an were her she one we all their there been has would will when who if more no out so what up said its about them into than him \
    can could other then time only some these two may do first any my now such like our over man me even most made after also did many \
    before must through back years where much your way well down should because each just those people how too little good very \
    make world still own see men work long here get both between life being under never day same another know while last might us great \
    old year off come since against go came right used take three question answer following find number";

/// How often a word stands that is in no table.
const RARE: f64 = 2e-5;
const PRIOR_TOKENS: f64 = 20_000.0;
/// Questions that the table of common words stands for, within a benchmark and over all.
const PRIOR_QUESTIONS: [f64; 2] = [200.0, 1000.0];
/// Words of such a question.
const PRIOR_LENGTH: f64 = 20.0;
/// How many other questions must hold a word before what follows it there counts as much as what is common anywhere.
const TRUST: f64 = 8.0;
/// A pair of words that this many other questions share is no template yet: questions come in twins.
const TWINS: u32 = 3;
const LEAST: f64 = 0.1;
const MOST: f64 = 9.0;

/// Counts of words and of pairs of words over questions; each question counts a word or a pair once.
#[derive(Debug, Default)]
pub(super) struct Counts {
    words: HashMap<u32, u32>,
    pairs: HashMap<(u32, u32), u32>,
    /// By benchmark and word.
    of_benchmark: HashMap<(u32, u32), u32>,
    /// Questions by benchmark.
    questions: HashMap<u32, u32>,
    num_questions: u32,
    priors: HashMap<u32, f64>,
    total: u64,
}

impl Counts {
    /// Adds a question of a benchmark. `spellings` are its words as text, beside their ids.
    pub(super) fn add(&mut self, benchmark: u32, ids: &[u32], spellings: &[String]) {
        let (words, pairs) = distinct(ids);
        self.total += words.len() as u64;
        self.num_questions += 1;
        *self.questions.entry(benchmark).or_default() += 1;
        for word in words {
            *self.words.entry(word).or_default() += 1;
            *self.of_benchmark.entry((benchmark, word)).or_default() += 1;
        }
        for pair in pairs {
            *self.pairs.entry(pair).or_default() += 1;
        }
        for (id, spelling) in ids.iter().zip(spellings) {
            self.priors.entry(*id).or_insert_with(|| prior(spelling));
        }
    }

    /// The weight of each word of a question, counted over the other ones.
    pub(super) fn weights(&self, benchmark: u32, ids: &[u32]) -> Vec<f32> {
        let mut previous = None;
        ids.iter()
            .map(|id| {
                let surprise = self.surprise(previous, *id).min(self.rarity(benchmark, *id));
                previous = Some(*id);
                surprise.clamp(LEAST, MOST) as f32
            })
            .collect()
    }

    fn prior_of(&self, id: u32) -> f64 {
        self.priors.get(&id).copied().unwrap_or(RARE)
    }

    /// `−ln` of the probability of a word after another.
    fn surprise(&self, previous: Option<u32>, id: u32) -> f64 {
        let prior = self.prior_of(id);
        let alone = (others(self.words.get(&id)) + PRIOR_TOKENS * prior) / (self.total as f64 + PRIOR_TOKENS);
        let Some(previous) = previous else { return -alone.ln() };
        let seen = others(self.words.get(&previous));
        let trust = seen / (seen + TRUST);
        let pairs = self.pairs.get(&(previous, id)).map_or(0, |count| count.saturating_sub(1 + TWINS));
        let after = f64::from(pairs) / seen.max(1.0);
        -(trust * after + (1.0 - trust) * alone).ln()
    }

    /// `−ln` of the part of the questions that hold a word, of the benchmark or of all, whichever is larger.
    fn rarity(&self, benchmark: u32, id: u32) -> f64 {
        let in_prior = 1.0 - (1.0 - self.prior_of(id)).powf(PRIOR_LENGTH);
        let share = |holding: f64, of: f64, prior: f64| (holding + prior * in_prior) / (of + prior);
        let here = others(self.of_benchmark.get(&(benchmark, id)));
        let part = share(here, others(self.questions.get(&benchmark)), PRIOR_QUESTIONS[0]);
        let all = share(others(self.words.get(&id)), others(Some(&self.num_questions)), PRIOR_QUESTIONS[1]);
        -part.max(all).ln()
    }
}

/// The count without the question itself.
fn others(count: Option<&u32>) -> f64 {
    f64::from(count.map_or(0, |count| count.saturating_sub(1)))
}

fn distinct(ids: &[u32]) -> (Vec<u32>, Vec<(u32, u32)>) {
    let mut words = ids.to_vec();
    words.sort_unstable();
    words.dedup();
    let mut pairs: Vec<(u32, u32)> = ids.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.sort_unstable();
    pairs.dedup();
    (words, pairs)
}

/// How often a word stands in English text, by no more than its look.
fn prior(spelling: &str) -> f64 {
    if let Some(rank) = COMMON.split_ascii_whitespace().position(|common| common == spelling) {
        return 0.1 / (rank as f64 + 1.3);
    }
    match (spelling.chars().all(|c| c.is_ascii_digit()), spelling.chars().count()) {
        (true, 1) => 1e-3,
        (true, 2) => 3e-4,
        (_, 1) => 5e-4,
        _ => RARE,
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::{Words, spellings};
    use super::*;

    #[test]
    fn templates_and_common_words_weigh_little() {
        let texts: Vec<String> = (0..60)
            .map(|at| format!("Which of the following best describes quux{at} of the zebra?"))
            .collect();
        let mut counts = Counts::default();
        for text in &texts {
            counts.add(0, &Words::of(text).ids, &spellings(text));
        }
        let weights = counts.weights(0, &Words::of(&texts[3]).ids);
        let stem: f32 = weights[1..6].iter().sum();
        assert!(stem < 3.0, "{weights:?}");
        assert!(weights[6] > 6.5, "{weights:?}");
        let mut alone = Counts::default();
        alone.add(0, &Words::of(&texts[0]).ids, &spellings(&texts[0]));
        let alone = alone.weights(0, &Words::of(&texts[0]).ids);
        assert!(alone[2] < 4.5 && alone[6] > 7.0, "an index of one question too: {alone:?}");
    }
}
