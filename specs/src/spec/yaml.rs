//! YAML text to a [`Node`] tree: saphyr's events give every place; duplicate keys, tags, several documents and trees that explode
//! (anchors) are errors here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::codes::Code;
use super::session::Session;
use super::tree::{Key, Node, Spot, Value};

/// Most bytes of one file.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// Most nodes that are written in one file.
const MAX_NODES: usize = 4_000_000;
/// Most nodes that aliases add to those that are written.
const MAX_ALIAS_NODES: usize = 1_000_000;
/// Mappings of up to this many entries are searched for equal keys one by one.
const SMALL_MAPPING: usize = 16;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// Parses one text that was added to the session. None after an error that leaves no tree.
pub(crate) fn parse_text(content: &str, text: u32, session: &mut Session<'_>) -> Option<Node> {
    let mut builder = Builder::new(text);
    let mut documents = 0;
    let mut parser = Parser::new_from_str(content);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    session.error(Code::Syntax, spot_of(text, span), "a second YAML document starts here");
                    return None;
                }
            }
            Ok((event, span)) => builder.event(event, span, session)?,
            Err(error) => {
                let mark = error.marker();
                let spot =
                    Spot { text, line: mark.line().max(1) as u32, column: mark.col() as u32 + 1, length: 1 };
                syntax_error(content, spot, error.info(), session);
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or_else(|| Node::plain("", Spot { text, line: 1, column: 1, length: 1 })))
}

/// Reports what the scanner did not like; a tab that indents a line up to there is the likelier cause.
fn syntax_error(content: &str, spot: Spot, info: &str, session: &mut Session<'_>) {
    match leading_tab(content, spot) {
        Some(tab) => session
            .error(Code::Syntax, tab, "a tab indents this line")
            .expecting("spaces: YAML does not indent with tabs"),
        None => session.error(Code::Syntax, spot, format!("this is not YAML: {info}")),
    };
}

/// The first line up to the place that a tab indents.
fn leading_tab(content: &str, Spot { text, line: last, .. }: Spot) -> Option<Spot> {
    content.lines().take(last as usize).enumerate().find_map(|(index, line)| {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line[..indent].find('\t')?;
        let is_blank = indent == line.len();
        (!is_blank).then_some(Spot { text, line: index as u32 + 1, column: tab as u32 + 1, length: 1 })
    })
}

/// The place of an event.
fn spot_of(text: u32, span: Span) -> Spot {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Spot {
        text,
        line: start.line().max(1) as u32,
        column: start.col() as u32 + 1,
        length: length.max(1) as u32,
    }
}

/// A finished node with what it costs to alias it.
#[derive(Clone)]
struct Built {
    node: Node,
    nodes: usize,
    depth: usize,
}

/// An open collection.
struct Frame {
    spot: Spot,
    anchor: usize,
    nodes: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key>, merged: Vec<(Key, Node)> },
}

struct Builder {
    text: u32,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    /// Nodes that are written.
    nodes: usize,
    /// Nodes that aliases added.
    alias_nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn new(text: u32) -> Self {
        Self { text, frames: Vec::new(), anchors: HashMap::new(), nodes: 0, alias_nodes: 0, root: None }
    }

    /// Takes one event; none ends the parse.
    fn event(&mut self, event: Event<'_>, span: Span, session: &mut Session<'_>) -> Option<()> {
        let mut spot = spot_of(self.text, span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                reject_tag(tag.is_some(), spot, session);
                let node = if style == ScalarStyle::Plain {
                    spot.length = text.chars().count().clamp(1, spot.length.max(1) as usize) as u32;
                    Node::plain(&text, spot)
                } else {
                    Node { value: Value::Scalar { text: text.into_owned(), plain: false }, spot }
                };
                self.nodes += 1;
                self.place(Built { node, nodes: 1, depth: 1 }, anchor, session)
            }
            Event::SequenceStart(anchor, tag) => {
                reject_tag(tag.is_some(), spot, session);
                self.open(spot, anchor, Content::List(Vec::new()), session)
            }
            Event::MappingStart(anchor, tag) => {
                reject_tag(tag.is_some(), spot, session);
                let content = Content::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(spot, anchor, content, session)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let frame = self.frames.pop()?;
                let anchor = frame.anchor;
                self.nodes += 1;
                self.place(close(frame, session), anchor, session)
            }
            Event::Alias(id) => {
                let Some(built) = self.anchors.get(&id).cloned() else {
                    session.error(Code::Syntax, spot, "the alias stands inside its own anchor");
                    return None;
                };
                self.alias_nodes += built.nodes;
                self.place(built, 0, session)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Some(()),
        }
    }

