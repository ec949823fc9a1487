//! What the language has and this version does not carry out: refused, never ignored. Remove an entry as its feature works.

use std::ops::Range;
use std::sync::LazyLock;

use super::codes::Code;
use super::session::Session;
use super::tree::{Node, Spot, Value};

/// Which values of a field are refused. `null` never is.
enum Refused {
    /// Every value.
    Any,
    /// These words.
    Words(&'static [&'static str]),
    /// Every value but this one.
    AllBut(&'static str),
}
use Refused::{AllBut, Any, Words};

/// Fields by path: the job's kind and the field path in the job, or a path from the top. `*` is any one segment, `**` any number.
const UNSUPPORTED: &[(&str, Refused)] = &[
    ("data.sources.*.dataset", Any),
    ("scaling.context.extend", Any),
    ("sft.data.*.synthesize", Any),
    ("rlhf.labeler.kind", Words(&["judge", "human"])),
    ("rlhf.method", Words(&["kto", "grpo", "best_of_n", "direct"])),
    ("eval.suites.*.generate", Any),
    ("eval.suites.*.judge.judge", AllBut("reference")),
    ("eval.suites.*.judge.length_control", AllBut("false")),
    ("eval.suites.*.judge.swap", AllBut("false")),
    ("eval.suites.*.contamination.methods.*", Words(&["ordering"])),
    ("*.resources.nodes", Any),
    ("*.resources.partition", Any),
    ("*.resources.time", Any),
    ("*.resources.account", Any),
    ("*.resources.qos", Any),
    ("**.huggingface", Any),
];

/// The segments of each entry's path.
static PATTERNS: LazyLock<Vec<Vec<&str>>> =
    LazyLock::new(|| UNSUPPORTED.iter().map(|(pattern, _)| pattern.split('.').collect()).collect());

/// Refuses what stands in a tree under a prefix: the kind of a job, or a key of the top.
pub(crate) fn refuse(prefix: &str, node: &Node, session: &mut Session<'_>) {
    let active: Vec<(usize, usize)> = (0..UNSUPPORTED.len()).map(|entry| (entry, 0)).collect();
    let all = active.len();
    let mut walk = Walk { session, active, path: vec![prefix] };
    walk.enter(0..all, Some(prefix));
    walk.children(node, all);
}

/// A walk down a tree with the entries that the path so far fits.
struct Walk<'w, 'n, 's> {
    session: &'w mut Session<'s>,
    /// Entries with the number of segments that are matched, those of the outer nodes first.
    active: Vec<(usize, usize)>,
    /// The keys on the way; items of lists have none.
    path: Vec<&'n str>,
}

impl<'n> Walk<'_, 'n, '_> {
    /// Everything below a node whose own entries start at `from`.
    fn children(&mut self, node: &'n Node, from: usize) {
        let here = self.active.len();
        if from == here {
            return;
        }
        for (key, child) in node.entries() {
            self.path.push(&key.name);
            self.visit(from..here, Some(&key.name), child, key.spot);
            self.path.pop();
            self.active.truncate(here);
        }
        for item in node.items() {
            self.visit(from..here, None, item, item.spot);
            self.active.truncate(here);
        }
    }

    /// One node by its key, or none as an item of a list.
    fn visit(&mut self, outer: Range<usize>, key: Option<&str>, node: &'n Node, spot: Spot) {
        let from = self.active.len();
        self.enter(outer, key);
        let whole = self.active[from..].iter().find(|(entry, at)| *at == PATTERNS[*entry].len());
        if let Some((entry, _)) = whole {
            self.judge(&UNSUPPORTED[*entry].1, node, spot);
        }
        if !node.entries().is_empty() || !node.items().is_empty() {
            self.children(node, from);
        }
    }

    /// Keeps the entries that go on with this segment.
    fn enter(&mut self, outer: Range<usize>, key: Option<&str>) {
        for outer in outer {
            let (entry, mut at) = self.active[outer];
            let pattern = &PATTERNS[entry];
            if pattern.get(at) == Some(&"**") {
                self.active.push((entry, at));
                at += 1;
            }
            if pattern.get(at).is_some_and(|segment| *segment == "*" || Some(*segment) == key) {
                self.active.push((entry, at + 1));
            }
        }
    }

    /// Refuses a value, or says nothing.
    fn judge(&mut self, refused: &Refused, node: &Node, key: Spot) {
        if node.value == Value::Null {
            return;
        }
        let field = || self.path.join(".");
        let expected = if let AllBut(allowed) = refused { *allowed } else { "" };
        let (spot, message) = match (refused, node.text()) {
            (Any, _) => (key, format!("{} is not supported yet", field())),
            (Words(words), Some(word)) if words.contains(&word) => {
                (node.spot, format!("`{word}` is not supported yet for {}", field()))
            }
            (AllBut(allowed), Some(word)) if word != *allowed => {
                (node.spot, format!("`{word}` is not supported yet for {}", field()))
            }
            (AllBut(_), None) => (node.spot, format!("{} is not supported yet", field())),
            _ => return,
        };
        self.session.error(Code::Unsupported, spot, message).expecting(expected);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::yaml::parse_text;
    use crate::spec::{ProcessEnvironment, explain};

    /// An entry whose field has gone would refuse nothing and tell nobody.
    #[test]
    fn every_entry_is_a_field_of_the_language() {
        for (pattern, _) in UNSUPPORTED {
            let Some(rest) = pattern.strip_prefix("**.") else {
                let path = match pattern.strip_prefix("*.") {
                    Some(rest) => format!("data.{rest}"),
                    None => pattern.replace("schedules.*", "schedules.nightly").replace('*', "0"),
                };
                assert!(explain(&path).is_some(), "{pattern}");
                continue;
            };
            assert!(explain(&format!("sft.model.{rest}")).is_some(), "{pattern}");
        }
    }

    #[test]
    fn stars_match_one_segment_and_two_stars_any() {
        let refused = |prefix: &str, text: &str| {
            let mut session = Session::new(&ProcessEnvironment);
            let text_id = session.add_text("a", Path::new(""), text);
            let node = parse_text(text, text_id, &mut session).unwrap();
            refuse(prefix, &node, &mut session);
            session.error_count()
        };
        assert_eq!(refused("sft", "data: [{ synthesize: {} }, { paths: [a] }, { synthesize: {} }]"), 2);
        assert_eq!(refused("sft", "data: { synthesize: {} }"), 0);
        assert_eq!(refused("scaling", "context: { extend: { length: 8 } }"), 1);
        assert_eq!(refused("scaling", "context: { extend: null }"), 0);
        assert_eq!(refused("eval", "models: [{ huggingface: org/name }]"), 1);
        assert_eq!(refused("sft", "huggingface: org/name"), 1);
        assert_eq!(refused("eval", "suites: [{ judge: { swap: false } }]"), 0);
        assert_eq!(
            refused("eval", "suites: [{ judge: { swap: true } }]\nresources: { nodes: 2, cores: 1 }"),
            2
        );
    }
}
