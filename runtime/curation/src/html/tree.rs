//! The tree builder: implied and missing tags as the HTML standard's "in body" mode treats them (§13.2.6.4.7), with three simplifications that no text
//! depends on. Formatting is not opened again after a block ended it, text that stands wrongly in a table stays there, and a link that ends within
//! blocks it has opened splits those. So every node is appended to the innermost open element and the array is in document order.

use super::dom::{Attr, Dom, Node, NodeId, Span, flag};
use super::entities::Place;
use super::error::{HtmlError, Limits, Work};
use super::lex::{Lexer, Token};
use super::tag::{NUM_TAGS, Tag};

/// Open elements looked at per byte of source: pages that people wrote need less than one.
const STEPS_PER_BYTE: usize = 16;

/// Steps that even the smallest page may take.
const FREE_STEPS: usize = 100_000;

/// Blocks that a link's end may split.
const MAX_SPLIT: usize = 8;

/// Which elements stop the search for an open one, besides the end of a scope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Default,
    Button,
    List,
    Table,
}

/// Whether the page's programs would run: what stands in `noscript` is for readers where they do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripts {
    /// As in a browser: `noscript` is a text that nobody sees.
    Run,
    /// As for a reader without scripts: `noscript` is an element like others.
    Off,
}

struct Builder<'a> {
    dom: Dom<'a>,
    /// The open elements, the innermost last.
    stack: Vec<NodeId>,
    /// How many of each are open.
    open: [u32; NUM_TAGS],
    has_html: bool,
    has_body: bool,
    has_space: bool,
    steps: usize,
    scripts: Scripts,
    limits: Limits,
}

/// Reads a page.
///
/// # Errors
/// [`HtmlError::Limit`].
pub(super) fn parse(source: &str, scripts: Scripts, limits: Limits) -> Result<Dom<'_>, HtmlError> {
    let max_bytes = limits.max_bytes.min(1 << 30);
    if source.len() > max_bytes {
        return Err(HtmlError::Limit { what: Work::Bytes, limit: max_bytes });
    }
    let mut builder = Builder {
        dom: Dom::new(source),
        stack: vec![0],
        open: [0; NUM_TAGS],
        has_html: false,
        has_body: false,
        has_space: false,
        steps: 0,
        scripts,
        limits,
    };
    let mut lexer = Lexer::default();
    loop {
        let is_foreign = builder.is_foreign();
        match lexer.next(&mut builder.dom, is_foreign) {
            Token::Text(start, end) => builder.text(start, end, Some(Place::Text)),
            Token::Start { tag, name, attributes, is_closed } => {
                builder.start(&mut lexer, (tag, name), attributes, is_closed)?;
            }
            Token::End { tag, name } => builder.end(tag, name),
            Token::Nothing => {}
            Token::Over => break,
        }
        builder.check()?;
    }
    builder.pop_to(0);
    let len = builder.dom.len();
    builder.dom.nodes[0].end = len;
    Ok(builder.dom)
}

