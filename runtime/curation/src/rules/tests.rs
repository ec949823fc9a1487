//! Whole rule sets over whole texts.

use cupola_specs::job::FilterParams;
use proptest::prelude::*;

use super::*;

fn judged(filters: &[FilterParams], text: &str) -> Judged {
    Ruleset::new(filters, Words::Unicode).unwrap().judge(text, &mut Scratch::default())
}

/// The rule that drops a text.
fn rule(filters: &[FilterParams], text: &str) -> Option<String> {
    let set = Ruleset::new(filters, Words::Unicode).unwrap();
    set.judge(text, &mut Scratch::default()).dropped.map(|dropped| set.rules()[dropped.rule].clone())
}

fn quality() -> [FilterParams; 1] {
    [FilterParams::GopherQuality {
        min_words: 5,
        max_words: 50,
        min_mean_word_length: 3.0,
        max_mean_word_length: 10.0,
        max_symbol_word_ratio: 0.1,
        max_bullet_lines: 0.9,
        max_ellipsis_lines: 0.3,
        min_alpha_words: 0.8,
        min_stop_words: 2,
    }]
}

#[test]
fn gophers_quality_rules_drop_what_they_name() {
    let rule = |text: &str| rule(&quality(), text).map(|rule| rule.replace("gopher_quality.", ""));
    assert_eq!(rule("The start of the story that we have told."), None);
    assert_eq!(rule("The end of it"), Some("min_words".into()));
    assert_eq!(rule(&"the word of ".repeat(20)), Some("max_words".into()));
    assert_eq!(rule("a b c d e the of"), Some("min_mean_word_length".into()));
    assert_eq!(rule("the #one #two of #three sentences that have"), Some("max_symbol_word_ratio".into()));
    assert_eq!(rule("- the first of\n- words that have"), Some("max_bullet_lines".into()));
    assert_eq!(
        rule("some line of words goes\nto the next of all others that..."),
        Some("max_ellipsis_lines".into())
    );
    assert_eq!(rule("1234 5678 9012 of the 3456"), Some("min_alpha_words".into()));
    assert_eq!(rule("nothing here says anything useful today"), Some("min_stop_words".into()));
}

#[test]
fn a_text_of_one_line_over_and_over_goes() {
    let filters = [Preset::Gopher.filters().remove(1)];
    assert_eq!(rule(&filters, &"buy this now\n".repeat(9)).unwrap(), "gopher_repetition.max_duplicate_lines");
    let prose = "one of a kind, and then another one, quite unlike the first of them, which nobody who was there that day would \
                 ever have mistaken for what it later turned out to be";
    assert_eq!(rule(&filters, prose), None);
    let sentence = "we sell the very best of all wares here ".repeat(6);
    assert!(rule(&filters, &sentence).unwrap().starts_with("gopher_repetition.max_top"));
}

#[test]
fn c4_takes_lines_out_and_pages_whole() {
    let filters = Preset::C4.filters();
    let text = "Menu\n This is a line [1] of text. And one more.\n\nToo short.\nPlease turn your JavaScript on now.\n\
                We use cookies on this site.\nThis is the third sentence.\n";
    let found = judged(&filters, text);
    assert_eq!(found.dropped, None);
    assert_eq!(found.text.unwrap(), "This is a line  of text. And one more.\nThis is the third sentence.");
    let names = Ruleset::new(&filters, Words::Unicode).unwrap().rules().to_vec();
    let removed: Vec<(&str, &str)> =
        found.removed.iter().map(|gone| (&names[gone.rule][3..], &text[gone.start..gone.end])).collect();
    assert_eq!(
        removed,
        [
            ("require_terminal_punctuation", "Menu\n"),
            ("remove_citations", "[1]"),
            ("min_line_words", "Too short.\n"),
            ("drop_javascript_lines", "Please turn your JavaScript on now.\n"),
            ("drop_policy_lines", "We use cookies on this site.\n"),
        ]
    );
    assert_eq!(found.signals.get(1, "c4_sentences"), Some(3.0));
    let page = "This is a first sentence. This is a second one. And here is a third.\n";
    assert_eq!(rule(&filters, page), None);
    assert_eq!(rule(&filters, &page.replace("first", "{")).unwrap(), "c4.drop_curly_bracket");
    assert_eq!(rule(&filters, &page.replace("first", "Lorem Ipsum")).unwrap(), "c4.drop_lorem_ipsum");
    assert_eq!(rule(&filters, "There is just one sentence here.").unwrap(), "c4.min_sentences");
}

