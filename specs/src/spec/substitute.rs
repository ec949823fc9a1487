//! `${vars.NAME}`, `${env.NAME}`, `${env.NAME:-default}` and `${secret.NAME}`. Secrets stay as they are written: their values never
//! enter the tree. `$${` stands for a plain `${`.

use super::codes::Code;
use super::session::Session;
use super::tree::{Node, Spot, Value};

/// Most bytes that one value may grow to.
const MAX_VALUE_BYTES: usize = 1 << 16;

/// Most variables that stand for each other in a row.
const MAX_CHAIN: usize = 32;
/// Most placeholders that one spec may hold, those of variables counted at each use.
const MAX_LOOKUPS: usize = 20_000;

/// Replaces the placeholders of a whole tree; `vars` is its mapping of variables.
pub(crate) fn substitute(root: &mut Node, vars: Option<&Node>, session: &mut Session<'_>) {
    let mut open = Vec::new();
    let mut scope = Scope { vars, open: &mut open, knows_vars: true, lookups: 0 };
    scope.tree(root, session);
}

/// The same where only the environment is known yet: in `include`.
pub(crate) fn substitute_environment(node: &mut Node, session: &mut Session<'_>) {
    Scope { vars: None, open: &mut Vec::new(), knows_vars: false, lookups: 0 }.tree(node, session);
}

/// What placeholders may name.
struct Scope<'s> {
    vars: Option<&'s Node>,
    /// Variables whose value is being looked up, to find circles.
    open: &'s mut Vec<String>,
    knows_vars: bool,
    lookups: usize,
}

impl Scope<'_> {
    /// Every scalar below a node.
    fn tree(&mut self, node: &mut Node, session: &mut Session<'_>) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.tree(item, session)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.tree(value, session)),
            Value::Scalar { text, .. } if text.contains("${") => {
                let text = std::mem::take(text);
                node.value = self.scalar(&text, node, session);
            }
            Value::Scalar { .. } | Value::Null | Value::Broken => {}
        }
    }

    /// One scalar that holds a `${`. A value that is one whole placeholder keeps the type of what it stands for.
    fn scalar(&mut self, text: &str, node: &Node, session: &mut Session<'_>) -> Value {
        if let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
            && !inner.contains(['{', '}'])
        {
            return self.lookup(inner, node.spot, session).unwrap_or(Value::Broken);
        }
        let mut out = String::new();
        let mut is_broken = false;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                let spot = session.find(node.spot, &rest[at..]);
                session.error(Code::UnknownPlaceholder, spot, "this `${` has no `}`");
                return Value::Broken;
            };
            match self.lookup(&rest[at + 2..at + end], node.spot, session) {
                Some(Value::Scalar { text, .. }) => out.push_str(&text),
                Some(Value::Null) => out.push_str("null"),
                _ => is_broken = true,
            }
            rest = &rest[at + end + 1..];
            if out.len() > MAX_VALUE_BYTES {
                session.error(Code::TooLarge, node.spot, "this value grows too large");
                return Value::Broken;
            }
        }
        out.push_str(rest);
        if is_broken { Value::Broken } else { Value::Scalar { text: out, plain: false } }
    }

    /// What a placeholder stands for.
    fn lookup(&mut self, inner: &str, spot: Spot, session: &mut Session<'_>) -> Option<Value> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS || self.open.len() > MAX_CHAIN {
            if self.lookups <= MAX_LOOKUPS + 1 {
                session
                    .error(Code::TooLarge, spot, "the placeholders expand this spec beyond all measure")
                    .expecting(format!("at most {MAX_LOOKUPS} placeholders, {MAX_CHAIN} variables in a row"));
                self.lookups = MAX_LOOKUPS + 1;
            }
            return None;
        }
        let spot = session.find(spot, &format!("${{{inner}}}"));
        if let Some(name) = inner.strip_prefix("vars.") {
            return self.variable(name, spot, session);
        }
        if let Some(rest) = inner.strip_prefix("env.") {
            return environment(rest, spot, session);
        }
        if let Some(name) = inner.strip_prefix("secret.").filter(|name| is_name(name)) {
            return Some(Value::Scalar { text: format!("${{secret.{name}}}"), plain: false });
        }
        let scope = inner.split('.').next().unwrap_or_default();
        session
            .error(Code::UnknownPlaceholder, spot, format!("`${{{inner}}}` is not a placeholder"))
            .expecting("${vars.NAME}, ${env.NAME}, ${env.NAME:-default} or ${secret.NAME}")
            .suggesting(scope, ["vars", "env", "secret"]);
        None
    }

    /// A variable's value, its own placeholders replaced.
    fn variable(&mut self, name: &str, spot: Spot, session: &mut Session<'_>) -> Option<Value> {
        if !self.knows_vars {
            session
                .error(Code::UnknownVariable, spot, "variables are not known yet in `include`")
                .expecting("a path, or ${env.NAME}");
            return None;
        }
        let vars = self.vars;
        let Some(node) = vars.and_then(|vars| vars.get(name)) else {
            let known: Vec<&str> = vars
                .map(Node::entries)
                .unwrap_or_default()
                .iter()
                .map(|(key, _)| key.name.as_str())
                .collect();
            let defined = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
            session
                .error(Code::UnknownVariable, spot, format!("there is no variable `{name}`"))
                .expecting(format!("a key of `vars` (defined: {defined})"))
                .suggesting(name, known);
            return None;
        };
        if self.open.iter().any(|open| open == name) {
            let circle = self.open.join(" → ");
            session.error(
                Code::UnknownVariable,
                spot,
                format!("variables stand for each other: {circle} → {name}"),
            );
            return None;
        }
        self.open.push(name.to_owned());
        let value = match &node.value {
            Value::Scalar { text, .. } if text.contains("${") => self.scalar(text, node, session),
            other => other.clone(),
        };
        self.open.pop();
        Some(value)
    }
}

/// A variable of the environment, or its default.
fn environment(rest: &str, spot: Spot, session: &mut Session<'_>) -> Option<Value> {
    let (name, default) = match rest.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (rest, None),
    };
    if !is_name(name) {
        session
            .error(
                Code::UnknownPlaceholder,
                spot,
                format!("`{name}` is not a name of an environment variable"),
            )
            .expecting("${env.NAME} or ${env.NAME:-default}");
        return None;
    }
    let value = session.env.variable(name).filter(|value| !(value.is_empty() && default.is_some()));
    if let Some(text) = value.or_else(|| default.map(str::to_owned)) {
        Some(Node::plain(&text, spot).value)
    } else {
        session
            .error(Code::MissingEnvironment, spot, format!("the environment variable {name} is not set"))
            .expecting(format!("a value in the environment, or a default: ${{env.{name}:-value}}"));
        None
    }
}

/// Letters, digits and `_`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
