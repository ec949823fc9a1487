//! YAML text to a [`Node`] tree: saphyr's events give every place; duplicate keys, tags, several documents and trees that explode
//! (anchors) are errors here. Text that is not YAML is explained by `syntax` and cut out by `recover`.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::codes::Code;
use super::recover::Recovery;
use super::session::Session;
use super::syntax::Syntax;
use super::tree::{Key, Node, Spot, Value};

/// Most bytes of one file.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// Most nodes that are written in one file.
const MAX_NODES: usize = 4_000_000;
/// Most nodes that aliases add to those that are written.
const MAX_ALIAS_NODES: usize = 1_000_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Mappings of up to this many entries are searched for equal keys one by one.
const SMALL_MAPPING: usize = 16;

/// Parses one text that was added to the session. Entries that are not YAML are reported, cut out and stand as broken values, so
/// that the others are checked too. None after an error that leaves no tree.
pub(crate) fn parse_text(content: &str, text: u32, session: &mut Session<'_>) -> Option<Node> {
    let mut problem = match parse_once(content, text, &[], session) {
        Ok(node) => return Some(node),
        Err(problem) => problem?,
    };
    let mut recovery = Recovery::new(text);
    loop {
        let content = recovery.report_and_cut(&problem, session)?;
        problem = match parse_once(&content, text, recovery.heads(), session) {
            Ok(node) => return Some(node),
            Err(problem) => problem?,
        };
    }
}

/// Parses a text whose lines `broken` stand for entries that were cut out. An error without a problem is reported already, and
/// leaves no tree.
fn parse_once(
    content: &str,
    text: u32,
    broken: &[u32],
    session: &mut Session<'_>,
) -> Result<Node, Option<Syntax>> {
    let mut builder = Builder::new(text, broken);
    let mut documents = 0;
    let mut parser = Parser::new_from_str(content);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    session
                        .error(Code::Syntax, spot_of(text, span), "a second YAML document starts here")
                        .expecting("one document: a spec is one file, or files that `include` joins");
                    break;
                }
            }
            Ok((event, span)) => builder.event(event, span, session).ok_or(None)?,
            Err(error) => {
                let mark = error.marker();
                let (line, column) = (mark.line().max(1) as u32, mark.col() as u32 + 1);
                let open = builder.frames.iter().map(|frame| frame.spot).collect();
                let spot = Spot { text, line, column, length: 1 };
                return Err(Some(Syntax { spot, info: error.info().to_owned(), open }));
            }
        }
    }
    Ok(builder.root.unwrap_or_else(|| Node::plain("", Spot { text, line: 1, column: 1, length: 1 })))
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

/// An open collection; its items or entries are those of the builder's from `from` on.
struct Frame {
    spot: Spot,
    anchor: usize,
    nodes: usize,
    depth: usize,
    from: usize,
    content: Content,
}

enum Content {
    List,
    Map { key: Pending, merged: Vec<(Key, Node)> },
}

/// The key whose value comes next.
enum Pending {
    /// A key comes next.
    None,
    /// This one.
    Key(Key),
    /// One that was reported: its value is dropped.
    Dropped,
}

struct Builder<'b> {
    text: u32,
    /// Lines whose values were cut out.
    broken: &'b [u32],
    frames: Vec<Frame>,
    /// Items of all open lists.
    items: Vec<Node>,
    /// Entries of all open mappings.
    entries: Vec<(Key, Node)>,
    anchors: HashMap<usize, Built>,
    /// Nodes that are written.
    nodes: usize,
    /// Nodes that aliases added.
    alias_nodes: usize,
    root: Option<Node>,
}

impl<'b> Builder<'b> {
    fn new(text: u32, broken: &'b [u32]) -> Self {
        Self {
            text,
            broken,
            frames: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            alias_nodes: 0,
            root: None,
        }
    }