#[test]
fn bad_words_drop_a_share_of_the_pages() {
    let filters = |keep| {
        let mut filters = Preset::C4.filters();
        if let FilterParams::C4 { drop_bad_words, bad_words_keep, min_sentences, .. } = &mut filters[0] {
            (*drop_bad_words, *bad_words_keep, *min_sentences) = (true, keep, 1);
        }
        filters
    };
    assert!(matches!(Ruleset::new(&filters(0.0), Words::Unicode), Err(RulesError::NoWordList { .. })));
    let list = WordList::new(b"foul").unwrap();
    let kept = |keep: f64| {
        let set = Ruleset::with_word_list(&filters(keep), Words::Unicode, Some(list.clone())).unwrap();
        let pages = (0..200).map(|page| format!("This is a foul page number {page}."));
        pages.filter(|page| set.judge(page, &mut Scratch::default()).dropped.is_none()).count()
    };
    assert_eq!((kept(0.0), kept(1.0)), (0, 200));
    assert!((70..130).contains(&kept(0.5)));
}

#[test]
fn menus_go_and_prose_stays_by_finewebs_rules() {
    let filters = [FilterParams::Fineweb {
        min_line_punctuation: 0.12,
        max_short_lines: 0.67,
        short_line_chars: 10,
        max_duplicate_line_chars: 0.1,
        max_newline_word_ratio: 0.3,
    }];
    let rule = |text: &str| rule(&filters, text).map(|rule| rule.replace("fineweb.", ""));
    assert_eq!(rule("A line of prose that ends.\nAnd another one, also with an end."), None);
    assert_eq!(rule("Home\nAbout us and others\nContact"), Some("min_line_punctuation".into()));
    assert_eq!(rule("Home.\nAbout.\nContact."), Some("max_short_lines".into()));
    let repeated = "The same long line of words once more.\n".repeat(3);
    assert_eq!(rule(&repeated), Some("max_duplicate_line_chars".into()));
    assert_eq!(rule("aaaaaaaaaaaa.\ncccccccccccc.\neeeeeeeeeeee."), Some("max_newline_word_ratio".into()));
}

#[test]
fn refinedwebs_rules_correct_lines_and_drop_what_loses_too_much() {
    let filters = [Preset::Dclm.filters().remove(2)];
    let prose = "This is a line of quite ordinary prose that stays as it is.\n".repeat(8);
    let text = format!("{prose}3 likes\n\n2024\nHome\nA SHOUT\nGo on. Read more...\n{prose}");
    let found = judged(&filters, &text);
    assert_eq!(found.dropped, None);
    assert_eq!(found.text.unwrap(), format!("{prose}\nGo on.\n{prose}").trim());
    let removed: Vec<&str> = found.removed.iter().map(|gone| &text[gone.start..gone.end]).collect();
    assert_eq!(removed, ["3 likes\n", "2024\n", "Home\n", "A SHOUT\n", " Read more..."]);
    assert_eq!(rule(&filters, "A line of prose.\nMENU\n3 likes").unwrap(), "refinedweb.max_removed_words");
}

#[test]
fn generated_files_tables_and_minified_lines_go() {
    let filters = [FilterParams::Code {
        max_line_length: 100,
        max_mean_line_length: 60.0,
        min_alphanumeric: 0.25,
        max_digits: 0.3,
        drop_generated: true,
    }];
    let rule = |text: &str| rule(&filters, text).map(|rule| rule.replace("code.", ""));
    assert_eq!(rule("/// Adds.\nfn add(a: u8, b: u8) -> u8 {\n    a + b\n}"), None);
    assert_eq!(rule("// This file is @generated by prost-build.\nfn a() {}"), Some("drop_generated".into()));
    assert_eq!(rule("fn a() {}\nlet text = \"do not edit\";"), None);
    assert_eq!(rule(&format!("fn a() {{}}\n{}", "abc ".repeat(30))), Some("max_line_length".into()));
    assert_eq!(rule(&"abcd ".repeat(15)), Some("max_mean_line_length".into()));
    assert_eq!(rule("{ ( ) } ; + - { } a"), Some("min_alphanumeric".into()));
    assert_eq!(rule("[12, 34, 56,\n78, 90, 12]"), Some("max_digits".into()));
}

#[test]
fn custom_rules_see_the_text_that_earlier_rules_left() {
    let custom = |expression: &str| FilterParams::Custom { expression: expression.into() };
    let text = "Menu\nThis is a first sentence. This is a second one. And here is a third.";
    assert_eq!(rule(&[custom("lines == 2")], text), None);
    let after = [Preset::C4.filters().remove(0), custom("lines == 2")];
    let found = judged(&after, text);
    let dropped = found.dropped.unwrap();
    assert_eq!(dropped.reason, "not `lines == 2`: lines = 1");
    assert_eq!(Ruleset::new(&after, Words::Unicode).unwrap().rules()[dropped.rule], "custom.1");
    let wrong = Ruleset::new(&[custom("wrds > 1")], Words::Unicode).unwrap_err();
    assert!(wrong.to_string().contains("there is no signal `wrds`"), "{wrong}");
}

