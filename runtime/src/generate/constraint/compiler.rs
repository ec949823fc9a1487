//! Grammars to masks, by llguidance (guidance-ai, 2025): an Earley parser over lexemes that are matched by derivatives of regular expressions.

use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use super::formats::narrow_formats;
use super::schema_work::{Alternatives, Holds, holds};
use super::{AllowedTokens, Constraint, TokenMask};
use crate::generate::GenerateError;
use crate::tokenizer::Tokenizer;

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// JSON that validates against this schema, with little white space.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// Text that matches this regular expression from end to end.
    Regex(String),
    /// Text of this grammar, in llguidance's dialect of Lark; `start` is its first rule.
    Lark(String),
    /// Text of a grammar in that dialect whose rules may refer to JSON of schemas, each by the name of a rule.
    LarkOfSchemas(String, Vec<(String, Value)>),
}

/// What a token of the vocabulary stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// These bytes of a text.
    Text(Vec<u8>),
    /// A special token, by its spelling; no text holds it.
    Special(String),
    /// A row of the embedding that no token has.
    Unused,
}

/// Compiles grammars for one vocabulary.
pub struct GrammarCompiler {
    factory: ParserFactory,
    end_ids: Arc<[u32]>,
}

/// White space between the tokens of JSON: nothing, a space, or a line break and up to 16 blanks.
const JSON_WHITE_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,16}";
/// Bytes of a grammar's text.
const MAX_SOURCE_BYTES: usize = 256 << 10;
/// Alternatives of one schema, once its parts are put together.
const MAX_ALTERNATIVES: f64 = 4096.0;
/// Work units of llguidance: regular expressions when a grammar is compiled, and in one step.
const COMPILE_FUEL: u64 = 1_000_000;
const STEP_FUEL: u64 = 200_000;
/// States of a grammar's lexer, of one to two kilobytes each.
const MAX_LEXER_STATES: usize = 50_000;
/// Symbols of a grammar's rules.
const MAX_GRAMMAR_SYMBOLS: usize = 200_000;

impl GrammarCompiler {
    /// A compiler for a tokenizer whose network has `vocab_size` rows; answers end at each of `end_ids`.
    ///
    /// # Errors
    /// No end token.
    pub fn of_tokenizer(
        tokenizer: &Tokenizer,
        vocab_size: usize,
        end_ids: &[u32],
    ) -> Result<Self, GenerateError> {
        let word = |id: u32| {
            if id as usize >= tokenizer.vocab_size() {
                return Word::Unused;
            }
            let special = tokenizer.added_tokens().iter().find(|token| token.id == id && token.is_special);
            match special {
                Some(token) => Word::Special(token.content.clone()),
                None => Word::Text(tokenizer.decode_bytes(&[id])),
            }
        };
        Self::new((0..vocab_size as u32).map(word), end_ids)
    }

    /// A compiler for a vocabulary, word by word.
    ///
    /// # Errors
    /// No end token, or one that is outside of the vocabulary.
    pub fn new(words: impl Iterator<Item = Word>, end_ids: &[u32]) -> Result<Self, GenerateError> {
        let marker = TokTrie::SPECIAL_TOKEN_MARKER;
        let bytes = |word: Word| match word {
            // No text holds this byte, and the tree keeps it for special tokens.
            Word::Text(bytes) if bytes.first() == Some(&marker) => Vec::new(),
            Word::Text(bytes) => bytes,
            Word::Special(spelling) => [&[marker], spelling.as_bytes()].concat(),
            Word::Unused => Vec::new(),
        };
        let words: Vec<Vec<u8>> = words.map(bytes).collect();
        let Some(&first) = end_ids.first() else {
            return Err(refused("the model has no token that ends an answer"));
        };
        if let Some(&token) = end_ids.iter().find(|&&id| id as usize >= words.len()) {
            let vocab_size = words.len();
            return Err(GenerateError::UnknownToken { field: "end_ids", token, vocab_size });
        }
        let info = TokRxInfo::new(words.len() as u32, first);
        let tree = TokTrie::from(&info, &words).with_eos_tokens(end_ids);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(tree));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &slices).map_err(refused)?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.initial_lexer_fuel = COMPILE_FUEL;
        limits.step_lexer_fuel = STEP_FUEL;
        limits.max_lexer_states = MAX_LEXER_STATES;
        limits.max_grammar_size = MAX_GRAMMAR_SYMBOLS;
        // Its time is not counted as work.
        limits.precompute_large_lexemes = false;
        limits.verbose_errors = false;
        Ok(Self { factory, end_ids: end_ids.into() })
    }

    /// A mask at the beginning of an answer. Takes milliseconds, up to a few hundred for the largest grammars.
    ///
    /// # Errors
    /// A grammar that is wrong, has a part that is not supported, or is too large.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint, GenerateError> {
        let top = match grammar {
            Grammar::JsonSchema(schema) => json_grammar(schema)?,
            Grammar::JsonObject => json_grammar(&json!({"type": "object"}))?,
            Grammar::Regex(regex) => {
                check_size(regex.len())?;
                TopLevelGrammar::from_regex(regex)
            }
            Grammar::Lark(text) => {
                check_size(text.len())?;
                if text.contains("%json") {
                    return Err(refused("a grammar can't hold `%json`; ask for a JSON schema instead"));
                }
                TopLevelGrammar::from_lark(text.clone())
            }
            Grammar::LarkOfSchemas(text, schemas) => {
                let mut text = text.clone();
                for (name, schema) in schemas {
                    let schema = checked_schema(schema)?;
                    text = format!("{text}\n{name}: %json {schema}\n");
                }
                check_size(text.len())?;
                TopLevelGrammar::from_lark(text)
            }
        };
        let parser = self.factory.create_parser(top).map_err(refused)?;
        let mut mask = GrammarMask { matcher: Matcher::new(Ok(parser)), end_ids: Arc::clone(&self.end_ids) };
        // A grammar that matches nothing says so here and not in the middle of an answer.
        mask.allowed().map_err(|error| refused(error.to_string()))?;
        Ok(Constraint(Box::new(mask)))
    }
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").field("end_ids", &self.end_ids).finish_non_exhaustive()
    }
}

