//! Answers of random networks that have to have a form.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::generate::{Request, Sampler, Sampling};

/// Bytes, pieces of JSON that cross its borders, a special token, an unused row, and two end tokens.
fn words() -> Vec<Word> {
    let bytes = (0..=255u8).map(|byte| Word::Text(vec![byte]));
    let pieces = [
        "{\"", "\":", "\": ", "\",\"", "\"}", "}}", "]}", "], ", "true", "fal", "se,", "null", "12", ".5",
        "é", "\n  ", "   ",
    ];
    let pieces = pieces.iter().map(|piece| Word::Text(piece.as_bytes().to_vec()));
    let marks = [
        Word::Special("<|user|>".into()),
        Word::Unused,
        Word::Special("<|end|>".into()),
        Word::Special("<|eot|>".into()),
    ];
    bytes.chain(pieces).chain(marks).collect()
}

fn compiler() -> (GrammarCompiler, Vec<Word>, [u32; 2]) {
    let words = words();
    let ends = [words.len() as u32 - 2, words.len() as u32 - 1];
    (GrammarCompiler::new(words.iter().cloned(), &ends).unwrap(), words, ends)
}

/// An answer of a network that says anything, with a liking for what closes; none where it is not whole after `most` tokens.
fn answer(constraint: Constraint, words: &[Word], ends: &[u32], seed: u64, most: usize) -> Option<String> {
    let mut sampler = Sampler::new(Sampling::with_temperature(1.0, seed), &[0], 0).within(Some(constraint));
    let mut bytes = Vec::new();
    for place in 0..most as u64 {
        let logit = |(id, word): (usize, &Word)| {
            let hash = (seed ^ (place << 20) ^ (id as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let noise = (hash % 1000) as f32 / 500.0;
            match word {
                Word::Text(bytes) if bytes.iter().any(|byte| b"\"}]".contains(byte)) => 4.0 + noise,
                Word::Special(_) => 6.0 + noise,
                _ => noise,
            }
        };
        let logits: Vec<f32> = words.iter().enumerate().map(logit).collect();
        let token = sampler.sample(&logits).unwrap().token;
        if ends.contains(&token) {
            return Some(String::from_utf8(bytes).unwrap());
        }
        match &words[token as usize] {
            Word::Text(text) => bytes.extend_from_slice(text),
            other => panic!("{other:?} within an answer"),
        }
    }
    None
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        (0u32..4, 1u32..9).prop_map(
            |(least, more)| json!({"type": "string", "minLength": least, "maxLength": least + more})
        ),
        Just(json!({"type": "string", "pattern": "^[a-c]{2,5}(-[0-9]+)?$"})),
        Just(json!({"type": "string", "format": "date"})),
        (-50i64..50, 0i64..90)
            .prop_map(|(low, span)| json!({"type": "integer", "minimum": low, "maximum": low + span})),
        Just(json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1.5})),
        Just(json!({"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 1000})),
        prop::collection::vec(
            prop_oneof![Just(json!("a\"b")), Just(json!(1)), Just(json!(null)), Just(json!([1, {"x": 2}]))],
            1..4
        )
        .prop_map(|values| json!({"enum": values})),
        Just(json!({"const": {"kind": "é", "n": -1.5}})),
        Just(json!({"type": ["string", "null"], "maxLength": 5})),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0usize..3, 0usize..3).prop_map(
                |(items, least, more)| json!({"type": "array", "items": items, "minItems": least, "maxItems": least + more})
            ),
            (prop::collection::vec(inner.clone(), 1..4), any::<[bool; 4]>(), any::<bool>()).prop_map(
                |(fields, required, is_open)| {
                    let names = ["a", "long name", "ü", "d\"q"];
                    let properties: serde_json::Map<String, Value> =
                        names.iter().map(|name| (*name).to_owned()).zip(fields.clone()).collect();
                    let required: Vec<&str> = names
                        .iter()
                        .take(fields.len())
                        .zip(required)
                        .filter_map(|(name, is_required)| is_required.then_some(*name))
                        .collect();
                    let rest = if is_open { json!({"type": "boolean"}) } else { json!(false) };
                    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": rest})
                }
            ),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"anyOf": parts})),
            (prop::collection::vec(inner.clone(), 1..3), inner.clone(), 0usize..4).prop_map(|(first, rest, most)| {
                json!({"type": "array", "prefixItems": first, "items": rest, "maxItems": most})
            }),
            (inner.clone(), 0usize..2, 1usize..3).prop_map(|(value, least, more)| {
                json!({
                    "type": "object", "patternProperties": {"^[xy]{1,2}$": value}, "additionalProperties": false,
                    "minProperties": least, "maxProperties": least + more
                })
            }),
            inner.prop_map(|part| json!({"allOf": [{"$ref": "#/$defs/part"}], "$defs": {"part": part}})),
        ]
    })
    // A definition is found from the root alone.
    .prop_filter("definitions stand at the root", |schema| {
        let nested = schema.to_string().matches("$defs\":").count();
        nested == 0 || nested == 1 && schema.get("$defs").is_some()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_answer_that_ends_validates(schema in schema(), seed in 0u64..1000) {
        let (compiler, words, ends) = compiler();
        let constraint = compiler.compile(&Grammar::JsonSchema(schema.clone())).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        if let Some(text) = answer(constraint, &words, &ends, seed, 600) {
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert!(validator.is_valid(&value), "{schema} gave {text}");
            let white: usize = text.chars().filter(|char| char.is_whitespace()).count();
            let marks = text.chars().filter(|char| "{}[]:,".contains(*char)).count();
            prop_assert!(white <= 17 * (2 * marks + 2) + text.matches("long name").count(), "{text:?}");
        }
    }
}

#[test]
fn answers_of_every_format_validate() {
    let (compiler, words, ends) = compiler();
    let formats =
        ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
    for format in formats {
        let schema = json!({"type": "string", "format": format});
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let constraint = compiler.compile(&Grammar::JsonSchema(schema)).unwrap();
        let answers = (0..400).filter_map(|seed| answer(constraint.clone(), &words, &ends, seed, 400));
        let answers: Vec<Value> = answers.map(|text| serde_json::from_str(&text).unwrap()).collect();
        assert!(answers.len() >= 100, "{format}: {} of 400 end", answers.len());
        for value in &answers {
            assert!(validator.is_valid(value), "{format} gave {value}");
        }
        println!("{format}: {} of 400 end, as {}", answers.len(), answers[0]);
    }
    let leap = |text: &str| {
        let schema = json!({"type": "string", "format": "date", "pattern": "-02-29$", "enum": [text]});
        compiler.compile(&Grammar::JsonSchema(schema)).is_ok()
    };
    for (year, is_leap) in [("2024", true), ("2023", false), ("1900", false), ("2000", true), ("1716", true)]
    {
        assert_eq!(leap(&format!("{year}-02-29")), is_leap, "{year}");
    }
}

#[test]
fn most_answers_end() {
    let (compiler, words, ends) = compiler();
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 3},
            "left": {"$ref": "#"}
        },
        "required": ["name", "tags"],
        "additionalProperties": false
    });
    let grammar = Grammar::JsonSchema(schema.clone());
    let answers =
        (0..40).filter_map(|seed| answer(compiler.compile(&grammar).unwrap(), &words, &ends, seed, 400));
    let answers: Vec<String> = answers.collect();
    assert!(answers.len() >= 20, "{} of 40", answers.len());
    assert!(answers.iter().any(|text| text.contains("left")), "{answers:?}");
    let object = compiler.compile(&Grammar::JsonObject).unwrap();
    let text = (0..20).find_map(|seed| answer(object.clone(), &words, &ends, seed, 600)).unwrap();
    assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
}

