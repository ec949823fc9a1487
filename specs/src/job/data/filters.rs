//! Heuristic filters as the user writes them: a name, or a name with thresholds. The defaults are the published thresholds: Gopher
//! (2021, arXiv:2112.11446), C4 (2019, arXiv:1910.10683), FineWeb (2024, arXiv:2406.17557), RefinedWeb (2023, arXiv:2306.01116);
//! `code` follows The Stack's rules (2022, arXiv:2211.15533). A published pipeline is a name too, and stands for its filters: `gopher`, `fineweb_pipeline` and
//! `dclm` (2024, arXiv:2406.11794). Written out they are the same job.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Expression, FilterParams, SIGNALS};
use crate::spec::Code;
use crate::spec::decode::{Decode, wrong_type};
use crate::spec::session::Session;
use crate::spec::tree::{Node, Spot, Value};
use crate::spec::written::written;

written! {
    /// Gopher's quality rules.
    pub(crate) struct GopherQuality {
        /// Fewest words.
        min_words: u64 = "50",
        /// Most words.
        max_words: u64 = "100000",
        /// Shortest mean word length, characters.
        min_mean_word_length: f64 = "3"; 0.0 ..= 1000.0,
        /// Longest mean word length, characters.
        max_mean_word_length: f64 = "10"; 0.0 ..= 1000.0,
        /// Most # or … a word.
        max_symbol_word_ratio: f64 = "0.1"; 0.0 ..= 1000.0,
        /// Most lines that start with a bullet, as a share.
        max_bullet_lines: f64 = "0.9"; 0.0 ..= 1.0,
        /// Most lines that end with an ellipsis, as a share.
        max_ellipsis_lines: f64 = "0.3"; 0.0 ..= 1.0,
        /// Fewest words with a letter, as a share.
        min_alpha_words: f64 = "0.8"; 0.0 ..= 1.0,
        /// Fewest stop words.
        min_stop_words: u64 = "2",
    }

    /// Gopher's repetition rules.
    pub(crate) struct GopherRepetition {
        /// Repeated lines, share of lines.
        max_duplicate_lines: f64 = "0.3"; 0.0 ..= 1.0,
        /// Repeated paragraphs, share of paragraphs.
        max_duplicate_paragraphs: f64 = "0.3"; 0.0 ..= 1.0,
        /// Characters in repeated lines, share of characters.
        max_duplicate_line_chars: f64 = "0.2"; 0.0 ..= 1.0,
        /// Characters in repeated paragraphs, share of characters.
        max_duplicate_paragraph_chars: f64 = "0.2"; 0.0 ..= 1.0,
        /// Characters in the most frequent n-gram for n = 2, 3, 4, as shares.
        max_top_ngram_chars: Vec<f64> = "[0.2, 0.18, 0.16]"; 0.0 ..= 1.0,
        /// Characters in repeated n-grams for n = 5 to 10, as shares.
        max_duplicate_ngram_chars: Vec<f64> = "[0.15, 0.14, 0.13, 0.12, 0.11, 0.1]"; 0.0 ..= 1.0,
    }

    /// C4's line and page rules.
    pub(crate) struct C4 {
        /// Drops lines without end punctuation.
        require_terminal_punctuation: bool = "true",
        /// Drops lines with fewer words.
        min_line_words: u64 = "5",
        /// Drops pages with fewer sentences.
        min_sentences: u64 = "3",
        /// Drops pages with a curly bracket.
        drop_curly_bracket: bool = "true",
        /// Drops pages with lorem ipsum.
        drop_lorem_ipsum: bool = "true",
        /// Drops lines that mention JavaScript.
        drop_javascript_lines: bool = "true",
        /// Drops lines with a longer word, characters.
        max_word_length: u64 = "1000",
        /// Takes out marks of citations: [1], [edit], [citation needed].
        remove_citations: bool = "true",
        /// Drops lines about cookies, terms of use and privacy policies.
        drop_policy_lines: bool = "true",
        /// Drops pages with a word of the job's word lists (safety.toxicity.lists).
        drop_bad_words: bool = "false",
        /// Share of such pages that stay, drawn by the text's hash.
        bad_words_keep: f64 = "0"; 0.0 ..= 1.0,
    }

    /// FineWeb's extra rules.
    pub(crate) struct Fineweb {
        /// Fewest lines that end with punctuation, as a share.
        min_line_punctuation: f64 = "0.12"; 0.0 ..= 1.0,
        /// Most short lines, as a share.
        max_short_lines: f64 = "0.67"; 0.0 ..= 1.0,
        /// A line of at most this many characters is short.
        short_line_chars: u64 = "30",
        /// Most characters in duplicate lines, as a share.
        max_duplicate_line_chars: f64 = "0.01"; 0.0 ..= 1.0,
        /// Most line breaks a word.
        max_newline_word_ratio: f64 = "0.3"; 0.0 ..= 1000.0,
    }

    /// RefinedWeb's corrections line by line.
    pub(crate) struct Refinedweb {
        /// Drops lines with more capital letters, share of characters.
        max_line_uppercase: f64 = "0.5"; 0.0 ..= 1.0,
        /// Drops lines of nothing but digits.
        drop_numeric_lines: bool = "true",
        /// Drops counters such as 3 likes.
        drop_counter_lines: bool = "true",
        /// Drops lines with fewer words.
        min_line_words: u64 = "2",
        /// Takes items in cart, Read more... and Sign-in out of short lines.
        remove_boilerplate: bool = "true",
        /// Drops pages that lost a larger share of their words.
        max_removed_words: f64 = "0.05"; 0.0 ..= 1.0,
    }

    /// Source-code rules: generated files, data tables, minified lines.
    pub(crate) struct CodeRules {
        /// Longest line, characters.
        max_line_length: u64 = "1000",
        /// Longest mean line, characters.
        max_mean_line_length: f64 = "100"; 1.0 ..= 1_000_000.0,
        /// Fewest letters and digits, share of characters.
        min_alphanumeric: f64 = "0.25"; 0.0 ..= 1.0,
        /// Most digits, share of characters (tables of numbers).
        max_digits: f64 = "0.2"; 0.0 ..= 1.0,
        /// Drops files that say in their first lines that a tool wrote them.
        drop_generated: bool = "true",
    }
}

