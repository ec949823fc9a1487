//! Copies of documents, lines, paragraphs and substrings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;

use cupola_curation::dedup::{
    Budget, Cut, DedupError, ExactDedup, Member, PartCounter, PartRule, SubstringCut, SubstringDedup,
    TextKind, folded_text_hash, lines, paragraphs, text_hash, without,
};

const BUDGETS: [usize; 3] = [0, 30_000, 1 << 24];

fn exact(documents: &[(u64, u32, u128)], budget: usize, inputs: usize) -> Vec<Member> {
    let folder = tempfile::tempdir().unwrap();
    let dedup = ExactDedup::open(folder.path(), Budget::new(budget)).unwrap();
    for (name, part) in documents.chunks(documents.len().div_ceil(inputs)).enumerate() {
        let mut input = dedup.input(&name.to_string()).unwrap().unwrap();
        for &(document, group, hash) in part {
            input.add(document, group, hash).unwrap();
        }
        input.finish().unwrap();
    }
    assert_eq!(dedup.num_documents(), documents.len() as u64);
    let members = dedup.finish().unwrap();
    let counted = (members.num_clusters, members.num_duplicates);
    let members: Vec<Member> = members.map(Result::unwrap).collect();
    let firsts = members.iter().filter(|member| member.is_first()).count() as u64;
    assert_eq!(counted, (firsts, members.len() as u64 - firsts));
    members
}

#[test]
fn the_first_copy_stays() {
    let text =
        |document: u64| if document.is_multiple_of(3) { "same".into() } else { format!("text {document}") };
    let mut documents: Vec<(u64, u32, u128)> =
        (0..2_000).map(|document| (document, (document % 2) as u32, text_hash(&text(document)))).collect();
    let whole = exact(&documents, 1 << 24, 1);
    assert_eq!(whole.len(), 667);
    assert_eq!(
        whole[..2],
        [Member { document: 0, cluster: 0, size: 334 }, Member { document: 3, cluster: 3, size: 333 },]
    );
    assert_eq!(whole[2], Member { document: 6, cluster: 0, size: 334 });
    documents.reverse();
    for budget in BUDGETS {
        assert_eq!(exact(&documents, budget, 8), whole);
    }
    assert_eq!(text_hash(" a b\n"), text_hash("a b"));
    assert_ne!(text_hash("a  b"), text_hash("a b"));
    assert_eq!(folded_text_hash("A  b"), folded_text_hash("a\nB "));
    assert_ne!(folded_text_hash("ab"), folded_text_hash("a b"));
}

#[test]
fn a_member_that_cannot_be_read_is_an_error_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let dedup = ExactDedup::open(folder.path(), Budget::new(0)).unwrap();
    let mut input = dedup.input("all").unwrap().unwrap();
    (0..500).for_each(|document| input.add(document, 0, u128::from(document / 2)).unwrap());
    input.finish().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "run") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(&path, bytes).unwrap();
        }
    }
    let error = dedup.finish().unwrap_err();
    assert!(matches!(error, DedupError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(".run, block "), "{error}");
    assert!(!error.hint().is_empty());
}

/// What is left of texts when a rule's parts are gone.
fn left(texts: &[String], budget: usize, rule: PartRule) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let counter = PartCounter::open(folder.path(), Budget::new(budget)).unwrap();
    let parts = |text: &str| match rule {
        PartRule::Later => paragraphs(text, TextKind::Prose),
        PartRule::Everywhere { .. } => lines(text, TextKind::Prose),
    };
    for (name, numbers) in [("odd", 1), ("even", 0)] {
        let mut input = counter.input(name).unwrap().unwrap();
        for (document, text) in texts.iter().enumerate().skip(numbers).step_by(2) {
            input.add(document as u64, 0, parts(text).into_iter().map(|part| part.key)).unwrap();
        }
        input.finish().unwrap();
    }
    let mut cuts = counter.finish(rule).unwrap().map(Result::unwrap).peekable();
    let mut left = Vec::new();
    for (document, text) in (0..).zip(texts) {
        let cut = cuts.next_if(|cut: &Cut| cut.document == document);
        let cut = cut.map_or_else(Vec::new, |cut| cut.parts);
        left.push(without(text, &parts(text), &cut));
    }
    assert!(cuts.next().is_none());
    left
}

#[test]
fn repeated_lines_go_everywhere_and_paragraphs_stay_once() {
    let line = "Subscribe to our newsletter, it is worth every penny.\n";
    let texts: Vec<String> = (0..40).map(|at| format!("{line}{line}own {at}\n")).collect();
    for budget in BUDGETS {
        let rule = |min_documents| PartRule::Everywhere { min_documents };
        let expected: Vec<String> = (0..40).map(|at| format!("own {at}\n")).collect();
        assert_eq!(left(&texts, budget, rule(40)), expected);
        // Documents are counted, not lines.
        assert_eq!(left(&texts, budget, rule(41)), texts);
    }
    let paragraph =
        format!("{}\n\n", "A paragraph that is long enough to be a copy of another one.".repeat(2));
    let texts: Vec<String> = (0..40).map(|at| format!("{paragraph}{paragraph}own {at}\n")).collect();
    for budget in BUDGETS {
        let left = left(&texts, budget, PartRule::Later);
        assert_eq!(left[0], texts[0]);
        assert_eq!(left[1..], (1..40).map(|at| format!("own {at}\n")).collect::<Vec<_>>());
    }
}

