//! Leaks planted in carriers, so that what is found can be counted.
//!
//! A plant is a question in a stretch of carrier text: as it is, with a tenth of its words edited, or half of it. Questions are planted with
//! what the index knows of them: those of fewer than [`LEAST_WORDS`] words (twice as many for halves) are not planted, because four words of
//! a question are a phrase of the language. Decoys are questions of the same benchmarks that are not in the index.
//!
//! A find is right where it names the planted item, or one with the same question, and its span meets the plant. Each other find is wrong, in
//! carriers too, but for one case: an item whose words truly stand in the untouched carrier (a quote) leaked before we came; such
//! finds are counted as `quotes` and shown.

#![allow(dead_code, reason = "the test and the bench each use a part")]

use std::io::Read;
use std::path::{Path, PathBuf};

use cupola_curation::decontaminate::{EvalIndex, EvalItem, Leak, Scratch, items_of};

/// Questions of fewer words are not planted.
pub const LEAST_WORDS: usize = 8;

/// How a question is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// As it is.
    Exact,
    /// A tenth of its words replaced, deleted, inserted or swapped.
    Edited,
    /// Its first, middle or last half.
    Half,
}

impl Sort {
    /// All sorts.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Edited, Self::Half];
}

/// SplitMix64: the same seed, the same plants.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }
}

/// A question to be planted, as one of the sorts; `None` where it is too short.
pub fn plant(question: &str, sort: Sort, vocabulary: &[&str], rng: &mut Rng) -> Option<String> {
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
pub struct Score {
    /// Plants.
    pub planted: usize,
    /// Plants that were found.
    pub found: usize,
    /// Finds that are no plant.
    pub wrong: usize,
    /// Finds that truly stand in the carrier.
    pub quotes: usize,
}

impl Score {
    /// Found plants among all plants.
    pub fn recall(&self) -> f64 {
        self.found as f64 / self.planted.max(1) as f64
    }

    /// Found plants among all finds, quotes aside.
    pub fn precision(&self) -> f64 {
        self.found as f64 / (self.found + self.wrong).max(1) as f64
    }

    /// Adds counts.
    pub fn add(&mut self, other: &Self) {
        self.planted += other.planted;
        self.found += other.found;
        self.wrong += other.wrong;
        self.quotes += other.quotes;
    }
}

/// What is measured with: an index, carriers, and questions that are not in the index.
pub struct Range<'a> {
    pub index: &'a EvalIndex,
    pub carriers: &'a [String],
    pub decoys: &'a [EvalItem],
    pub vocabulary: Vec<&'a str>,
    /// Shows wrong finds.
    pub verbose: bool,
}

impl<'a> Range<'a> {
    /// A range whose edits draw words from the carriers.
    pub fn new(index: &'a EvalIndex, carriers: &'a [String], decoys: &'a [EvalItem]) -> Self {
        let vocabulary = carriers.iter().take(50).flat_map(|text| text.split_whitespace()).collect();
        Self { index, carriers, decoys, vocabulary, verbose: false }
    }

