//! A page as one flat array of nodes in document order: a node's descendants are the nodes after it up to its `end`. A walk is a loop over numbers,
//! to skip a subtree is one assignment, and nothing here can recurse.

use super::entities::{Place, decode_into};
use super::tag::Tag;

/// The number of a node.
pub(super) type NodeId = u32;

/// The attributes that are kept; all others are dropped as they are read.
macro_rules! attributes {
    ($($variant:ident $name:literal)*) => {
        /// An attribute's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::html) enum Attr { $($variant,)* }

        impl Attr {
            /// The attribute of a name in small letters.
            pub(in crate::html) fn of(name: &[u8]) -> Option<Self> {
                $(const $variant: &[u8] = $name.as_bytes();)*
                match name {
                    $($variant => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

#[expect(non_upper_case_globals, reason = "the macro's constants are named as its variants")]
mod attributes {
    attributes! {
        Class "class" Id "id" Role "role" Href "href" Src "src" Alt "alt" Style "style" Itemprop "itemprop" Itemtype "itemtype" Rel "rel" Name "name"
        Content "content" Property "property" Lang "lang" Type "type" Datetime "datetime" AriaLabel "aria-label" AriaHidden "aria-hidden"
        Hidden "hidden" DataTex "data-tex" DataLatex "data-latex" DataExpr "data-expr" Alttext "alttext" Encoding "encoding" Display "display" Mode "mode"
        Open "open" Close "close" Separators "separators" Colspan "colspan" Rowspan "rowspan" Start "start" Reversed "reversed" Charset "charset"
        HttpEquiv "http-equiv" Linethickness "linethickness" Mathvariant "mathvariant" ShadowRootMode "shadowrootmode" DataLang "data-lang"
        DataLanguage "data-language" Title "title" Accent "accent" Data "data"
    }
}

pub(super) use self::attributes::Attr;

/// Where a text lies: in the source, or decoded in the buffer beside it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Flags of a node.
pub(super) mod flag {
    /// A text (an element otherwise).
    pub(in crate::html) const TEXT: u8 = 1;
    /// The text lies in the buffer, not in the source.
    pub(in crate::html) const DECODED: u8 = 2;
    /// White space stood before it.
    pub(in crate::html) const SPACE_BEFORE: u8 = 4;
    /// SVG or MathML.
    pub(in crate::html) const FOREIGN: u8 = 8;
}

/// A text or an element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Its parent; the first node is its own.
    pub(super) parent: NodeId,
    /// The first node after it that is not within it.
    pub(super) end: NodeId,
    /// Of a text: where it lies. Of an element: which attributes are its.
    pub(super) span: Span,
    /// A hash of the name of an element of no known name.
    pub(super) name: u32,
    pub(super) tag: Tag,
    pub(super) flags: u8,
}

impl Node {
    pub(super) fn is_text(&self) -> bool {
        self.flags & flag::TEXT != 0
    }
}

/// An attribute and where its value lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute {
    pub(super) name: Attr,
    pub(super) decoded: bool,
    pub(super) value: Span,
}

/// A page.
#[derive(Debug)]
pub(super) struct Dom<'a> {
    pub(super) source: &'a str,
    /// Texts and values with their references decoded.
    pub(super) buffer: String,
    pub(super) nodes: Vec<Node>,
    pub(super) attributes: Vec<Attribute>,
    /// Bytes of text in `noscript` elements that were not read, without tags and white space.
    pub(super) noscript_bytes: usize,
}

impl<'a> Dom<'a> {
    /// A page with nothing but its root.
    pub(super) fn new(source: &'a str) -> Self {
        let root = Node { parent: 0, end: 1, span: Span::default(), name: 0, tag: Tag::Unknown, flags: 0 };
        let mut nodes = Vec::with_capacity(source.len() / 48 + 16);
        nodes.push(root);
        Self {
            source,
            buffer: String::new(),
            nodes,
            attributes: Vec::with_capacity(source.len() / 64 + 16),
            noscript_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> NodeId {
        self.nodes.len() as NodeId
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn tag(&self, id: NodeId) -> Tag {
        self.node(id).tag
    }

    /// What a text node says, references decoded, white space as it was written.
    pub(super) fn text(&self, node: &Node) -> &str {
        self.slice(node.span, node.flags & flag::DECODED != 0)
    }

    fn slice(&self, span: Span, decoded: bool) -> &str {
        let from = if decoded { self.buffer.as_str() } else { self.source };
        from.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// An element's attributes.
    pub(super) fn attributes(&self, node: &Node) -> &[Attribute] {
        if node.is_text() { &[] } else { &self.attributes[node.span.start as usize..node.span.end as usize] }
    }

    /// The value of an attribute.
    pub(super) fn value(&self, attribute: &Attribute) -> &str {
        self.slice(attribute.value, attribute.decoded)
    }

    /// The value of an element's attribute of that name.
    pub(super) fn attribute(&self, id: NodeId, name: Attr) -> Option<&str> {
        let found = self.attributes(self.node(id)).iter().find(|attribute| attribute.name == name)?;
        Some(self.value(found))
    }

    /// Keeps a text from the source, decoded where it has references.
    pub(super) fn keep(&mut self, start: usize, end: usize, place: Option<Place>) -> (Span, bool) {
        let text = &self.source[start..end];
        let Some(place) = place.filter(|_| memchr::memchr(b'&', text.as_bytes()).is_some()) else {
            return (Span { start: start as u32, end: end as u32 }, false);
        };
        let from = self.buffer.len();
        decode_into(text, place, &mut self.buffer);
        (Span { start: from as u32, end: self.buffer.len() as u32 }, true)
    }

    /// The direct children of a node.
    pub(super) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let end = self.node(id).end;
        let mut next = id + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next = self.node(child).end.max(child + 1);
                child
            })
        })
    }

    /// All text within a node, as written.
    pub(super) fn text_within(&self, id: NodeId) -> String {
        let mut out = String::new();
        for node in &self.nodes[id as usize..self.node(id).end as usize] {
            if node.is_text() {
                if node.flags & flag::SPACE_BEFORE != 0 {
                    out.push(' ');
                }
                out.push_str(self.text(node));
            }
        }
        out
    }
}
