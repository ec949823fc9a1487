//! Thresholds: what a rule set asks of a document's values.

use cupola_specs::job::{Expression, FilterParams, Signal};

use super::error::RulesError;
use super::signals::Values;
use super::{c4, refinedweb};

/// One thing that a document must satisfy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check {
    /// The rule, among those of the whole set.
    pub(super) rule: usize,
    pub(super) asks: Asks,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asks {
    /// The value may not be below.
    Least(Signal, f64),
    /// The value may not be above.
    Most(Signal, f64),
    /// No bad word, but for this share of the texts that have one.
    NoBadWord(f64),
    /// The expression is true.
    True(Expression),
}

/// Why a document goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// The rule, an index into [`super::Ruleset::rules`].
    pub rule: usize,
    /// What was measured.
    pub value: f64,
    /// What the rule asks for.
    pub threshold: f64,
    /// Value and threshold in words.
    pub reason: String,
}

impl Check {
    /// The values that it looks at.
    pub(super) fn signals(&self) -> Vec<Signal> {
        match &self.asks {
            Asks::Least(signal, _) | Asks::Most(signal, _) => vec![*signal],
            Asks::NoBadWord(_) => vec![Signal::C4BadWords, Signal::C4BadWordsDraw],
            Asks::True(expression) => expression.signals().to_vec(),
        }
    }

    /// Why values break it, where they do.
    ///
    /// # Errors
    /// A value that it looks at was not measured.
    pub(super) fn broken(&self, values: &Values, stage: usize) -> Result<Option<Dropped>, RulesError> {
        let get = |signal: Signal| values.get(signal).ok_or(RulesError::NotMeasured { signal, stage });
        let dropped = |value, threshold, reason| Some(Dropped { rule: self.rule, value, threshold, reason });
        Ok(match &self.asks {
            Asks::Least(signal, limit) => {
                let value = get(*signal)?;
                if value < *limit { dropped(value, *limit, format!("{value:.3} < {limit}")) } else { None }
            }
            Asks::Most(signal, limit) => {
                let value = get(*signal)?;
                if value > *limit { dropped(value, *limit, format!("{value:.3} > {limit}")) } else { None }
            }
            Asks::NoBadWord(keep) => {
                let (count, draw) = (get(Signal::C4BadWords)?, get(Signal::C4BadWordsDraw)?);
                if count > 0.0 && draw >= *keep {
                    dropped(count, 0.0, format!("{count} bad words"))
                } else {
                    None
                }
            }
            Asks::True(expression) => {
                for signal in expression.signals() {
                    get(*signal)?;
                }
                if expression.is_true(&|signal| values.get(signal).unwrap_or(f64::NAN)) {
                    None
                } else {
                    dropped(0.0, 1.0, format!("not `{}`: {}", expression.text(), shown(expression, values)))
                }
            }
        })
    }
}

