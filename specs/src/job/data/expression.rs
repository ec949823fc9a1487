//! Custom rules: a CEL expression over a document's signals, such as `words > 100 && mean_word_length < 8`. What it is true of stays.
//!
//! `cel` parses; the tree is then turned into numbers and truth values with their kinds checked, so that an expression that is accepted
//! can't fail on a document, and costs as many steps as it has operators. All numbers are 64-bit floats. Lists, texts and macros
//! have no place here and are refused.

use cel::Program;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::signals::{SIGNALS, Signal};

/// Longest expression.
const MAX_CHARS: usize = 2_000;
/// Deepest expression, levels.
const MAX_DEPTH: usize = 100;

/// A custom rule, ready to be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    truth: Truth,
    signals: Vec<Signal>,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionProblem {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
    /// A name that no signal has; empty where the problem is another.
    pub unknown: String,
}

impl ExpressionProblem {
    fn new(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { message: message.into(), expected: expected.into(), unknown: String::new() }
    }
}

/// A part that is true or false.
#[derive(Debug, Clone, PartialEq)]
enum Truth {
    Is(bool),
    Not(Box<Truth>),
    And(Box<[Truth; 2]>),
    Or(Box<[Truth; 2]>),
    If(Box<[Truth; 3]>),
    Same(Box<[Truth; 2]>),
    Compare(Order, Box<[Number; 2]>),
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    Equal,
    Other,
    AtLeast,
    More,
}

/// A part that is a number.
#[derive(Debug, Clone, PartialEq)]
enum Number {
    Is(f64),
    Of(Signal),
    Minus(Box<Number>),
    Arithmetic(char, Box<[Number; 2]>),
    If(Box<(Truth, Number, Number)>),
}

/// A part of either kind.
enum Part {
    Truth(Truth),
    Number(Number),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Says what can't be parsed, what does not give true or false, and which name no signal has.
    pub fn parse(text: &str) -> Result<Self, ExpressionProblem> {
        if text.chars().count() > MAX_CHARS {
            let expected = format!("at most {MAX_CHARS} characters");
            return Err(ExpressionProblem::new("the expression is too long", expected));
        }
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.iter().min_by_key(|error| error.pos);
            let message = first.map_or_else(String::new, |error| {
                let line = error.msg.lines().next().unwrap_or_default();
                let line = line.split(" expecting").next().unwrap_or_default();
                format!(" at character {}: {line}", error.pos.1.max(1))
            });
            ExpressionProblem::new(format!("this is not a CEL expression{message}"), EXAMPLE)
        })?;
        let mut signals = Vec::new();
        match part(program.expression(), 0, &mut signals)? {
            Part::Truth(truth) => {
                signals.sort_unstable();
                signals.dedup();
                Ok(Self { text: text.to_owned(), truth, signals })
            }
            Part::Number(_) => {
                let message = "the expression gives a number instead of true or false";
                Err(ExpressionProblem::new(message, EXAMPLE))
            }
        }
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signals that it speaks of.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// Whether it is true of these values.
    pub fn is_true(&self, value_of: &dyn Fn(Signal) -> f64) -> bool {
        self.truth.evaluate(value_of)
    }
}

/// What an expression may look like.
const EXAMPLE: &str = "a comparison of signals, such as `words > 100 && mean_word_length < 8`";

impl Truth {
    fn evaluate(&self, of: &dyn Fn(Signal) -> f64) -> bool {
        match self {
            Self::Is(value) => *value,
            Self::Not(inner) => !inner.evaluate(of),
            Self::And(parts) => parts.iter().all(|part| part.evaluate(of)),
            Self::Or(parts) => parts.iter().any(|part| part.evaluate(of)),
            Self::If(parts) => {
                let [condition, yes, no] = &**parts;
                if condition.evaluate(of) { yes.evaluate(of) } else { no.evaluate(of) }
            }
            Self::Same(parts) => parts[0].evaluate(of) == parts[1].evaluate(of),
            Self::Compare(order, parts) => {
                let (left, right) = (parts[0].evaluate(of), parts[1].evaluate(of));
                match order {
                    Order::Less => left < right,
                    Order::AtMost => left <= right,
                    #[allow(clippy::float_cmp, reason = "the user asks for it: counts are whole")]
                    Order::Equal => left == right,
                    #[allow(clippy::float_cmp, reason = "the user asks for it: counts are whole")]
                    Order::Other => left != right,
                    Order::AtLeast => left >= right,
                    Order::More => left > right,
                }
            }
        }
    }
}

impl Number {
    fn evaluate(&self, of: &dyn Fn(Signal) -> f64) -> f64 {
        match self {
            Self::Is(value) => *value,
            Self::Of(signal) => of(*signal),
            Self::Minus(inner) => -inner.evaluate(of),
            Self::Arithmetic(operator, parts) => {
                let (left, right) = (parts[0].evaluate(of), parts[1].evaluate(of));
                match operator {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    '/' => left / right,
                    _ => left % right,
                }
            }
            Self::If(parts) => {
                let (condition, yes, no) = &**parts;
                if condition.evaluate(of) { yes.evaluate(of) } else { no.evaluate(of) }
            }
        }
    }
}