    /// Opens a collection.
    fn open(&mut self, spot: Spot, anchor: usize, content: Content, session: &mut Session<'_>) -> Option<()> {
        if self.frames.len() >= MAX_DEPTH {
            session.error(Code::TooLarge, spot, format!("this is nested more than {MAX_DEPTH} deep"));
            return None;
        }
        let spot = Spot { length: 1, ..spot };
        self.frames.push(Frame { spot, anchor, nodes: 1, depth: 1, content });
        Some(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, built: Built, anchor: usize, session: &mut Session<'_>) -> Option<()> {
        if self.nodes > MAX_NODES {
            session
                .error(Code::TooLarge, built.node.spot, "the file holds too many values")
                .expecting(format!("at most {MAX_NODES} keys, values, lists and mappings"));
            return None;
        }
        if self.alias_nodes > MAX_ALIAS_NODES || self.frames.len() + built.depth > MAX_DEPTH {
            session
                .error(Code::TooLarge, built.node.spot, "the anchors expand this spec beyond all measure")
                .expecting(format!(
                    "at most {MAX_ALIAS_NODES} nodes by aliases, nested at most {MAX_DEPTH} deep"
                ));
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(built.node);
            return Some(());
        };
        frame.nodes += built.nodes;
        frame.depth = frame.depth.max(built.depth + 1);
        match &mut frame.content {
            Content::List(items) => items.push(built.node),
            Content::Map { entries, key, merged } => match key.take() {
                None => *key = Some(key_of(&built.node, session)?),
                Some(key) if key.name == "<<" => merge_key(merged, &key, built.node, session),
                Some(key) => entries.push((key, built.node)),
            },
        }
        Some(())
    }
}

/// Ends a collection; merged entries (`<<`) go under the ones that are written.
fn close(frame: Frame, session: &mut Session<'_>) -> Built {
    let value = match frame.content {
        Content::List(items) => Value::list(items),
        Content::Map { mut entries, merged, .. } => {
            reject_equal_keys(&mut entries, session);
            if !merged.is_empty() {
                let mut known: HashSet<String> = entries.iter().map(|(key, _)| key.name.clone()).collect();
                entries.extend(merged.into_iter().filter(|(key, _)| known.insert(key.name.clone())));
            }
            Value::map(entries)
        }
    };
    Built { node: Node { value, spot: frame.spot }, nodes: frame.nodes, depth: frame.depth }
}

/// Tags would make values mean something else than the language says.
fn reject_tag(is_tagged: bool, spot: Spot, session: &mut Session<'_>) {
    if is_tagged {
        session.error(Code::Syntax, spot, "YAML tags (`!…`) are not part of the language");
    }
}

/// A scalar as a key.
fn key_of(node: &Node, session: &mut Session<'_>) -> Option<Key> {
    if let Value::Scalar { text, .. } = &node.value {
        Some(Key { name: text.clone(), spot: node.spot })
    } else {
        session
            .error(Code::Syntax, node.spot, format!("a key must be a word, not {}", node.shape()))
            .expecting("text that holds braces or brackets in quotes");
        None
    }
}

/// Keeps the first of equal keys and reports the others.
fn reject_equal_keys(entries: &mut Vec<(Key, Node)>, session: &mut Session<'_>) {
    let is_small = entries.len() <= SMALL_MAPPING;
    if is_small && entries.iter().enumerate().all(|(at, (key, _))| !has(&entries[..at], &key.name)) {
        return;
    }
    let mut first: HashMap<&str, Spot> = HashMap::with_capacity(entries.len());
    let mut equal: Vec<usize> = Vec::new();
    for (at, (key, _)) in entries.iter().enumerate() {
        if let Some(spot) = first.get(key.name.as_str()) {
            let origin = session.origin(*spot);
            let message = format!("the key `{}` stands twice in this mapping", key.name);
            session.error(Code::DuplicateKey, key.spot, message).noting(origin, "the first one is here");
            equal.push(at);
        } else {
            first.insert(&key.name, key.spot);
        }
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        equal.binary_search(&(at - 1)).is_err()
    });
}

/// Whether a key is among these.
fn has(entries: &[(Key, Node)], name: &str) -> bool {
    entries.iter().any(|(key, _)| key.name == name)
}

/// Notes the entries of a merge key; the first of several wins.
fn merge_key(merged: &mut Vec<(Key, Node)>, key: &Key, node: Node, session: &mut Session<'_>) {
    let sources = match node.value {
        Value::List(items) => Arc::unwrap_or_clone(items),
        _ => vec![node],
    };
    for source in sources {
        match source.value {
            Value::Map(entries) => merged.extend(Arc::unwrap_or_clone(entries)),
            _ => {
                session.error(Code::WrongType, key.spot, "`<<` merges mappings only");
            }
        }
    }
}