impl Builder<'_> {
    fn check(&self) -> Result<(), HtmlError> {
        let too_much = |what, limit| Err(HtmlError::Limit { what, limit });
        if self.dom.nodes.len() > self.limits.max_nodes {
            return too_much(Work::Nodes, self.limits.max_nodes);
        }
        if self.stack.len() > self.limits.max_depth {
            return too_much(Work::Depth, self.limits.max_depth);
        }
        if self.steps > FREE_STEPS + STEPS_PER_BYTE * self.dom.source.len() {
            return too_much(Work::Steps, STEPS_PER_BYTE);
        }
        Ok(())
    }

    fn current(&self) -> &Node {
        self.dom.node(self.stack.last().copied().unwrap_or(0))
    }

    fn is_foreign(&self) -> bool {
        let node = self.current();
        node.flags & flag::FOREIGN != 0 && !node.tag.is_integration_point()
    }

    fn is_open(&self, tag: Tag) -> bool {
        self.open[tag as usize] > 0
    }

    /// Appends a text; blank text is only a flag on what follows, except where white space counts.
    fn text(&mut self, start: usize, end: usize, place: Option<Place>) {
        let is_blank = self.dom.source.as_bytes()[start..end]
            .iter()
            .all(|byte| matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' '));
        if is_blank && !self.is_open(Tag::Pre) && !self.is_open(Tag::Listing) && !self.is_open(Tag::Textarea)
        {
            self.has_space = true;
            return;
        }
        if self.current().tag == Tag::Head {
            self.pop();
        }
        let (span, decoded) = self.dom.keep(start, end, place);
        let flags = flag::TEXT | if decoded { flag::DECODED } else { 0 };
        self.append(Node { parent: 0, end: 0, span, name: 0, tag: Tag::Unknown, flags });
    }

    fn append(&mut self, mut node: Node) -> NodeId {
        let id = self.dom.len();
        node.parent = self.stack.last().copied().unwrap_or(0);
        node.end = id + 1;
        if std::mem::take(&mut self.has_space) {
            node.flags |= flag::SPACE_BEFORE;
        }
        self.dom.nodes.push(node);
        id
    }

    fn push(&mut self, node: Node) {
        let id = self.append(node);
        self.open[node.tag as usize] += 1;
        self.stack.push(id);
    }

    fn pop(&mut self) {
        if self.stack.len() > 1
            && let Some(id) = self.stack.pop()
        {
            let len = self.dom.len();
            let node = &mut self.dom.nodes[id as usize];
            node.end = len;
            self.open[node.tag as usize] -= 1;
        }
    }

    /// Pops the open elements from the one at `index` on.
    fn pop_to(&mut self, index: usize) {
        while self.stack.len() > index.max(1) {
            self.pop();
        }
    }

    /// The index of the innermost open element of that kind, unless a scope ends before it.
    fn find(&mut self, scope: Scope, wanted: impl Fn(Tag) -> bool) -> Option<usize> {
        for index in (1..self.stack.len()).rev() {
            self.steps += 1;
            let tag = self.dom.tag(self.stack[index]);
            if wanted(tag) {
                return Some(index);
            }
            let stops = match scope {
                Scope::Default => tag.is_scope(),
                Scope::Button => tag.is_scope() || tag == Tag::Button,
                Scope::List => tag.is_scope() || matches!(tag, Tag::Ol | Tag::Ul | Tag::Menu | Tag::Dir),
                Scope::Table => matches!(tag, Tag::Html | Tag::Table | Tag::Template),
            };
            if stops {
                return None;
            }
        }
        None
    }

    fn close(&mut self, scope: Scope, tag: Tag) {
        if self.is_open(tag)
            && let Some(index) = self.find(scope, |other| other == tag)
        {
            self.pop_to(index);
        }
    }

    fn start(
        &mut self,
        lexer: &mut Lexer,
        (tag, name): (Tag, u32),
        attributes: usize,
        is_closed: bool,
    ) -> Result<(), HtmlError> {
        if self.is_foreign() && (tag.breaks_out() || tag == Tag::Font) {
            while self.is_foreign() {
                self.pop();
            }
        }
        let is_foreign = self.is_foreign() || matches!(tag, Tag::Svg | Tag::Math);
        if !is_foreign && !self.make_room(tag) {
            self.dom.attributes.truncate(attributes);
            return Ok(());
        }
        let tag = if tag == Tag::Image && !is_foreign { Tag::Img } else { tag };
        let span = Span { start: attributes as u32, end: self.dom.attributes.len() as u32 };
        let node =
            Node { parent: 0, end: 0, span, name, tag, flags: if is_foreign { flag::FOREIGN } else { 0 } };
        let is_raw = match tag {
            Tag::Noscript => self.scripts == Scripts::Run && !is_foreign,
            _ => tag.is_raw() && (!is_foreign || matches!(tag, Tag::Script | Tag::Style)),
        };
        if is_closed && is_foreign || tag.is_void() && !is_foreign {
            self.append(node);
        } else if is_raw {
            self.push(node);
            self.check()?;
            self.raw(lexer, tag);
            self.pop();
        } else {
            self.push(node);
            if tag == Tag::Plaintext {
                let start = std::mem::replace(&mut lexer.at, self.dom.source.len());
                self.text(start, lexer.at, None);
            }
        }
        Ok(())
    }

    /// Reads the text of a raw text element; that of a style, a frame or a program is of no use and not kept.
    fn raw(&mut self, lexer: &mut Lexer, tag: Tag) {
        let name = match tag {
            Tag::Script => "script",
            Tag::Style => "style",
            Tag::Title => "title",
            Tag::Textarea => "textarea",
            Tag::Xmp => "xmp",
            Tag::Noscript => "noscript",
            Tag::Iframe => "iframe",
            Tag::Noembed => "noembed",
            _ => "noframes",
        };
        let (start, end) = lexer.raw_text(self.dom.source, name);
        if tag == Tag::Noscript && !self.is_open(Tag::Head) {
            self.dom.noscript_bytes += bytes_of_text(&self.dom.source.as_bytes()[start..end]);
        }
        let place = matches!(tag, Tag::Title | Tag::Textarea).then_some(Place::Text);
        let is_data = tag == Tag::Script && {
            let id = self.stack.last().copied().unwrap_or(0);
            self.dom
                .attribute(id, Attr::Type)
                .is_some_and(|kind| kind.contains("json") || kind.contains("math"))
        };
        if start < end && (is_data || matches!(tag, Tag::Title | Tag::Textarea | Tag::Xmp)) {
            self.text(start, end, place);
        }
    }

    /// Closes what a start tag closes. False where the tag itself counts for nothing.
    fn make_room(&mut self, tag: Tag) -> bool {
        if matches!(tag, Tag::Html | Tag::Head | Tag::Body | Tag::Frameset) {
            return self.outline(tag);
        }
        if self.is_open(Tag::Head) && !tag.is_of_head() && !self.is_open(Tag::Template) {
            self.close(Scope::Table, Tag::Head);
        }
        if tag.is_table_part() {
            return self.make_room_in_table(tag);
        }
        match tag {
            Tag::Li => self.close_item(|other| other == Tag::Li),
            Tag::Dd | Tag::Dt => self.close_item(|other| matches!(other, Tag::Dd | Tag::Dt)),
            Tag::A => self.end_formatting(Tag::A),
            Tag::Button | Tag::Select | Tag::Nobr => self.close(Scope::Default, tag),
            Tag::Option | Tag::Optgroup => {
                if self.current().tag == Tag::Option {
                    self.pop();
                }
                if tag == Tag::Optgroup && self.current().tag == Tag::Optgroup {
                    self.pop();
                }
            }
            Tag::Input | Tag::Keygen | Tag::Textarea => self.close(Scope::Default, Tag::Select),
            Tag::Rb | Tag::Rp | Tag::Rt | Tag::Rtc => {
                if matches!(self.current().tag, Tag::Rb | Tag::Rp | Tag::Rt) {
                    self.pop();
                }
            }
            Tag::Form if self.is_open(Tag::Form) && !self.is_open(Tag::Template) => return false,
            _ => {}
        }
        if tag.closes_paragraph() || matches!(tag, Tag::Li | Tag::Dd | Tag::Dt) {
            self.close(Scope::Button, Tag::P);
            if tag.is_heading() && self.current().tag.is_heading() {
                self.pop();
            }
        }
        true
    }

    /// Whether one of the page's outermost elements is its first.
    fn outline(&mut self, tag: Tag) -> bool {
        match tag {
            Tag::Html => self.stack.len() == 1 && !std::mem::replace(&mut self.has_html, true),
            Tag::Head => !self.has_body && !self.is_open(Tag::Head) && self.stack.len() <= 2,
            _ => {
                self.close(Scope::Table, Tag::Head);
                !std::mem::replace(&mut self.has_body, true)
            }
        }
    }

    fn close_item(&mut self, is_item: impl Fn(Tag) -> bool) {
        for index in (1..self.stack.len()).rev() {
            self.steps += 1;
            let tag = self.dom.tag(self.stack[index]);
            if is_item(tag) {
                return self.pop_to(index);
            }
            if tag.is_special() && !matches!(tag, Tag::Address | Tag::Div | Tag::P) {
                return;
            }
        }
    }

    fn make_room_in_table(&mut self, tag: Tag) -> bool {
        if !self.is_open(Tag::Table) {
            return false;
        }
        let stops = |other: Tag| match tag {
            Tag::Td | Tag::Th => matches!(other, Tag::Tr | Tag::Table | Tag::Template),
            Tag::Tr => matches!(other, Tag::Tbody | Tag::Thead | Tag::Tfoot | Tag::Table | Tag::Template),
            Tag::Col => matches!(other, Tag::Colgroup | Tag::Table | Tag::Template),
            _ => matches!(other, Tag::Table | Tag::Template),
        };
        let Some(index) = self.find(Scope::Table, stops) else { return true };
        self.pop_to(index + 1);
        if matches!(tag, Tag::Td | Tag::Th) && self.current().tag == Tag::Table {
            self.push(Node { parent: 0, end: 0, span: Span::default(), name: 0, tag: Tag::Tr, flags: 0 });
        }
        true
    }

    fn end(&mut self, tag: Tag, name: u32) {
        if self.is_foreign() {
            return self.end_any(tag, name);
        }
        match tag {
            Tag::Html | Tag::Body => {}
            Tag::Head => self.close(Scope::Table, tag),
            Tag::Br => {
                self.append(Node { parent: 0, end: 0, span: Span::default(), name: 0, tag, flags: 0 });
            }
            Tag::Li => self.close(Scope::List, tag),
            Tag::P => self.close(Scope::Button, tag),
            _ if tag.is_heading() => {
                if let Some(index) = self.find(Scope::Default, Tag::is_heading) {
                    self.pop_to(index);
                }
            }
            _ if tag.is_formatting() => self.end_formatting(tag),
            Tag::Table | Tag::Template => self.close(Scope::Table, tag),
            _ if tag.is_table_part() => self.close(Scope::Table, tag),
            Tag::Dd | Tag::Dt | Tag::Button | Tag::Select | Tag::Object | Tag::Applet | Tag::Marquee => {
                self.close(Scope::Default, tag);
            }
            _ if tag.closes_paragraph() => self.close(Scope::Default, tag),
            _ => self.end_any(tag, name),
        }
    }

    /// Ends an element of any other kind: the innermost of that name, unless a block was opened since.
    fn end_any(&mut self, tag: Tag, name: u32) {
        if !self.is_open(tag) {
            return;
        }
        for index in (1..self.stack.len()).rev() {
            self.steps += 1;
            let node = self.dom.node(self.stack[index]);
            if node.tag == tag && node.name == name {
                return self.pop_to(index);
            }
            if node.tag.is_special() && node.flags & flag::FOREIGN == 0 {
                return;
            }
        }
    }

    /// Ends formatting. Where blocks were opened within it, a link is over and they are split; other formatting goes on to their end.
    fn end_formatting(&mut self, tag: Tag) {
        if !self.is_open(tag) {
            return;
        }
        let Some(index) = self.find(Scope::Default, |other| other == tag) else { return };
        let mut blocks = [0; MAX_SPLIT];
        let mut count = 0;
        for &id in &self.stack[index + 1..] {
            if self.dom.tag(id).is_special() {
                let Some(slot) = blocks.get_mut(count) else { return };
                *slot = id;
                count += 1;
            }
        }
        if count > 0 && tag != Tag::A {
            return;
        }
        self.pop_to(index);
        for id in &blocks[..count] {
            let node = *self.dom.node(*id);
            self.push(Node { flags: node.flags & flag::FOREIGN, ..node });
        }
    }
}

/// Bytes that stand outside of tags and are no white space.
fn bytes_of_text(source: &[u8]) -> usize {
    let mut is_tag = false;
    let is_text = |byte: &&u8| {
        is_tag = (is_tag || **byte == b'<') && **byte != b'>';
        !is_tag && **byte != b'>' && !byte.is_ascii_whitespace()
    };
    source.iter().filter(is_text).count()
}
