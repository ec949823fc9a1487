//! MinHash against its theory, and its clusters against those that are known.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cupola_curation::dedup::{
    BandFiles, Budget, DedupError, Member, MinHashParams, MinHasher, Scratch, Verification, sketch_jaccard,
};

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn words(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| word(self.next())).collect()
    }
}

fn word(mut number: u64) -> String {
    let length = 3 + number % 8;
    number >>= 3;
    let letter = |at: u64| char::from(b'a' + ((number >> (5 * at)) % 26) as u8);
    (0..length).map(letter).collect()
}

/// Two texts that share about `common` of `union` 5-grams: they begin alike and end each in its way.
fn pair(random: &mut Random, jaccard: f64, union: usize) -> (String, String) {
    let own = ((1.0 - jaccard) * union as f64 / 2.0).round() as usize;
    let shared = random.words(union - 2 * own + 4).join(" ");
    let mut text = || format!("{shared} {}", random.words(own).join(" "));
    (text(), text())
}

/// How often pairs share a band, how often they should by theory, and the standard deviation of the first.
fn recall(params: MinHashParams, jaccard: f64, union: usize, pairs: usize) -> (f64, f64, f64) {
    let hasher = MinHasher::new(params).unwrap();
    let (mut one_scratch, mut other_scratch) = (Scratch::default(), Scratch::default());
    let mut random = Random(union as u64 + (jaccard * 1000.0) as u64);
    let (mut found, mut expected) = (0usize, 0.0);
    for _ in 0..pairs {
        let (one, other) = pair(&mut random, jaccard, union);
        expected += params.probability(hasher.jaccard(&one, &other));
        let one = hasher.signature(&one, &mut one_scratch).unwrap();
        let other = hasher.signature(&other, &mut other_scratch).unwrap();
        found += usize::from(one.keys.iter().zip(other.keys).any(|(one, other)| one == other));
    }
    let count = pairs as f64;
    let theory = expected / count;
    (found as f64 / count, theory, (theory * (1.0 - theory) / count).sqrt())
}

#[test]
fn recall_is_the_theory_s_at_every_similarity_and_length() {
    let params = MinHashParams::default();
    let (mut all_found, mut all_expected) = (0.0, 0.0);
    for union in [20, 60, 330, 1_500] {
        for jaccard in [0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95] {
            let (found, theory, deviation) = recall(params, jaccard, union, 1_000);
            println!("{union:5} shingles, s = {jaccard:.2}: {found:.4} found, {theory:.4} by theory");
            assert!(found >= 0.99 * theory - 3.5 * deviation, "{union} {jaccard}: {found} {theory}");
            // Bands are negatively associated: where texts are short, a few more pairs are found than by independent bands.
            let slack = if union < 100 { 0.06 } else { 0.01 };
            assert!(found <= theory + slack + 3.5 * deviation, "{union} {jaccard}: {found} {theory}");
            all_found += found;
            all_expected += theory;
        }
    }
    assert!(all_found >= 0.995 * all_expected, "{all_found} {all_expected}");
}

#[test]
fn recall_is_the_theory_s_with_other_bands() {
    for (bands, rows, ngram) in [(20, 5, 5), (1, 1, 5), (450, 20, 5), (50, 2, 5), (9, 13, 5)] {
        let params = MinHashParams { ngram, bands, rows, seed: 7 };
        for jaccard in [0.4, 0.7, 0.9] {
            let (found, theory, deviation) = recall(params, jaccard, 200, 400);
            assert!(found >= 0.99 * theory - 3.5 * deviation, "{bands}x{rows} {jaccard}: {found} {theory}");
            assert!(found <= theory + 0.02 + 3.5 * deviation, "{bands}x{rows} {jaccard}: {found} {theory}");
        }
    }
}

#[test]
fn sketches_estimate_without_bias() {
    let hasher = MinHasher::new(MinHashParams::default()).unwrap();
    let (mut one_scratch, mut other_scratch) = (Scratch::default(), Scratch::default());
    let mut random = Random(5);
    for union in [40, 400] {
        for jaccard in [0.3, 0.6, 0.9] {
            let mut errors = Vec::new();
            for _ in 0..400 {
                let (one, other) = pair(&mut random, jaccard, union);
                let truth = hasher.jaccard(&one, &other);
                let one = hasher.signature(&one, &mut one_scratch).unwrap();
                let other = hasher.signature(&other, &mut other_scratch).unwrap();
                errors.push(sketch_jaccard(one.sketch, other.sketch) - truth);
            }
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let square = errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
            assert!(mean.abs() < 0.012, "{union} {jaccard}: {mean}");
            assert!(square.sqrt() < 0.055, "{union} {jaccard}: {}", square.sqrt());
        }
    }
}

