//! `${vars.NAME}`, `${env.NAME}`, `${env.NAME:-default}` and `${secret.NAME}`. Secrets stay as they are written: their values never
//! enter the tree. `$${` stands for a plain `${`.

use std::collections::HashMap;

use super::codes::Code;
use super::session::Session;
use super::tree::{Key, Node, Spot, Value};
use super::words::{listed, nearest};

/// Most bytes that one value may grow to.
const MAX_VALUE_BYTES: usize = 1 << 16;

/// Most variables that stand for each other in a row.
const MAX_CHAIN: usize = 32;
/// Most bytes that the placeholders of one spec may grow to.
const MAX_BYTES: usize = 64 << 20;

/// Replaces the placeholders of a whole tree; `vars` is its mapping of variables.
pub(crate) fn substitute(root: Node, vars: Option<&Node>, session: &mut Session<'_>) -> Node {
    let vars = vars.map(Node::entries).unwrap_or_default();
    Scope::new(Some(vars)).tree(&root, session).unwrap_or(root)
}

/// The same where only the environment is known yet: in `include`.
pub(crate) fn substitute_environment(node: Node, session: &mut Session<'_>) -> Node {
    Scope::new(None).tree(&node, session).unwrap_or(node)
}

/// What placeholders may name.
struct Scope<'s> {
    /// The variables; none where they are not known yet.
    vars: Option<&'s [(Key, Node)]>,
    /// The same by name.
    index: HashMap<&'s str, &'s Node>,
    /// What variables stand for, each looked up once; none after an error.
    known: HashMap<&'s str, Option<Value>>,
    /// Variables whose value is being looked up, and where they are asked for, to find circles.
    open: Vec<(&'s str, Spot)>,
    /// Bytes that placeholders became so far.
    bytes: usize,
}

impl<'s> Scope<'s> {
    fn new(vars: Option<&'s [(Key, Node)]>) -> Self {
        let entries = vars.unwrap_or_default();
        let index = entries.iter().map(|(key, node)| (key.name.as_str(), node)).collect();
        Self { vars, index, known: HashMap::new(), open: Vec::new(), bytes: 0 }
    }

    /// A node with the placeholders below it replaced; none where it holds none.
    fn tree(&mut self, node: &Node, session: &mut Session<'_>) -> Option<Node> {
        let value = match &node.value {
            Value::List(items) => {
                let mut changed: Option<Vec<Node>> = None;
                for (at, item) in items.iter().enumerate() {
                    if let Some(new) = self.tree(item, session) {
                        changed.get_or_insert_with(|| items.to_vec())[at] = new;
                    }
                }
                Value::list(changed?)
            }
            Value::Map(entries) => {
                let mut changed: Option<Vec<(Key, Node)>> = None;
                for (at, (_, value)) in entries.iter().enumerate() {
                    if let Some(new) = self.tree(value, session) {
                        changed.get_or_insert_with(|| entries.to_vec())[at].1 = new;
                    }
                }
                Value::map(changed?)
            }
            Value::Scalar { text, .. } if text.contains('$') && text.contains("${") => {
                self.scalar(text, node, session)
            }
            Value::Scalar { .. } | Value::Null | Value::Broken => return None,
        };
        Some(Node { value, spot: node.spot })
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
                let written = rest[at..].lines().next().unwrap_or_default();
                let spot = session.find_below(node.spot, written);
                session
                    .error(Code::UnknownPlaceholder, spot, "this `${` has no `}`")
                    .expecting("${vars.NAME}, ${env.NAME} or ${secret.NAME}; `$${` for a plain `${`");
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
        // What is written without quotes stays so: `${vars.depth}0` is a number.
        let plain = matches!(node.value, Value::Scalar { plain: true, .. });
        if is_broken { Value::Broken } else { Value::Scalar { text: out, plain } }
    }

    /// What a placeholder stands for.
    fn lookup(&mut self, inner: &str, token: Spot, session: &mut Session<'_>) -> Option<Value> {
        let value = if let Some(name) = inner.strip_prefix("vars.") {
            self.variable(name, token, session)?
        } else if let Some(rest) = inner.strip_prefix("env.") {
            environment(rest, token, session)?
        } else if let Some(name) = inner.strip_prefix("secret.").filter(|name| is_name(name)) {
            Value::Scalar { text: format!("${{secret.{name}}}"), plain: false }
        } else {
            let meant = self.meant(inner);
            let spot = place_of(inner, token, session);
            session
                .error(Code::UnknownPlaceholder, spot, format!("`${{{inner}}}` is not a placeholder"))
                .expecting("${vars.NAME}, ${env.NAME}, ${env.NAME:-default} or ${secret.NAME}")
                .suggestion = meant;
            return None;
        };
        if let Value::Scalar { text, .. } = &value {
            let before = self.bytes;
            self.bytes += text.len();
            if self.bytes > MAX_BYTES {
                if before <= MAX_BYTES {
                    session
                        .error(Code::TooLarge, token, "the placeholders expand this spec beyond all measure")
                        .expecting(format!("at most {MAX_BYTES} bytes by all placeholders"));
                }
                return None;
            }
        }
        Some(value)
    }

