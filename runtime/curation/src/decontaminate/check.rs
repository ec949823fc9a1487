//! Looks for leaks in a text.

use std::collections::HashMap;
use std::ops::Range;

use super::align::{Cover, Pair, Stretch};
use super::index::{EvalIndex, Part, Sequence, Settings};
use super::leak::{Leak, LeakKind};
use super::seeds::{Posting, SEED, key};
use super::words::Words;

/// A stretch with less evidence is dropped at once, nats.
const STRETCH_WEIGHT: f32 = 10.0;
/// A seed that led to nothing this many times in a text is a phrase of that text.
const FAILURES: u8 = 32;
/// An answer is looked for in this many words after its question.
const ANSWER_WITHIN: usize = 48;
/// A question and its answer are one span where this many words or fewer stand between.
const ANSWER_NEAR: usize = 8;
/// How much of a question that says little must be there beside its answer.
const SHORT_SHARE: f32 = 0.8;
/// Of two items of one benchmark on one span, one that matched this much less is not reported.
const DOMINATED: f32 = 0.97;
/// A stretch with this many numbers of the question must have a third of them.
const NUMBERS: usize = 2;

/// Memory that checks use again; one for each thread.
#[derive(Debug, Default)]
pub struct Scratch {
    words: Words,
    found: Vec<(u32, Stretch)>,
    /// By sequence: the check that last grew it, where that started in the text and where it ended.
    grown: Vec<(u64, usize, usize)>,
    failures: HashMap<u32, u8>,
    check: u64,
    extensions: u64,
    exhausted: bool,
}

impl Scratch {
    /// Whether the last check ended at [`super::Settings::max_extensions`], so that a part of its text was not looked at.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }
}

impl EvalIndex {
    /// The leaks of a text, by place.
    pub fn check(&self, text: &str, scratch: &mut Scratch) -> Vec<Leak> {
        scratch.words.read(text);
        scratch.found.clear();
        scratch.failures.clear();
        scratch.grown.resize(self.sequences.len(), (0, 0, 0));
        scratch.check += 1;
        scratch.extensions = 0;
        scratch.exhausted = false;
        let words = std::mem::take(&mut scratch.words);
        self.look(&words.ids, scratch);
        let leaks = self.judge(text, &words, &mut scratch.found);
        scratch.words = words;
        leaks
    }

    /// Grows every seed of the text.
    fn look(&self, text: &[u32], scratch: &mut Scratch) {
        for (at, gram) in text.windows(SEED).enumerate() {
            let key = key(gram);
            if !self.seeds.may_hold(key) {
                continue;
            }
            let (name, postings) = self.seeds.find(key);
            if postings.is_empty() || scratch.failures.get(&name).is_some_and(|count| *count >= FAILURES) {
                continue;
            }
            let mut led = false;
            for posting in postings {
                if scratch.extensions >= self.settings.max_extensions {
                    scratch.exhausted = true;
                    return;
                }
                led |= self.grow(*posting, at, text, scratch);
            }
            if !led {
                *scratch.failures.entry(name).or_default() += 1;
            }
        }
    }

    /// Grows one seed, unless what grew from an earlier place covers it. Says whether it led to anything.
    fn grow(&self, posting: Posting, at: usize, text: &[u32], scratch: &mut Scratch) -> bool {
        let Some(grown) = scratch.grown.get_mut(posting.sequence as usize) else { return false };
        if grown.0 == scratch.check && grown.1 != at && at + SEED <= grown.2 {
            return true;
        }
        scratch.extensions += 1;
        let sequence = &self.sequences[posting.sequence as usize];
        let (words, weights) = (&self.words[sequence.words.clone()], &self.weights[sequence.words.clone()]);
        let pair = Pair { sequence: words, weights, text };
        let Some(stretch) = pair.grow(posting.position as usize, at) else { return false };
        let end =
            if grown.0 == scratch.check && grown.1 == at { grown.2.max(stretch.to) } else { stretch.to };
        *grown = (scratch.check, at, end);
        if stretch.cover.weight(weights) < STRETCH_WEIGHT.min(0.5 * sequence.total) {
            return false;
        }
        scratch.found.push((posting.sequence, stretch));
        true
    }