#[test]
fn a_signature_follows_from_the_set_of_shingles() {
    let hasher = MinHasher::new(MinHashParams::default()).unwrap();
    let (mut one_scratch, mut other_scratch) = (Scratch::default(), Scratch::default());
    let mut same = |one: &str, other: &str| {
        let one = hasher.signature(one, &mut one_scratch).map(|signature| signature.keys.to_vec());
        let other = hasher.signature(other, &mut other_scratch).map(|signature| signature.keys.to_vec());
        one == other
    };
    // Few shingles, many times: more of them than are kept.
    let cycle = "one two three four five six seven ";
    assert!(same(&cycle.repeat(3), &cycle.repeat(20_000)));
    assert!(same("Short text!", "short  TEXT"));
    assert!(!same("short text", "text short"));
    assert!(!same("short text", "short text two"));
    assert!(same("", " ... "));
    assert!(hasher.signature("?!", &mut Scratch::default()).is_none());
    assert!((hasher.jaccard("a b c d e f", "a b c d e f") - 1.0).abs() < 1e-9);
    assert!((hasher.jaccard("a b c d e f", "a b c d e g") - 1.0 / 3.0).abs() < 1e-9);
    // A long text in chunks has the shingles that it has at once.
    let long = Random(3).words(30_000).join(" ");
    assert_eq!(hasher.shingles(&long).len(), 29_996);
}

#[test]
fn parameters_out_of_range_are_refused() {
    for (ngram, bands, rows) in [(0, 14, 8), (5, 0, 8), (5, 14, 0), (65, 14, 8), (5, 20_000, 8), (5, 14, 300)]
    {
        let made = MinHasher::new(MinHashParams { ngram, bands, rows, seed: 1 });
        assert!(matches!(made, Err(DedupError::Parameter { .. })));
    }
}

/// Families of near-copies, and texts of their own; the documents of each text's family by number.
fn corpus() -> (Vec<String>, BTreeMap<u64, u64>) {
    let mut random = Random(11);
    let (mut texts, mut families) = (Vec::new(), BTreeMap::new());
    let originals: Vec<Vec<String>> = (0..60).map(|_| random.words(250)).collect();
    for copy in 0..5u64 {
        for (family, original) in originals.iter().enumerate() {
            let document = texts.len() as u64;
            let mut words = original.clone();
            // Every family but each third has a copy each round: a word differs, of 250.
            if family.is_multiple_of(3) && copy > 0 {
                words = random.words(250);
            } else {
                words[(copy * 40 + 3) as usize] = word(random.next());
                families.insert(document, family as u64);
            }
            texts.push(words.join(" "));
        }
    }
    (texts, families)
}

fn clusters(folder: &Path, texts: &[String], budget: usize, shards: usize, threads: usize) -> Vec<Member> {
    let params = MinHashParams::default();
    let hasher = MinHasher::new(params).unwrap();
    let budget = Budget::new(budget).with_writers(threads);
    let files = BandFiles::open(folder, budget, &params, Verification::Report).unwrap();
    let numbers: Vec<usize> = (0..texts.len()).collect();
    let size = numbers.len().div_ceil(shards);
    let parts: Vec<(usize, &[usize])> = numbers.chunks(size).enumerate().collect();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (hasher, files, parts) = (&hasher, &files, &parts);
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                for (name, part) in parts.iter().skip(thread).step_by(threads) {
                    let mut input = files.input(&name.to_string()).unwrap().unwrap();
                    for &document in part.iter().rev() {
                        if let Some(signature) = hasher.signature(&texts[document], &mut scratch) {
                            input.add(document as u64, 0, &signature).unwrap();
                        }
                    }
                    input.finish().unwrap();
                }
            });
        }
    });
    let clusters = files.finish().unwrap();
    assert!(clusters.pairs.num_pairs > 0 && clusters.pairs.precision(0.7).unwrap() > 0.95);
    clusters.members.map(Result::unwrap).collect()
}