    /// The placeholder that was meant: a variable without its scope, or with spaces around it.
    fn meant(&self, inner: &str) -> Option<String> {
        let inner = inner.trim();
        let (scope, name) = inner.split_once('.').unwrap_or(("vars", inner));
        let scope = nearest(scope, ["vars", "env", "secret"])?;
        let is_known = scope != "vars" || self.index.contains_key(name);
        is_known.then(|| format!("${{{scope}.{name}}}"))
    }

    /// A variable's value, its own placeholders replaced.
    fn variable(&mut self, name: &str, token: Spot, session: &mut Session<'_>) -> Option<Value> {
        let inner = format!("vars.{name}");
        let Some(vars) = self.vars else {
            let spot = place_of(&inner, token, session);
            session
                .error(Code::UnknownVariable, spot, "variables are not known yet in `include`")
                .expecting("a path, or ${env.NAME}");
            return None;
        };
        let Some((&name, &node)) = self.index.get_key_value(name) else {
            let known = || vars.iter().map(|(key, _)| key.name.as_str());
            let expected = if vars.is_empty() {
                format!("an entry `{name}` in `vars`, which the spec does not have")
            } else {
                format!("a key of `vars` (defined: {})", listed(known()))
            };
            let spot = place_of(&inner, token, session);
            session
                .error(Code::UnknownVariable, spot, format!("there is no variable `{name}`"))
                .expecting(expected)
                .suggesting(name, known());
            return None;
        };
        if let Some(value) = self.known.get(name) {
            return value.clone();
        }
        if let Some(from) = self.open.iter().position(|(open, _)| *open == name) {
            self.circle(from, name, token, session);
            return None;
        }
        if self.open.len() >= MAX_CHAIN {
            session
                .error(
                    Code::TooLarge,
                    place_of(&inner, token, session),
                    "too many variables stand for each other",
                )
                .expecting(format!("at most {MAX_CHAIN} in a row"));
            return None;
        }
        self.open.push((name, token));
        let value = match &node.value {
            Value::Scalar { text, .. } if text.contains("${") => self.scalar(text, node, session),
            other => other.clone(),
        };
        self.open.pop();
        let value = (value != Value::Broken).then_some(value);
        self.known.insert(name, value.clone());
        value
    }

    /// Reports variables that stand for each other, with each of the places.
    fn circle(&self, from: usize, name: &str, token: Spot, session: &mut Session<'_>) {
        let circle = &self.open[from..];
        let names: Vec<&str> = circle.iter().map(|(open, _)| *open).chain([name]).collect();
        let places = circle[1..].iter().map(|(_, spot)| *spot).chain([token]);
        let notes: Vec<_> = names
            .windows(2)
            .zip(places)
            .map(|(pair, spot)| {
                let spot = place_of(&format!("vars.{}", pair[1]), spot, session);
                (session.origin(spot), format!("`{}` stands for `{}`", pair[0], pair[1]))
            })
            .collect();
        let spot = place_of(&format!("vars.{name}"), token, session);
        let message = format!("variables stand for each other: {}", names.join(" → "));
        let error = session.error(Code::UnknownVariable, spot, message);
        error.expecting("a value for one of them");
        for (origin, note) in notes {
            error.noting(origin, note);
        }
    }
}

/// The place of a placeholder within its token.
fn place_of(inner: &str, token: Spot, session: &Session<'_>) -> Spot {
    session.find_below(token, &format!("${{{inner}}}"))
}

/// A variable of the environment, or its default.
fn environment(rest: &str, token: Spot, session: &mut Session<'_>) -> Option<Value> {
    let (name, default) = match rest.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (rest, None),
    };
    if !is_name(name) {
        session
            .error(
                Code::UnknownPlaceholder,
                place_of(&format!("env.{rest}"), token, session),
                format!("`{name}` is not a name of an environment variable"),
            )
            .expecting("${env.NAME} or ${env.NAME:-default}");
        return None;
    }
    let value = session.env.variable(name).filter(|value| !(value.is_empty() && default.is_some()));
    if let Some(text) = value.or_else(|| default.map(str::to_owned)) {
        Some(Node::plain(&text, token).value)
    } else {
        let spot = place_of(&format!("env.{rest}"), token, session);
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
