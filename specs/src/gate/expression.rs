//! The expression as it is written: parsed, and checked against what it may name.

use cel::{ExecutionError, Program, Value};
use strsim::damerau_levenshtein;

use super::GateNames;
use super::evaluate::{FIELDS, context_of_samples};
use super::walk::{Mention, Mentions, STANDARD, Use};

/// Longest expression.
const MAX_CHARS: usize = 2_000;
/// Functions that an expression may call.
fn functions() -> Vec<&'static str> {
    ["better", "not_worse"].into_iter().chain(STANDARD).collect()
}

/// An expression that could be parsed.
#[derive(Debug)]
pub struct Gate {
    text: String,
    program: Program,
    pub(super) mentions: Mentions,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateProblem {
    /// What is wrong.
    pub message: String,
    /// What would be right; empty where the message says it.
    pub expected: String,
    /// The part of the text that it is about; empty where it is about all of it.
    pub written: String,
    /// What was written and the words that may have been meant.
    pub suggestion: Option<(String, Vec<String>)>,
}

impl GateProblem {
    fn new(message: impl Into<String>, expected: impl Into<String>, written: impl Into<String>) -> Self {
        Self { message: message.into(), expected: expected.into(), written: written.into(), suggestion: None }
    }
}

impl Gate {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, GateProblem> {
        if text.chars().count() > MAX_CHARS {
            let message = "the expression is too long";
            return Err(GateProblem::new(message, format!("at most {MAX_CHARS} characters"), ""));
        }
        let program = Program::compile(text).map_err(|errors| unparsable(&errors))?;
        let mentions = Mentions::of(program.expression());
        if mentions.is_too_deep {
            return Err(GateProblem::new("the expression is nested too deep", "fewer levels", ""));
        }
        Ok(Self { text: text.to_owned(), program, mentions })
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// The eval jobs that it speaks of, as the spec writes them.
    pub fn jobs(&self, names: &GateNames) -> Vec<String> {
        let mut jobs: Vec<String> = Vec::new();
        for mention in &self.mentions.names {
            let root = if mention.path[0] == "previous" { mention.path.get(1) } else { mention.path.first() };
            let job = root.and_then(|root| names.jobs.get(root));
            jobs.extend(job.filter(|job| !jobs.contains(job)).cloned());
        }
        jobs
    }

    /// What is wrong with it, given what it may name.
    pub fn check(&self, names: &GateNames) -> Vec<GateProblem> {
        let mut problems: Vec<GateProblem> =
            self.mentions.names.iter().filter_map(|mention| wrong_name(mention, names)).collect();
        for function in &self.mentions.functions {
            let known = functions();
            if !known.contains(&function.as_str()) {
                let message = format!("there is no function `{function}`");
                let expected = format!("one of {}", known.join(", "));
                let mut problem = GateProblem::new(message, expected, function.as_str());
                problem.suggestion =
                    Some((function.clone(), known.iter().map(|known| (*known).to_owned()).collect()));
                problems.push(problem);
            }
        }
        problems.dedup();
        if problems.is_empty() {
            problems.extend(self.rehearse(names));
        }
        problems
    }

