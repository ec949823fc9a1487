//! The published patterns: by which texts a hand-written splitter is known.

use super::classes::classes;
use super::code::Code;
use super::gpt2::Gpt2;
use super::gpt4::Gpt4;
use super::o200k::O200k;
use super::pattern::DigitRun;
use cupola_specs::job::{CODE_PATTERN, Digits, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN};

/// Runs of digits in the published patterns.
pub(super) const DIGIT_RUN: &str = r"\p{N}{1,3}";
/// Other spellings of GPT-2's pattern: tiktoken's of today and of before. They split alike.
const GPT2_FORMS: [&str; 5] = [
    GPT2_PATTERN,
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++\z|\s+(?!\S)|\s",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
];
/// Spellings of GPT-4's: Hugging Face's, rustbpe's and nanochat's. They split alike.
const GPT4_FORMS: [&str; 4] = [
    GPT4_PATTERN,
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
];
/// tiktoken's cl100k: white space at the end of the text is one piece, even with newlines in it. With `\z` for `$`, which Oniguruma matches at each line's end.
pub(super) const CL100K_PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|\s*[\r\n]|\s+(?!\S)|\s";

/// A hand-written splitter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Published {
    /// GPT-2's.
    Gpt2(Gpt2),
    /// GPT-4's, in all its forms.
    Gpt4(Gpt4),
    /// GPT-4o's.
    O200k(O200k),
    /// The one for code.
    Code(Code),
}

/// The pattern that a name means; a text that is no name means itself.
pub(crate) fn pattern_named(name: &str) -> &str {
    match name {
        "gpt2" => GPT2_PATTERN,
        "gpt4" | "nanochat" => GPT4_PATTERN,
        "cl100k" => CL100K_PATTERN,
        "o200k" => O200K_PATTERN,
        "code" => CODE_PATTERN,
        other => other,
    }
}

/// The regexes that a pattern and a digit limit mean, in the order that they split. The published patterns hold a digit run, whose length is set; for
/// other patterns digits are split off first.
pub fn patterns_of(pattern: &str, digits: Digits) -> Vec<String> {
    let pattern = pattern_named(pattern);
    let run = match digits {
        Digits::Single => r"\p{N}",
        Digits::UpTo2 => r"\p{N}{1,2}",
        Digits::UpTo3 => DIGIT_RUN,
    };
    if pattern.contains(DIGIT_RUN) {
        vec![pattern.replace(&format!("{DIGIT_RUN}+"), run).replace(DIGIT_RUN, run)]
    } else {
        vec![run.to_owned(), pattern.to_owned()]
    }
}

/// The pattern with the parts that Oniguruma reads otherwise than tiktoken's engine in a form that both read alike: `$` behind white space, and runs of
/// digits that give nothing back.
pub(crate) fn portable(pattern: &str) -> String {
    pattern
        .replace(r"|\s++$|", r"|\s++\z|")
        .replace(r"\p{N}{1,3}+", DIGIT_RUN)
        .replace(r"\p{N}{1,2}+", r"\p{N}{1,2}")
}

impl Published {
    /// The splitter that does what these regexes do one after the other, if one is known.
    pub(super) fn of(patterns: &[String]) -> Option<Self> {
        let classes = classes();
        match patterns {
            [pattern] if GPT2_FORMS.contains(&pattern.as_str()) => {
                Some(Self::Gpt2(Gpt2 { classes, digits: DigitRun::Words }))
            }
            [pattern] => Self::with_digits_inside(pattern),
            [first, pattern] if GPT2_FORMS.contains(&pattern.as_str()) => {
                let digits = digit_runs().into_iter().find(|(run, _)| run == first)?.1;
                Some(Self::Gpt2(Gpt2 { classes, digits }))
            }
            _ => None,
        }
    }

    fn with_digits_inside(pattern: &str) -> Option<Self> {
        let classes = classes();
        let pattern = portable(pattern);
        digit_runs().into_iter().find_map(|(run, digits)| {
            let is = |form: &&str| form.replace(DIGIT_RUN, &run) == pattern;
            let gpt4 = |tail_is_whole| Self::Gpt4(Gpt4 { classes, digits, tail_is_whole });
            if GPT4_FORMS.iter().any(is) {
                Some(gpt4(false))
            } else if is(&CL100K_PATTERN) {
                Some(gpt4(true))
            } else if is(&O200K_PATTERN) {
                Some(Self::O200k(O200k { classes, digits }))
            } else if is(&CODE_PATTERN) {
                Some(Self::Code(Code { classes, digits }))
            } else {
                None
            }
        })
    }
}

/// Spellings of digit runs that a splitter carries out.
fn digit_runs() -> Vec<(String, DigitRun)> {
    let run = |text: &str, most| (text.to_owned(), DigitRun::UpTo(most));
    vec![run(r"\p{N}", 1), run(r"\p{N}{1,2}", 2), run(DIGIT_RUN, 3)]
}
