//! The shapes themselves: each reader gives the items of a line of its shape, or none.

use serde_json::Value;

use super::item::EvalItem;
use super::shape_fields::{Object, choices, first_answer, gold, parts_of_prompt, right, string, text};

/// A reader of one shape.
type Reader = fn(&Object) -> Option<Vec<EvalItem>>;

/// Every reader. The first that knows a line has it, so that the ones that ask for more keys stand before those that ask for less.
pub(super) const READERS: [Reader; 14] = [
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

/// Held-out documents: `{text}`.
fn of_text(object: &Object) -> Option<Vec<EvalItem>> {
    one(string(object, "text")?, None, Vec::new(), String::new())
}
