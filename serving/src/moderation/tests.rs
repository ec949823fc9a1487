use cupola_runtime::generate::ScoredToken;
use proptest::prelude::*;

use super::fold::{begins_between, is_mark, is_unspaced, is_word};
use super::phrases::folded;
use super::*;

fn rules(phrases: &[&str], action: Action) -> Arc<Moderation> {
    let rule = Arc::new(Rule { category: "test".into(), action });
    let mut lexicon = Lexicon::default();
    for phrase in phrases {
        lexicon.insert(phrase, &rule);
    }
    let lexicon = Arc::new(lexicon);
    Arc::new(Moderation {
        refusal: "No.".into(),
        files: Vec::new(),
        window: 240,
        prompt: Arc::clone(&lexicon),
        answer: lexicon,
        classifiers: Vec::new(),
        notes: Arc::new(Semaphore::new(1)),
        metrics: Arc::default(),
    })
}

/// What goes out of an answer that comes in these parts, and the refusal that ends it.
fn pass(rules: &Arc<Moderation>, parts: &[&str], is_json: bool) -> (Vec<String>, Option<String>) {
    pass_behind(rules, "", parts, is_json)
}

/// The same of an answer that goes on in a text.
fn pass_behind(
    rules: &Arc<Moderation>,
    before: &str,
    parts: &[&str],
    is_json: bool,
) -> (Vec<String>, Option<String>) {
    let mut gate = Gate::new(rules, "", before, is_json).unwrap();
    let mut told = Vec::new();
    for (at, text) in parts.iter().enumerate() {
        let more = More {
            text,
            is_settled: true,
            is_last: at + 1 == parts.len(),
            tokens: Vec::new(),
            is_cut: false,
        };
        let passed = futures::executor::block_on(gate.pass(more)).unwrap();
        told.push(passed.text);
        if passed.refusal.is_some() {
            return (told, passed.refusal);
        }
    }
    (told, None)
}

fn is_found(phrase: &str, text: &str) -> bool {
    pass(&rules(&[phrase], Action::Refuse), &[text], false).1.is_some()
}

#[test]
fn phrases_are_found_as_whole_words_in_any_case_and_form() {
    for (phrase, text) in [
        ("bomb", "A BOMB."),
        ("bomb", "the bomb's fuse"),
        ("bomb", "bomb"),
        ("bomb", "«bomb»"),
        ("bomb", "l'bomb"),
        ("bomb", "b\u{200d}omb"),
        ("bomb", "ｂｏｍｂ"),
        ("pipe bomb", "pipe\n\t bomb!"),
        ("café", "CAFE\u{301}"),
        ("straße", "STRASSE"),
        ("爆弾", "この爆弾は"),
        ("🔫", "a🔫b"),
        ("c++", "c++17"),
        ("well-known", "well-known."),
    ] {
        assert!(is_found(phrase, text), "{phrase} in {text}");
    }
    for (phrase, text) in [
        ("bomb", "bombard"),
        ("bomb", "aerobomb"),
        ("bomb", "bomb2"),
        ("can", "can't"),
        ("cafe", "café"),
        ("pipe bomb", "pipebomb"),
        ("pipe bomb", "pipe-bomb"),
        ("か", "が"),
        ("하", "한"),
    ] {
        assert!(!is_found(phrase, text), "{phrase} in {text}");
    }
}

#[test]
fn only_what_may_become_a_phrase_waits() {
    let rules = rules(&["pipe bomb"], Action::Refuse);
    let told = pass(&rules, &["a pi", "ano and a pipe", " ", "", "line, pipe", " bom", "bs", "."], false);
    assert_eq!(told.0, ["a ", "piano and a ", "", "", "pipe line, ", "", "pipe bombs", "."]);
    let (told, refusal) = pass(&rules, &["my pi", "pe b", "omb", " here"], false);
    assert_eq!((told.concat().as_str(), refusal.as_deref()), ("my ", Some("\n\nNo.")));
    let (told, refusal) = pass(&rules, &["Pipe", " bomb"], false);
    assert_eq!((told.concat().as_str(), refusal.as_deref()), ("", Some("No.")));
}