/// The names of filters.
const NAMES: [&str; 7] =
    ["gopher_quality", "gopher_repetition", "c4", "fineweb", "refinedweb", "code", "custom"];
/// The names of published pipelines, which have no thresholds of their own.
const PIPELINES: [&str; 3] = ["gopher", "fineweb_pipeline", "dclm"];

/// A filter, or the filters that a pipeline's name stands for.
#[derive(Debug, Clone)]
pub(crate) struct FilterWritten(pub(crate) Vec<FilterParams>);

impl Decode for FilterWritten {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let (name, spot, body) = match &node.value {
            Value::Scalar { text, .. } => (text.as_str(), node.spot, Node::empty_map(node.spot)),
            Value::Map(entries) if entries.len() == 1 => {
                let (key, body) = &entries[0];
                (key.name.as_str(), key.spot, body.clone())
            }
            _ => {
                let expected = "the name of a filter, or {name: {threshold: value}}";
                let count = node.entries().len();
                if let (Some(error), 2..) = (wrong_type(node, expected, session), count) {
                    error.message = format!("this item names {count} filters");
                }
                return None;
            }
        };
        if PIPELINES.contains(&name) {
            if node.text().is_some() {
                return pipeline(name, node.spot, session).map(Self);
            }
            session
                .error(
                    Code::Conflict,
                    spot,
                    format!("the filters of `{name}` have their published thresholds"),
                )
                .expecting(format!("`{name}` alone, or its filters one by one, with thresholds"));
            return None;
        }
        let rule = match name {
            "gopher_quality" => gopher_quality(&GopherQuality::decode(&body, session)?),
            "gopher_repetition" => {
                gopher_repetition(GopherRepetition::decode(&body, session)?, &body, session)?
            }
            "c4" => c4(&C4::decode(&body, session)?),
            "fineweb" => fineweb(&Fineweb::decode(&body, session)?),
            "refinedweb" => refinedweb(&Refinedweb::decode(&body, session)?),
            "code" => code(&CodeRules::decode(&body, session)?),
            "custom" if node.text().is_some() => {
                session
                    .error(
                        Code::MissingField,
                        spot,
                        "the filter `custom` is an expression, and there is none",
                    )
                    .expecting("{custom: EXPRESSION}");
                return None;
            }
            "custom" => custom(&body, session)?,
            _ => {
                session
                    .error(Code::UnknownWord, spot, format!("there is no filter `{name}`"))
                    .expecting(format!("one of {}", [&NAMES[..], &PIPELINES[..]].concat().join(", ")))
                    .suggesting(name, [&NAMES[..], &PIPELINES[..]].concat());
                return None;
            }
        };
        Some(Self(vec![rule]))
    }
}

