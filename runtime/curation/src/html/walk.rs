//! The walk over a page that finds its blocks and regions and counts what is in them.

use super::blocks::{Block, Layout, NONE, Region, add_up, collapse};
use super::dom::{Attr, Dom, NodeId, flag};
use super::error::{HtmlError, Limits, Work};
use super::math::{self, Formula};
use super::place;
use super::tag::Tag;
use super::words;

/// An element that is open during the walk.
struct Open {
    end: NodeId,
    region: u32,
    places: u32,
    kinds: u32,
    own_places: u32,
    own_kinds: u32,
    is_block: bool,
    /// Code within a line: its end gets a mark.
    is_code: bool,
}

struct Walk<'d, 'a> {
    dom: &'d Dom<'a>,
    out: Layout,
    open: Vec<Open>,
    /// The block being filled.
    block: Option<Block>,
    needs_space: bool,
    after_break: bool,
    seen: words::SeenKinds,
}

/// Nodes of code within a line.
const MAX_CODE_NODES: usize = 24;

/// Whether a class is that of the numbers beside lines of code.
fn is_line_numbers(class: &str) -> bool {
    class.split_ascii_whitespace().any(|word| {
        matches!(
            word,
            "gutter"
                | "linenos"
                | "lineno"
                | "line-numbers"
                | "line-number"
                | "lnt"
                | "blob-num"
                | "linenodiv"
        )
    })
}

/// Whether a subtree shows no text, whatever the page does.
pub(super) fn is_invisible(dom: &Dom, id: NodeId) -> bool {
    use Tag::{
        Applet, Area, Audio, Canvas, Datalist, Embed, Head, Iframe, Input, Link, Map, Meta, Noembed,
        Noframes, Progress, Script, Style, Svg, Textarea, Title, Video,
    };
    match dom.tag(id) {
        Head | Script | Style | Svg | Iframe | Textarea | Input | Canvas | Datalist | Noembed | Noframes
        | Map | Area | Audio | Video | Embed | Applet | Meta | Link | Title | Progress => true,
        Tag::Template => dom.attribute(id, Attr::ShadowRootMode).is_none(),
        _ => false,
    }
}

/// Finds the blocks of a page.
///
/// # Errors
/// [`HtmlError::Limit`].
pub(super) fn find(dom: &Dom, keep_math: bool, limits: Limits) -> Result<Layout, HtmlError> {
    let mut walk = Walk {
        dom,
        out: Layout::default(),
        open: Vec::new(),
        block: None,
        needs_space: false,
        after_break: false,
        seen: words::SeenKinds::default(),
    };
    walk.out.text.reserve(dom.source.len() / 8);
    let mut id = 0;
    while id < dom.len() {
        while walk.open.last().is_some_and(|open| open.end <= id) {
            walk.leave();
        }
        id = walk.visit(id, keep_math);
        if walk.out.blocks.len() > limits.max_blocks {
            return Err(HtmlError::Limit { what: Work::Blocks, limit: limits.max_blocks });
        }
    }
    while !walk.open.is_empty() {
        walk.leave();
    }
    walk.finish();
    add_up(&mut walk.out);
    Ok(walk.out)
}

impl Walk<'_, '_> {
    /// Looks at a node and returns the next one.
    fn visit(&mut self, id: NodeId, keep_math: bool) -> NodeId {
        let dom = self.dom;
        let node = dom.node(id);
        if node.flags & flag::SPACE_BEFORE != 0 {
            self.needs_space = true;
        }
        if node.is_text() {
            self.text(id);
            return id + 1;
        }
        if math::may_be(node.tag)
            && let Some(formula) = math::formula(dom, id)
        {
            let end = formula.end;
            self.formula(&formula, keep_math);
            return end.max(id + 1);
        }
        if is_invisible(dom, id) {
            return node.end.max(id + 1);
        }
        match node.tag {
            Tag::Br => self.line_break(),
            Tag::Hr | Tag::Img | Tag::Wbr => {}
            _ if !self.enter(id) => return node.end.max(id + 1),
            _ => {}
        }
        id + 1
    }

    /// Opens an element; false where it is to be skipped.
    fn enter(&mut self, id: NodeId) -> bool {
        let node = self.dom.node(id);
        let (mut own_places, is_link) = (place::place_of(node.tag), node.tag == Tag::A);
        let mut own_kinds = 0;
        let mut signature = 0xcbf2_9ce4_8422_2325_u64 ^ (node.tag as u64) ^ (u64::from(node.name) << 8);
        for attribute in self.dom.attributes(node) {
            let value = self.dom.value(attribute);
            match attribute.name {
                Attr::Class if is_line_numbers(value) => return false,
                Attr::Class => {
                    own_kinds |= self.seen.class_kinds(value);
                    let first = value.split_ascii_whitespace().next().unwrap_or_default();
                    signature = first.bytes().fold(signature, |hash, byte| {
                        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                    });
                }
                Attr::Id | Attr::Itemprop | Attr::AriaLabel => own_kinds |= self.seen.class_kinds(value),
                Attr::Role => own_places |= place::place_of_role(value),
                Attr::Hidden => own_places |= place::HIDDEN,
                Attr::AriaHidden if value == "true" => own_places |= place::HIDDEN,
                Attr::Style if value.contains("display:none") || value.contains("display: none") => {
                    own_places |= place::HIDDEN;
                }
                _ => {}
            }
        }
        let (outer_region, places, kinds) =
            self.open.last().map_or((NONE, 0, 0), |open| (open.region, open.places, open.kinds));
        let is_block = node.tag.is_block();
        let region = if is_block { self.new_region(id, outer_region, signature) } else { outer_region };
        if is_block {
            self.finish();
        }
        let is_code = places & place::PRE == 0
            && matches!(node.tag, Tag::Code | Tag::Kbd | Tag::Samp | Tag::Tt)
            && self.is_one_line(id);
        let open = Open {
            end: node.end,
            region,
            places: places | own_places,
            kinds: kinds | own_kinds,
            own_places,
            own_kinds,
            is_block,
            is_code,
        };
        self.open.push(open);
        if is_code {
            self.code_mark();
        }
        if is_link && let Some(block) = &mut self.block {
            block.num_links = block.num_links.saturating_add(1);
        }
        true
    }

