//! Kept blocks as Markdown: headings, lists in lists, quotes, fenced code, pipe tables. Text is written as it is: a star of the page stays a star, since a
//! model reads the text and no renderer does.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::blocks::{Block, Layout, NONE};
use super::dom::{Attr, Dom, NodeId};
use super::place;
use super::tag::Tag;
use super::{Format, tables};

/// Levels of lists and quotes that are shown; deeper ones look like the deepest.
const MAX_LEVELS: usize = 12;

/// What is written around a block.
#[derive(Default)]
struct Frame {
    /// The list items around it, the outermost first.
    items: Vec<u32>,
    quotes: usize,
    heading: u8,
    pre: Option<u32>,
    table: Option<u32>,
    is_term: bool,
    is_definition: bool,
}

pub(super) struct Writer<'d, 'a> {
    dom: &'d Dom<'a>,
    blocks: &'d Layout,
    format: Format,
    out: String,
    /// The number of each list item that was written, and how many its list has so far.
    numbers: HashMap<u32, u32>,
    counts: HashMap<u32, u32>,
    last_items: Vec<u32>,
    last_pre: Option<u32>,
    last_quotes: usize,
}

/// Writes the blocks that are kept.
pub(super) fn render(dom: &Dom, blocks: &Layout, keep: &[bool], format: Format) -> String {
    let mut writer = Writer {
        dom,
        blocks,
        format,
        out: String::with_capacity(blocks.text.len()),
        numbers: HashMap::new(),
        counts: HashMap::new(),
        last_items: Vec::new(),
        last_pre: None,
        last_quotes: 0,
    };
    let kept: Vec<&Block> =
        blocks.blocks.iter().zip(keep).filter(|(_, keep)| **keep).map(|(block, _)| block).collect();
    let mut layouts = HashSet::new();
    let mut index = 0;
    while let Some(block) = kept.get(index) {
        let frame = writer.frame(block);
        let table = frame.table.filter(|table| format == Format::Markdown && !layouts.contains(table));
        let run = table.map_or(0, |table| {
            kept[index..].iter().take_while(|block| writer.is_within(block.region, table)).count()
        });
        let pipes = table.and_then(|table| tables::pipes(dom, blocks, table, &kept[index..index + run]));
        if let Some(pipes) = pipes {
            writer.paragraph(&frame, &pipes);
            index += run.max(1);
        } else {
            layouts.extend(table);
            writer.block(block, &frame);
            index += 1;
        }
    }
    writer.out
}

impl Writer<'_, '_> {
    fn is_within(&self, region: u32, outer: u32) -> bool {
        let mut at = region;
        while let Some(region) = self.blocks.regions.get(at as usize) {
            if at <= outer {
                return at == outer;
            }
            at = region.parent;
        }
        false
    }

    /// Looks at the regions around a block.
    fn frame(&self, block: &Block) -> Frame {
        let mut frame = Frame::default();
        let mut at = block.region;
        while let Some(region) = self.blocks.regions.get(at as usize) {
            match region.tag {
                Tag::Li => frame.items.push(at),
                Tag::Blockquote => frame.quotes += 1,
                Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext => frame.pre = frame.pre.or(Some(at)),
                Tag::Table => frame.table = frame.table.or(Some(at)),
                Tag::Dt => frame.is_term = true,
                Tag::Dd => frame.is_definition = true,
                tag if tag.is_heading() && frame.heading == 0 => frame.heading = tag.heading_level(),
                _ => {}
            }
            at = region.parent;
        }
        frame.items.reverse();
        frame.items.truncate(MAX_LEVELS);
        frame.quotes = frame.quotes.min(MAX_LEVELS);
        frame
    }

    fn block(&mut self, block: &Block, frame: &Frame) {
        let text = self.blocks.text_of(block);
        if self.format == Format::Text {
            self.separate(frame.items.is_empty() || self.last_items.is_empty());
            self.out.push_str(text);
            self.last_items.clone_from(&frame.items);
            return;
        }
        if let Some(pre) = frame.pre {
            return self.code(pre, frame, text);
        }
        if frame.heading > 0 && frame.table.is_none() {
            let line = format!("{} {}", "#".repeat(usize::from(frame.heading)), text.replace('\n', " "));
            return self.paragraph(frame, &line);
        }
        if frame.is_definition && block.places & place::DL != 0 {
            return self.paragraph(frame, &format!(": {text}"));
        }
        self.paragraph(frame, text);
    }

    fn separate(&mut self, blank: bool) {
        if !self.out.is_empty() {
            self.out.push_str(if blank { "\n\n" } else { "\n" });
        }
    }