#[test]
fn what_is_only_logged_never_waits_and_is_counted() {
    let rules = rules(&["pipe bomb"], Action::Log);
    let parts = ["a pi", "pe b", "omb", "."];
    assert_eq!(pass(&rules, &parts, false), (parts.map(str::to_owned).to_vec(), None));
    let line = "cupola_moderation_total{category=\"test\",scope=\"answer\",action=\"log\"} 1";
    assert!(rules.metrics.render().lines().any(|seen| seen == line));
}

#[test]
fn escapes_of_json_hide_nothing() {
    let rules = rules(&["pipe bomb"], Action::Refuse);
    let text = r#"{"name": "search", "arguments": {"q": "p\u0069pe\n\u0062omb"}}"#;
    assert_eq!(pass(&rules, &[text], false).1, None);
    let parts: Vec<&str> = text.split("").collect();
    let (told, refusal) = pass(&rules, &parts, true);
    assert_eq!(told.concat(), r#"{"name": "search", "arguments": {"q": ""#);
    assert!(refusal.is_some());
}

#[test]
fn a_phrase_that_begins_in_the_prompt_is_found_and_one_that_ends_there_is_not() {
    let rules = rules(&["pipe bomb", "nerve"], Action::Refuse);
    let refused = |before, parts: &[&str]| {
        let (told, refusal) = pass_behind(&rules, before, parts, false);
        (told.concat(), refusal)
    };
    let none = |text: &str| (text.to_owned(), None);
    assert_eq!(refused("How to build a pi", &["pe bo", "mb at home"]), (String::new(), Some("No.".into())));
    assert_eq!(refused("a pipe ", &["bombs away"]), none("bombs away"));
    assert_eq!(refused("the ner", &["ves ", "of steel"]), none("ves of steel"));
    // The prompt's own phrases are found when the prompt is asked.
    assert_eq!(refused("a pipe bomb", &[" is", " bad"]), none(" is bad"));
    assert_eq!(refused("a pipe bomb", &["s"]), none("s"));
    assert_eq!(refused("a pipe bomb", &[": pipe", " bomb."]), (": ".into(), Some("\n\nNo.".into())));
    let half = "{\"a\": \"pi";
    assert_eq!(pass_behind(&rules, half, &["\\u0070", "e bomb\"}"], true).1, Some("No.".into()));
}

#[test]
fn a_token_waits_for_its_text() {
    let rules = rules(&["ab cd"], Action::Refuse);
    let mut gate = Gate::new(&rules, "", "", false).unwrap();
    let mut pass = |text: &str, token: u32, is_settled: bool| {
        let tokens = vec![ScoredToken { token, logprob: 0.0, top: Vec::new() }];
        let more = More { text, tokens, is_settled, is_last: false, is_cut: false };
        let passed = futures::executor::block_on(gate.pass(more)).unwrap();
        (passed.text, passed.tokens.iter().map(|token| token.token).collect::<Vec<_>>())
    };
    assert_eq!(pass("x ", 1, true), ("x ".into(), vec![1]));
    assert_eq!(pass("ab", 2, true), (String::new(), vec![]));
    assert_eq!(pass(" ", 3, true), (String::new(), vec![]));
    assert_eq!(pass("x", 4, false), ("ab x".into(), vec![2, 3]), "half of a character is still to come");
    assert_eq!(pass("y", 5, true), ("y".into(), vec![4, 5]));
}

#[test]
fn windows_cover_a_text_and_look_back() {
    assert_eq!(windows("", 2), [""; 0]);
    assert_eq!(windows("aä", 2), ["aä"]);
    assert_eq!(windows("aäbcd", 2), ["aä", "aäbc", "bcd"]);
}

/// Where phrases are found and where they may begin, found by looking everywhere.
struct Everywhere {
    text: Vec<(char, usize)>,
    phrases: Vec<Vec<char>>,
}

impl Everywhere {
    fn new(text: &str, phrases: &[&str], is_whole: bool) -> Self {
        let mut folder = super::fold::Folder::default();
        let mut characters = Vec::new();
        for (at, c) in text.char_indices() {
            folder.push(c, at, &mut characters);
        }
        if is_whole {
            folder.finish(&mut characters);
        }
        let phrases = phrases.iter().map(|phrase| folded(phrase).chars().collect()).collect();
        Self { text: characters, phrases }
    }

    /// For each place and phrase: what is left of the text behind the phrase, or how it goes on within it.
    fn places(&self) -> impl Iterator<Item = (usize, &Vec<char>, Vec<char>)> {
        let begins = |at: &usize| {
            begins_between(at.checked_sub(1).map(|before| self.text[before].0), self.text[*at].0)
        };
        (0..self.text.len()).filter(begins).flat_map(move |at| {
            let rest: Vec<char> = self.text[at..].iter().map(|(c, _)| *c).collect();
            self.phrases.iter().map(move |phrase| (self.text[at].1, phrase, rest.clone()))
        })
    }

    /// Whether a phrase is sure to be there.
    fn is_hit(&self, is_whole: bool) -> bool {
        self.places().any(|(_, phrase, rest)| {
            rest.strip_prefix(phrase.as_slice())
                .is_some_and(|behind| ends(phrase, behind).unwrap_or(is_whole))
        })
    }

    /// Where the text begins that may yet turn out to be a phrase.
    fn held(&self) -> Option<usize> {
        let is_open =
            |(_, phrase, rest): &(usize, &Vec<char>, Vec<char>)| match rest.strip_prefix(phrase.as_slice()) {
                Some(behind) => ends(phrase, behind).is_none(),
                None => phrase.starts_with(rest),
            };
        self.places().filter(is_open).map(|(start, ..)| start).min()
    }
}

/// Whether a phrase ends where this follows; none where that can't be said yet.
fn ends(phrase: &[char], behind: &[char]) -> Option<bool> {
    let last = phrase[phrase.len() - 1];
    if !is_word(last) {
        return Some(true);
    }
    let next = *behind.first()?;
    if is_mark(next) || is_unspaced(last) || is_unspaced(next) {
        return Some(!is_mark(next));
    }
    match *behind {
        ['\'' | '’'] | ['\'' | '’', 's'] => None,
        ['\'' | '’', 's', next, ..] | ['\'' | '’', next, ..] | [next, ..] => Some(!is_word(next)),
        [] => unreachable!("there is a next character"),
    }
}

const PIECES: [&str; 16] =
    ["a", "b", "A", "ab", " ", "\n", "'", "’", "s", "-", "é", "e\u{301}", "爆", "弾", "ß", "🔫"];
const PHRASES: [&str; 9] = ["ab", "a b", "a b a", "ss", "é b", "爆弾", "b-a", "🔫 a", "b's"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_is_the_whole_answer_and_is_refused_where_that_is(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24),
        phrases in prop::sample::subsequence(PHRASES.to_vec(), 1..4),
        is_json in any::<bool>(),
    ) {
        let rules = rules(&phrases, Action::Refuse);
        let text = pieces.concat();
        let whole = pass(&rules, &[&text], is_json);
        let parts = if pieces.is_empty() { vec![""] } else { pieces };
        let stream = pass(&rules, &parts, is_json);
        prop_assert_eq!(stream.0.concat(), whole.0.concat());
        prop_assert_eq!(&stream.1, &whole.1);
        prop_assert_eq!(Everywhere::new(&text, &phrases, true).is_hit(true), whole.1.is_some(), "{:?}", text);
        if whole.1.is_none() {
            prop_assert_eq!(whole.0.concat(), text);
        }
    }

    #[test]
    fn no_more_is_held_back_than_may_become_a_phrase(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24),
        phrases in prop::sample::subsequence(PHRASES.to_vec(), 1..4),
    ) {
        let text = pieces.concat();
        let rules = rules(&phrases, Action::Refuse);
        let mut gate = Gate::new(&rules, "", "", false).unwrap();
        let mut told = String::new();
        for (at, character) in text.char_indices() {
            let end = at + character.len_utf8();
            let everywhere = Everywhere::new(&text[..end], &phrases, false);
            let part = &text[at..end];
            let more = More { text: part, is_settled: true, is_last: false, tokens: Vec::new(), is_cut: false };
            let passed = futures::executor::block_on(gate.pass(more)).unwrap();
            told.push_str(&passed.text);
            prop_assert_eq!(everywhere.is_hit(false), passed.refusal.is_some());
            if passed.refusal.is_some() {
                break;
            }
            prop_assert_eq!(&told, &text[..everywhere.held().unwrap_or(end)], "{:?}", &text[..end]);
        }
    }
}