#[test]
fn regexes_and_grammars_match_from_end_to_end() {
    let (compiler, words, ends) = compiler();
    let expression = "(yes|no), [a-f]{3,6}[.]";
    let matcher = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
    let lark = "start: \"<\" item (\";\" item)* \">\"\nitem: /[0-9]+/ | \"(\" item \")\"\n";
    for seed in 0..30 {
        let constraint = compiler.compile(&Grammar::Regex(expression.into())).unwrap();
        let text = answer(constraint, &words, &ends, seed, 100).unwrap();
        assert!(matcher.is_match(&text), "{text}");
        if let Some(text) =
            answer(compiler.compile(&Grammar::Lark(lark.into())).unwrap(), &words, &ends, seed, 300)
        {
            assert!(text.starts_with('<') && text.ends_with('>'), "{text}");
            assert_eq!(text.matches('(').count(), text.matches(')').count());
        }
    }
}

#[test]
fn an_end_token_is_allowed_where_the_answer_is_whole_and_nowhere_else() {
    let (compiler, words, ends) = compiler();
    let mut mask = compiler.compile(&Grammar::Regex("ab?".into())).unwrap();
    let allowed = |mask: &mut Constraint| {
        let set = mask.0.allowed().unwrap();
        (0..words.len() as u32).filter(|&id| set.contains(id)).collect::<Vec<u32>>()
    };
    assert_eq!(allowed(&mut mask), [u32::from(b'a')]);
    let mut other = mask.clone();
    mask.0.advance(u32::from(b'a')).unwrap();
    assert_eq!(allowed(&mut mask), [u32::from(b'b'), ends[0], ends[1]]);
    assert_eq!(allowed(&mut other), [u32::from(b'a')], "a clone goes its own way");
    mask.0.advance(u32::from(b'b')).unwrap();
    assert_eq!(allowed(&mut mask), ends);
    assert!(other.0.advance(u32::from(b'b')).is_err());
    let request =
        Request { constraint: Some(mask), ..Request::new(vec![1], Sampling::greedy(), 4, vec![ends[0]]) };
    let error = request.validate(100, words.len()).unwrap_err();
    assert!(matches!(error, GenerateError::Setting { field: "stop_ids", .. }), "{error}");
}

