//! Leaks planted in carriers, so that what is found can be counted.
//!
//! A plant is a question in a stretch of carrier text: as it is, with a tenth of its words edited, or half of it. Questions are planted with
//! what the index knows of them: those of fewer than [`LEAST_WORDS`] words (twice as many for halves) are not planted, because four words of
//! a question are a phrase of the language. Decoys are questions of the same benchmarks that are not in the index.
//!
//! A find is right where it names the planted item and its span meets the plant. Each other find is wrong, in carriers too, but for one case: an item
//! of which a long run of words truly stands in the carrier or in the planted question (benchmarks repeat passages and stems, and each other)
//! did leak; such finds are counted as `twins`, neither right nor wrong. A run is long from 13 words on (the measure of the GPT-3 paper, 2020,
//! arXiv 2005.14165, appendix C), or half of a shorter question, but never below 8 words or the whole question.

#![allow(clippy::unwrap_used, reason = "a measurement stops where its data is missing")]
#![allow(dead_code, reason = "the test and the bench each use a part")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use cupola_curation::decontaminate::{EvalIndex, EvalItem, Leak, Scratch, items_of};

/// Questions of fewer words are not planted.
pub(crate) const LEAST_WORDS: usize = 8;

/// How a question is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    /// As it is.
    Exact,
    /// A tenth of its words replaced, deleted, inserted or swapped.
    Edited,
    /// Its first, middle or last half.
    Half,
}

impl Sort {
    /// All sorts.
    pub(crate) const ALL: [Self; 3] = [Self::Exact, Self::Edited, Self::Half];
}

/// SplitMix64: the same seed, the same plants.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }
}

/// A question to be planted, as one of the sorts; `None` where it is too short.
pub(crate) fn plant(question: &str, sort: Sort, vocabulary: &[&str], rng: &mut Rng) -> Option<String> {
    let words: Vec<&str> = question.split_whitespace().collect();
    let least = if sort == Sort::Half { 2 * LEAST_WORDS } else { LEAST_WORDS };
    if words.iter().filter(|word| word.contains(char::is_alphanumeric)).count() < least {
        return None;
    }
    Some(match sort {
        Sort::Exact => question.to_owned(),
        Sort::Edited => edited(words, vocabulary, rng),
        Sort::Half => {
            let half = words.len() / 2;
            let start = [0, half / 2, words.len() - half][rng.below(3)];
            words[start..start + half].join(" ")
        }
    })
}

fn edited(words: Vec<&str>, vocabulary: &[&str], rng: &mut Rng) -> String {
    let edits = (words.len() as f64 / 10.0).round().max(1.0) as usize;
    let mut words = words;
    for _ in 0..edits {
        let at = rng.below(words.len());
        match rng.below(4) {
            0 => words[at] = vocabulary[rng.below(vocabulary.len())],
            1 => drop(words.remove(at)),
            2 => words.insert(at, vocabulary[rng.below(vocabulary.len())]),
            _ => {
                let next = (at + 1) % words.len().max(1);
                words.swap(at, next);
            }
        }
    }
    words.join(" ")
}

/// Counts of finds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Score {
    /// Plants.
    pub(crate) planted: usize,
    /// Plants that were found.
    pub(crate) found: usize,
    /// Finds that are no plant.
    pub(crate) wrong: usize,
    /// Finds of other items of which a long run truly stands there.
    pub(crate) twins: usize,
}

impl Score {
    /// Found plants among all plants.
    pub(crate) fn recall(&self) -> f64 {
        self.found as f64 / self.planted.max(1) as f64
    }

    /// Found plants among all finds, twins aside.
    pub(crate) fn precision(&self) -> f64 {
        self.found as f64 / (self.found + self.wrong).max(1) as f64
    }

    /// Adds counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.planted += other.planted;
        self.found += other.found;
        self.wrong += other.wrong;
        self.twins += other.twins;
    }
}

