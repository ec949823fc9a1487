//! Fields of an evaluation's line, under the names and in the forms that people give them.

use serde_json::{Map, Value};

/// A line.
pub(super) type Object = Map<String, Value>;

/// A value as text: strings, numbers and booleans have one.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(answer) => Some(if *answer { "yes" } else { "no" }.to_owned()),
        _ => None,
    }
}

pub(super) fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(as_text)
}

pub(super) fn string(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Choices as an array of texts, or of `{text, label}`, or as `{text: […], label: […]}`; and their labels.
pub(super) fn choices(value: &Value) -> Option<(Vec<String>, Vec<String>)> {
    let texts = |value: &Value| -> Option<Vec<String>> { value.as_array()?.iter().map(as_text).collect() };
    if let Some(plain) = texts(value) {
        let letters = (0..plain.len()).map(|at| char::from(b'A' + at.min(25) as u8).to_string()).collect();
        return Some((plain, letters));
    }
    if let Value::Object(columns) = value {
        return Some((texts(columns.get("text")?)?, texts(columns.get("label")?)?));
    }
    let rows = value.as_array()?.iter();
    let pairs: Option<Vec<(String, String)>> =
        rows.map(|row| Some((text(row.as_object()?, "text")?, text(row.as_object()?, "label")?))).collect();
    Some(pairs?.into_iter().unzip())
}

/// The right one of the choices, named by index, by label or by its text.
pub(super) fn right(choices: &[String], labels: &[String], gold: Option<&Value>) -> Option<String> {
    let gold = gold?;
    let index = gold.as_u64().map(|index| index as usize).or_else(|| {
        let name = gold.as_str()?.trim();
        let by_label = labels.iter().position(|label| label == name);
        by_label.or_else(|| choices.iter().position(|choice| choice == name)).or_else(|| name.parse().ok())
    })?;
    choices.get(index).cloned()
}

pub(super) fn gold(object: &Object) -> Option<&Value> {
    ["gold", "label", "answerKey", "answer", "target", "gold_label"].iter().find_map(|key| object.get(*key))
}

/// Labels that prompts begin with; they belong to the harness, not to the question.
pub(super) fn without_label(text: &str) -> &str {
    let text = text.trim();
    ["Question:", "Q:", "Passage:", "Context:"]
        .iter()
        .find_map(|label| text.strip_prefix(label))
        .unwrap_or(text)
        .trim()
}

/// A prompt that holds its passage: `Passage: … Question: …`.
pub(super) fn parts_of_prompt(prompt: &str) -> (String, String) {
    if prompt.trim_start().starts_with("Passage:")
        && let Some(at) = prompt.rfind("\nQuestion:")
    {
        return (without_label(&prompt[..at]).to_owned(), without_label(&prompt[at..]).to_owned());
    }
    (String::new(), without_label(prompt).to_owned())
}

/// The answer, or the first of several, under any of the names in use.
pub(super) fn first_answer(object: &Object) -> Option<String> {
    let keys = [
        "answer",
        "answers",
        "reference",
        "completion",
        "continuation",
        "output",
        "response",
        "chosen",
        "target",
        "solution",
        "gold",
    ];
    keys.iter().find_map(|key| match object.get(*key)? {
        Value::Array(all) => all.first().and_then(as_text),
        Value::Object(answers) => answers.get("text").and_then(|all| as_text(all.as_array()?.first()?)),
        value => as_text(value),
    })
}