#[test]
fn stored_values_that_were_measured_otherwise_are_refused() {
    let set = |words| Ruleset::new(&Preset::FinewebPipeline.filters(), words).unwrap();
    let signals = set(Words::Unicode).judge("A text of words.", &mut Scratch::default()).signals;
    assert_eq!(set(Words::SpacyLike).judge_signals(&signals), Err(RulesError::MeasuredOtherwise));
    let mut filters = Preset::FinewebPipeline.filters();
    filters.push(FilterParams::Custom { expression: "top_2gram_chars < 0.5".into() });
    let more = Ruleset::new(&filters, Words::Unicode).unwrap();
    let text = "These are words that stay. ".repeat(20);
    let mut signals = set(Words::Unicode).judge(&text, &mut Scratch::default()).signals;
    // What the text lost comes first: repetition drops it before the missing value is looked at.
    assert!(more.judge_signals(&signals).unwrap().is_some());
    signals.stages[0] = signals::Values::default();
    assert!(matches!(more.judge_signals(&signals), Err(RulesError::NotMeasured { stage: 0, .. })));
}

#[test]
fn empty_and_hostile_texts_are_judged() {
    for words in [Words::Unicode, Words::SpacyLike] {
        let mut filters = Preset::FinewebPipeline.filters();
        filters.extend(Preset::Dclm.filters());
        let set = Ruleset::new(&filters, words).unwrap();
        let mut scratch = Scratch::default();
        for text in ["", "\n", "\n\n\n", " \u{85}\u{2028}", "\u{301}", "\u{feff}"] {
            assert!(set.judge(text, &mut scratch).dropped.is_some());
        }
        for unit in ["(", "a", "a ", ".", "[1]", "\n", "…", "a@", "中", "::", "javascript lorem ipsum "] {
            assert!(set.judge(&unit.repeat(200_000), &mut scratch).dropped.is_some());
        }
    }
}

proptest! {
    #[test]
    fn words_of_what_is_left_are_counted_right(text in "([a-z]{1,5}[ ,.]|Th|[0-9{}]|\\[1\\]|\n|\r|é|。|:\\)){0,120}") {
        let filters = [Preset::C4.filters().remove(0), Preset::FinewebPipeline.filters().remove(3)];
        for words in [Words::Unicode, Words::SpacyLike] {
            let set = Ruleset::new(&filters, words).unwrap();
            let judged = set.judge(&text, &mut Scratch::default());
            let left = judged.text.unwrap_or(text.clone());
            let again = set.judge(&left, &mut Scratch::default());
            for name in ["tokens", "words", "newline_ratio", "lines", "chars"] {
                prop_assert_eq!(judged.signals.get(1, name), again.signals.get(0, name), "{}", name);
            }
        }
    }

    #[test]
    fn values_alone_give_the_same_verdict(text in "([a-z]{1,5}[ ,.]|the of |[0-9#•…{}]|\\[1\\]|\n|-|é|。){0,120}", strict in 0_u64..4) {
        let mut filters = Preset::FinewebPipeline.filters();
        filters.extend(Preset::Dclm.filters());
        if let FilterParams::GopherQuality { min_words, .. } = &mut filters[1] {
            *min_words = strict * 10;
        }
        if let FilterParams::C4 { min_sentences, .. } = &mut filters[2] {
            *min_sentences = strict;
        }
        for words in [Words::Unicode, Words::SpacyLike] {
            let loose = Ruleset::new(&{
                let mut loose = Preset::FinewebPipeline.filters();
                loose.extend(Preset::Dclm.filters());
                loose
            }, words).unwrap();
            let set = Ruleset::new(&filters, words).unwrap();
            let judged = set.judge(&text, &mut Scratch::default());
            let stored = loose.judge(&text, &mut Scratch::default()).signals;
            prop_assert_eq!(set.judge_signals(&stored).unwrap(), judged.dropped.clone());
            let written = serde_json::to_string(&stored).unwrap();
            let read: Signals = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&read, &stored);
            let set = judged.removed.iter().all(|gone| text.get(gone.start..gone.end).is_some());
            prop_assert!(set);
        }
    }

    #[test]
    fn what_stays_and_what_goes_make_the_text(text in "([A-Za-z]{1,5}[ .]|\\[1\\]|\n|3 likes|é。){0,60}") {
        let filters = [Preset::C4.filters().remove(0), Preset::Dclm.filters().remove(2)];
        let mut loose = filters.clone();
        if let FilterParams::C4 { min_sentences, .. } = &mut loose[0] {
            *min_sentences = 0;
        }
        if let FilterParams::Refinedweb { max_removed_words, .. } = &mut loose[1] {
            *max_removed_words = 1.0;
        }
        let judged = judged(&loose, &text);
        let mut is_gone = vec![false; text.len()];
        for gone in &judged.removed {
            let bytes = &mut is_gone[gone.start..gone.end];
            prop_assert!(!bytes.contains(&true), "taken out twice");
            bytes.fill(true);
        }
        let left: Vec<u8> = text.bytes().zip(&is_gone).filter(|(_, gone)| !**gone).map(|(byte, _)| byte).collect();
        let letters = |text: &str| text.split_whitespace().collect::<String>();
        let new = judged.text.unwrap_or_else(|| text.clone());
        prop_assert_eq!(letters(&String::from_utf8(left).unwrap()), letters(&new));
    }
}