/// What is measured with: an index, carriers, and questions that are not in the index.
pub(crate) struct Range<'a> {
    pub(crate) index: &'a EvalIndex,
    pub(crate) carriers: &'a [String],
    pub(crate) decoys: &'a [EvalItem],
    pub(crate) vocabulary: Vec<&'a str>,
    /// Indexed items by benchmark and id.
    pub(crate) by_name: std::rc::Rc<BTreeMap<(String, String), EvalItem>>,
    /// Shows wrong finds.
    pub(crate) verbose: bool,
}

impl<'a> Range<'a> {
    /// A range whose edits draw words from the carriers.
    pub(crate) fn new(
        index: &'a EvalIndex,
        indexed: &[EvalItem],
        carriers: &'a [String],
        decoys: &'a [EvalItem],
    ) -> Self {
        let vocabulary = carriers.iter().take(50).flat_map(|text| text.split_whitespace()).collect();
        let named = |item: &EvalItem| ((item.benchmark.clone(), item.id.clone()), item.clone());
        let by_name = std::rc::Rc::new(indexed.iter().map(named).collect());
        Self { index, carriers, decoys, vocabulary, by_name, verbose: false }
    }

    /// Plants each item once, as one sort; every plant stands beside a decoy in another document.
    pub(crate) fn measure(&self, items: &[EvalItem], sort: Sort, seed: u64) -> Score {
        let mut rng = Rng(seed);
        let mut scratch = Scratch::default();
        let mut score = Score::default();
        for item in items {
            let whole = text_of(item);
            let Some(plant) = plant(&whole, sort, &self.vocabulary, &mut rng) else { continue };
            let (text, range) = self.embed(&plant, &mut rng);
            let leaks = self.index.check(&text, &mut scratch);
            let is_right = |leak: &Leak| {
                let meets = leak.range.start < range.end && leak.range.end > range.start;
                meets && *leak.benchmark == *item.benchmark && *leak.item == *item.id
            };
            score.planted += 1;
            score.found += usize::from(leaks.iter().any(is_right));
            for leak in leaks.iter().filter(|leak| !is_right(leak)) {
                self.judge_other(leak, &text, item, &mut score);
            }
            if let Some(leak) = leaks.iter().find(|leak| is_right(leak)).filter(|_| self.verbose) {
                println!(
                    "right {sort:?} {} {}: {:?} {:.3} {:.1}",
                    item.benchmark, item.id, leak.kind, leak.score, leak.evidence
                );
            } else if self.verbose {
                println!("missed {sort:?} {} {}: {plant:?}", item.benchmark, item.id);
            }
            self.decoy(sort, &mut rng, &mut scratch, &mut score);
        }
        score
    }

    /// A question that is not in the index, planted the same way: nothing is to be found.
    fn decoy(&self, sort: Sort, rng: &mut Rng, scratch: &mut Scratch, score: &mut Score) {
        if self.decoys.is_empty() {
            return;
        }
        let decoy = &self.decoys[rng.below(self.decoys.len())];
        let Some(plant) = plant(&text_of(decoy), sort, &self.vocabulary, rng) else { return };
        let (text, _) = self.embed(&plant, rng);
        for leak in self.index.check(&text, scratch) {
            self.judge_other(&leak, &text, decoy, score);
        }
    }

    /// A find of another item than the planted one.
    fn judge_other(&self, leak: &Leak, text: &str, planted: &EvalItem, score: &mut Score) {
        let item = &self.by_name[&(leak.benchmark.to_string(), leak.item.to_string())];
        let is_twin = shares_a_run(item, &text_of(planted)) || shares_a_run(item, text);
        if is_twin {
            score.twins += 1;
        } else {
            score.wrong += 1;
        }
        if self.verbose {
            let name = if is_twin { "twin" } else { "wrong" };
            println!(
                "{name} in {} {}: {} {} {:.3} {:.1} {:?}",
                planted.benchmark,
                planted.id,
                leak.benchmark,
                leak.item,
                leak.score,
                leak.evidence,
                &text[leak.range.clone()]
            );
        }
    }