fn json_grammar(schema: &Value) -> Result<TopLevelGrammar, GenerateError> {
    checked_schema(schema).map(TopLevelGrammar::from_json_schema)
}

/// The schema with what llguidance has to know beside it.
fn checked_schema(schema: &Value) -> Result<Value, GenerateError> {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::Bool(true) => json!({}),
        Value::Bool(false) => return Err(refused("the schema `false` allows no answer")),
        _ => return Err(refused("a schema is a JSON object")),
    };
    check_size(schema.to_string().len())?;
    // llguidance's own switches are in a field of the schema; one of them drops what it does not know.
    if has_part(&schema, &|fields| fields.contains_key("x-guidance")) {
        return Err(refused("the keyword `x-guidance` is not supported"));
    }
    if has_part(&schema, &counts_names) {
        return Err(refused(
            "`minProperties` of over 1 is not supported, since a grammar can't tell that a name came before; list the names as `required`",
        ));
    }
    let alternatives = Alternatives::most(&schema);
    if alternatives > MAX_ALTERNATIVES {
        return Err(refused(format!(
            "the schema has {alternatives:.0} alternatives within one `allOf`, and {MAX_ALTERNATIVES:.0} are allowed"
        )));
    }
    narrow_formats(&mut schema);
    let options = JsonCompileOptions {
        whitespace_pattern: Some(JSON_WHITE_SPACE.to_owned()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    Ok(schema)
}

/// Whether `is_such` holds for a part of the schema; values that stand in it as they are have none.
fn has_part(value: &Value, is_such: &dyn Fn(&Map<String, Value>) -> bool) -> bool {
    match value {
        Value::Object(fields) => {
            is_such(fields)
                || fields.iter().any(|(key, value)| match holds(key) {
                    Holds::Data => false,
                    Holds::Named => value
                        .as_object()
                        .is_some_and(|named| named.values().any(|part| has_part(part, is_such))),
                    Holds::Schemas => has_part(value, is_such),
                })
        }
        Value::Array(values) => values.iter().any(|value| has_part(value, is_such)),
        _ => false,
    }
}

/// Whether an object must have more fields than are named: the same name twice would count as two of them.
fn counts_names(fields: &Map<String, Value>) -> bool {
    let least = fields.get("minProperties").and_then(Value::as_f64).unwrap_or(0.0);
    let required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len);
    least > required.max(1) as f64
}

fn check_size(bytes: usize) -> Result<(), GenerateError> {
    if bytes <= MAX_SOURCE_BYTES {
        return Ok(());
    }
    Err(refused(format!("the grammar has {bytes} bytes, and {MAX_SOURCE_BYTES} are allowed")))
}

fn refused(message: impl fmt::Display) -> GenerateError {
    GenerateError::Grammar(tidy(&message))
}

/// A message of llguidance's, without its marks and in the words of who wrote the schema.
fn tidy(message: &impl fmt::Display) -> String {
    message
        .to_string()
        .replace("<non-verbose/>", "")
        .replace("Unimplemented keys:", "keywords that are not supported:")
        .replace(
            "Enable 'coerce_one_of' option to approximate oneOf with anyOf",
            "where its parts may overlap; use `anyOf`",
        )
        .trim()
        .to_owned()
}

/// A place in a grammar.
struct GrammarMask {
    matcher: Matcher,
    end_ids: Arc<[u32]>,
}

impl fmt::Debug for GrammarMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarMask").field("end_ids", &self.end_ids).finish_non_exhaustive()
    }
}

impl TokenMask for GrammarMask {
    fn allowed(&mut self) -> Result<AllowedTokens, GenerateError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| stuck(&error))?;
        let allowed = AllowedTokens::new(mask.as_slice().to_vec());
        if allowed.is_empty() {
            return Err(stuck(&"no token may come next"));
        }
        Ok(allowed)
    }

    fn advance(&mut self, token: u32) -> Result<(), GenerateError> {
        // Nothing follows an end token, and a grammar that can't go on has stopped before it.
        if self.end_ids.contains(&token) {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|error| stuck(&error))
    }

    fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    fn split(&self) -> Box<dyn TokenMask> {
        // Its caches too: what another answer did must not decide how much work is left for this one.
        Box::new(Self { matcher: self.matcher.deep_clone(), end_ids: Arc::clone(&self.end_ids) })
    }
}

fn stuck(message: &impl fmt::Display) -> GenerateError {
    GenerateError::GrammarStopped(tidy(message))
}