    fn judge(&self, text: &str, words: &Words, found: &mut [(u32, Stretch)]) -> Vec<Leak> {
        found.sort_by_key(|(sequence, stretch)| (*sequence, stretch.from, std::cmp::Reverse(stretch.to)));
        let mut leaks: Vec<(u32, Range<usize>, Leak)> = Vec::new();
        for group in found.chunk_by(|a, b| a.0 == b.0) {
            let sequence = &self.sequences[group[0].0 as usize];
            for stretch in self.clusters(sequence, group) {
                for item in &sequence.items {
                    if let Some((range, leak)) = self.leak(sequence, *item, &stretch, text, words) {
                        leaks.push((*item, range, leak));
                    }
                }
            }
        }
        let mut leaks = undominated(merge_items(leaks));
        leaks.sort_by(|a, b| {
            let rest = || (&a.benchmark, &a.item).cmp(&(&b.benchmark, &b.item));
            (a.range.start, a.range.end).cmp(&(b.range.start, b.range.end)).then_with(rest)
        });
        leaks
    }

    /// Joins the stretches of one sequence that are one copy of it.
    fn clusters(&self, sequence: &Sequence, group: &[(u32, Stretch)]) -> Vec<Stretch> {
        let weights = &self.weights[sequence.words.clone()];
        let near = 2 * sequence.words.len() + 32;
        let mut clusters: Vec<Stretch> = Vec::new();
        for (_, stretch) in group {
            let Some(last) = clusters.last_mut() else {
                clusters.push(*stretch);
                continue;
            };
            if stretch.from < last.to {
                // The same words of the text, read as another place of the sequence: the better reading stays.
                if stretch.cover.weight(weights) > last.cover.weight(weights) {
                    *last = *stretch;
                }
            } else if stretch.from <= last.to + near
                && 2 * stretch.cover.shared(&last.cover) < stretch.cover.count()
            {
                *last = Stretch { from: last.from, to: stretch.to, cover: last.cover.union(&stretch.cover) };
            } else {
                clusters.push(*stretch);
            }
        }
        clusters
    }

    /// Decides whether a cluster is a leak of an item; the range is that of the words of the question.
    fn leak(
        &self,
        sequence: &Sequence,
        item: u32,
        stretch: &Stretch,
        text: &str,
        words: &Words,
    ) -> Option<(Range<usize>, Leak)> {
        let weights = &self.weights[sequence.words.clone()];
        let evidence = stretch.cover.weight(weights);
        let score = (evidence / sequence.total.max(f32::MIN_POSITIVE)).min(1.0);
        if score < self.settings.share || self.has_other_numbers(sequence, &stretch.cover) {
            return None;
        }
        let entry = self.items.get(item as usize)?;
        let answer = self.answer_after(&entry.answers, stretch.to, &words.ids);
        let floor = self.floor(sequence, score);
        let is_short_with_answer = || {
            let (_, weight) = answer.as_ref()?;
            let total = evidence + weight - (ANSWER_WITHIN as f32).ln();
            (sequence.part == Part::Question && score >= SHORT_SHARE && total >= floor)
                .then_some(LeakKind::Answer)
        };
        let kind = if sequence.part == Part::WithAnswer {
            let question: f32 =
                (0..sequence.question).filter(|at| stretch.cover.has(*at)).map(|at| weights[at]).sum();
            let whole: f32 = weights[..sequence.question].iter().sum();
            (evidence >= floor && question >= 0.5 * whole && evidence > question)
                .then_some(LeakKind::Answer)?
        } else if evidence >= floor {
            let whole = stretch.cover.count() as usize == sequence.words.len();
            let is_exact = whole && stretch.to - stretch.from == sequence.words.len();
            if is_exact { LeakKind::Exact } else { LeakKind::Partial }
        } else {
            is_short_with_answer()?
        };
        let mut to = stretch.to;
        if let Some((place, _)) = &answer
            && (kind == LeakKind::Answer || place.start <= to + ANSWER_NEAR)
        {
            to = to.max(place.end);
        }
        to = self.choices_after(&entry.choices, to, &words.ids);
        let range = words.bytes(text, stretch.from, to);
        let leak =
            Leak { benchmark: entry.benchmark.clone(), item: entry.id.clone(), score, evidence, range, kind };
        Some((stretch.from..stretch.to, leak))
    }

    /// The evidence that a part of a sequence needs.
    fn floor(&self, sequence: &Sequence, score: f32) -> f32 {
        let Settings { floor, partial_floor, passage_floor, share, .. } = self.settings;
        let missing = (1.0 - score) / (1.0 - share).max(f32::EPSILON);
        let needed = floor + (partial_floor - floor) * missing.clamp(0.0, 1.0);
        if sequence.part == Part::Passage {
            needed.max(passage_floor.min(0.9 * sequence.total))
        } else {
            needed
        }
    }

