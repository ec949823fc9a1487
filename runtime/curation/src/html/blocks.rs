//! Blocks: the runs of text between which a browser starts a new line. They are what is kept or dropped. Around
//! them are regions, the block-level elements.

use super::dom::NodeId;
use super::tag::Tag;

/// No region, no block.
pub(super) const NONE: u32 = u32::MAX;

/// A block-level element that holds text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) node: NodeId,
    /// The region around it, or [`NONE`].
    pub(super) parent: u32,
    pub(super) depth: u16,
    pub(super) tag: Tag,
    /// A hash of its tag and class: siblings with the same one are a repeated structure.
    pub(super) signature: u64,
    pub(super) chars: u32,
    pub(super) link_chars: u32,
    pub(super) num_blocks: u32,
    pub(super) num_regions: u32,
    /// Characters of its blocks that look like sentences.
    pub(super) prose_chars: u32,
}

/// A run of text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// The innermost region around it.
    pub(super) region: u32,
    /// Where its text lies in [`Layout::text`].
    pub(super) start: u32,
    pub(super) end: u32,
    /// Characters that are no white space, and those of them within links.
    pub(super) chars: u32,
    pub(super) link_chars: u32,
    pub(super) num_links: u16,
    pub(super) num_breaks: u16,
    /// Characters in bold or italics.
    pub(super) emphasis_chars: u32,
    /// Places around it: any, and those of the three innermost elements.
    pub(super) places: u32,
    pub(super) near_places: u32,
    pub(super) kinds: u32,
    pub(super) near_kinds: u32,
    /// Number of elements around it.
    pub(super) depth: u16,
}

/// A page's blocks and the regions around them.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) blocks: Vec<Block>,
    pub(super) regions: Vec<Region>,
    /// The blocks' texts with white space collapsed, except in `pre`.
    pub(super) text: String,
}

impl Layout {
    /// A block's text.
    pub(super) fn text_of(&self, block: &Block) -> &str {
        &self.text[block.start as usize..block.end as usize]
    }
}

/// Appends a text with its white space collapsed. `start` is where its block starts: there is no space at a block's start.
pub(super) fn collapse(text: &str, out: &mut String, start: usize, needs_space: bool) {
    let mut space = needs_space || text.starts_with(|letter: char| letter.is_whitespace());
    for word in text.split(|letter: char| letter.is_whitespace() || letter == '\0') {
        if word.is_empty() {
            continue;
        }
        if space && out.len() > start && !out.ends_with('\n') {
            out.push(' ');
        }
        out.push_str(word);
        space = true;
    }
}

/// Adds what the blocks have up to the regions around them.
pub(super) fn add_up(out: &mut Layout) {
    for block in &out.blocks {
        let text = &out.text[block.start as usize..block.end as usize];
        let is_prose = block.chars >= 80
            && block.link_chars * 3 < block.chars
            && text.contains(['.', ',', '。', '，', '؟', '।']);
        if let Some(inner) = out.regions.get_mut(block.region as usize) {
            inner.chars += block.chars;
            inner.link_chars += block.link_chars;
            inner.num_blocks += 1;
            inner.prose_chars += if is_prose { block.chars } else { 0 };
        }
    }
    for index in (0..out.regions.len()).rev() {
        let inner = out.regions[index];
        if let Some(outer) = out.regions.get_mut(inner.parent as usize) {
            outer.chars += inner.chars;
            outer.link_chars += inner.link_chars;
            outer.num_blocks += inner.num_blocks;
            outer.num_regions += inner.num_regions + 1;
            outer.prose_chars += inner.prose_chars;
        }
    }
}