/// What goes by the definition, place by place.
fn by_definition(texts: &[(u32, String)], min_bytes: usize) -> Vec<SubstringCut> {
    let mut cuts: Vec<SubstringCut> = Vec::new();
    for (document, (group, text)) in texts.iter().enumerate() {
        let text = text.as_bytes();
        let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
        for place in 0..(text.len() + 1).saturating_sub(min_bytes) {
            let sought = &text[place..place + min_bytes];
            let is_in = |text: &[u8]| text.windows(min_bytes).any(|window| window == sought);
            let is_earlier =
                texts[..document].iter().any(|(other, text)| other == group && is_in(text.as_bytes()));
            if is_earlier || is_in(&text[..place]) {
                let end = (place + min_bytes) as u64;
                match ranges.last_mut() {
                    Some(last) if place as u64 <= last.end => last.end = end,
                    _ => ranges.push(place as u64..end),
                }
            }
        }
        if !ranges.is_empty() {
            cuts.push(SubstringCut { document: document as u64, ranges });
        }
    }
    cuts
}

fn substrings(texts: &[(u32, String)], budget: usize, min_bytes: usize) -> Vec<SubstringCut> {
    let folder = tempfile::tempdir().unwrap();
    let dedup = SubstringDedup::open(folder.path(), Budget::new(budget), min_bytes).unwrap();
    for (name, first) in [("odd", 1), ("even", 0)] {
        let mut input = dedup.input(name).unwrap().unwrap();
        for (document, (group, text)) in texts.iter().enumerate().skip(first).step_by(2) {
            input.add(document as u64, *group, text).unwrap();
        }
        input.finish().unwrap();
    }
    dedup.finish().unwrap().map(Result::unwrap).collect()
}

#[test]
fn repeated_substrings_are_those_of_the_definition_whatever_the_budget() {
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let phrases: Vec<String> = (0..12)
        .map(|at| {
            (0..60).map(|_| char::from(b'a' + random(20) as u8)).chain(['é']).collect::<String>()
                + &at.to_string()
        })
        .collect();
    let texts: Vec<(u32, String)> = (0..30)
        .map(|at| {
            let mut text = String::new();
            for _ in 0..random(8) {
                let phrase = &phrases[random(12) as usize];
                let start = random(40) as usize;
                text.push_str(&phrase[start..]);
                text.extend((0..random(30)).map(|_| char::from(b'A' + random(26) as u8)));
            }
            if at % 5 == 0 {
                text.push_str(&"ab".repeat(100));
            }
            (at % 2, text)
        })
        .collect();
    for min_bytes in [16, 24, 50] {
        let expected = by_definition(&texts, min_bytes);
        assert!(!expected.is_empty());
        for budget in BUDGETS {
            assert_eq!(substrings(&texts, budget, min_bytes), expected, "{min_bytes} {budget}");
        }
    }
    for cut in by_definition(&texts, 16) {
        let (_, text) = &texts[cut.document as usize];
        assert!(cut.without(text).len() < text.len());
    }
}

#[test]
fn ranges_end_at_characters_and_odd_lengths_are_refused() {
    let cut = SubstringCut { document: 0, ranges: vec![1..3, 5..6, 7..100] };
    assert_eq!(
        cut.in_text("éé é€x"),
        [2..2, 5..5, 7..11].into_iter().filter(|r| r.start < r.end).collect::<Vec<_>>()
    );
    assert_eq!(cut.without("éé é€x").chars().count(), 4);
    let folder = tempfile::tempdir().unwrap();
    let refused = SubstringDedup::open(folder.path(), Budget::new(0), 3);
    assert!(matches!(refused, Err(DedupError::Parameter { .. })));
}

/// Fills ten inputs; ends the process within the one of that number.
fn fill_ten(folder: &std::path::Path, dies_in: Option<u64>) -> ExactDedup {
    let dedup = ExactDedup::open(folder, Budget::new(0)).unwrap();
    for number in 0..10 {
        let Some(mut input) = dedup.input(&number.to_string()).unwrap() else { continue };
        for document in number * 300..(number + 1) * 300 {
            input.add(document, 0, u128::from(document % 1_000)).unwrap();
            if dies_in == Some(number) && document % 300 == 299 {
                std::process::abort();
            }
        }
        input.finish().unwrap();
    }
    dedup
}

#[test]
fn a_process_that_dies_is_gone_on_from() {
    const FOLDER: &str = "DEDUP_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        fill_ten(std::path::Path::new(&folder), Some(6));
    }
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_dies_is_gone_on_from"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(!status.status.success());
    let names = |extension: &str| {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).count()
    };
    assert_eq!(names("done"), 6);
    let resumed: Vec<Member> = fill_ten(folder.path(), None).finish().unwrap().map(Result::unwrap).collect();
    let whole = tempfile::tempdir().unwrap();
    let whole: Vec<Member> = fill_ten(whole.path(), None).finish().unwrap().map(Result::unwrap).collect();
    assert_eq!(whole.len(), 3_000);
    assert_eq!(resumed, whole);
}