    /// Takes one event; none ends the parse.
    fn event(&mut self, event: Event<'_>, span: Span, session: &mut Session<'_>) -> Option<()> {
        let mut spot = spot_of(self.text, span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                reject_tag(tag.is_some(), spot, session);
                let node = if style == ScalarStyle::Plain {
                    spot.length = text.chars().count().min(spot.length as usize) as u32;
                    Node::plain(&text, spot)
                } else {
                    Node { value: Value::Scalar { text: text.into_owned(), plain: false }, spot }
                };
                self.nodes += 1;
                self.place(Built { node, nodes: 1, depth: 1 }, anchor, session)
            }
            Event::SequenceStart(anchor, tag) => {
                reject_tag(tag.is_some(), spot, session);
                self.open(spot, anchor, Content::List, session)
            }
            Event::MappingStart(anchor, tag) => {
                reject_tag(tag.is_some(), spot, session);
                self.open(spot, anchor, Content::Map { key: Pending::None, merged: Vec::new() }, session)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let frame = self.frames.pop()?;
                let anchor = frame.anchor;
                self.nodes += 1;
                let built = self.close(frame, session);
                self.place(built, anchor, session)
            }
            Event::Alias(id) => {
                let built = self.anchors.get(&id).cloned().unwrap_or_else(|| {
                    session
                        .error(Code::Syntax, spot, "the alias stands inside its own anchor")
                        .expecting("an alias behind the end of what its anchor marks");
                    Built { node: Node { value: Value::Broken, spot }, nodes: 1, depth: 1 }
                });
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
            session
                .error(Code::TooLarge, spot, format!("this is nested more than {MAX_DEPTH} deep"))
                .expecting(format!("at most {MAX_DEPTH} lists and mappings inside each other"));
            return None;
        }
        let spot = Spot { length: 1, ..spot };
        let from = match content {
            Content::List => self.items.len(),
            Content::Map { .. } => self.entries.len(),
        };
        self.frames.push(Frame { spot, anchor, nodes: 1, depth: 1, from, content });
        Some(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, mut built: Built, anchor: usize, session: &mut Session<'_>) -> Option<()> {
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
            Content::List => self.items.push(built.node),
            Content::Map { key, merged } => match std::mem::replace(key, Pending::None) {
                Pending::None => *key = key_of(&built.node, session),
                Pending::Dropped => {}
                Pending::Key(name) if name.name == "<<" => merge_key(merged, &name, &built.node, session),
                Pending::Key(name) => {
                    if self.broken.contains(&name.spot.line) {
                        built.node.value = Value::Broken;
                    }
                    built.node.spot = told_at(&name, &built.node);
                    self.entries.push((name, built.node));
                }
            },
        }
        Some(())
    }

    /// Ends a collection; merged entries (`<<`) go under the ones that are written.
    fn close(&mut self, frame: Frame, session: &mut Session<'_>) -> Built {
        let value = match frame.content {
            Content::List => Value::List(self.items.drain(frame.from..).collect()),
            Content::Map { merged, .. } => {
                reject_equal_keys(&mut self.entries, frame.from, session);
                if !merged.is_empty() {
                    let mut known: HashSet<String> =
                        self.entries[frame.from..].iter().map(|(key, _)| key.name.clone()).collect();
                    self.entries.extend(merged.into_iter().filter(|(key, _)| known.insert(key.name.clone())));
                }
                Value::Map(self.entries.drain(frame.from..).collect())
            }
        };
        Built { node: Node { value, spot: frame.spot }, nodes: frame.nodes, depth: frame.depth }
    }
}

/// Where errors of a value point: at its key where nothing is written, or where a mapping starts on a line of its own.
fn told_at(key: &Key, node: &Node) -> Spot {
    let is_nothing = node.spot.length == 0;
    let is_block = matches!(node.value, Value::Map(_)) && node.spot.line != key.spot.line;
    if is_nothing || is_block { key.spot } else { node.spot }
}

/// Tags would make values mean something else than the language says.
fn reject_tag(is_tagged: bool, spot: Spot, session: &mut Session<'_>) {
    if is_tagged {
        session
            .error(Code::Syntax, spot, "YAML tags (`!…`) are not part of the language")
            .expecting("the value alone, in quotes where it is text that starts with `!`");
    }
}

/// A scalar as a key.
fn key_of(node: &Node, session: &mut Session<'_>) -> Pending {
    if let Value::Scalar { text, .. } = &node.value {
        return Pending::Key(Key { name: text.clone(), spot: node.spot });
    }
    session
        .error(Code::Syntax, node.spot, format!("a key must be a word, not {}", node.shape()))
        .expecting("a word; text that holds braces or brackets in quotes");
    Pending::Dropped
}

/// Keeps the first of equal keys from an entry on, and reports the others.
fn reject_equal_keys(all: &mut Vec<(Key, Node)>, from: usize, session: &mut Session<'_>) {
    let entries = &all[from..];
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
            session
                .error(Code::DuplicateKey, key.spot, message)
                .expecting("each key once")
                .noting(origin, "the first one is here");
            equal.push(from + at);
        } else {
            first.insert(&key.name, key.spot);
        }
    }
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        equal.binary_search(&(at - 1)).is_err()
    });
}

/// Whether a key is among these.
fn has(entries: &[(Key, Node)], name: &str) -> bool {
    entries.iter().any(|(key, _)| key.name == name)
}

/// Notes the entries of a merge key; the first of several wins.
fn merge_key(merged: &mut Vec<(Key, Node)>, key: &Key, node: &Node, session: &mut Session<'_>) {
    let sources = match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    };
    for source in sources {
        let Value::Map(entries) = &source.value else {
            let spot = if source.spot.length == 0 { key.spot } else { source.spot };
            session
                .error(Code::WrongType, spot, "`<<` merges mappings only")
                .expecting("an alias of a mapping, or a list of them");
            continue;
        };
        merged.extend(entries.iter().cloned());
    }
}
