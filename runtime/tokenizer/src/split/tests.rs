use cupola_specs::job::{CODE_PATTERN, Digits, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN};
use proptest::prelude::*;

use super::published::CL100K_PATTERN;
use super::regexes::Regexes;
use super::*;

const NANOCHAT: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

fn pieces(splitter: &Splitter, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    splitter.pieces(text, &mut |piece| found.push(piece.to_owned()));
    found
}

/// Every published pattern under every limit of digits, with the engine that it has to agree with.
fn all() -> Vec<(Splitter, Regexes)> {
    let mut patterns: Vec<Vec<String>> = vec![vec![GPT2_PATTERN.to_owned()], vec![NANOCHAT.to_owned()]];
    patterns.push(vec![
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s".to_owned(),
    ]);
    for digits in [Digits::Single, Digits::UpTo2, Digits::UpTo3] {
        for name in ["gpt2", "gpt4", "cl100k", "o200k", "code"] {
            patterns.push(patterns_of(name, digits));
        }
    }
    let of =
        |patterns: &Vec<String>| (Splitter::of_patterns(patterns).unwrap(), Regexes::backtracking(patterns));
    patterns.iter().map(of).collect()
}

fn assert_alike(all: &[(Splitter, Regexes)], text: &str) {
    for (splitter, regexes) in all {
        assert!(splitter.is_fast());
        let mut expected = Vec::new();
        regexes.pieces(text, &mut |piece| expected.push(piece.to_owned()));
        assert_eq!(pieces(splitter, text), expected, "{text:?} by {:?}", splitter.patterns());
    }
}

/// Characters that the patterns tell apart, and those that trap: twins without regard to case, marks, letters of both halves, odd blanks.
const TRAPS: [&str; 52] = [
    " ", " ", "  ", "\n", "\r", "\r\n", "\t", "\u{b}", "\u{c}", "\u{85}", "\u{a0}", "\u{2028}", "\u{3000}",
    "\u{200b}", "\u{feff}", "a", "s", "S", "T", "re", "LL", "Ve", "'", "'s", "'ſ", "'K", "’s", "ſ",
    "\u{212a}", "K", "Don't", "abcdefgh", "ABC", "é", "É", "ǅ", "ʰ", "日", "本", "ｱ", "\u{301}", "\u{93e}",
    "ß", "1", "23", "½", "٣", "Ⅷ", ".", "/", "_", "😀",
];

fn traps() -> impl Strategy<Value = String> {
    proptest::collection::vec(0..TRAPS.len(), 0..24)
        .prop_map(|picks| picks.into_iter().map(|at| TRAPS[at]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn hand_written_splitters_agree_with_the_backtracking_engine_on_traps(text in traps()) {
        thread_local!(static ALL: Vec<(Splitter, Regexes)> = all());
        ALL.with(|all| assert_alike(all, &text));
    }

    #[test]
    fn hand_written_splitters_agree_with_the_backtracking_engine_on_any_text(text in ".{0,40}") {
        thread_local!(static ALL: Vec<(Splitter, Regexes)> = all());
        ALL.with(|all| assert_alike(all, &text));
    }
}

#[test]
fn every_code_point_beside_a_word_is_split_as_the_backtracking_engine_does() {
    let all = all();
    let mut text = String::new();
    for (at, char) in ('\0'..=char::MAX).enumerate() {
        text.push(char);
        text.push_str(["a", " ", "A", "'", "1", "\u{301}", ""][at % 7]);
        if at % 997 == 0 {
            assert_alike(&all, &text);
            text.clear();
        }
    }
}

#[test]
fn tails_of_white_space_are_where_the_forms_of_gpt4_part() {
    let published = Splitter::named(GPT4_PATTERN, Digits::UpTo3).unwrap();
    let tiktoken = Splitter::named(CL100K_PATTERN, Digits::UpTo3).unwrap();
    assert_eq!(pieces(&published, "a\n  "), ["a", "\n", "  "]);
    assert_eq!(pieces(&tiktoken, "a\n  "), ["a", "\n  "]);
    assert_eq!(pieces(&tiktoken, "a\n  b"), ["a", "\n", " ", " b"]);
}

#[test]
fn digits_are_limited_in_any_pattern() {
    let published = Splitter::named(GPT4_PATTERN, Digits::Single).unwrap();
    assert_eq!(pieces(&published, "a 12"), ["a", " ", "1", "2"]);
    let own = Splitter::named(r"\S+|\s+", Digits::UpTo2).unwrap();
    assert_eq!(pieces(&own, "ab123 c"), ["ab", "12", "3", " ", "c"]);
    assert!(!own.is_fast());
}

#[test]
fn code_keeps_indentation_apart_and_camel_case_is_two_words_of_o200k() {
    let code = Splitter::named("code", Digits::UpTo3).unwrap();
    assert_eq!(
        pieces(&code, "fn f() {\n        return 'so';\n\t\t}\n\n"),
        ["fn", " f", "()", " {\n", "        ", "return", " '", "so", "';\n", "\t\t", "}\n\n"]
    );
    assert_eq!(pieces(&code, &" ".repeat(35)), [" ".repeat(16), " ".repeat(16), " ".repeat(3)]);
    assert_eq!(Splitter::named(CODE_PATTERN, Digits::UpTo3).unwrap().patterns(), code.patterns());
    let o200k = Splitter::named(O200K_PATTERN, Digits::UpTo3).unwrap();
    assert_eq!(pieces(&o200k, "camelCase HTTPServer don't"), ["camel", "Case", " HTTPServer", " don't"]);
    let text = "(WE'LL they'd've Mac's 'tisn't AÉ' PEP-8, _X_ don'té ABCdefghijklmnop's' and so on";
    let regexes = Regexes::backtracking(o200k.patterns());
    let mut expected = Vec::new();
    regexes.pieces(text, &mut |piece| expected.push(piece.to_owned()));
    assert_eq!(pieces(&o200k, text), expected);
}

#[test]
fn possessive_quantifiers_are_no_runs_of_runs() {
    let own = Splitter::of_patterns(&[r"[^\r\n\p{L}]?+\p{L}+|\S|\s+(?!\S)|\s+".to_owned()]).unwrap();
    assert_eq!(pieces(&own, "..a ++"), [".", ".a", " ", "+", "+"]);
    assert!(check_portable(&[r"[$^]\$x\d{2}\p{L}+".to_owned()]).is_ok());
    assert!(check_portable(&[r"\d{2}+".to_owned()]).is_err());
    for name in ["gpt2", "gpt4", "cl100k", "o200k", "code"] {
        assert!(check_portable(&patterns_of(name, Digits::UpTo3)).is_ok());
    }
}

#[test]
fn a_pattern_that_is_no_regex_is_named() {
    let error = Splitter::named("(", Digits::Single).unwrap_err().to_string();
    assert!(error.starts_with("pattern \"(\": "), "{error}");
}
