//! Heuristic filters with their thresholds, as a step has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a word is: the same threshold is another filter under another definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordRule {
    /// Unicode's word boundaries (UAX #29); blanks and punctuation are no words.
    Unicode,
    /// The tokens of spaCy's blank English pipeline, which datatrove counts: punctuation is a word.
    SpacyLike,
}

/// One heuristic filter with its thresholds. Sources: Gopher (2021, arXiv:2112.11446), C4 (2019, arXiv:1910.10683), FineWeb
/// (2024, arXiv:2406.17557), RefinedWeb (2023, arXiv:2306.01116).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum FilterParams {
    /// Gopher's quality rules.
    GopherQuality {
        /// Fewest words.
        min_words: u64,
        /// Most words.
        max_words: u64,
        /// Shortest mean word length, characters.
        min_mean_word_length: f64,
        /// Longest mean word length, characters.
        max_mean_word_length: f64,
        /// Most `#` or `…` a word.
        max_symbol_word_ratio: f64,
        /// Most lines that start with a bullet, as a share.
        max_bullet_lines: f64,
        /// Most lines that end with an ellipsis, as a share.
        max_ellipsis_lines: f64,
        /// Fewest words with a letter, as a share.
        min_alpha_words: f64,
        /// Fewest stop words.
        min_stop_words: u64,
    },
    /// Gopher's repetition rules: most of a text that repeated lines, paragraphs and n-grams may make up.
    GopherRepetition {
        /// Repeated lines, share of lines.
        max_duplicate_lines: f64,
        /// Repeated paragraphs, share of paragraphs.
        max_duplicate_paragraphs: f64,
        /// Characters in repeated lines, share of characters.
        max_duplicate_line_chars: f64,
        /// Characters in repeated paragraphs, share of characters.
        max_duplicate_paragraph_chars: f64,
        /// Characters in the most frequent n-gram for n = 2, 3, 4, as shares.
        max_top_ngram_chars: [f64; 3],
        /// Characters in repeated n-grams for n = 5 … 10, as shares.
        max_duplicate_ngram_chars: [f64; 6],
    },
    /// C4's line and page rules.
    C4 {
        /// Drops lines without end punctuation.
        require_terminal_punctuation: bool,
        /// Drops lines with fewer words.
        min_line_words: u64,
        /// Drops pages with fewer sentences.
        min_sentences: u64,
        /// Drops pages with a curly bracket.
        drop_curly_bracket: bool,
        /// Drops pages with `lorem ipsum`.
        drop_lorem_ipsum: bool,
        /// Drops lines that mention JavaScript.
        drop_javascript_lines: bool,
        /// Drops lines with a longer word, characters.
        max_word_length: u64,
        /// Takes out marks of citations: `[1]`, `[edit]`, `[citation needed]`.
        remove_citations: bool,
        /// Drops lines about cookies, terms of use and privacy policies.
        drop_policy_lines: bool,
        /// Drops pages with a word of the list that the step is given.
        drop_bad_words: bool,
        /// Share of such pages that stay, drawn by the text's hash.
        bad_words_keep: f64,
    },
    /// FineWeb's extra rules.
    Fineweb {
        /// Fewest lines that end with punctuation, as a share.
        min_line_punctuation: f64,
        /// Most short lines, as a share.
        max_short_lines: f64,
        /// A line of at most this many characters is short.
        short_line_chars: u64,
        /// Most characters in duplicate lines, as a share.
        max_duplicate_line_chars: f64,
        /// Most line breaks a word.
        max_newline_word_ratio: f64,
    },
    /// RefinedWeb's corrections line by line, as DCLM's baseline (2024, arXiv:2406.11794) runs them.
    Refinedweb {
        /// Drops lines with more capital letters, share of characters.
        max_line_uppercase: f64,
        /// Drops lines of nothing but digits.
        drop_numeric_lines: bool,
        /// Drops counters: `3 likes`.
        drop_counter_lines: bool,
        /// Drops lines with fewer words.
        min_line_words: u64,
        /// Takes `items in cart`, `Read more...` and `Sign-in` out of short lines.
        remove_boilerplate: bool,
        /// Drops pages that lost a larger share of their words.
        max_removed_words: f64,
    },
    /// A CEL expression over a document's signals: what it is true of stays.
    Custom {
        /// The expression.
        expression: String,
    },
    /// Source-code rules: generated files, data tables, minified lines.
    Code {
        /// Longest line, characters.
        max_line_length: u64,
        /// Longest mean line, characters.
        max_mean_line_length: f64,
        /// Fewest letters and digits, share of characters.
        min_alphanumeric: f64,
        /// Most digits, share of characters (tables of numbers).
        max_digits: f64,
        /// Drops files that say in their first lines that a tool wrote them.
        drop_generated: bool,
    },
}