/// Turns a node of the parsed tree into a part.
fn part(node: &IdedExpr, depth: usize, signals: &mut Vec<Signal>) -> Result<Part, ExpressionProblem> {
    if depth > MAX_DEPTH {
        return Err(ExpressionProblem::new("the expression is nested too deep", "fewer levels"));
    }
    match &node.expr {
        Expr::Literal(LiteralValue::Boolean(value)) => Ok(Part::Truth(Truth::Is(*value.inner()))),
        Expr::Literal(LiteralValue::Double(value)) => Ok(Part::Number(Number::Is(*value.inner()))),
        Expr::Literal(LiteralValue::Int(value)) => Ok(Part::Number(Number::Is(*value.inner() as f64))),
        Expr::Literal(LiteralValue::UInt(value)) => Ok(Part::Number(Number::Is(*value.inner() as f64))),
        Expr::Ident(name) => {
            let signal = Signal::of(name).ok_or_else(|| unknown(name))?;
            signals.push(signal);
            Ok(Part::Number(Number::Of(signal)))
        }
        Expr::Call(call) if call.target.is_none() => {
            let parts: Result<Vec<Part>, _> =
                call.args.iter().map(|argument| part(argument, depth + 1, signals)).collect();
            operation(&call.func_name, parts?)
        }
        _ => Err(ExpressionProblem::new(
            "the expression holds something else than numbers, comparisons and logic",
            EXAMPLE,
        )),
    }
}

/// A name that no signal has.
fn unknown(name: &str) -> ExpressionProblem {
    let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
    let expected = format!("one of {}", names.join(", "));
    ExpressionProblem { message: format!("there is no signal `{name}`"), expected, unknown: name.to_owned() }
}

/// An operator over its parts.
fn operation(name: &str, parts: Vec<Part>) -> Result<Part, ExpressionProblem> {
    use Part::{Number as N, Truth as T};
    let order = match name {
        "_<_" => Some(Order::Less),
        "_<=_" => Some(Order::AtMost),
        "_==_" => Some(Order::Equal),
        "_!=_" => Some(Order::Other),
        "_>=_" => Some(Order::AtLeast),
        "_>_" => Some(Order::More),
        _ => None,
    };
    let mut parts = parts.into_iter();
    let made = match (name, order, parts.next(), parts.next(), parts.next()) {
        (_, Some(order), Some(N(left)), Some(N(right)), None) => {
            T(Truth::Compare(order, Box::new([left, right])))
        }
        ("_==_", _, Some(T(left)), Some(T(right)), None) => T(Truth::Same(Box::new([left, right]))),
        ("_!=_", _, Some(T(left)), Some(T(right)), None) => {
            T(Truth::Not(Box::new(Truth::Same(Box::new([left, right])))))
        }
        ("_&&_", _, Some(T(left)), Some(T(right)), None) => T(Truth::And(Box::new([left, right]))),
        ("_||_", _, Some(T(left)), Some(T(right)), None) => T(Truth::Or(Box::new([left, right]))),
        ("!_", _, Some(T(inner)), None, None) => T(Truth::Not(Box::new(inner))),
        ("-_", _, Some(N(inner)), None, None) => N(Number::Minus(Box::new(inner))),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", _, Some(N(left)), Some(N(right)), None) => {
            let operator = name.chars().nth(1).unwrap_or('+');
            N(Number::Arithmetic(operator, Box::new([left, right])))
        }
        ("_?_:_", _, Some(T(condition)), Some(T(yes)), Some(T(no))) => {
            T(Truth::If(Box::new([condition, yes, no])))
        }
        ("_?_:_", _, Some(T(condition)), Some(N(yes)), Some(N(no))) => {
            N(Number::If(Box::new((condition, yes, no))))
        }
        _ => {
            let shown = name.trim_matches('_').replace("_:", ":");
            let message = format!("`{shown}` can't take these parts, or is nothing that a rule may use");
            return Err(ExpressionProblem::new(message, EXAMPLE));
        }
    };
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_true(text: &str) -> bool {
        Expression::parse(text).unwrap().is_true(&|signal| match signal {
            Signal::Words => 120.0,
            Signal::MeanWordLength => 4.5,
            _ => 0.0,
        })
    }

    #[test]
    fn numbers_are_compared_and_joined() {
        assert!(is_true("words > 100 && mean_word_length < 8"));
        assert!(!is_true("!(words >= 120) || digits > 0.1"));
        assert!(is_true("words / 2 - 10 == 50 && words % 7 != 0.0"));
        assert!(is_true("(words > 100 ? mean_word_length : -1.0) == 4.5"));
        assert!(is_true("(words > 100) == true && (digits > 0.0) != true"));
        assert_eq!(Expression::parse("words > words").unwrap().signals(), [Signal::Words]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let problem = |text: &str| Expression::parse(text).unwrap_err();
        assert_eq!(problem("wrds > 1").unknown, "wrds");
        assert!(problem("words").message.contains("number"));
        assert!(problem("words >").message.contains("not a CEL expression"));
        assert!(problem("[1, 2].all(x, x > words)").message.contains("something else"));
        assert!(problem("words > 'a'").message.contains("something else"));
        assert!(problem("words && true").message.contains("`&&`"));
        assert!(problem("size(words) > 1").message.contains("`size`"));
        assert!(problem(&"(".repeat(3000)).message.contains("long"));
    }
}