    /// Plants each item once, as one sort; every plant stands beside a decoy in another document.
    pub fn measure(&self, items: &[EvalItem], sort: Sort, seed: u64) -> Score {
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
                self.judge_wrong(leak, &text, Some(item), &mut score);
            }
            if self.verbose && !leaks.iter().any(is_right) {
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
            self.judge_wrong(&leak, &text, None, score);
        }
    }

    fn judge_wrong(&self, leak: &Leak, text: &str, planted: Option<&EvalItem>, score: &mut Score) {
        if self.verbose {
            let of = planted.map_or("a decoy".to_owned(), |item| format!("{} {}", item.benchmark, item.id));
            println!(
                "wrong in {of}: {} {} {:.2} {:.0} {:?}",
                leak.benchmark,
                leak.item,
                leak.score,
                leak.evidence,
                &text[leak.range.clone()]
            );
        }
        score.wrong += 1;
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

    /// Finds in the carriers as they are.
    pub fn carriers_alone(&self) -> usize {
        let mut scratch = Scratch::default();
        let mut finds = 0;
        for carrier in self.carriers {
            for leak in self.index.check(carrier, &mut scratch) {
                finds += 1;
                if self.verbose {
                    println!(
                        "in a carrier: {} {} {:.2} {:.0} {:?}",
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

/// What is planted of an item: the question with its passage before it.
pub fn text_of(item: &EvalItem) -> String {
    if item.passage.is_empty() {
        item.question.clone()
    } else {
        format!("{}\n{}", item.passage, item.question)
    }
}

/// Shared data, where it is.
pub fn shared() -> Option<PathBuf> {
    std::env::var_os("CUPOLA_SHARED").map(PathBuf::from)
}

/// A gzipped file as text.
pub fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The questions of a gzipped JSON-lines file, one for each question.
pub fn read_items(benchmark: &str, path: &Path) -> Vec<EvalItem> {
    let text = gunzip(path);
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
pub fn shared_benchmarks(shared: &Path) -> Vec<(String, Vec<EvalItem>)> {
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
pub fn shared_carriers(shared: &Path, each: usize) -> Vec<String> {
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

const NOUNS: &str = "farmer river market lantern orchard engine teacher village copper violin glacier harbor pilot merchant castle garden window rocket \
    painter bridge forest monkey sailor doctor kitchen island desert candle planet mirror hunter basket thunder piano ladder needle wagon";
const VERBS: &str = "carried measured painted repaired borrowed gathered planted counted delivered polished examined lifted traded folded buried \
    mixed weighed sorted heated cooled divided collected washed stacked";
const PLACES: &str = "morning winter valley harbor station library workshop festival mountain factory school bakery museum airport stadium cellar \
    attic meadow tunnel canyon temple theater clinic quarry";

/// Questions made up from a few templates, and carriers made up from the same words: for tests without shared data.
pub fn made_up(count: usize, rng: &mut Rng) -> Vec<EvalItem> {
    let pick = |list: &'static str, rng: &mut Rng| {
        let all: Vec<&str> = list.split_ascii_whitespace().collect();
        all[rng.below(all.len())]
    };
    (0..count)
        .map(|at| {
            let (a, b, c) = (pick(NOUNS, rng), pick(NOUNS, rng), pick(NOUNS, rng));
            let (v, w, p) = (pick(VERBS, rng), pick(VERBS, rng), pick(PLACES, rng));
            let (m, n) = (3 + rng.below(90), 3 + rng.below(90));
            let question = match at % 3 {
                0 => format!("A {a} {v} {m} crates of {b} fruit at the {p} and later {w} {n} of them for the {c}. How many crates were left when the {p} closed?"),
                1 => format!("Which of the following best explains why the {a} near the {p} {v} the old {b} before anyone {w} the broken {c}?"),
                _ => format!("The {a} {v} a {b} in the {p} while the {c} {w} it, so who asked about the {p} after {m} days?"),
            };
            EvalItem { benchmark: "made-up".into(), id: at.to_string(), question, answer: Some(n.to_string()), ..EvalItem::default() }
        })
        .collect()
}

/// Text of no question, with the phrases that questions share.
pub fn made_up_carriers(count: usize, rng: &mut Rng) -> Vec<String> {
    let words: Vec<&str> = [NOUNS, VERBS, PLACES, "the of a in and to was for at with on by it as from"]
        .iter()
        .flat_map(|list| list.split_ascii_whitespace())
        .collect();
    let phrases = [
        "which of the following best explains why",
        "how many crates were left",
        "while the",
        "and later",
        "of them for the",
    ];
    (0..count)
        .map(|_| {
            let mut text = String::new();
            for at in 0..300 {
                let word = if rng.below(12) == 0 {
                    phrases[rng.below(phrases.len())]
                } else {
                    words[rng.below(words.len())]
                };
                text.push_str(word);
                text.push_str(if at % 14 == 13 { ". " } else { " " });
            }
            text
        })
        .collect()
}
