//! Recall and precision of the finder of personal data, and what it must never let through.

mod labelling;

use cupola_curation::pii::{Actions, Class, Finder};
use cupola_specs::job::PiiAction;

fn finder() -> Finder {
    Finder::new(Actions::all(PiiAction::Redact))
}

#[test]
fn made_up_passages() {
    for seed in 1..=3 {
        let evaluation = labelling::measure_made_up(&finder(), 1500, seed);
        for class in Class::ALL {
            let counts = evaluation.classes[&class];
            println!("{class:?} {counts:?}");
            assert!(counts.recall >= 0.97 && counts.precision >= 0.97, "{class:?} {counts:?}");
        }
    }
}

#[test]
fn shared_passages() {
    let Some(shared) = labelling::shared() else {
        println!("skipped: CUPOLA_SHARED is not set");
        return;
    };
    let evaluation = labelling::measure_shared(&finder(), &shared);
    println!("{evaluation:?}");
    assert_eq!(evaluation.texts, 3395);
    for counts in evaluation.classes.values() {
        assert!(counts.recall >= 0.99 && counts.precision >= 0.99, "{counts:?}");
    }
}

/// A reader of addresses that knows nothing of ours: a name, an `@`, labels and a dot.
fn holds_an_address(text: &str) -> Option<&str> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    text.match_indices('@').find_map(|(at, _)| {
        let bytes = text.as_bytes();
        let start = at - bytes[..at].iter().rev().take_while(|byte| is_part(byte)).count();
        let end = at
            + 1
            + bytes[at + 1..]
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
                .count();
        let last = text[at + 1..end].trim_end_matches(['.', '-']).rsplit_once('.').map(|(_, last)| last)?;
        let is_file = ["png", "js", "html"].contains(&last);
        let is_domain = last.len() >= 2 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
        (start < at && is_domain && !is_file && !["git", "hg", "svn"].contains(&&text[start..at]))
            .then(|| &text[start..end])
    })
}

#[test]
fn no_address_survives_in_shared_texts() {
    let Some(shared) = labelling::shared() else {
        println!("skipped: CUPOLA_SHARED is not set");
        return;
    };
    for name in ["peps", "rust-rfcs", "rust-book"] {
        for text in labelling::shared_texts(&shared, name) {
            let clean = finder().redact(&text);
            assert_eq!(holds_an_address(&clean), None, "{name}");
            assert!(finder().find(&clean).is_empty());
        }
    }
}
