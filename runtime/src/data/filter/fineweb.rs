//! FineWeb's own rules (Penedo et al., 2024, arXiv:2406.17557, section 3.6): lists and menus by the shape of their lines.

use cupola_specs::job::FilterParams;

use super::repetition::duplicates;
use super::{Bound, chars, first_broken, share};
use crate::data::document::Document;
use crate::data::funnel::Outcome;

/// In the order of the bounds below.
pub(super) const RULES: [&str; 4] =
    ["min_line_punctuation", "max_short_lines", "max_duplicate_line_chars", "max_newline_word_ratio"];

/// What a line of prose ends with.
const TERMINAL: [char; 8] = ['.', '!', '?', '"', '”', '。', '…', ':'];

/// Tries the rules.
pub(super) fn judge(filter: &FilterParams, document: &Document) -> Outcome {
    let FilterParams::Fineweb {
        min_line_punctuation,
        max_short_lines,
        short_line_chars,
        max_duplicate_line_chars,
        max_newline_word_ratio,
    } = filter
    else {
        return Outcome::default();
    };
    let text = document.text.trim();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let ended = share(lines.iter().filter(|line| line.ends_with(TERMINAL)).count(), lines.len());
    let short = lines.iter().filter(|line| chars(line) as u64 <= *short_line_chars).count();
    let words = text.split_whitespace().count();
    let (_, repeated) = duplicates(text.split('\n'));
    let bounds = [
        Bound::Least(ended, *min_line_punctuation),
        Bound::Most(share(short, lines.len()), *max_short_lines),
        Bound::Most(share(repeated, chars(text)), *max_duplicate_line_chars),
        Bound::Most(share(text.matches('\n').count(), words), *max_newline_word_ratio),
    ];
    first_broken(&bounds, vec![("line_punctuation", ended)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn menus_go_and_prose_stays() {
        let filter = FilterParams::Fineweb {
            min_line_punctuation: 0.12,
            max_short_lines: 0.67,
            short_line_chars: 10,
            max_duplicate_line_chars: 0.1,
            max_newline_word_ratio: 0.3,
        };
        let judged = |text: &str| {
            let document = Document { text: text.into(), ..Document::default() };
            judge(&filter, &document).dropped.map(|(rule, _)| RULES[rule])
        };
        assert_eq!(judged("A line of prose that ends.\nAnd another one, also with an end."), None);
        assert_eq!(judged("Home\nAbout us and others\nContact"), Some("min_line_punctuation"));
        assert_eq!(judged("Home.\nAbout.\nContact."), Some("max_short_lines"));
        let repeated = "The same long line of words once more.\n".repeat(3);
        assert_eq!(judged(&repeated), Some("max_duplicate_line_chars"));
        assert_eq!(judged("aaaaaaaaaaaa bb.\ncccccccccccc dd.\nee ff gg."), None);
        assert_eq!(judged("aaaaaaaaaaaa.\ncccccccccccc.\neeeeeeeeeeee."), Some("max_newline_word_ratio"));
    }
}
