//! The index of all questions that a corpus must not hold.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::align::SEQUENCE_WORDS;
use super::item::EvalItem;
use super::seeds::{Posting, SEED, Seeds, key};
use super::weights::Counts;
use super::words::{Words, spellings};

/// A seed weighs at least this, nats.
const SEED_WEIGHT: f32 = 10.0;
/// A 4-gram of more sequences than this is a phrase of a template.
const SEED_SHARED: u32 = 48;
/// A sequence without seeds of its own keeps this many of its rarest 4-grams.
const SEEDS_KEPT: usize = 4;

/// What counts as a leak, and what the index may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Least evidence for a leak of a whole question, nats.
    pub floor: f32,
    /// Least evidence for a leak of no more than `share` of a question, nats; between both it rises as the part falls.
    pub partial_floor: f32,
    /// Least evidence for a leaked passage, nats: passages are quoted.
    pub passage_floor: f32,
    /// Least part of a question's information, 0 to 1.
    pub share: f32,
    /// Whether a copied passage counts without its question.
    pub passages: bool,
    /// Words that the index holds at most; items beyond are left out and counted. About 30 bytes a word.
    pub max_words: usize,
    /// Seeds that are grown at most in a text, the bound on its work.
    pub max_extensions: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            floor: 15.0,
            partial_floor: 21.0,
            passage_floor: 30.0,
            share: 0.3,
            passages: true,
            max_words: 64 << 20,
            max_extensions: 1 << 22,
        }
    }
}

/// What became of the items.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexSummary {
    /// Items given.
    pub given: u64,
    /// Items that the index knows: without those below.
    pub items: u64,
    /// Items with the question and the passage of an earlier one of their benchmark (a row for each choice, say).
    pub merged: u64,
    /// Items of fewer than 4 words with answer and passage: too little to be told from any text.
    pub too_short: u64,
    /// Items beyond [`Settings::max_words`].
    pub left_out: u64,
    /// Words held.
    pub words: u64,
    /// Memory taken, bytes.
    pub bytes: u64,
}

/// Which text of an item a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Question,
    /// Of a question that says too little on its own.
    WithAnswer,
    Passage,
}

/// A run of words that is looked for.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) part: Part,
    pub(super) words: Range<usize>,
    /// How many of the words are the question's.
    pub(super) question: usize,
    /// Items that have it, as indices.
    pub(super) items: Vec<u32>,
    /// The sum of its weights.
    pub(super) total: f32,
}

/// An item, its texts being sequences.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) benchmark: Arc<str>,
    pub(super) id: Arc<str>,
    /// The right answer, or each choice where it is not known.
    pub(super) answers: Vec<Range<usize>>,
    pub(super) choices: Vec<Range<usize>>,
}

/// Evaluation questions, indexed for [`EvalIndex::check`].
#[derive(Debug)]
pub struct EvalIndex {
    pub(super) settings: Settings,
    pub(super) words: Vec<u32>,
    pub(super) weights: Vec<f32>,
    pub(super) is_number: Vec<bool>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) items: Vec<Item>,
    pub(super) seeds: Seeds,
    summary: IndexSummary,
}

impl EvalIndex {
    /// Indexes items. The same items in the same order give the same index.
    pub fn build(items: impl Iterator<Item = EvalItem>, settings: &Settings) -> Self {
        let mut builder = Builder { max_words: settings.max_words, ..Builder::default() };
        for item in items {
            builder.add(&item);
        }
        builder.finish(settings)
    }

    /// What became of the items.
    pub fn summary(&self) -> &IndexSummary {
        &self.summary
    }

    /// Distinct items by benchmark.
    pub fn items_by_benchmark(&self) -> std::collections::BTreeMap<Arc<str>, u64> {
        let mut counts = std::collections::BTreeMap::new();
        for item in &self.items {
            *counts.entry(item.benchmark.clone()).or_default() += 1;
        }
        counts
    }
}

#[derive(Default)]
struct Builder {
    max_words: usize,
    words: Vec<u32>,
    is_number: Vec<bool>,
    counts: Counts,
    items: Vec<Item>,
    /// The benchmark's number, and the words of the question and of the passage, by item.
    texts: Vec<(u32, Range<usize>, Range<usize>)>,
    seen: HashMap<(Arc<str>, u64), u32>,
    names: HashMap<String, (u32, Arc<str>)>,
    summary: IndexSummary,
}

