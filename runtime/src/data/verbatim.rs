//! Stretches of tests word for word: so many words of a question in a row are a leak whatever they say.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use cupola_curation::decontaminate::{EvalItem, Leak, LeakKind};
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_64};

/// Base of the polynomial over the words of a stretch: odd, and of no structure.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The stretches of all questions.
pub(super) struct Verbatim {
    num_words: usize,
    stretches: HashMap<u64, u32, Xxh3DefaultBuilder>,
    /// Benchmark and id of each question.
    items: Vec<(Arc<str>, Arc<str>)>,
}

impl Verbatim {
    /// Takes down each stretch of `num_words` words.
    pub(super) fn new(questions: &[EvalItem], num_words: usize) -> Self {
        let mut verbatim = Self { num_words, stretches: HashMap::default(), items: Vec::new() };
        for (index, item) in questions.iter().enumerate() {
            verbatim.items.push((item.benchmark.as_str().into(), item.id.as_str().into()));
            let stretches = &mut verbatim.stretches;
            each_stretch(&item.question, num_words, &mut |hash, _| {
                stretches.entry(hash).or_insert(index as u32);
            });
        }
        verbatim
    }

    /// The stretches that stand in a text; those of one question that touch are one leak.
    pub(super) fn find(&self, text: &str) -> Vec<Leak> {
        let mut leaks: Vec<(u32, Range<usize>)> = Vec::new();
        if !self.stretches.is_empty() {
            each_stretch(text, self.num_words, &mut |hash, range| {
                let Some(item) = self.stretches.get(&hash) else { return };
                match leaks.last_mut() {
                    Some((last, known)) if last == item && range.start <= known.end => known.end = range.end,
                    _ => leaks.push((*item, range)),
                }
            });
        }
        let leak = |(item, range): (u32, Range<usize>)| {
            let (benchmark, id) = self.items.get(item as usize)?;
            let (benchmark, item) = (Arc::clone(benchmark), Arc::clone(id));
            Some(Leak { benchmark, item, score: 1.0, evidence: 0.0, range, kind: LeakKind::Partial })
        };
        leaks.into_iter().filter_map(leak).collect()
    }
}

/// Calls `each` with every stretch of so many words, by its hash and its bytes. A word is a run of letters and digits in lower case.
fn each_stretch(text: &str, num_words: usize, each: &mut dyn FnMut(u64, Range<usize>)) {
    let leaving = (0..num_words).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut window: VecDeque<(u64, usize)> = VecDeque::with_capacity(num_words + 1);
    let mut hash = 0_u64;
    let mut word = String::new();
    let mut start = 0;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if c.is_alphanumeric() {
            if word.is_empty() {
                start = at;
            }
            word.extend(c.to_lowercase());
            continue;
        }
        if word.is_empty() {
            continue;
        }
        let key = xxh3_64(word.as_bytes());
        word.clear();
        hash = hash.wrapping_mul(BASE).wrapping_add(key);
        window.push_back((key, start));
        if window.len() > num_words
            && let Some((gone, _)) = window.pop_front()
        {
            hash = hash.wrapping_sub(gone.wrapping_mul(leaving));
        }
        if let (true, Some((_, first))) = (window.len() == num_words, window.front()) {
            each(hash, *first..at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_words_in_a_row_are_found_and_one_less_is_not() {
        let question = "Which of these is the best of all the answers that are given here, and why?";
        let item = EvalItem {
            benchmark: "b".into(),
            id: "1".into(),
            question: question.into(),
            ..EvalItem::default()
        };
        let verbatim = Verbatim::new(&[item], 6);
        let text = "Before. THE BEST of all, the answers that (are) gone. The best of all the other ones.";
        let found = verbatim.find(text);
        assert_eq!(found.len(), 1);
        assert_eq!(&text[found[0].range.clone()], "THE BEST of all, the answers that (are");
        assert!(verbatim.find("the best of all the").is_empty());
        assert!(verbatim.find("").is_empty());
    }
}
