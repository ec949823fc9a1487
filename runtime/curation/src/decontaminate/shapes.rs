//! Evaluation files as people publish them, read by the keys of a line.
//!
//! A shape is known by its keys alone, so that a file needs no declaration. What has no known shape is an error that names its keys:
//! an evaluation that is left out silently is a leak that nobody looks for.

use serde_json::{Map, Value};

use super::item::EvalItem;

/// A line that holds no question as far as we can tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Not an object.
    #[error("{benchmark} {id}: expected a JSON object, got {got}")]
    NotAnObject {
        /// The benchmark.
        benchmark: String,
        /// The item.
        id: String,
        /// What it is instead.
        got: &'static str,
    },
    /// Keys of no known shape.
    #[error(
        "{benchmark} {id}: no known shape of a question has the keys {keys}; rename them to question, answer, choices and passage"
    )]
    UnknownShape {
        /// The benchmark.
        benchmark: String,
        /// The item.
        id: String,
        /// The keys that were found.
        keys: String,
    },
    /// A known shape without text in its question.
    #[error("{benchmark} {id}: {field} has no text")]
    NoText {
        /// The benchmark.
        benchmark: String,
        /// The item.
        id: String,
        /// The field.
        field: &'static str,
    },
}

type Object = Map<String, Value>;

/// The items of one line of an evaluation file; most lines hold one, a line of tasks with several instances holds more.
///
/// `id` is used where the line has no id of its own (`id`, `task_id`, `pairID`, `native_id`).
pub fn items_of(benchmark: &str, id: &str, line: &Value) -> Result<Vec<EvalItem>, ShapeError> {
    let Value::Object(object) = line else {
        return Err(ShapeError::NotAnObject { benchmark: benchmark.into(), id: id.into(), got: kind(line) });
    };
    // Requests of a harness carry the question in `doc`.
    let inner = match object.get("doc") {
        Some(Value::Object(doc)) => doc,
        _ => object,
    };
    let id = ["id", "task_id", "pairID", "native_id"]
        .iter()
        .find_map(|key| text(object, key))
        .unwrap_or_else(|| id.into());
    let readers = [
        of_passages,
        of_stems,
        of_letters,
        of_choices,
        of_options,
        of_endings,
        of_solutions,
        of_sentences,
        of_code,
        of_instances,
        of_instruction,
        of_turns,
        of_pair,
        of_text,
    ];
    let Some(mut items) = readers.iter().find_map(|read| read(inner)) else {
        let keys: Vec<&str> = inner.keys().map(String::as_str).collect();
        let keys = if keys.is_empty() { "(none)".to_owned() } else { keys.join(", ") };
        return Err(ShapeError::UnknownShape { benchmark: benchmark.into(), id, keys });
    };
    items.retain(|item| !item.question.trim().is_empty() || !item.passage.trim().is_empty());
    if items.is_empty() {
        return Err(ShapeError::NoText { benchmark: benchmark.into(), id, field: "the question" });
    }
    let several = items.len() > 1;
    for (at, item) in items.iter_mut().enumerate() {
        benchmark.clone_into(&mut item.benchmark);
        item.id = if several { format!("{id}#{at}") } else { id.clone() };
    }
    Ok(items)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value as text: strings, numbers and booleans have one.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(answer) => Some(if *answer { "yes" } else { "no" }.to_owned()),
        _ => None,
    }
}

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(as_text)
}