/// The values that an expression speaks of.
fn shown(expression: &Expression, values: &Values) -> String {
    let shown = expression.signals().iter().map(|signal| {
        let value = values.get(*signal).unwrap_or(f64::NAN);
        format!("{} = {}", signal.name(), (value * 1000.0).round() / 1000.0)
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The names of a filter's rules in their order.
pub(super) fn names(filter: &FilterParams, ordinal: usize) -> Vec<String> {
    let (filter, rules): (&str, &[&str]) = match filter {
        FilterParams::GopherQuality { .. } => ("gopher_quality", &GOPHER_QUALITY),
        FilterParams::GopherRepetition { .. } => ("gopher_repetition", &GOPHER_REPETITION),
        FilterParams::C4 { .. } => ("c4", &c4::RULES),
        FilterParams::Fineweb { .. } => ("fineweb", &FINEWEB),
        FilterParams::Refinedweb { .. } => ("refinedweb", &refinedweb::RULES),
        FilterParams::Code { .. } => ("code", &CODE),
        FilterParams::Custom { .. } => return vec![format!("custom.{ordinal}")],
    };
    rules.iter().map(|rule| format!("{filter}.{rule}")).collect()
}

const GOPHER_QUALITY: [&str; 9] = [
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
const GOPHER_REPETITION: [&str; 13] = [
    "max_duplicate_lines",
    "max_duplicate_paragraphs",
    "max_duplicate_line_chars",
    "max_duplicate_paragraph_chars",
    "max_top_2gram_chars",
    "max_top_3gram_chars",
    "max_top_4gram_chars",
    "max_duplicate_5gram_chars",
    "max_duplicate_6gram_chars",
    "max_duplicate_7gram_chars",
    "max_duplicate_8gram_chars",
    "max_duplicate_9gram_chars",
    "max_duplicate_10gram_chars",
];
const FINEWEB: [&str; 4] =
    ["min_line_punctuation", "max_short_lines", "max_duplicate_line_chars", "max_newline_word_ratio"];
const CODE: [&str; 5] =
    ["drop_generated", "max_line_length", "max_mean_line_length", "min_alphanumeric", "max_digits"];

/// What a filter asks of the values; its rules start at `first`.
///
/// # Errors
/// A custom expression that is wrong.
pub(super) fn of(filter: &FilterParams, first: usize) -> Result<Vec<Check>, RulesError> {
    let asks: Vec<(usize, Asks)> = match filter {
        FilterParams::GopherQuality { .. } => gopher_quality(filter),
        FilterParams::GopherRepetition { .. } => gopher_repetition(filter),
        FilterParams::C4 {
            min_sentences,
            drop_curly_bracket,
            drop_lorem_ipsum,
            drop_bad_words,
            bad_words_keep,
            ..
        } => {
            let mut asks = vec![];
            if *drop_lorem_ipsum {
                asks.push((6, Asks::Most(Signal::C4LoremIpsum, 0.0)));
            }
            if *drop_curly_bracket {
                asks.push((7, Asks::Most(Signal::C4CurlyBracket, 0.0)));
            }
            asks.push((8, Asks::Least(Signal::C4Sentences, *min_sentences as f64)));
            if *drop_bad_words {
                asks.push((9, Asks::NoBadWord(*bad_words_keep)));
            }
            asks
        }
        FilterParams::Fineweb { .. } => fineweb(filter),
        FilterParams::Refinedweb { max_removed_words, .. } => {
            vec![(5, Asks::Most(Signal::RemovedWords, *max_removed_words))]
        }
        FilterParams::Code {
            max_line_length,
            max_mean_line_length,
            min_alphanumeric,
            max_digits,
            drop_generated,
        } => {
            let mut asks = vec![
                (1, Asks::Most(Signal::MaxLineLength, *max_line_length as f64)),
                (2, Asks::Most(Signal::MeanLineLength, *max_mean_line_length)),
                (3, Asks::Least(Signal::Alphanumeric, *min_alphanumeric)),
                (4, Asks::Most(Signal::Digits, *max_digits)),
            ];
            if *drop_generated {
                asks.insert(0, (0, Asks::Most(Signal::Generated, 0.0)));
            }
            asks
        }
        FilterParams::Custom { expression } => match Expression::parse(expression) {
            Ok(parsed) => vec![(0, Asks::True(parsed))],
            Err(problem) => return Err(RulesError::Expression { expression: expression.clone(), problem }),
        },
    };
    Ok(asks.into_iter().map(|(rule, asks)| Check { rule: first + rule, asks }).collect())
}

fn gopher_quality(filter: &FilterParams) -> Vec<(usize, Asks)> {
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
        return Vec::new();
    };
    vec![
        (0, Asks::Least(Signal::Words, *min_words as f64)),
        (1, Asks::Most(Signal::Words, *max_words as f64)),
        (2, Asks::Least(Signal::MeanWordLength, *min_mean_word_length)),
        (3, Asks::Most(Signal::MeanWordLength, *max_mean_word_length)),
        (4, Asks::Most(Signal::HashRatio, *max_symbol_word_ratio)),
        (4, Asks::Most(Signal::EllipsisRatio, *max_symbol_word_ratio)),
        (5, Asks::Most(Signal::BulletLines, *max_bullet_lines)),
        (6, Asks::Most(Signal::EllipsisLines, *max_ellipsis_lines)),
        (7, Asks::Least(Signal::AlphaWords, *min_alpha_words)),
        (8, Asks::Least(Signal::StopWords, *min_stop_words as f64)),
    ]
}

fn gopher_repetition(filter: &FilterParams) -> Vec<(usize, Asks)> {
    let FilterParams::GopherRepetition {
        max_duplicate_lines,
        max_duplicate_paragraphs,
        max_duplicate_line_chars,
        max_duplicate_paragraph_chars,
        max_top_ngram_chars,
        max_duplicate_ngram_chars,
    } = filter
    else {
        return Vec::new();
    };
    let signals = [
        (Signal::DuplicateLines, *max_duplicate_lines),
        (Signal::DuplicateParagraphs, *max_duplicate_paragraphs),
        (Signal::DuplicateLineChars, *max_duplicate_line_chars),
        (Signal::DuplicateParagraphChars, *max_duplicate_paragraph_chars),
        (Signal::Top2gramChars, max_top_ngram_chars[0]),
        (Signal::Top3gramChars, max_top_ngram_chars[1]),
        (Signal::Top4gramChars, max_top_ngram_chars[2]),
        (Signal::Duplicate5gramChars, max_duplicate_ngram_chars[0]),
        (Signal::Duplicate6gramChars, max_duplicate_ngram_chars[1]),
        (Signal::Duplicate7gramChars, max_duplicate_ngram_chars[2]),
        (Signal::Duplicate8gramChars, max_duplicate_ngram_chars[3]),
        (Signal::Duplicate9gramChars, max_duplicate_ngram_chars[4]),
        (Signal::Duplicate10gramChars, max_duplicate_ngram_chars[5]),
    ];
    signals.into_iter().enumerate().map(|(rule, (signal, most))| (rule, Asks::Most(signal, most))).collect()
}

fn fineweb(filter: &FilterParams) -> Vec<(usize, Asks)> {
    let FilterParams::Fineweb {
        min_line_punctuation,
        max_short_lines,
        max_duplicate_line_chars,
        max_newline_word_ratio,
        ..
    } = filter
    else {
        return Vec::new();
    };
    vec![
        (0, Asks::Least(Signal::PunctuatedLines, *min_line_punctuation)),
        (1, Asks::Most(Signal::ShortLines, *max_short_lines)),
        (2, Asks::Most(Signal::RepeatedLineChars, *max_duplicate_line_chars)),
        (3, Asks::Most(Signal::NewlineRatio, *max_newline_word_ratio)),
    ]
}