    /// A stretch of a carrier with the plant between two of its words.
    fn embed(&self, plant: &str, rng: &mut Rng) -> (String, std::ops::Range<usize>) {
        let carrier = &self.carriers[rng.below(self.carriers.len())];
        let blanks: Vec<usize> =
            carrier.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at).collect();
        let at = blanks.get(rng.below(blanks.len())).copied().unwrap_or(0);
        let blank = if rng.below(2) == 0 { " " } else { "\n\n" };
        let text = format!("{}{blank}{plant}{blank}{}", &carrier[..at], &carrier[at..]);
        let start = at + blank.len();
        (text, start..start + plant.len())
    }

    /// Finds in the carriers as they are, those aside of which a long run stands there.
    pub(crate) fn carriers_alone(&self) -> usize {
        let mut scratch = Scratch::default();
        let mut finds = 0;
        for carrier in self.carriers {
            for leak in self.index.check(carrier, &mut scratch) {
                let name = (leak.benchmark.to_string(), leak.item.to_string());
                let is_twin = shares_a_run(&self.by_name[&name], carrier);
                finds += usize::from(!is_twin);
                if self.verbose {
                    println!(
                        "in a carrier ({is_twin}): {} {} {:.3} {:.1} {:?}",
                        leak.benchmark,
                        leak.item,
                        leak.score,
                        leak.evidence,
                        &carrier[leak.range.clone()]
                    );
                }
            }
        }
        finds
    }
}

/// Whether a long run of words of an item's question or passage stands in a text.
fn shares_a_run(item: &EvalItem, text: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let text = words(text);
    [&item.question, &item.passage].iter().any(|part| {
        let part = words(part);
        let run = 13.min(part.len() / 2).max(8).min(part.len());
        run > 0 && part.windows(run).any(|run_words| text.windows(run).any(|window| window == run_words))
    })
}

/// What is planted of an item: the question with its passage before it.
pub(crate) fn text_of(item: &EvalItem) -> String {
    if item.passage.is_empty() {
        item.question.clone()
    } else {
        format!("{}\n{}", item.passage, item.question)
    }
}

/// Shared data, where it is.
pub(crate) fn shared() -> Option<PathBuf> {
    std::env::var_os("CUPOLA_SHARED").map(PathBuf::from)
}

/// A gzipped file as text.
pub(crate) fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The benchmarks of a folder of `.jsonl` files, by name.
pub(crate) fn folder_benchmarks(folder: &Path) -> Vec<(String, Vec<EvalItem>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let items = parse_items(&name, &std::fs::read_to_string(path).unwrap());
        (name, items)
    };
    paths.iter().map(read).collect()
}

/// The questions of a gzipped JSON-lines file, one for each question.
pub(crate) fn read_items(benchmark: &str, path: &Path) -> Vec<EvalItem> {
    parse_items(benchmark, &gunzip(path))
}

fn parse_items(benchmark: &str, text: &str) -> Vec<EvalItem> {
    let mut seen = std::collections::BTreeSet::new();
    let mut items = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let value = serde_json::from_str(line).unwrap();
        let of_line = items_of(benchmark, &at.to_string(), &value).unwrap();
        items.extend(
            of_line.into_iter().filter(|item| seen.insert((item.question.clone(), item.passage.clone()))),
        );
    }
    items
}

/// All question files of the shared folder by benchmark.
pub(crate) fn shared_benchmarks(shared: &Path) -> Vec<(String, Vec<EvalItem>)> {
    let mut benchmarks = Vec::new();
    for (folder, names) in [
        (
            "eval",
            &[
                "arc_challenge",
                "arc_easy",
                "boolq",
                "copa",
                "hellaswag-rc-5shot-requests",
                "human_eval",
                "lambada_openai",
                "mmlu_dev-1",
                "mmlu_test-1",
                "mmlu_validation-1",
                "openbook_qa",
                "piqa",
                "winogrande",
            ][..],
        ),
        ("instruct", &["gsm8k-test", "gsm8k-train"][..]),
    ] {
        for name in names {
            let path = shared.join("data").join(folder).join(format!("{name}.jsonl.gz"));
            benchmarks.push(((*name).to_owned(), read_items(name, &path)));
        }
    }
    benchmarks
}