    /// Writes a fence; blocks of one `pre` share it.
    fn code(&mut self, pre: u32, frame: &Frame, text: &str) {
        let fence = fence(text);
        if self.last_pre == Some(pre) && self.out.ends_with(&format!("\n{fence}")) {
            self.out.truncate(self.out.len() - fence.len());
            self.prefixed(frame, text, false);
            self.out.push('\n');
            self.prefixed(frame, &fence, false);
            return;
        }
        let node = self.blocks.regions.get(pre as usize).map_or(0, |region| region.node);
        let language = language(self.dom, node);
        self.paragraph(frame, &format!("{fence}{language}\n{text}\n{fence}"));
        self.last_pre = Some(pre);
    }

    /// Writes lines with the marks of the lists and quotes around them.
    fn paragraph(&mut self, frame: &Frame, text: &str) {
        let depth = frame.items.len();
        let is_new = frame.items.last().is_some_and(|item| !self.numbers.contains_key(item));
        let continues = depth > 0 && !self.last_items.is_empty() && self.last_quotes == frame.quotes;
        self.separate(!(continues && is_new));
        self.prefixed(frame, text, is_new);
        self.last_items.clone_from(&frame.items);
        self.last_quotes = frame.quotes;
        self.last_pre = None;
    }

    fn prefixed(&mut self, frame: &Frame, text: &str, is_new: bool) {
        let mut marker = String::new();
        let mut indent = 0;
        for (level, item) in frame.items.iter().enumerate() {
            let own = self.marker(*item);
            if level + 1 == frame.items.len() && is_new {
                marker = own;
            } else {
                indent += own.len();
            }
        }
        let quotes = "> ".repeat(frame.quotes);
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.out.push('\n');
            }
            self.out.push_str(&quotes);
            if line.is_empty() {
                continue;
            }
            let _ = write!(self.out, "{:indent$}", "");
            if index == 0 {
                self.out.push_str(&marker);
            } else {
                let _ = write!(self.out, "{:width$}", "", width = marker.len());
            }
            self.out.push_str(line);
        }
    }

    /// The mark of a list item: a dash or its number, which it gets when it is first written.
    fn marker(&mut self, item: u32) -> String {
        let list = self.blocks.regions.get(item as usize).map_or(NONE, |region| region.parent);
        let list_region = self.blocks.regions.get(list as usize);
        let number = if let Some(number) = self.numbers.get(&item) {
            *number
        } else {
            let first = list_region
                .and_then(|region| self.dom.attribute(region.node, Attr::Start))
                .and_then(|start| start.trim().parse().ok())
                .unwrap_or(1_u32);
            let count = self.counts.entry(list).or_insert(0);
            *count += 1;
            let number = first.saturating_add(*count - 1);
            self.numbers.insert(item, number);
            number
        };
        if list_region.is_some_and(|region| region.tag == Tag::Ol) {
            format!("{number}. ")
        } else {
            "- ".to_owned()
        }
    }
}

/// A fence that is longer than any in the code.
fn fence(code: &str) -> String {
    let longest = code.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    "`".repeat((longest + 1).max(3))
}

/// The language that the class of a `pre`, of the code in it or of the boxes around it names.
fn language(dom: &Dom, pre: NodeId) -> String {
    let inner = dom.children(pre).find(|id| dom.tag(*id) == Tag::Code);
    let outer = dom.node(pre).parent;
    let candidates = [inner, Some(pre), Some(outer), Some(dom.node(outer).parent)];
    for id in candidates.into_iter().flatten() {
        for attribute in [Attr::DataLang, Attr::DataLanguage, Attr::Lang] {
            if let Some(value) = dom
                .attribute(id, attribute)
                .filter(|value| attribute != Attr::Lang || id != outer && is_language(value))
                && is_language(value)
            {
                return value.to_ascii_lowercase();
            }
        }
        if let Some(name) = dom.attribute(id, Attr::Class).and_then(language_of_class) {
            return name;
        }
    }
    String::new()
}

fn is_language(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 20
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'#' | b'-' | b'_' | b'.'))
}

fn language_of_class(class: &str) -> Option<String> {
    let mut words = class.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        let name = ["language-", "lang-", "highlight-source-", "highlight-", "brush:", "sourceCode-"]
            .iter()
            .find_map(|prefix| word.strip_prefix(prefix));
        let name = match name {
            Some("") if word == "brush:" => words.next().map(|next| next.trim_end_matches(';')),
            Some(name) => Some(name.trim_end_matches(';')),
            None if word == "sourceCode" => words.peek().copied(),
            None => None,
        };
        if let Some(name) = name.filter(|name| {
            is_language(name)
                && !matches!(*name, "none" | "default" | "notranslate" | "plain" | "plaintext" | "text")
        }) {
            return Some(name.to_ascii_lowercase());
        }
    }
    None
}
