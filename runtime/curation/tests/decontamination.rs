//! Precision and recall of decontamination on planted leaks.

mod planting;

use cupola_curation::decontaminate::{
    EvalIndex, EvalItem, LeakKind, LeakReport, Scratch, Settings, remove_spans,
};
use planting::{Range, Rng, Score, Sort};

/// Every other item is indexed; the rest are decoys.
fn split(items: Vec<EvalItem>, seed: u64) -> (Vec<EvalItem>, Vec<EvalItem>) {
    let (indexed, decoys): (Vec<_>, Vec<_>) =
        items.into_iter().enumerate().partition(|(at, _)| (*at as u64 + seed).is_multiple_of(2));
    let plain = |items: Vec<(usize, EvalItem)>| items.into_iter().map(|(_, item)| item).collect();
    (plain(indexed), plain(decoys))
}

#[test]
fn made_up_plants_are_found_and_nothing_else() {
    for seed in 1..=3 {
        let mut rng = Rng(seed);
        let (indexed, decoys) = split(planting::made_up(600, &mut rng), seed);
        let carriers = planting::made_up_carriers(40, &mut rng);
        let index = EvalIndex::build(indexed.iter().cloned(), &Settings::default());
        let range = Range::new(&index, &indexed, &carriers, &decoys);
        assert_eq!(range.carriers_alone(), 0);
        for sort in Sort::ALL {
            let score = range.measure(&indexed, sort, seed);
            println!("{sort:?}: precision {:.4} recall {:.4} {score:?}", score.precision(), score.recall());
            assert!(score.recall() >= 0.95 && score.precision() >= 0.95, "{sort:?} {score:?}");
        }
    }
}

#[test]
fn shared_plants_are_found_and_nothing_else() {
    let Some(shared) = planting::shared() else {
        println!("skipped: CUPOLA_SHARED is not set");
        return;
    };
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let carriers = planting::shared_carriers(&shared, 150);
    let mut all = (Vec::new(), Vec::new());
    let mut by_name = Vec::new();
    for (name, items) in planting::shared_benchmarks(&shared) {
        let (indexed, decoys) = split(items, seed);
        by_name.push((name, indexed.clone(), decoys.clone()));
        all.0.extend(indexed);
        all.1.extend(decoys);
    }
    let settings =
        std::env::var("SETTINGS").ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let index = EvalIndex::build(all.0.iter().cloned(), &settings);
    println!("{:?}", index.summary());
    let verbose = std::env::var_os("VERBOSE").is_some();
    let range = Range { verbose, ..Range::new(&index, &all.0, &carriers, &all.1) };
    println!("{} finds in {} carriers", range.carriers_alone(), carriers.len());
    let mut total = [Score::default(), Score::default(), Score::default()];
    for (name, indexed, decoys) in &by_name {
        let range =
            Range { decoys, vocabulary: range.vocabulary.clone(), by_name: range.by_name.clone(), ..range };
        let some: Vec<EvalItem> = indexed.iter().step_by(indexed.len().div_ceil(300)).cloned().collect();
        for (at, sort) in Sort::ALL.into_iter().enumerate() {
            let score = range.measure(&some, sort, seed);
            println!(
                "{name} {sort:?}: precision {:.4} recall {:.4} {score:?}",
                score.precision(),
                score.recall()
            );
            total[at].add(&score);
        }
    }
    for (sort, score) in Sort::ALL.into_iter().zip(&total) {
        println!("all {sort:?}: precision {:.4} recall {:.4} {score:?}", score.precision(), score.recall());
        assert!(score.recall() >= 0.95 && score.precision() >= 0.95, "{sort:?} {score:?}");
    }
}

fn items(questions: &[(&str, Option<&str>)]) -> impl Iterator<Item = EvalItem> {
    let item = |(at, (question, answer)): (usize, &(&str, Option<&str>))| EvalItem {
        benchmark: "b".into(),
        id: at.to_string(),
        question: (*question).into(),
        answer: answer.map(str::to_owned),
        ..EvalItem::default()
    };
    questions.iter().enumerate().map(item).collect::<Vec<_>>().into_iter()
}

#[test]
fn a_short_question_leaks_with_its_answer_only() {
    let index = EvalIndex::build(
        items(&[
            ("dresser", Some("replace the drawer with a bobby pin")),
            ("What is fog?", Some("a low cloud of droplets")),
        ]),
        &Settings::default(),
    );
    let mut scratch = Scratch::default();
    assert!(index.check("The dresser stood there. What is fog? Nobody knew.", &mut scratch).is_empty());
    let text = "Tips. Dresser: replace the drawer with a bobby pin. More.";
    let leaks = index.check(text, &mut scratch);
    assert_eq!((leaks.len(), leaks[0].kind), (1, LeakKind::Answer));
    assert_eq!(remove_spans(text, &leaks), "Tips. More.");
}

#[test]
fn the_same_words_about_other_numbers_are_another_question() {
    let ask = |m: u32, n: u32, k: u32| {
        format!(
            "Natalia sold {m} clips to her friends in April, then {n} clips in May and {k} in June; how many clips did Natalia sell?"
        )
    };
    let question = ask(48, 24, 17);
    let index = EvalIndex::build(items(&[(&question, None)]), &Settings::default());
    let mut scratch = Scratch::default();
    assert_eq!(index.check(&ask(48, 24, 17), &mut scratch)[0].kind, LeakKind::Exact);
    assert_eq!(index.check(&ask(48, 24, 99), &mut scratch)[0].kind, LeakKind::Partial);
    assert!(index.check(&ask(31, 70, 99), &mut scratch).is_empty());
}

#[test]
fn the_report_is_the_same_in_any_order() {
    let mut rng = Rng(3);
    let made = planting::made_up(60, &mut rng);
    let index = EvalIndex::build(made.iter().cloned(), &Settings::default());
    let mut scratch = Scratch::default();
    let mut whole = LeakReport::new(&index);
    let mut halves = [LeakReport::new(&index), LeakReport::new(&index)];
    for (at, item) in made.iter().enumerate() {
        let text = format!("before. {} after", item.question);
        let leaks = index.check(&text, &mut scratch);
        let name = format!("d{at}");
        whole.add(&name, &text, &leaks, scratch.exhausted());
        halves[at % 2].add(&name, &text, &leaks, scratch.exhausted());
    }
    let [mut second, first] = halves;
    second.merge(first);
    assert_eq!(whole, second);
    let report = &whole.benchmarks["made-up"];
    assert_eq!((report.items, report.leaked.len(), report.documents), (60, 60, 60));
    assert_eq!(serde_json::from_str::<LeakReport>(&serde_json::to_string(&whole).unwrap()).unwrap(), whole);
}

#[test]
fn work_is_bounded_and_said() {
    let mut rng = Rng(5);
    let made = planting::made_up(600, &mut rng);
    let settings = Settings { max_extensions: 100, ..Settings::default() };
    let index = EvalIndex::build(made.iter().cloned(), &settings);
    let text: String = made.iter().map(|item| item.question.clone() + "\n").collect();
    let mut scratch = Scratch::default();
    index.check(&text, &mut scratch);
    assert!(scratch.exhausted());
    assert!(index.check("nothing", &mut scratch).is_empty() && !scratch.exhausted());
    let index = EvalIndex::build(made.iter().cloned(), &Settings { max_words: 300, ..settings });
    let summary = index.summary();
    assert_eq!(summary.given, summary.items + summary.left_out + summary.merged + summary.too_short);
    assert!(summary.left_out > 500);
}
