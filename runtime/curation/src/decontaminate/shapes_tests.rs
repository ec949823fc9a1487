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
        (json!({"sentence1": "P", "sentence2": "H", "gold_label": "neutral"}), "P H", "neutral", c(&[]), ""),
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