impl Builder {
    fn add(&mut self, item: &EvalItem) {
        self.summary.given += 1;
        let parts = [&item.question, &item.passage].map(|text| Words::of(text).ids);
        let next = self.names.len() as u32;
        let name = self
            .names
            .entry(item.benchmark.clone())
            .or_insert_with(|| (next, item.benchmark.as_str().into()));
        let number = name.0;
        let identity = (name.1.clone(), fingerprint(&parts));
        if let Some(&known) = self.seen.get(&identity) {
            self.summary.merged += 1;
            self.add_answers(known as usize, item);
            return;
        }
        let answers =
            item.answer.iter().chain(&item.choices).map(|text| Words::of(text).ids.len()).sum::<usize>();
        if self.words.len() + parts[0].len() + parts[1].len() + answers > self.max_words {
            self.summary.left_out += 1;
            return;
        }
        let place = self.items.len() as u32;
        let question = self.push(&item.question, Some(number));
        let passage = self.push(&item.passage, Some(number));
        self.texts.push((number, question, passage));
        let id = item.id.as_str().into();
        self.items.push(Item { benchmark: identity.0.clone(), id, answers: Vec::new(), choices: Vec::new() });
        self.seen.insert(identity, place);
        self.add_answers(place as usize, item);
    }

    /// Appends the words of a text, and counts them where they belong to a question of a benchmark.
    fn push(&mut self, text: &str, benchmark: Option<u32>) -> Range<usize> {
        let (words, spelled) = (Words::of(text), spellings(text));
        let start = self.words.len();
        if let Some(benchmark) = benchmark.filter(|_| !words.ids.is_empty()) {
            self.counts.add(benchmark, &words.ids, &spelled);
        }
        self.words.extend(&words.ids);
        self.is_number.extend(spelled.iter().map(|word| word.bytes().all(|byte| byte.is_ascii_digit())));
        start..self.words.len()
    }

    fn add_answers(&mut self, place: usize, item: &EvalItem) {
        let known = |words: &[u32], ranges: &[Range<usize>], text: &str| {
            let ids = Words::of(text).ids;
            ids.is_empty() || ranges.iter().any(|range| words[range.clone()] == ids)
        };
        for choice in &item.choices {
            if !known(&self.words, &self.items[place].choices, choice) {
                let range = self.push(choice, None);
                self.items[place].choices.push(range);
            }
        }
        if let Some(answer) = &item.answer
            && !known(&self.words, &self.items[place].answers, answer)
        {
            let range = self.push(answer, None);
            self.items[place].answers.push(range);
        }
    }

    fn finish(mut self, settings: &Settings) -> EvalIndex {
        let mut maker = Maker { by_words: HashMap::new(), sequences: Vec::new() };
        let texts = std::mem::take(&mut self.texts);
        let mut weights = self.weights(&texts);
        for (place, (_, question, passage)) in texts.iter().enumerate() {
            let mut pieces = maker.add(place, Part::Question, question, &self.words, &weights);
            let total: f32 = weights[question.clone()].iter().sum();
            if total < 1.5 * settings.floor {
                pieces += self.add_with_answers(&mut maker, place, question, &mut weights);
            }
            if settings.passages {
                pieces += maker.add(place, Part::Passage, passage, &self.words, &weights);
            }
            self.summary.too_short += u64::from(pieces == 0);
        }
        self.summary.items = self.items.len() as u64 - self.summary.too_short;
        self.summary.words = self.words.len() as u64;
        let seeds = seeds_of(&maker.sequences, &self.words, &weights);
        let held = self.words.len() * 9 + maker.sequences.len() * size_of::<Sequence>() + seeds.bytes();
        self.summary.bytes = held as u64;
        EvalIndex {
            settings: settings.clone(),
            words: self.words,
            weights,
            is_number: self.is_number,
            sequences: maker.sequences,
            items: self.items,
            seeds,
            summary: self.summary,
        }
    }

