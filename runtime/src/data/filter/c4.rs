//! C4's rules (Raffel et al., 2019, arXiv:1910.10683, section 2.2): lines go by themselves, pages whole.

use cupola_specs::job::FilterParams;

use super::Bound;
use crate::data::document::Document;
use crate::data::funnel::Outcome;

/// The three rules for lines, then those for pages.
pub(super) const RULES: [&str; 6] = [
    "require_terminal_punctuation",
    "min_line_words",
    "drop_javascript_lines",
    "drop_curly_bracket",
    "drop_lorem_ipsum",
    "min_sentences",
];

/// What a line may end with.
const TERMINAL: [char; 5] = ['.', '!', '?', '"', '”'];

/// Tries the rules.
pub(super) fn judge(filter: &FilterParams, document: &Document) -> Outcome {
    let FilterParams::C4 {
        require_terminal_punctuation,
        min_line_words,
        min_sentences,
        drop_curly_bracket,
        drop_lorem_ipsum,
        drop_javascript_lines,
        ..
    } = filter
    else {
        return Outcome::default();
    };
    let text = &document.text;
    let line_rule = |line: &str| {
        let line = line.trim();
        if line.is_empty() {
            None
        } else if *require_terminal_punctuation && (!line.ends_with(TERMINAL) || line.ends_with("...")) {
            Some(0)
        } else if (line.split_whitespace().count() as u64) < *min_line_words {
            Some(1)
        } else if *drop_javascript_lines && line.to_lowercase().contains("javascript") {
            Some(2)
        } else {
            None
        }
    };
    let mut outcome = Outcome::default();
    let mut kept = String::with_capacity(text.len());
    let mut removed = [(0_u64, String::new()), (0, String::new()), (0, String::new())];
    for line in text.split_inclusive('\n') {
        match line_rule(line) {
            None => kept.push_str(line),
            Some(rule) => {
                removed[rule].0 += line.len() as u64;
                removed[rule].1.push_str(line);
            }
        }
    }
    let sentences = kept.matches(['.', '!', '?']).count() as f64;
    if *drop_curly_bracket && text.contains('{') {
        outcome.dropped = Some((3, "has a curly bracket".into()));
    } else if *drop_lorem_ipsum && text.to_lowercase().contains("lorem ipsum") {
        outcome.dropped = Some((4, "has `lorem ipsum`".into()));
    } else if let Some(reason) = Bound::Least(sentences, *min_sentences as f64).broken() {
        outcome.dropped = Some((5, reason));
    }
    let changes = removed.into_iter().enumerate().filter(|(_, (bytes, _))| *bytes > 0);
    outcome.changes = changes.map(|(rule, (bytes, excerpt))| (rule, bytes, excerpt)).collect();
    if !outcome.changes.is_empty() {
        outcome.text = Some(kept);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Outcome {
        let filter = FilterParams::C4 {
            require_terminal_punctuation: true,
            min_line_words: 3,
            min_sentences: 2,
            drop_curly_bracket: true,
            drop_lorem_ipsum: true,
            drop_javascript_lines: true,
            max_word_length: 1000,
            remove_citations: false,
            drop_policy_lines: false,
            drop_bad_words: false,
            bad_words_keep: 0.0,
        };
        judge(&filter, &Document { text: text.into(), ..Document::default() })
    }

    #[test]
    fn lines_go_by_themselves_and_pages_whole() {
        let outcome = judged("Menu\nThis is a line. And more.\nToo short.\nPlease turn JavaScript on.\n");
        assert_eq!(outcome.text.unwrap(), "This is a line. And more.\n");
        let rules: Vec<usize> = outcome.changes.iter().map(|(rule, ..)| *rule).collect();
        assert_eq!(rules, [0, 1, 2]);
        assert_eq!(judged("One line of it. Two { of it.").dropped.unwrap().0, 3);
        assert_eq!(judged("Lorem ipsum dolor sit. Amet it is.").dropped.unwrap().0, 4);
        assert_eq!(judged("Just one sentence here.").dropped.unwrap().0, 5);
    }
}
