//! How much each word of a question tells, in nats.

use std::collections::HashMap;

/// The most common words of English, most common first. Their frequency follows Zipf's law closely enough: `0.1 / (rank + 1.3)`.
const COMMON: &str = "the of and to a in is that it for was on as with be by he his i at are this not have from but or had they you \
    which an were her she one we all their there been has would will when who if more no out so what up said its about them into than him \
    can could other then time only some these two may do first any my now such like our over man me even most made after also did many \
    before must through back years where much your way well down should because each just those people how too little good very \
    make world still own see men work long here get both between life being under never day same another know while last might us great \
    old year off come since against go came right used take three question answer following find number";

const PRIOR_TOKENS: f64 = 20_000.0;
/// How many other questions must hold a word before what follows it there counts as much as what is common anywhere.
const TRUST: f64 = 8.0;
/// A pair of words that this many other questions share is no template yet: questions come in twins.
const TWINS: u32 = 3;
const LEAST: f64 = 0.25;
const MOST: f64 = 9.0;

/// Counts of words and of pairs of words over questions; each question counts a word or a pair once.
#[derive(Debug, Default)]
pub(super) struct Counts {
    words: HashMap<u32, u32>,
    pairs: HashMap<(u32, u32), u32>,
    priors: HashMap<u32, f64>,
    total: u64,
}

impl Counts {
    /// Adds a question. `spellings` are its words as text, beside their ids.
    pub(super) fn add(&mut self, ids: &[u32], spellings: &[String]) {
        let (words, pairs) = distinct(ids);
        self.total += words.len() as u64;
        for word in words {
            *self.words.entry(word).or_default() += 1;
        }
        for pair in pairs {
            *self.pairs.entry(pair).or_default() += 1;
        }
        for (id, spelling) in ids.iter().zip(spellings) {
            self.priors.entry(*id).or_insert_with(|| prior(spelling));
        }
    }

    /// The weight of each word of a question, counted over the other ones.
    pub(super) fn weights(&self, ids: &[u32]) -> Vec<f32> {
        let mut previous = None;
        ids.iter()
            .map(|id| {
                let weight = self.weight(previous, *id);
                previous = Some(*id);
                weight as f32
            })
            .collect()
    }

    fn weight(&self, previous: Option<u32>, id: u32) -> f64 {
        let others = |count: Option<&u32>| f64::from(count.map_or(0, |count| count.saturating_sub(1)));
        let prior = self.priors.get(&id).copied().unwrap_or(2e-5);
        let alone = (others(self.words.get(&id)) + PRIOR_TOKENS * prior) / (self.total as f64 + PRIOR_TOKENS);
        let probability = match previous {
            None => alone,
            Some(previous) => {
                let seen = others(self.words.get(&previous));
                let trust = seen / (seen + TRUST);
                let pairs =
                    self.pairs.get(&(previous, id)).map_or(0, |count| count.saturating_sub(1 + TWINS));
                let after = f64::from(pairs) / seen.max(1.0);
                trust * after + (1.0 - trust) * alone
            }
        };
        (-probability.min(1.0).max(f64::MIN_POSITIVE).ln()).clamp(LEAST, MOST)
    }
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
        _ => 2e-5,
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
            counts.add(&Words::of(text).ids, &spellings(text));
        }
        let weights = counts.weights(&Words::of(&texts[3]).ids);
        let stem: f32 = weights[1..6].iter().sum();
        assert!(stem < 3.0, "{weights:?}");
        assert!(weights[6] > 7.0, "{weights:?}");
        let mut alone = Counts::default();
        alone.add(&Words::of(&texts[0]).ids, &spellings(&texts[0]));
        let alone = alone.weights(&Words::of(&texts[0]).ids);
        assert!(alone[2] < 4.5 && alone[6] > 8.0, "an index of one question too: {alone:?}");
    }
}
