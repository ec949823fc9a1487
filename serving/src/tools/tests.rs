//! Answers as the families' models write them, in pieces of any size.

use super::*;

fn functions() -> Vec<String> {
    ["f", "g", "get_weather", "get_time"].map(str::to_owned).into()
}

/// What an answer tells: its text, and its calls by function and arguments.
fn read(format: CallFormat, is_single: bool, answer: &str, size: usize) -> (String, Vec<(String, String)>) {
    let mut reader = CallReader::new(format, is_single, functions());
    let characters: Vec<char> = answer.chars().collect();
    let (mut content, mut calls) = (String::new(), Vec::new());
    let pieces = characters.chunks(size).map(|part| part.iter().collect::<String>());
    let mut told: Vec<Piece> = Vec::new();
    for piece in pieces {
        told.extend(reader.push(&piece));
    }
    told.extend(reader.finish());
    for piece in told {
        match piece {
            Piece::Text(text) => content += &text,
            Piece::Call { index, id, name } => {
                assert_eq!(index, calls.len());
                assert!(id.len() >= 9);
                calls.push((name, String::new()));
            }
            Piece::Arguments { index, text } => {
                assert!(!text.is_empty());
                calls[index].1 += &text;
            }
        }
    }
    (content, calls)
}

fn check(format: CallFormat, answer: &str, content: &str, calls: &[(&str, &str)]) {
    let calls: Vec<(String, String)> =
        calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect();
    for size in [1, 2, 3, 7, 1000] {
        assert_eq!(
            read(format, false, answer, size),
            (content.to_owned(), calls.clone()),
            "{answer:?} by {size}"
        );
    }
}

#[test]
fn hermes_calls_are_told_from_text() {
    let check = |answer, content, calls: &[(&str, &str)]| check(CallFormat::Hermes, answer, content, calls);
    check("Just <b>text</b>, \n and <tool_ca\n", "Just <b>text</b>, \n and <tool_ca\n", &[]);
    check(
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}{\\\"\"}}\n</tool_call>",
        "",
        &[("f", "{\"a\": \"}{\\\"\"}")],
    );
    check(
        "I look.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"arguments\": {\"b\": [1, {}]}, \"name\": \"g\"}\n</tool_call>",
        "I look.",
        &[("f", "{}"), ("g", "{\"b\": [1, {}]}")],
    );
    check("<tool_call>{\"name\":\"f\"}</tool_call> done", " done", &[("f", "{}")]);
    check(
        "<tool_call>\n{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}\n</tool_call>",
        "",
        &[("f", "{\"a\": 1}")],
    );
    check(
        "<tool_call>\n{\"name\": \"f\", \"arguments\": null, \"x\": -1.5}\n</tool_call>",
        "",
        &[("f", "{}")],
    );
    // What is no call is text.
    check("<tool_call>\nf(1)\n</tool_call>", "<tool_call>\nf(1)\n</tool_call>", &[]);
    check("<tool_call>\n{\"nam\": 1}\n</tool_call>", "<tool_call>\n{\"nam\": 1}\n</tool_call>", &[]);
    check("<tool_call>\n{\"nam", "<tool_call>\n{\"nam", &[]);
    check("<tool_call>", "<tool_call>", &[]);
}

#[test]
fn llama_calls_are_objects_at_the_start_or_behind_the_mark() {
    let check = |answer, content, calls: &[(&str, &str)]| check(CallFormat::Llama, answer, content, calls);
    check("{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "", &[("f", "{\"a\": 1}")]);
    check(
        "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"b\": 2}}",
        "",
        &[("f", "{}"), ("g", "{\"b\": 2}")],
    );
    check("{\"colour\": \"red\"} is JSON", "{\"colour\": \"red\"} is JSON", &[]);
    check("So: {\"name\": \"f\", \"parameters\": {}}", "So: {\"name\": \"f\", \"parameters\": {}}", &[]);
    check("<|python_tag|>print(1)", "<|python_tag|>print(1)", &[]);
    check("{", "{", &[]);
}

#[test]
fn mistral_calls_are_a_list() {
    let check = |answer, content, calls: &[(&str, &str)]| check(CallFormat::Mistral, answer, content, calls);
    check(
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}, \"id\": \"abcdefghi\"}]",
        "",
        &[("f", "{\"a\": 1}"), ("g", "{}")],
    );
    check("A [TOOL list]", "A [TOOL list]", &[]);
    check("[TOOL_CALLS] [nothing]", "[TOOL_CALLS] [nothing]", &[]);
}

#[test]
fn a_single_call_ends_the_answer_and_a_cut_one_is_not_whole() {
    let two = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
    assert_eq!(read(CallFormat::Hermes, true, two, 5).1, [("f".to_owned(), "{}".to_owned())]);
    let mut reader = CallReader::new(CallFormat::Hermes, true, functions());
    reader.push("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": ");
    reader.finish();
    assert!(!reader.has_whole_calls() && !reader.is_done());
    reader.push("1}}");
    assert!(reader.has_whole_calls() && reader.is_done());
}

#[test]
fn the_template_says_the_format() {
    for (source, format) in [
        ("…<tool_call>…", Some(CallFormat::Hermes)),
        ("<tool_call>\n<function=", None),
        ("[TOOL_CALLS]", Some(CallFormat::Mistral)),
        ("[TOOL_CALLS]name[ARGS]", None),
        ("\"parameters\": … ipython", Some(CallFormat::Llama)),
        ("{{ tools }}", None),
    ] {
        assert_eq!(CallFormat::of_template(source), format, "{source}");
    }
}

#[test]
fn an_object_that_names_no_function_is_an_answer_in_json() {
    let answer = "{\"name\": \"Bob\", \"age\": 3}";
    check(CallFormat::Llama, answer, answer, &[]);
    check(CallFormat::Hermes, "x <tool_call> y", "x <tool_call> y", &[]);
}