/// Stretches of about 3,000 characters of the shared texts, `each` of each corpus.
pub(crate) fn shared_carriers(shared: &Path, each: usize) -> Vec<String> {
    let mut carriers = Vec::new();
    for name in [
        "peps.jsonl.gz",
        "rust-rfcs.jsonl.gz",
        "rust-book.jsonl.gz",
        "classic-books.jsonl.gz",
        "wikitext2-valid.txt.gz",
        "tinyshakespeare.txt.gz",
    ] {
        let raw = gunzip(&shared.join("data/text").join(name));
        let text = if name.ends_with("jsonl.gz") {
            let of_line = |line: &str| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["text"]
                    .as_str()
                    .unwrap_or("")
                    .to_owned()
            };
            raw.lines().map(of_line).collect::<Vec<_>>().join("\n\n")
        } else {
            raw
        };
        let chars: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let step = (chars.len() / each).max(3000);
        carriers.extend(
            chars
                .chunks(step)
                .map(|chunk| text[chunk[0]..chunk[chunk.len().min(3000) - 1]].to_owned())
                .filter(|text| text.len() > 500),
        );
    }
    carriers
}

const SYLLABLES: [&str; 24] = [
    "ba", "cor", "del", "fi", "gra", "hem", "ju", "kal", "lo", "mir", "nes", "or", "pa", "quin", "ris",
    "sol", "tam", "ul", "ven", "wex", "yor", "zan", "bre", "tho",
];

/// A word of three syllables, one of some thousands.
fn made_up_word(rng: &mut Rng) -> String {
    (0..3).map(|_| SYLLABLES[rng.below(SYLLABLES.len())]).collect()
}

/// Questions made up from three templates: for tests without shared data.
pub(crate) fn made_up(count: usize, rng: &mut Rng) -> Vec<EvalItem> {
    let question = |at: usize, rng: &mut Rng| {
        let [a, b, c, d, e, f, g, h, k] = std::array::from_fn(|_| made_up_word(rng));
        let (m, n) = (3 + rng.below(90), 3 + rng.below(90));
        match at % 3 {
            0 => format!(
                "A {a} {b}ed {m} crates of {c} fruit at the {d} {e} and later {f}ed {n} of them for {g} near {h}. \
                 How many {c} crates were left when the {d} closed its {k}?"
            ),
            1 => format!(
                "Which {a} of the {b} best explains why the {c} near {d} {e}ed the old {f} before any {g} {h}ed the broken {k}?"
            ),
            _ => format!(
                "The {a} {b}ed a {c} in the {d} while {e} {f}ed it, so which {g} asked {h} about {c} after {m} {k}?"
            ),
        }
    };
    let item = |at: usize, rng: &mut Rng| EvalItem {
        benchmark: "made-up".into(),
        id: at.to_string(),
        question: question(at, rng),
        answer: Some(rng.below(100).to_string()),
        ..EvalItem::default()
    };
    (0..count).map(|at| item(at, rng)).collect()
}

/// Text of no question, with words and phrases that questions use.
pub(crate) fn made_up_carriers(count: usize, rng: &mut Rng) -> Vec<String> {
    let common: Vec<&str> =
        "the of a in and to was for at with on by it as from which".split_ascii_whitespace().collect();
    let phrases = [
        "which of the following best explains why the",
        "how many crates were left when the",
        "while the",
        "and later",
        "of them for the",
    ];
    let carrier = |rng: &mut Rng| {
        let mut text = String::new();
        for at in 0..300 {
            match rng.below(12) {
                0 => text.push_str(phrases[rng.below(phrases.len())]),
                1..=5 => text.push_str(common[rng.below(common.len())]),
                _ => text.push_str(&made_up_word(rng)),
            }
            text.push_str(if at % 14 == 13 { ". " } else { " " });
        }
        text
    };
    (0..count).map(|_| carrier(rng)).collect()
}
