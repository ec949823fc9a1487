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
fn what_is_portable_is_split_as_hugging_face_splits_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/portable.jsonl");
    let rows = std::fs::read_to_string(path).unwrap();
    let mut rows = rows.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let first = rows.next().unwrap();
    let text = first["text"].as_str().unwrap();
    let (mut num_portable, mut num_different) = (0, 0);
    for row in rows {
        let pattern = [row["pattern"].as_str().unwrap().to_owned()];
        let theirs: Option<Vec<usize>> = serde_json::from_value(row["lengths"].clone()).unwrap();
        let ours = Regexes::new(&pattern).ok().map(|regexes| {
            let mut lengths = Vec::new();
            regexes.pieces(text, &mut |piece| lengths.push(piece.len()));
            lengths
        });
        if check_portable(&pattern).is_ok() {
            assert!(ours.is_some() && ours == theirs, "{pattern:?}: {ours:?}, theirs {theirs:?}");
            num_portable += 1;
        }
        num_different += usize::from(ours != theirs);
    }
    assert!(num_portable > 100 && num_different > 30, "{num_portable} portable, {num_different} different");
}

#[test]
fn what_is_not_portable_is_named_with_what_to_write_for_it() {
    let cases = [
        (r"\w+|\s", r"`\w` has other characters in Hugging Face's engine: write `[\p{L}\p{N}_]`"),
        (r"\W", r"`\W` has other characters in Hugging Face's engine: write `[^\p{L}\p{N}_]`"),
        (r"[^\w]", r"`\w` has other characters"),
        (r"a\b", r"`\b` is another place in Hugging Face's engine: write a look-around such as `(?!\p{L})`"),
        (r"\Ba", r"`\B` is another place"),
        (
            r"[[:alpha:]]+",
            r"`[:alpha:]` has other characters in Hugging Face's engine: write `\p{L}` for letters",
        ),
        (
            r"\p{sc=Greek}",
            r"`\p{sc=Greek}` is not known to mean the same in Hugging Face's engine: write a general category",
        ),
        (r"[\p{Script=Han}]", r"`\p{Script=Han}` is not known"),
        (r"\P{Alpha}", r"`\P{Alpha}` is not known"),
        (r"\pL", r"`\pL` is another thing in Hugging Face's engine: write `\p{L}`, with braces"),
        (
            r"(?s).+",
            r"`(?s)` is another flag, or set for another part of the pattern, in Hugging Face's engine: write `(?i:…)`",
        ),
        (r"(?i)a|b", r"`(?i)` is another flag"),
        (r"(?sm:a)", r"`(?sm:` is another flag"),
        (r"(?<name>a)", r"`(?<n` is not known to mean the same in Hugging Face's engine: write `(…)`"),
        (
            r"(?i:Mass)",
            r"`ss` in (?i:…) is one character too in Hugging Face's engine (ß, ﬁ, ﬆ): write `[sS][tT]`",
        ),
        (r"(?i:[a-c]d)", r"a class beside other characters in (?i:…) is not known"),
        (r"(?i:é)", r"`é` in (?i:…) is not known"),
        (r"(?i:[^a])", r"`[^a]` in (?i:…) is not known"),
        (r"(?i:a+)", r"`+` in (?i:…) or a look-behind is not known"),
        (r"(?<=(?:a))b", r"`(?:` in a look-behind is not known"),
        (r"a{2}?", r"`{2}?` is another thing in Hugging Face's engine: leave out the `?`"),
        (r"a{2,3}+", r"`{2,3}+` is another thing in Hugging Face's engine: leave out the `+`"),
        (r"a{,3}", r"`{,3}` is not known to mean the same in Hugging Face's engine: write `{0,3}`"),
        (r"a+*b", r"`*` repeats nothing, or what is repeated already: write `\*`"),
        (r"(?:a|b*)+c", r"`+` behind what may be empty is not known"),
        (r"\p{L}*|a", r"it matches the empty text, which splits between any two characters"),
        (r"a|", r"it matches the empty text"),
        (r"a(b", r"`(` is not closed"),
        (r"a)", r"`)` closes no group"),
        (r"[a-z&&s]", r"`&&` without a class behind it is not known"),
        (r"[a-z--s]", r"`-` where no range can be is not known"),
        (r"\xe9", r"`\xe9` is not known to be a character in Hugging Face's engine: write `\x{4e00}`"),
        (r"\x{110000}", r"`\x{110"),
        ("a\\", "it ends in `\\`"),
        ("é\\p", r"`\p` is another thing"),
        ("\\x4日", r"`\x4日` is not known to be a character"),
        (r"^a", r"`^` and `$` match at every line"),
    ];
    for (pattern, told) in cases {
        let error = check_portable(&[r"\s".to_owned(), pattern.to_owned()]).unwrap_err();
        let EngineError::Pattern { pattern: named, message } = error else { panic!("{pattern}: {error}") };
        assert!(named == pattern && message.starts_with(told), "{pattern}: {message}");
    }
}

proptest! {
    #[test]
    fn no_pattern_makes_the_check_panic(pattern in r"([\[\](){}^&|*+?\\:<=!ipxuPsé0-9a,.-]|\(\?i:|\\p\{|\[\^){0,20}") {
        let _ = check_portable(&[pattern]);
    }
}

#[test]
fn a_pattern_that_is_no_regex_is_named() {
    let error = Splitter::named("(", Digits::Single).unwrap_err().to_string();
    assert!(error.starts_with("pattern \"(\": "), "{error}");
}