fn string(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Choices as an array of texts, or of `{text, label}`, or as `{text: […], label: […]}`; and their labels.
fn choices(value: &Value) -> Option<(Vec<String>, Vec<String>)> {
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
fn right(choices: &[String], labels: &[String], gold: Option<&Value>) -> Option<String> {
    let gold = gold?;
    let index = gold.as_u64().map(|index| index as usize).or_else(|| {
        let name = gold.as_str()?.trim();
        let by_label = labels.iter().position(|label| label == name);
        by_label.or_else(|| choices.iter().position(|choice| choice == name)).or_else(|| name.parse().ok())
    })?;
    choices.get(index).cloned()
}

fn gold(object: &Object) -> Option<&Value> {
    ["gold", "label", "answerKey", "answer", "target", "gold_label"].iter().find_map(|key| object.get(*key))
}

/// Labels that prompts begin with; they belong to the harness, not to the question.
fn without_label(text: &str) -> &str {
    let text = text.trim();
    ["Question:", "Q:", "Passage:", "Context:"]
        .iter()
        .find_map(|label| text.strip_prefix(label))
        .unwrap_or(text)
        .trim()
}

/// A prompt that holds its passage: `Passage: … Question: …`.
fn parts_of_prompt(prompt: &str) -> (String, String) {
    if prompt.trim_start().starts_with("Passage:")
        && let Some(at) = prompt.rfind("\nQuestion:")
    {
        return (without_label(&prompt[..at]).to_owned(), without_label(&prompt[at..]).to_owned());
    }
    (String::new(), without_label(prompt).to_owned())
}

#[allow(clippy::unnecessary_wraps, reason = "the last word of every reader")]
fn one(
    question: String,
    answer: Option<String>,
    choices: Vec<String>,
    passage: String,
) -> Option<Vec<EvalItem>> {
    Some(vec![EvalItem { question, answer, choices, passage, ..EvalItem::default() }])
}

/// BoolQ, SQuAD and their like: `{question, passage | context, answer}`.
fn of_passages(object: &Object) -> Option<Vec<EvalItem>> {
    if object.contains_key("choices") || object.contains_key("endings") {
        return None;
    }
    let question = string(object, "question")?;
    let passage = string(object, "passage").or_else(|| string(object, "context"))?;
    one(question, first_answer(object), Vec::new(), passage)
}

/// OpenBookQA as published: `{question: {stem, choices}, answerKey}`.
fn of_stems(object: &Object) -> Option<Vec<EvalItem>> {
    let inner = object.get("question")?.as_object()?;
    let (choices, labels) = choices(inner.get("choices")?)?;
    let answer = right(&choices, &labels, object.get("answerKey"));
    one(string(inner, "stem")?, answer, choices, String::new())
}

/// MMLU as tables: `{input | question, A, B, …, target}`.
fn of_letters(object: &Object) -> Option<Vec<EvalItem>> {
    let question = string(object, "input").or_else(|| string(object, "question"))?;
    let labels: Vec<String> =
        ('A'..='J').map(String::from).take_while(|letter| object.contains_key(letter)).collect();
    let choices: Option<Vec<String>> = labels.iter().map(|letter| text(object, letter)).collect();
    let choices = choices.filter(|choices| choices.len() >= 2)?;
    let answer = right(&choices, &labels, gold(object));
    one(question, answer, choices, String::new())
}

/// Multiple choice: `{question | query | prompt | goal | premise, choices, answer | gold | …}`, Cupola's own suite among them.
fn of_choices(object: &Object) -> Option<Vec<EvalItem>> {
    let question = ["question", "query", "prompt", "goal", "premise", "stem"]
        .iter()
        .find_map(|key| string(object, key))?;
    let (choices, labels) = choices(object.get("choices")?)?;
    let answer = right(&choices, &labels, gold(object));
    let (passage, question) = parts_of_prompt(&question);
    let beside = ["passage", "context", "article", "support"].iter().find_map(|key| string(object, key));
    let passage = if passage.is_empty() { beside.unwrap_or_default() } else { passage };
    one(question, answer, choices, passage)
}

/// WinoGrande: `{context_options, continuation, gold}`, each option a reading of the sentence; or `{sentence, option1, option2, answer}`.
fn of_options(object: &Object) -> Option<Vec<EvalItem>> {
    if let Some(sentence) = string(object, "sentence") {
        let options = [text(object, "option1")?, text(object, "option2")?];
        let at: usize = text(object, "answer").and_then(|answer| answer.parse().ok()).unwrap_or(1);
        let filled = sentence.replacen('_', &options[usize::from(at == 2)], 1);
        return one(filled, None, Vec::new(), String::new());
    }
    let (options, labels) = choices(object.get("context_options")?)?;
    let right = right(&options, &labels, gold(object)).or_else(|| options.first().cloned())?;
    one(format!("{right} {}", string(object, "continuation")?), None, Vec::new(), String::new())
}

/// HellaSwag: `{ctx, endings, label}`.
fn of_endings(object: &Object) -> Option<Vec<EvalItem>> {
    let question =
        string(object, "ctx").or_else(|| string(object, "query")).or_else(|| string(object, "context"))?;
    let (endings, labels) = choices(object.get("endings")?)?;
    let answer = right(&endings, &labels, gold(object));
    one(question, answer, endings, String::new())
}

/// PIQA and COPA: `{goal, sol1, sol2, label}`, `{premise, choice1, choice2, label}`.
fn of_solutions(object: &Object) -> Option<Vec<EvalItem>> {
    let question = string(object, "goal").or_else(|| string(object, "premise"))?;
    let pair = |first: &str, second: &str| Some(vec![text(object, first)?, text(object, second)?]);
    let choices = pair("sol1", "sol2").or_else(|| pair("choice1", "choice2"))?;
    let answer = right(&choices, &[], gold(object));
    one(question, answer, choices, String::new())
}

/// MNLI and its like: the premise is the passage, the hypothesis is what is asked.
fn of_sentences(object: &Object) -> Option<Vec<EvalItem>> {
    let pair = |first: &str, second: &str| Some((string(object, first)?, string(object, second)?));
    let (first, second) = pair("sentence1", "sentence2").or_else(|| pair("premise", "hypothesis"))?;
    one(format!("{first} {second}"), text(object, "gold_label"), Vec::new(), String::new())
}

/// HumanEval and MBPP: the prompt is asked, the solution answers.
fn of_code(object: &Object) -> Option<Vec<EvalItem>> {
    let solution =
        ["canonical_solution", "code", "reference_solution"].iter().find_map(|key| string(object, key))?;
    let question = string(object, "prompt").or_else(|| string(object, "text"))?;
    one(question, Some(solution), Vec::new(), String::new())
}

/// Tasks with instances: `{instruction, instances: [{input, output}]}`.
fn of_instances(object: &Object) -> Option<Vec<EvalItem>> {
    let instruction = string(object, "instruction")?;
    let item = |instance: &Value| {
        let instance = instance.as_object()?;
        let input = string(instance, "input").unwrap_or_default();
        let question = format!("{instruction}\n{input}");
        Some(EvalItem { question, answer: string(instance, "output"), ..EvalItem::default() })
    };
    object.get("instances")?.as_array()?.iter().map(item).collect()
}

/// Instructions: `{instruction, input?, output?}`.
fn of_instruction(object: &Object) -> Option<Vec<EvalItem>> {
    let instruction = string(object, "instruction")?;
    let input = string(object, "input").unwrap_or_default();
    let question = if input.is_empty() { instruction } else { format!("{instruction}\n{input}") };
    one(question, string(object, "output"), Vec::new(), String::new())
}

/// Chats: `{messages}`, `{conversations}`, or `{chosen, rejected}` written out as `Human: … Assistant: …`.
fn of_turns(object: &Object) -> Option<Vec<EvalItem>> {
    if let Some(turns) =
        object.get("messages").or_else(|| object.get("conversations")).and_then(Value::as_array)
    {
        let mut users = Vec::new();
        let mut last = None;
        for turn in turns.iter().filter_map(Value::as_object) {
            let said = string(turn, "content").or_else(|| string(turn, "value")).unwrap_or_default();
            match string(turn, "role").or_else(|| string(turn, "from"))?.as_str() {
                "assistant" | "gpt" => last = Some(said),
                "system" => {}
                _ => users.push(said),
            }
        }
        let chosen = object.get("chosen").and_then(|chosen| {
            string(chosen.as_object()?, "value").or_else(|| string(chosen.as_object()?, "content"))
        });
        return one(users.join("\n"), chosen.or(last), Vec::new(), String::new());
    }
    let chosen = string(object, "chosen").filter(|chat| chat.contains("Human:"))?;
    let (before, answer) = chosen.rsplit_once("Assistant:").unwrap_or((chosen.as_str(), ""));
    let asked: Vec<&str> = before
        .split("Human:")
        .skip(1)
        .map(|turn| turn.split("Assistant:").next().unwrap_or("").trim())
        .collect();
    one(asked.join("\n"), Some(answer.trim().to_owned()), Vec::new(), String::new())
}

/// A question and its answer under any of the names in use.
fn of_pair(object: &Object) -> Option<Vec<EvalItem>> {
    let asked = ["question", "prompt", "query", "context", "problem", "input"];
    let question = asked.iter().find_map(|key| string(object, key))?;
    let (passage, question) = parts_of_prompt(&question);
    let is_wrong = object.get("is_correct") == Some(&Value::Bool(false));
    let answer = first_answer(object);
    if is_wrong {
        return one(question, None, answer.into_iter().collect(), passage);
    }
    one(question, answer, Vec::new(), passage)
}

fn first_answer(object: &Object) -> Option<String> {
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

/// Held-out documents: `{text}`.
fn of_text(object: &Object) -> Option<Vec<EvalItem>> {
    one(string(object, "text")?, None, Vec::new(), String::new())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(line: &Value) -> EvalItem {
        let mut items = items_of("b", "7", line).unwrap();
        assert_eq!(items.len(), 1);
        items.remove(0)
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn known_shapes_give_question_answer_choices_and_passage() {
        let c = |choices: &[&str]| choices.iter().map(|choice| (*choice).to_owned()).collect::<Vec<_>>();
        for (line, question, answer, choices, passage) in [
            (json!({"question": "Q", "choices": ["x", "y"], "answer": 1}), "Q", "y", c(&["x", "y"]), ""),
            (json!({"query": "Question: Q", "choices": ["x", "y"], "gold": 0}), "Q", "x", c(&["x", "y"]), ""),
            (
                json!({"query": "Passage: P\nQuestion: Q?", "choices": ["no", "yes"], "gold": 1}),
                "Q?",
                "yes",
                c(&["no", "yes"]),
                "P",
            ),
            (json!({"question": "Q", "title": "T", "answer": false, "passage": "P"}), "Q", "no", c(&[]), "P"),
            (json!({"context": "C", "continuation": "w"}), "C", "w", c(&[]), ""),
            (
                json!({"context_options": ["A so A", "A so B"], "continuation": "won.", "gold": 1}),
                "A so B won.",
                "",
                c(&[]),
                "",
            ),
            (
                json!({"sentence": "A so _ won.", "option1": "A", "option2": "B", "answer": "2"}),
                "A so B won.",
                "",
                c(&[]),
                "",
            ),
            (
                json!({"task_id": "H/1", "prompt": "def f", "canonical_solution": "return", "test": ""}),
                "def f",
                "return",
                c(&[]),
                "",
            ),
            (json!({"question": "Q", "answer": "0", "is_correct": true}), "Q", "0", c(&[]), ""),
            (json!({"question": "Q", "answer": "0", "is_correct": false}), "Q", "", c(&["0"]), ""),
            (
                json!({"doc": {"query": "Q", "choices": ["x", "y"], "gold": 1}, "request": {}}),
                "Q",
                "y",
                c(&["x", "y"]),
                "",
            ),
            (json!({"ctx": "C", "endings": ["x", "y"], "label": "1"}), "C", "y", c(&["x", "y"]), ""),
            (json!({"input": "Q", "A": "x", "B": "y", "target": "B"}), "Q", "y", c(&["x", "y"]), ""),
            (
                json!({"question": {"stem": "Q", "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}]}, "answerKey": "A"}),
                "Q",
                "x",
                c(&["x", "y"]),
                "",
            ),
            (
                json!({"question": "Q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}),
                "Q",
                "y",
                c(&["x", "y"]),
                "",
            ),
            (json!({"goal": "Q", "sol1": "x", "sol2": "y"}), "Q", "", c(&["x", "y"]), ""),
            (
                json!({"sentence1": "P", "sentence2": "H", "gold_label": "neutral"}),
                "P H",
                "neutral",
                c(&[]),
                "",
            ),
            (json!({"question": "Q", "answer": ["x", "y"]}), "Q", "x", c(&[]), ""),
            (json!({"instruction": "I", "input": "", "output": "O"}), "I", "O", c(&[]), ""),
            (
                json!({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "label": true}),
                "Q",
                "A",
                c(&[]),
                "",
            ),
            (
                json!({"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "A"}}),
                "Q",
                "A",
                c(&[]),
                "",
            ),
            (json!({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": ""}), "Q", "A", c(&[]), ""),
            (json!({"prompt": "Q", "reference": "A"}), "Q", "A", c(&[]), ""),
            (
                json!({"id": "x", "prompt": "Q", "answer": "A", "signature": "s", "unit": "u"}),
                "Q",
                "A",
                c(&[]),
                "",
            ),
            (json!({"text": "T"}), "T", "", c(&[]), ""),
        ] {
            let item = read(&line);
            let found = (
                item.question.as_str(),
                item.answer.as_deref().unwrap_or(""),
                item.choices,
                item.passage.as_str(),
            );
            assert_eq!(found, (question, answer, choices, passage), "{line}");
        }
    }

    #[test]
    fn instances_are_items_and_ids_are_the_lines_own() {
        let line = json!({"id": "seed_1", "instruction": "I", "instances": [{"input": "a", "output": "x"}, {"input": "b", "output": "y"}]});
        let items = items_of("b", "7", &line).unwrap();
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["seed_1#0", "seed_1#1"]);
        assert_eq!(items[1].question, "I\nb");
    }

    #[test]
    fn unknown_shapes_name_their_keys() {
        let error = items_of("b", "7", &json!({"foo": 1, "bar": "x"})).unwrap_err().to_string();
        assert_eq!(
            error,
            "b 7: no known shape of a question has the keys foo, bar; rename them to question, answer, choices and passage"
        );
        assert_eq!(
            items_of("b", "7", &json!([1])).unwrap_err().to_string(),
            "b 7: expected a JSON object, got an array"
        );
        assert!(matches!(items_of("b", "7", &json!({"text": " "})), Err(ShapeError::NoText { .. })));
    }
}
