//! A walk over an expression: which numbers it names, and how.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};

/// Deepest expression, levels.
const MAX_DEPTH: usize = 100;

/// CEL's own functions that an expression may call.
pub(super) const STANDARD: [&str; 6] = ["size", "double", "int", "uint", "string", "bool"];

/// How a name is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Its value counts.
    Value,
    /// It is compared as a whole: an argument of `better` or `not_worse`.
    Argument,
    /// Only whether it is there counts: `has(…)`.
    Presence,
    /// A macro goes over what is below it.
    Range,
}

/// A name in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mention {
    /// Its segments: `report`, `judge`, `aligned`, `win_rate`, `low`.
    pub(super) path: Vec<String>,
    /// How it is used.
    pub(super) used: Use,
}

/// What an expression mentions.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    /// Names, in the order of the text.
    pub(super) names: Vec<Mention>,
    /// Functions that are called, operators left out.
    pub(super) functions: Vec<String>,
    /// Whether it is nested too deep to be looked at.
    pub(super) is_too_deep: bool,
    locals: Vec<String>,
}

impl Mentions {
    /// Those of an expression.
    pub(super) fn of(expression: &IdedExpr) -> Self {
        let mut mentions = Self::default();
        mentions.walk(expression, Use::Value, 0);
        mentions
    }

    fn walk(&mut self, node: &IdedExpr, used: Use, depth: usize) {
        if depth > MAX_DEPTH {
            self.is_too_deep = true;
            return;
        }
        let depth = depth + 1;
        if let Some((path, is_test)) = path_of(node) {
            if !path.first().is_some_and(|root| self.locals.contains(root)) {
                self.names.push(Mention { path, used: if is_test { Use::Presence } else { used } });
            }
            return;
        }
        match &node.expr {
            Expr::Call(call) => {
                let is_named = call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
                if is_named {
                    self.functions.push(call.func_name.clone());
                }
                // One that is not known is told as such, whatever it takes.
                let inner = if is_named && !STANDARD.contains(&call.func_name.as_str()) {
                    Use::Argument
                } else {
                    Use::Value
                };
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.for_each(|part| self.walk(part, inner, depth));
            }
            Expr::Comprehension(loops) => {
                self.walk(&loops.iter_range, Use::Range, depth);
                self.walk(&loops.accu_init, Use::Value, depth);
                let before = self.locals.len();
                self.locals.extend([loops.iter_var.clone(), loops.accu_var.clone()]);
                self.locals.extend(loops.iter_var2.clone());
                for part in [&loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.walk(part, Use::Value, depth);
                }
                self.locals.truncate(before);
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.walk(item, Use::Value, depth)),
            Expr::Map(map) => self.walk_entries(map.entries.iter().map(|entry| &entry.expr), depth),
            Expr::Struct(made) => self.walk_entries(made.entries.iter().map(|entry| &entry.expr), depth),
            Expr::Select(select) => self.walk(&select.operand, Use::Value, depth),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn walk_entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>, depth: usize) {
        for entry in entries {
            match entry {
                EntryExpr::MapEntry(entry) => {
                    self.walk(&entry.key, Use::Value, depth);
                    self.walk(&entry.value, Use::Value, depth);
                }
                EntryExpr::StructField(field) => self.walk(&field.value, Use::Value, depth),
            }
        }
    }
}

/// The name that an expression spells with `.` or `["…"]`, and whether it is only asked for; none where it spells no name.
fn path_of(node: &IdedExpr) -> Option<(Vec<String>, bool)> {
    let mut path = Vec::new();
    let (mut at, mut is_test) = (node, false);
    loop {
        match &at.expr {
            Expr::Ident(name) => {
                path.push(name.clone());
                path.reverse();
                return Some((path, is_test));
            }
            Expr::Select(select) => {
                // Only the outermost one is what `has` asks for.
                if select.test && !path.is_empty() {
                    return None;
                }
                is_test |= select.test;
                path.push(select.field.clone());
                at = &select.operand;
            }
            Expr::Call(call) if call.func_name == "_[_]" => {
                let [operand, key] = &call.args[..] else { return None };
                let Expr::Literal(LiteralValue::String(key)) = &key.expr else { return None };
                path.push(key.inner().to_owned());
                at = operand;
            }
            _ => return None,
        }
    }
}