    /// The weight of every word, answers and choices too.
    fn weights(&mut self, texts: &[(u32, Range<usize>, Range<usize>)]) -> Vec<f32> {
        let mut weights = vec![0.0; self.words.len()];
        for (item, (benchmark, question, passage)) in self.items.iter_mut().zip(texts) {
            if item.answers.is_empty() {
                item.answers.clone_from(&item.choices);
            }
            for range in item.answers.iter().chain(&item.choices).chain([question, passage]) {
                let of_range = self.counts.weights(*benchmark, &self.words[range.clone()]);
                weights[range.clone()].copy_from_slice(&of_range);
            }
        }
        weights
    }

    /// A short question once more with each of its answers behind it.
    fn add_with_answers(
        &mut self,
        maker: &mut Maker,
        place: usize,
        question: &Range<usize>,
        weights: &mut Vec<f32>,
    ) -> usize {
        let mut added = 0;
        for answer in self.items[place].answers.clone() {
            if question.len() + answer.len() > SEQUENCE_WORDS || question.is_empty() {
                continue;
            }
            let start = self.words.len();
            for range in [question.clone(), answer] {
                self.words.extend_from_within(range.clone());
                self.is_number.extend_from_within(range.clone());
                weights.extend_from_within(range);
            }
            added += maker.add(place, Part::WithAnswer, &(start..self.words.len()), &self.words, weights);
            if let Some(sequence) = maker.sequences.last_mut().filter(|last| last.words.start == start) {
                sequence.question = question.len();
            }
        }
        added
    }
}

/// Cuts texts into sequences and finds equal ones.
struct Maker {
    by_words: HashMap<(Part, Vec<u32>), u32>,
    sequences: Vec<Sequence>,
}

impl std::hash::Hash for Part {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (*self as u8).hash(state);
    }
}

impl Maker {
    /// Adds a text in pieces of equal length, as few as fit. Returns how many are long enough to be found.
    fn add(&mut self, item: usize, part: Part, text: &Range<usize>, words: &[u32], weights: &[f32]) -> usize {
        let mut added = 0;
        let pieces = text.len().div_ceil(SEQUENCE_WORDS).max(1);
        let len = text.len().div_ceil(pieces);
        for piece in 0..pieces {
            let range =
                (text.start + piece * len).min(text.end)..(text.start + (piece + 1) * len).min(text.end);
            if range.len() < SEED {
                continue;
            }
            added += 1;
            let next = self.sequences.len() as u32;
            let known = *self.by_words.entry((part, words[range.clone()].to_vec())).or_insert(next);
            if let Some(sequence) = self.sequences.get_mut(known as usize) {
                sequence.items.push(item as u32);
                continue;
            }
            let total = weights[range.clone()].iter().sum();
            let question = range.len();
            self.sequences.push(Sequence { part, words: range, question, items: vec![item as u32], total });
        }
        added
    }
}

fn fingerprint(parts: &[Vec<u32>; 2]) -> u64 {
    let step =
        |hash: u64, word: &u32| (hash.rotate_left(11) ^ u64::from(*word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
    let hash = parts[0].iter().fold(parts[0].len() as u64, step);
    parts[1].iter().fold(hash, step)
}

/// The seeds of all sequences.
fn seeds_of(sequences: &[Sequence], words: &[u32], weights: &[f32]) -> Seeds {
    let mut shared: HashMap<u64, u32> = HashMap::new();
    for sequence in sequences {
        let mut keys: Vec<u64> = words[sequence.words.clone()].windows(SEED).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            *shared.entry(key).or_default() += 1;
        }
    }
    let mut postings = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let grams =
            words[sequence.words.clone()].windows(SEED).zip(weights[sequence.words.clone()].windows(SEED));
        let mut all: Vec<(u32, f32, Posting)> = grams
            .enumerate()
            .map(|(position, (gram, weights))| {
                let posting = Posting { key: key(gram), sequence: index as u32, position: position as u32 };
                (shared.get(&posting.key).copied().unwrap_or(0), weights.iter().sum::<f32>(), posting)
            })
            .collect();
        let is_good =
            |(shared, weight, _): &(u32, f32, Posting)| *shared <= SEED_SHARED && *weight >= SEED_WEIGHT;
        let good = all.iter().filter(|gram| is_good(gram)).count();
        if good == 0 {
            all.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
            all.truncate(SEEDS_KEPT);
        } else {
            all.retain(is_good);
        }
        postings.extend(all.into_iter().map(|(.., posting)| posting));
    }
    Seeds::new(postings)
}