    /// Whether an element is a few words within a line.
    fn is_one_line(&self, id: NodeId) -> bool {
        let nodes = &self.dom.nodes[id as usize..self.dom.node(id).end as usize];
        if nodes.len() > MAX_CODE_NODES {
            return false;
        }
        let has_text = nodes.iter().any(|node| {
            node.is_text() && !self.dom.text(node).trim().is_empty() && !self.dom.text(node).contains('`')
        });
        has_text
            && !nodes[1..].iter().any(|node| {
                node.tag.is_block()
                    || matches!(node.tag, Tag::Br | Tag::Code | Tag::Kbd | Tag::Samp | Tag::Tt)
            })
    }

    fn code_mark(&mut self) {
        let start = self.current().start as usize;
        if self.needs_space && self.out.text.len() > start && !self.out.text.ends_with('\n') {
            self.out.text.push(' ');
        }
        self.needs_space = false;
        self.out.text.push('`');
    }

    fn new_region(&mut self, node: NodeId, parent: u32, signature: u64) -> u32 {
        let depth = self.out.regions.get(parent as usize).map_or(0, |parent| parent.depth + 1);
        let tag = self.dom.tag(node);
        let empty = Region {
            node,
            parent,
            depth,
            tag,
            signature,
            chars: 0,
            link_chars: 0,
            num_blocks: 0,
            num_regions: 0,
            prose_chars: 0,
        };
        self.out.regions.push(empty);
        (self.out.regions.len() - 1) as u32
    }

    fn leave(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if open.is_code && self.block.is_some() {
            self.out.text.push('`');
        }
        if open.is_block {
            self.finish();
        }
    }

    fn line_break(&mut self) {
        if self.open.last().is_some_and(|open| open.places & place::PRE != 0) {
            if self.block.is_some() {
                self.out.text.push('\n');
            }
            return;
        }
        if self.after_break {
            return self.finish();
        }
        self.after_break = true;
        self.needs_space = false;
        if let Some(block) = &mut self.block {
            block.num_breaks = block.num_breaks.saturating_add(1);
            self.out.text.push('\n');
        }
    }

    /// The block being filled, started where there is none.
    fn current(&mut self) -> &mut Block {
        let open = &self.open;
        let start = self.out.text.len() as u32;
        self.block.get_or_insert_with(|| {
            let (region, places, kinds) =
                open.last().map_or((NONE, 0, 0), |open| (open.region, open.places, open.kinds));
            let near = open.iter().rev().take(3);
            let (near_places, near_kinds) =
                near.fold((0, 0), |near, open| (near.0 | open.own_places, near.1 | open.own_kinds));
            let depth = open.len().min(usize::from(u16::MAX)) as u16;
            let num_links = u16::from(places & place::LINK != 0);
            Block {
                region,
                start,
                end: start,
                chars: 0,
                link_chars: 0,
                num_links,
                num_breaks: 0,
                emphasis_chars: 0,
                places,
                near_places,
                kinds,
                near_kinds,
                depth,
            }
        })
    }

    fn text(&mut self, id: NodeId) {
        let dom = self.dom;
        let text = dom.text(dom.node(id));
        let places = self.open.last().map_or(0, |open| open.places);
        if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
            if places & place::PRE != 0 && self.block.is_some() {
                self.out.text.push_str(text);
            }
            self.needs_space = true;
            return;
        }
        let start = self.current().start;
        if places & place::PRE != 0 {
            let is_first = self.out.text.len() == start as usize;
            self.out.text.push_str(if is_first { text.trim_start_matches(['\n', '\r']) } else { text });
        } else {
            collapse(text, &mut self.out.text, start as usize, self.needs_space);
            self.needs_space = text.ends_with(|letter: char| letter.is_whitespace());
        }
        self.after_break = false;
        let chars = text.chars().filter(|letter| !letter.is_whitespace()).count() as u32;
        self.count(chars, places);
    }

    fn count(&mut self, chars: u32, places: u32) {
        let Some(block) = &mut self.block else { return };
        block.chars += chars;
        if places & place::LINK != 0 {
            block.link_chars += chars;
        }
        if places & place::EMPHASIS != 0 {
            block.emphasis_chars += chars;
        }
    }

    fn formula(&mut self, formula: &Formula, keep: bool) {
        if formula.latex.is_empty() || !keep {
            return;
        }
        let start = self.current().start as usize;
        if self.needs_space && self.out.text.len() > start {
            self.out.text.push(' ');
        }
        self.needs_space = false;
        self.after_break = false;
        let from = self.out.text.len();
        formula.write(&mut self.out.text);
        let chars = (self.out.text.len() - from) as u32;
        self.count(chars, 0);
    }

    /// Ends the block being filled.
    fn finish(&mut self) {
        self.needs_space = false;
        self.after_break = false;
        let Some(mut block) = self.block.take() else { return };
        let kept = self.out.text[block.start as usize..].trim_end().len();
        self.out.text.truncate(block.start as usize + kept);
        block.end = self.out.text.len() as u32;
        if block.chars > 0 && kept > 0 {
            self.out.blocks.push(block);
        }
    }
}