/// The filters of a published pipeline, with the defaults of each but where the pipeline has its own.
fn pipeline(name: &str, spot: Spot, session: &mut Session<'_>) -> Option<Vec<FilterParams>> {
    let none = Node::empty_map(spot);
    let quality = gopher_quality(&GopherQuality::decode(&none, session)?);
    let repetition = gopher_repetition(GopherRepetition::decode(&none, session)?, &none, session)?;
    Some(match name {
        "gopher" => vec![quality, repetition],
        "fineweb_pipeline" => {
            // C4 without its rule on end punctuation, as FineWeb runs it.
            let c4 = c4(&C4 {
                require_terminal_punctuation: false,
                min_line_words: 3,
                min_sentences: 5,
                ..C4::decode(&none, session)?
            });
            vec![repetition, quality, c4, fineweb(&Fineweb::decode(&none, session)?)]
        }
        // The heuristics of DCLM's baseline are Gopher's, and RefinedWeb's line by line.
        _ => vec![quality, repetition, refinedweb(&Refinedweb::decode(&none, session)?)],
    })
}

fn gopher_quality(w: &GopherQuality) -> FilterParams {
    FilterParams::GopherQuality {
        min_words: w.min_words,
        max_words: w.max_words,
        min_mean_word_length: w.min_mean_word_length,
        max_mean_word_length: w.max_mean_word_length,
        max_symbol_word_ratio: w.max_symbol_word_ratio,
        max_bullet_lines: w.max_bullet_lines,
        max_ellipsis_lines: w.max_ellipsis_lines,
        min_alpha_words: w.min_alpha_words,
        min_stop_words: w.min_stop_words,
    }
}

fn gopher_repetition(w: GopherRepetition, node: &Node, session: &mut Session<'_>) -> Option<FilterParams> {
    Some(FilterParams::GopherRepetition {
        max_duplicate_lines: w.max_duplicate_lines,
        max_duplicate_paragraphs: w.max_duplicate_paragraphs,
        max_duplicate_line_chars: w.max_duplicate_line_chars,
        max_duplicate_paragraph_chars: w.max_duplicate_paragraph_chars,
        max_top_ngram_chars: shares(w.max_top_ngram_chars, "max_top_ngram_chars", node, session)?,
        max_duplicate_ngram_chars: shares(
            w.max_duplicate_ngram_chars,
            "max_duplicate_ngram_chars",
            node,
            session,
        )?,
    })
}