    /// Evaluates it over invented numbers: what goes wrong with the kinds of values then goes wrong always.
    fn rehearse(&self, names: &GateNames) -> Option<GateProblem> {
        let context = context_of_samples(names)?;
        match self.program.execute(&context) {
            Ok(Value::Bool(_)) => None,
            Ok(other) => Some(GateProblem::new(
                format!("the expression gives {} instead of true or false", kind_of(&other)),
                "a comparison, such as `report.judge.aligned.win_rate.low > 0.5`",
                "",
            )),
            Err(
                error @ (ExecutionError::NoSuchOverload(_)
                | ExecutionError::UnexpectedType { .. }
                | ExecutionError::ValuesNotComparable(..)
                | ExecutionError::UnsupportedBinaryOperator(..)
                | ExecutionError::UnsupportedTargetType { .. }
                | ExecutionError::InvalidArgumentCount { .. }
                | ExecutionError::MissingArgumentOrTarget
                | ExecutionError::FunctionError { .. }
                | ExecutionError::UndeclaredReference(_)),
            ) => Some(GateProblem::new(
                format!("the expression can't be evaluated: {}", told(&error)),
                "numbers that take part in arithmetic are written with a point: `2.0 * x`",
                "",
            )),
            Err(_) => None,
        }
    }
}

/// What a name is instead of a number.
fn wrong_name(mention: &Mention, names: &GateNames) -> Option<GateProblem> {
    let written = mention.path.join(".");
    let is_previous = mention.path[0] == "previous";
    let path = if is_previous { &mention.path[1..] } else { &mention.path[..] };
    if path.is_empty() {
        let is_asked = mention.used == Use::Range;
        return (!is_asked).then(|| no_number(&written, "a number of it, such as `previous.report.…`"));
    }
    for length in 1..=path.len().min(4) {
        if !names.has(&path[..length].join(".")) {
            return Some(unknown(path, length, &written, names));
        }
    }
    let number = path[..path.len().min(4)].join(".");
    if names.numbers.get(&number).is_some_and(|count| *count > 1) {
        let message = format!("`{number}` is measured by more than one suite");
        return Some(GateProblem::new(message, "suites in eval jobs of their own", written));
    }
    match (path.len(), mention.used) {
        (5, Use::Value | Use::Presence) if FIELDS.contains(&path[4].as_str()) => None,
        (5, Use::Value | Use::Presence) => {
            let mut problem = GateProblem::new(
                format!("a number has no `{}`", path[4]),
                format!("one of {}", FIELDS.join(", ")),
                written,
            );
            problem.suggestion =
                Some((path[4].clone(), FIELDS.iter().map(|field| (*field).to_owned()).collect()));
            Some(problem)
        }
        (4, Use::Argument | Use::Presence) | (1..=3, Use::Presence | Use::Range) => None,
        (5.., Use::Argument) => {
            Some(no_number(&written, &format!("`{number}` alone: it is compared with its interval")))
        }
        (4, _) => {
            Some(no_number(&written, &format!("`{written}.value`, `{written}.low` or `{written}.high`")))
        }
        _ => Some(no_number(&written, "SUITE.MODEL.METRIC behind the name of the job")),
    }
}

fn no_number(written: &str, expected: &str) -> GateProblem {
    GateProblem::new(format!("`{written}` is not one number"), expected, written)
}

/// The first segment that nothing has, and what stands in its place.
fn unknown(path: &[String], length: usize, written: &str, names: &GateNames) -> GateProblem {
    let (before, segment) = (path[..length - 1].join("."), &path[length - 1]);
    let mut known: Vec<String> = if length == 1 {
        names.jobs.keys().cloned().collect()
    } else {
        let below = format!("{before}.");
        let next = names.numbers.keys().filter_map(|number| number.strip_prefix(&below));
        next.filter_map(|rest| rest.split('.').next().map(str::to_owned)).collect()
    };
    known.dedup();
    let (message, expected) = match (length, known.is_empty()) {
        (1, true) => (
            format!("there is no `{segment}`"),
            "the name of an eval job that measures the served model, of which this spec has none".to_owned(),
        ),
        (1, false) => (
            format!("there is no eval job `{segment}` that measures the served model"),
            format!("one of {}, or previous", known.join(", ")),
        ),
        _ => (format!("`{before}` has no `{segment}`"), format!("one of {}", known.join(", "))),
    };
    let mut problem = GateProblem::new(message, expected, written);
    // The nearest metric anywhere, where a level was left out.
    if length > 1 && !known.iter().any(|word| damerau_levenshtein(word, segment) <= 2) {
        let end = path.last().map_or("", String::as_str);
        let is_meant = |number: &&String| {
            number.ends_with(&format!(".{end}")) || number.contains(&format!(".{segment}"))
        };
        if let Some(meant) = names.numbers.keys().find(is_meant) {
            problem.expected = format!("{}; there is `{meant}`", problem.expected);
        }
    }
    problem.suggestion = Some((segment.clone(), known));
    problem
}

fn unparsable(errors: &cel::ParseErrors) -> GateProblem {
    let first = errors.errors.iter().min_by_key(|error| error.pos);
    let message = first.map_or_else(String::new, |error| {
        let line = error.msg.lines().next().unwrap_or_default();
        let line = line.split(" expecting").next().unwrap_or_default();
        format!(" at character {}: {line}", error.pos.1.max(1))
    });
    GateProblem::new(
        format!("this is not a CEL expression{message}"),
        "such as `report.judge.aligned.win_rate.low > 0.5`",
        "",
    )
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a group of values",
        Value::Null => "nothing",
        _ => "something else",
    }
}

/// An error of the interpreter in one line.
pub(super) fn told(error: &ExecutionError) -> String {
    let text = match error {
        ExecutionError::FunctionError { function, message } => format!("{function}: {message}"),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
