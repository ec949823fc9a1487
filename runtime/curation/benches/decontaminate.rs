//! Decontamination: megabytes a second on clean text with one thread, and precision and recall on planted leaks.
//!
//! `CUPOLA_SHARED=… cargo bench -p cupola-curation --bench decontaminate -- [SEED] [CARRIERS] [--items FOLDER]`
//!
//! The index holds every other question of all shared benchmarks (which half, the seed says), or of the `.jsonl` files of a folder; the rest are decoys. Without shared data the questions and the carriers are made up.

#[path = "../tests/planting/mod.rs"]
mod planting;

use std::time::Instant;

use cupola_curation::decontaminate::{EvalIndex, EvalItem, Scratch, Settings};
use planting::{Range, Rng, Score, Sort};

/// Runs of the measurement of speed; the median counts.
const RUNS: usize = 7;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = args.iter().filter_map(|arg| arg.parse::<u64>().ok());
    let seed = numbers.next().unwrap_or(1);
    let each = numbers.next().unwrap_or(400) as usize;
    let folder = args.iter().position(|arg| arg == "--items").and_then(|at| args.get(at + 1));
    let (benchmarks, carriers) = match (planting::shared(), folder) {
        (Some(shared), Some(folder)) => {
            (planting::folder_benchmarks(folder.as_ref()), planting::shared_carriers(&shared, each))
        }
        (Some(shared), None) => {
            (planting::shared_benchmarks(&shared), planting::shared_carriers(&shared, each))
        }
        (None, _) => {
            let mut rng = Rng(seed);
            let items = planting::made_up(4000, &mut rng);
            (vec![("made-up".to_owned(), items)], planting::made_up_carriers(2000, &mut rng))
        }
    };
    let part = |items: &[EvalItem], odd: u64| {
        items.iter().skip(((odd + seed) % 2) as usize).step_by(2).cloned().collect::<Vec<_>>()
    };
    let indexed: Vec<EvalItem> = benchmarks.iter().flat_map(|(_, items)| part(items, 0)).collect();
    let started = Instant::now();
    let index = EvalIndex::build(indexed.iter().cloned(), &Settings::default());
    println!("index: {:?} in {:.2} s", index.summary(), started.elapsed().as_secs_f64());
    speed(&index, &carriers);
    let mut total = [Score::default(), Score::default(), Score::default()];
    println!("| benchmark | sort | plants | recall | precision |\n|---|---|---|---|---|");
    for (name, items) in &benchmarks {
        let decoys = part(items, 1);
        let range = Range::new(&index, &indexed, &carriers, &decoys);
        let some: Vec<EvalItem> =
            part(items, 0).iter().step_by(items.len().div_ceil(1200)).cloned().collect();
        for (sort, total) in Sort::ALL.into_iter().zip(&mut total) {
            let score = range.measure(&some, sort, seed);
            print(name, sort, &score);
            total.add(&score);
        }
    }
    Sort::ALL.into_iter().zip(&total).for_each(|(sort, score)| print("all", sort, score));
}

fn print(name: &str, sort: Sort, score: &Score) {
    println!("| {name} | {sort:?} | {} | {:.4} | {:.4} |", score.planted, score.recall(), score.precision());
}

fn speed(index: &EvalIndex, carriers: &[String]) {
    let bytes: usize = carriers.iter().map(String::len).sum();
    let mut scratch = Scratch::default();
    let mut rates = Vec::new();
    let mut leaks = 0;
    for _ in 0..RUNS {
        let started = Instant::now();
        leaks = carriers.iter().map(|text| index.check(text, &mut scratch).len()).sum();
        rates.push(bytes as f64 / 1e6 / started.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "clean text: {:.1} MB in {} documents, {:.0} MB/s (median of {RUNS}), {leaks} finds",
        bytes as f64 / 1e6,
        carriers.len(),
        rates[RUNS / 2]
    );
}