#[test]
fn what_is_not_supported_is_named() {
    let (compiler, ..) = compiler();
    let cases = [
        (json!({"type": "array", "items": {"type": "integer"}, "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}), "not"),
        (json!({"type": "object", "if": {"required": ["a"]}}), "if"),
        (json!({"type": "string", "format": "postal-code"}), "postal-code"),
        (json!({"type": "object", "x-guidance": {"lenient": true}, "uniqueItems": true}), "x-guidance"),
        (json!({"properties": {"default": {"x-guidance": {"lenient": true}}}}), "x-guidance"),
        (json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}), "oneOf"),
        (json!({"$ref": "https://example.com/schema"}), "example.com"),
        (json!({"$ref": "#/$defs/missing"}), "missing"),
        (json!({"type": "object", "allOf": [{"required": ["a"], "minProperties": 2}]}), "minProperties"),
        (json!({"type": "text"}), "text"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), ""),
        (json!(false), "false"),
        (json!([]), "object"),
    ];
    for (schema, word) in cases {
        let error = compiler.compile(&Grammar::JsonSchema(schema.clone())).unwrap_err();
        assert!(matches!(error, GenerateError::Grammar(_)), "{error:?}");
        assert!(error.to_string().contains(word), "{schema}: {error}");
        println!("{error}");
    }
    for grammar in [
        Grammar::Regex("a(".into()),
        Grammar::Lark("start: missing".into()),
        Grammar::Lark("start: %json {}".into()),
    ] {
        let error = compiler.compile(&grammar).unwrap_err();
        println!("{error}");
    }
}

#[test]
fn bombs_end_with_an_error_in_time() {
    let (compiler, words, ends) = compiler();
    let wide: Vec<Value> =
        (0..10).map(|at| json!({"properties": {(format!("p{at}")): {"type": "string"}}})).collect();
    let cross: Vec<Value> = (0..10).map(|_| json!({"anyOf": wide})).collect();
    let mut chain = BTreeMap::new();
    for at in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        chain.insert(format!("d{at}"), json!({"allOf": [{"anyOf": [next, next]}, {"anyOf": [next, next]}]}));
    }
    chain.insert("d40".into(), json!({"type": "string"}));
    let many: Vec<String> = (0..40_000).map(|at| format!("value {at}")).collect();
    let grammars = [
        ("cross product", Grammar::JsonSchema(json!({"allOf": cross}))),
        ("references", Grammar::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": chain}))),
        ("long enum", Grammar::JsonSchema(json!({"enum": many}))),
        ("counts in counts", Grammar::Regex("((a{1,1000}){1,1000}){1,1000}".into())),
        ("look-alikes", Grammar::Regex(format!(".*a{}", ".".repeat(200)))),
        (
            "backwards",
            Grammar::JsonSchema(json!({"type": "string", "pattern": "(x+x+)+y.{500,1000}[^z]{900}"})),
        ),
        (
            "long string",
            Grammar::JsonSchema(json!({"type": "string", "minLength": 1_000_000, "maxLength": 9_000_000})),
        ),
        (
            "many items",
            Grammar::JsonSchema(
                json!({"type": "array", "minItems": 1_000_000, "items": {"type": "array", "minItems": 1_000_000}}),
            ),
        ),
        ("ambiguous", Grammar::Lark("start: start start | \"a\" | \"\"\n".into())),
    ];
    for (name, grammar) in grammars {
        let begun = Instant::now();
        let outcome = match compiler.compile(&grammar) {
            Err(error) => error.to_string(),
            Ok(constraint) => {
                let mut mask = constraint;
                let mut outcome = "goes on".to_owned();
                for _ in 0..100 {
                    let next = mask.0.allowed().and_then(|allowed| {
                        let token =
                            (0..words.len() as u32).find(|&id| allowed.contains(id) && !ends.contains(&id));
                        token.map_or(Ok(()), |token| mask.0.advance(token))
                    });
                    if let Err(error) = next {
                        outcome = error.to_string();
                        break;
                    }
                }
                outcome
            }
        };
        println!("{name}: {:?}, {:.120}", begun.elapsed(), outcome);
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}");
        if ["cross product", "references", "long enum", "counts in counts"].contains(&name) {
            assert_ne!(outcome, "goes on", "{name}");
        }
    }
}