    /// Whether the cluster says the question's words about other numbers.
    fn has_other_numbers(&self, sequence: &Sequence, cover: &Cover) -> bool {
        let Some((first, last)) = cover.span() else { return true };
        let numbers = (first..=last).filter(|at| self.is_number[sequence.words.start + at]);
        let (all, same) =
            numbers.fold((0, 0), |(all, same), at| (all + 1, same + usize::from(cover.has(at))));
        all >= NUMBERS && 3 * same < all
    }

    /// The first answer in the words after `from`, and its weight.
    fn answer_after(
        &self,
        answers: &[Range<usize>],
        from: usize,
        text: &[u32],
    ) -> Option<(Range<usize>, f32)> {
        let rest = &text[from.min(text.len())..text.len().min(from + ANSWER_WITHIN)];
        let found = answers.iter().filter_map(|answer| {
            let words = &self.words[answer.clone()];
            // A long answer is known by its beginning.
            let words = &words[..words.len().min(16)];
            let at = rest.windows(words.len().max(1)).position(|window| window == words)?;
            let weight: f32 = self.weights[answer.start..answer.start + words.len()].iter().sum();
            Some((from + at..from + at + words.len(), weight))
        });
        found.min_by_key(|(place, _)| (place.start, place.end))
    }

    /// The end of the choices that follow, each at most [`ANSWER_NEAR`] words after the one before.
    fn choices_after(&self, choices: &[Range<usize>], mut to: usize, text: &[u32]) -> usize {
        for _ in 0..choices.len() {
            let next = choices.iter().filter_map(|choice| {
                let words = &self.words[choice.clone()];
                let rest = &text[to.min(text.len())..text.len().min(to + ANSWER_NEAR + words.len())];
                let at = rest.windows(words.len().max(1)).position(|window| window == words)?;
                Some(to + at + words.len())
            });
            match next.min() {
                Some(end) => to = end,
                None => break,
            }
        }
        to
    }
}

/// One leak for the parts of one item that overlap or stand next to each other.
fn merge_items(mut leaks: Vec<(u32, Range<usize>, Leak)>) -> Vec<(Range<usize>, Leak)> {
    leaks.sort_by_key(|(item, _, leak)| (*item, leak.range.start, leak.range.end));
    let mut merged: Vec<(u32, Range<usize>, Leak)> = Vec::new();
    for (item, words, leak) in leaks {
        match merged.last_mut() {
            Some((last, place, kept)) if *last == item && leak.range.start <= kept.range.end + 64 => {
                kept.range.end = kept.range.end.max(leak.range.end);
                *place = place.start.min(words.start)..place.end.max(words.end);
                kept.score = kept.score.max(leak.score);
                kept.evidence = kept.evidence.max(leak.evidence);
                kept.kind = kept.kind.min(leak.kind);
            }
            _ => merged.push((item, words, leak)),
        }
    }
    merged.into_iter().map(|(_, words, leak)| (words, leak)).collect()
}

/// Without the leaks that another item of their benchmark explains better.
fn undominated(mut leaks: Vec<(Range<usize>, Leak)>) -> Vec<Leak> {
    leaks.sort_by(|(a_words, a), (b_words, b)| {
        (&a.benchmark, a_words.start, a_words.end, &a.item).cmp(&(
            &b.benchmark,
            b_words.start,
            b_words.end,
            &b.item,
        ))
    });
    let mut kept = vec![true; leaks.len()];
    for at in 0..leaks.len() {
        let (words, leak) = &leaks[at];
        for other_at in at + 1..leaks.len().min(at + 256) {
            let (other_words, other) = &leaks[other_at];
            if other.benchmark != leak.benchmark || other_words.start >= words.end {
                break;
            }
            let shared = words.end.min(other_words.end) - other_words.start;
            if 2 * shared < words.len().min(other_words.len()) {
                continue;
            }
            if other.evidence < DOMINATED * leak.evidence {
                kept[other_at] = false;
            } else if leak.evidence < DOMINATED * other.evidence {
                kept[at] = false;
            }
        }
    }
    let mut kept = kept.into_iter();
    leaks.retain(|_| kept.next().unwrap_or(true));
    leaks.into_iter().map(|(_, leak)| leak).collect()
}
