//! What was found, by benchmark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::index::EvalIndex;
use super::leak::{Leak, LeakKind, spans};

/// Examples kept by benchmark.
const EXAMPLES: usize = 8;
/// Characters of an example.
const EXCERPT: usize = 240;

/// The report of a corpus. Adding documents in any order, in any number of parts that are merged, gives the same report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LeakReport {
    /// Documents that were checked.
    pub documents: u64,
    /// Documents with a leak of any benchmark.
    pub documents_hit: u64,
    /// Documents whose check ended at its bound on work.
    pub documents_exhausted: u64,
    /// Bytes in leaks, those of several benchmarks once.
    pub bytes: u64,
    /// By benchmark; those without a leak too.
    pub benchmarks: BTreeMap<Arc<str>, BenchmarkReport>,
}

/// The report of a benchmark.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BenchmarkReport {
    /// Distinct items of the benchmark.
    pub items: u64,
    /// Ids of the items that leaked.
    pub leaked: BTreeSet<Arc<str>>,
    /// Documents with a leak.
    pub documents: u64,
    /// Leaks.
    pub spans: u64,
    /// Leaks by kind.
    pub kinds: BTreeMap<LeakKind, u64>,
    /// Leaks by score, in tenths: the last counts 0.9 to 1.
    pub scores: [u64; 10],
    /// The leaks of the highest scores.
    pub examples: Vec<LeakExample>,
}

/// A leak, to be looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeakExample {
    /// The document.
    pub document: String,
    /// The item.
    pub item: Arc<str>,
    /// Its score.
    pub score: f32,
    /// The text, at most 240 characters of it.
    pub excerpt: String,
}

impl LeakReport {
    /// A report that knows how many items each benchmark has.
    pub fn new(index: &EvalIndex) -> Self {
        let count = |(name, items)| (name, BenchmarkReport { items, ..BenchmarkReport::default() });
        Self { benchmarks: index.items_by_benchmark().into_iter().map(count).collect(), ..Self::default() }
    }

    /// Adds a document. `exhausted` is [`super::Scratch::exhausted`] after its check.
    pub fn add(&mut self, document: &str, text: &str, leaks: &[Leak], exhausted: bool) {
        self.documents += 1;
        self.documents_hit += u64::from(!leaks.is_empty());
        self.documents_exhausted += u64::from(exhausted);
        self.bytes += spans(leaks).iter().map(|range| range.len() as u64).sum::<u64>();
        let mut names = BTreeSet::new();
        for leak in leaks {
            names.insert(leak.benchmark.clone());
            let report = self.benchmarks.entry(leak.benchmark.clone()).or_default();
            report.leaked.insert(leak.item.clone());
            report.spans += 1;
            *report.kinds.entry(leak.kind).or_default() += 1;
            report.scores[((leak.score * 10.0) as usize).min(9)] += 1;
            let found = text.get(leak.range.clone()).unwrap_or("");
            report.examples.push(LeakExample {
                document: document.to_owned(),
                item: leak.item.clone(),
                score: leak.score,
                excerpt: found.chars().take(EXCERPT).collect(),
            });
            report.keep_best();
        }
        for name in names {
            self.benchmarks.entry(name).or_default().documents += 1;
        }
    }

    /// Adds the report of other documents, checked with the same index.
    pub fn merge(&mut self, other: Self) {
        self.documents += other.documents;
        self.documents_hit += other.documents_hit;
        self.documents_exhausted += other.documents_exhausted;
        self.bytes += other.bytes;
        for (name, other) in other.benchmarks {
            let report = self.benchmarks.entry(name).or_default();
            report.items = report.items.max(other.items);
            report.leaked.extend(other.leaked);
            report.documents += other.documents;
            report.spans += other.spans;
            for (kind, count) in other.kinds {
                *report.kinds.entry(kind).or_default() += count;
            }
            report.scores.iter_mut().zip(other.scores).for_each(|(ours, theirs)| *ours += theirs);
            report.examples.extend(other.examples);
            report.keep_best();
        }
    }
}

impl BenchmarkReport {
    fn keep_best(&mut self) {
        self.examples.sort_by(|a, b| {
            let rest = || (&a.document, &a.item, &a.excerpt).cmp(&(&b.document, &b.item, &b.excerpt));
            b.score.total_cmp(&a.score).then_with(rest)
        });
        self.examples.truncate(EXAMPLES);
    }
}