#[test]
fn clusters_are_the_families_whatever_the_budget_shards_and_threads() {
    let (texts, families) = corpus();
    let mut runs = Vec::new();
    for (budget, shards, threads) in [(1 << 24, 1, 1), (0, 8, 2), (8_000, 3, 7), (60_000, 8, 1)] {
        let folder = tempfile::tempdir().unwrap();
        runs.push(clusters(folder.path(), &texts, budget, shards, threads));
    }
    assert!(runs.iter().all(|run| *run == runs[0]));
    let mut by_cluster: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for member in &runs[0] {
        by_cluster.entry(member.cluster).or_default().insert(member.document);
    }
    for member in &runs[0] {
        assert_eq!(member.size, by_cluster[&member.cluster].len() as u64);
    }
    let mut expected: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (document, family) in families.iter().filter(|(_, family)| !family.is_multiple_of(3)) {
        expected.entry(*family).or_default().insert(*document);
    }
    assert_eq!(by_cluster.into_values().collect::<Vec<_>>(), expected.into_values().collect::<Vec<_>>());
    assert!(runs[0].is_sorted());
}

#[test]
fn groups_are_apart_and_pairs_that_are_not_alike_can_be_dropped() {
    let params = MinHashParams { bands: 60, rows: 2, ..MinHashParams::default() };
    let hasher = MinHasher::new(params).unwrap();
    let mut random = Random(21);
    let (one, other) = pair(&mut random, 0.4, 300);
    let run = |groups: [u32; 2], verification| {
        let folder = tempfile::tempdir().unwrap();
        let files = BandFiles::open(folder.path(), Budget::new(1 << 20), &params, verification).unwrap();
        let mut input = files.input("all").unwrap().unwrap();
        let mut scratch = Scratch::default();
        for (document, (text, group)) in [&one, &other].into_iter().zip(groups).enumerate() {
            let signature = hasher.signature(text, &mut scratch).unwrap();
            input.add(document as u64, group, &signature).unwrap();
        }
        input.finish().unwrap();
        let clusters = files.finish().unwrap();
        (clusters.members.count(), clusters.pairs.num_pairs, clusters.pairs.num_kept)
    };
    assert_eq!(run([0, 0], Verification::Off), (2, 1, 1));
    assert_eq!(run([0, 1], Verification::Off), (0, 0, 0));
    assert_eq!(run([0, 0], Verification::Report), (2, 1, 1));
    assert_eq!(run([0, 0], Verification::Drop { min_jaccard: 0.7 }), (0, 1, 0));
}

#[test]
fn inputs_that_were_finished_are_not_taken_again_and_other_parameters_are_refused() {
    let (texts, _) = corpus();
    let params = MinHashParams::default();
    let hasher = MinHasher::new(params).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let open =
        |verification| BandFiles::open(folder.path(), Budget::new(9_000), &params, verification).unwrap();
    let fill = |files: &BandFiles, name: &str, documents: std::ops::Range<usize>| {
        let Some(mut input) = files.input(name).unwrap() else { return false };
        let mut scratch = Scratch::default();
        for document in documents {
            let signature = hasher.signature(&texts[document], &mut scratch).unwrap();
            input.add(document as u64, 0, &signature).unwrap();
        }
        input.finish().unwrap();
        true
    };
    assert!(fill(&open(Verification::Off), "a", 0..150));
    // Sketches were not wanted then and are now: the input is taken again, for them alone.
    assert!(fill(&open(Verification::Report), "a", 0..150));
    let files = open(Verification::Report);
    assert!(!fill(&files, "a", 0..150));
    assert!(fill(&files, "b", 150..300));
    let resumed: Vec<Member> = files.finish().unwrap().members.map(Result::unwrap).collect();
    let whole = tempfile::tempdir().unwrap();
    assert_eq!(resumed, clusters(whole.path(), &texts, 1 << 22, 1, 1));
    let other = MinHashParams { rows: 7, ..params };
    let refused = BandFiles::open(folder.path(), Budget::new(0), &other, Verification::Off);
    assert!(matches!(refused, Err(DedupError::OtherWork { .. })));
}
