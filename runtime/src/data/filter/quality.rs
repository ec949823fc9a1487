//! Gopher's quality rules (Rae et al., 2021, arXiv:2112.11446, table A1).

use cupola_specs::job::FilterParams;

use super::{Bound, chars, first_broken, share};
use crate::data::document::Document;
use crate::data::funnel::Outcome;

/// In the order of the bounds below.
pub(super) const RULES: [&str; 9] = [
    "min_words",
    "max_words",
    "min_mean_word_length",
    "max_mean_word_length",
    "max_symbol_word_ratio",
    "max_bullet_lines",
    "max_ellipsis_lines",
    "min_alpha_words",
    "min_stop_words",
];

/// The paper's stop words.
const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// Tries the rules.
pub(super) fn judge(filter: &FilterParams, document: &Document) -> Outcome {
    let FilterParams::GopherQuality {
        min_words,
        max_words,
        min_mean_word_length,
        max_mean_word_length,
        max_symbol_word_ratio,
        max_bullet_lines,
        max_ellipsis_lines,
        min_alpha_words,
        min_stop_words,
    } = filter
    else {
        return Outcome::default();
    };
    let text = &document.text;
    let words: Vec<&str> = text.split_whitespace().collect();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let length = share(words.iter().map(|word| chars(word)).sum(), words.len());
    let hashes = text.matches('#').count();
    let ellipses = text.matches("...").count() + text.matches('…').count();
    let bullets = lines.iter().filter(|line| line.starts_with(['•', '‣', '-', '*'])).count();
    let trailing = lines.iter().filter(|line| line.ends_with("...") || line.ends_with('…')).count();
    let lettered = words.iter().filter(|word| word.chars().any(char::is_alphabetic)).count();
    let stops = words.iter().filter(|word| is_stop_word(word)).count();
    let bounds = [
        Bound::Least(words.len() as f64, *min_words as f64),
        Bound::Most(words.len() as f64, *max_words as f64),
        Bound::Least(length, *min_mean_word_length),
        Bound::Most(length, *max_mean_word_length),
        Bound::Most(share(hashes.max(ellipses), words.len()), *max_symbol_word_ratio),
        Bound::Most(share(bullets, lines.len()), *max_bullet_lines),
        Bound::Most(share(trailing, lines.len()), *max_ellipsis_lines),
        Bound::Least(share(lettered, words.len()), *min_alpha_words),
        Bound::Least(stops as f64, *min_stop_words as f64),
    ];
    first_broken(&bounds, vec![("words", words.len() as f64), ("mean_word_length", length)])
}

fn is_stop_word(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    STOP_WORDS.iter().any(|stop| word.eq_ignore_ascii_case(stop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Option<&'static str> {
        let filter = FilterParams::GopherQuality {
            min_words: 5,
            max_words: 50,
            min_mean_word_length: 3.0,
            max_mean_word_length: 10.0,
            max_symbol_word_ratio: 0.1,
            max_bullet_lines: 0.9,
            max_ellipsis_lines: 0.3,
            min_alpha_words: 0.8,
            min_stop_words: 2,
        };
        let outcome = judge(&filter, &Document { text: text.into(), ..Document::default() });
        outcome.dropped.map(|(rule, _)| RULES[rule])
    }

    #[test]
    fn each_rule_drops_what_it_names() {
        assert_eq!(judged("The start of the story that we have told."), None);
        assert_eq!(judged("The end of it"), Some("min_words"));
        assert_eq!(judged(&"the word of ".repeat(20)), Some("max_words"));
        assert_eq!(judged("a b c d e the of"), Some("min_mean_word_length"));
        assert_eq!(judged("the #one #two of #three sentences that have"), Some("max_symbol_word_ratio"));
        assert_eq!(judged("- the first of\n- words that have"), Some("max_bullet_lines"));
        assert_eq!(
            judged("some line of words goes\nto the next of all others that..."),
            Some("max_ellipsis_lines")
        );
        assert_eq!(judged("1234 5678 9012 of the 3456"), Some("min_alpha_words"));
        assert_eq!(judged("nothing here says anything useful today"), Some("min_stop_words"));
    }
}