/// As many shares as the rule has n-gram lengths.
fn shares<const N: usize>(
    values: Vec<f64>,
    field: &str,
    node: &Node,
    session: &mut Session<'_>,
) -> Option<[f64; N]> {
    let spot = node.get(field).map_or(node.spot, |value| value.spot);
    let count = values.len();
    values.try_into().ok().or_else(|| {
        session
            .error(Code::OutOfRange, spot, format!("`{field}` has {count} values"))
            .expecting(format!("{N} values"));
        None
    })
}

fn c4(w: &C4) -> FilterParams {
    FilterParams::C4 {
        require_terminal_punctuation: w.require_terminal_punctuation,
        min_line_words: w.min_line_words,
        min_sentences: w.min_sentences,
        drop_curly_bracket: w.drop_curly_bracket,
        drop_lorem_ipsum: w.drop_lorem_ipsum,
        drop_javascript_lines: w.drop_javascript_lines,
        max_word_length: w.max_word_length,
        remove_citations: w.remove_citations,
        drop_policy_lines: w.drop_policy_lines,
        drop_bad_words: w.drop_bad_words,
        bad_words_keep: w.bad_words_keep,
    }
}

fn refinedweb(w: &Refinedweb) -> FilterParams {
    FilterParams::Refinedweb {
        max_line_uppercase: w.max_line_uppercase,
        drop_numeric_lines: w.drop_numeric_lines,
        drop_counter_lines: w.drop_counter_lines,
        min_line_words: w.min_line_words,
        remove_boilerplate: w.remove_boilerplate,
        max_removed_words: w.max_removed_words,
    }
}

/// A custom rule, whose expression is read here so that the spec's author sees what is wrong with it.
fn custom(body: &Node, session: &mut Session<'_>) -> Option<FilterParams> {
    let expression = String::decode(body, session)?;
    match Expression::parse(&expression) {
        Ok(_) => Some(FilterParams::Custom { expression }),
        Err(problem) => {
            let spot = session.find(body.spot, &problem.unknown);
            let code = if problem.unknown.is_empty() { Code::OutOfRange } else { Code::UnknownWord };
            let error = session.error(code, spot, problem.message).expecting(problem.expected);
            if !problem.unknown.is_empty() {
                error.suggesting(&problem.unknown, SIGNALS.iter().map(|(name, _)| *name));
            }
            None
        }
    }
}

fn fineweb(w: &Fineweb) -> FilterParams {
    FilterParams::Fineweb {
        min_line_punctuation: w.min_line_punctuation,
        max_short_lines: w.max_short_lines,
        short_line_chars: w.short_line_chars,
        max_duplicate_line_chars: w.max_duplicate_line_chars,
        max_newline_word_ratio: w.max_newline_word_ratio,
    }
}

fn code(w: &CodeRules) -> FilterParams {
    FilterParams::Code {
        max_line_length: w.max_line_length,
        max_mean_line_length: w.max_mean_line_length,
        min_alphanumeric: w.min_alphanumeric,
        max_digits: w.max_digits,
        drop_generated: w.drop_generated,
    }
}

impl JsonSchema for FilterWritten {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // `custom` is nothing without its expression.
        let words = [&NAMES[..NAMES.len() - 1], &PIPELINES[..]].concat();
        json_schema!({
            "description": "A filter by name, or {name: {threshold: value}}; or a published pipeline by name: gopher, fineweb_pipeline, dclm.",
            "anyOf": [
                { "enum": words },
                {
                    "type": "object",
                    "properties": {
                        "gopher_quality": generator.subschema_for::<GopherQuality>(),
                        "gopher_repetition": generator.subschema_for::<GopherRepetition>(),
                        "c4": generator.subschema_for::<C4>(),
                        "fineweb": generator.subschema_for::<Fineweb>(),
                        "refinedweb": generator.subschema_for::<Refinedweb>(),
                        "code": generator.subschema_for::<CodeRules>(),
                        "custom": { "type": "string", "description": "CEL expression over a document's signals." },
                    },
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ],
            "examples": ["gopher_quality"],
        })
    }
}
