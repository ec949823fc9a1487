//! What the model sees of a block: its text, the boxes around it, its neighbours, its place on the page, and what the page says about itself. Everything is
//! a number with a name.

use super::blocks::{Block, Layout, NONE};
use super::page::{ADDRESS_KINDS, About, SCHEMA_KINDS};
use super::place;
use super::survey::{Survey, ratio};
use super::tag::Tag;
use super::wording::Wording;
use super::words::{CLASS_KINDS, TEXT_KINDS};

/// The features of a page's blocks, row by row.
#[derive(Debug, Default)]
pub(super) struct Features {
    /// Numbers of one block after the other's.
    pub(super) values: Vec<f32>,
    /// How many a block has of its own.
    pub(super) width: usize,
    /// How far apart rows are: behind each is room for what the second stage sees besides.
    pub(super) stride: usize,
    /// Which of them is the first that is the same for all blocks.
    pub(super) whole_from: usize,
    /// Their names, of the first block's row.
    pub(super) names: Vec<String>,
}

/// A row being filled; its names are only made where someone reads them.
struct Row<'f> {
    values: &'f mut Vec<f32>,
    names: Option<&'f mut Vec<String>>,
}

impl Row<'_> {
    fn put(&mut self, name: &str, value: f32) {
        self.values.push(value);
        if let Some(names) = &mut self.names {
            names.push(name.to_owned());
        }
    }

    fn bits(&mut self, prefix: &str, names: impl Iterator<Item = &'static str>, any: u32, near: u32) {
        for (bit, name) in names.enumerate() {
            let value = (any >> bit & 1) + (near >> bit & 1);
            self.values.push(value as f32);
            if let Some(names) = &mut self.names {
                names.push(format!("{prefix}{name}"));
            }
        }
    }
}

/// Makes the features of all blocks, with `room` for more behind each block's.
pub(super) fn features(
    blocks: &Layout,
    about: &About,
    url: Option<&str>,
    room: usize,
) -> (Features, Vec<Wording>) {
    let page = Survey::new(blocks, about, url);
    let mut out = Features::default();
    let (mut whole, mut whole_names) = (Vec::new(), Vec::new());
    page.whole(&mut Row { values: &mut whole, names: Some(&mut whole_names) });
    for index in 0..blocks.blocks.len() {
        let names = (index == 0).then_some(&mut out.names);
        let mut row = Row { values: &mut out.values, names };
        page.row(index, &mut row);
        row.values.extend_from_slice(&whole);
        if let Some(names) = &mut row.names {
            names.extend_from_slice(&whole_names);
        }
        if index == 0 {
            out.width = out.values.len();
            out.whole_from = out.width - whole.len();
            out.stride = out.width + room;
            out.values.reserve(out.stride * blocks.blocks.len());
        }
        out.values.resize(out.stride * (index + 1), 0.0);
    }
    (out, page.wording)
}

impl Survey<'_> {
    fn row(&self, index: usize, row: &mut Row) {
        let block = &self.blocks.blocks[index];
        self.own(index, block, row);
        self.around(block, row);
        self.neighbours(index, row);
        self.position(index, block, row);
    }

    fn own(&self, index: usize, block: &Block, row: &mut Row) {
        let wording = &self.wording[index];
        let words = wording.words.max(1.0);
        row.put("words", wording.words);
        row.put("chars", block.chars as f32);
        row.put("link_share", ratio(block.link_chars, block.chars));
        row.put("links", f32::from(block.num_links));
        row.put("breaks", f32::from(block.num_breaks));
        row.put("emphasis_share", ratio(block.emphasis_chars, block.chars));
        row.put("word_length", block.chars as f32 / words);
        row.put("capitals", wording.capitals / wording.letters.max(1.0));
        row.put("digits", wording.digits / (block.chars as f32).max(1.0));
        row.put("symbols", 1.0 - (wording.letters + wording.digits) / (block.chars as f32).max(1.0));
        row.put("capitalised", wording.capitalised / words);
        row.put("stop_words", wording.stop_words / words);
        row.put("commas", wording.commas);
        row.put("sentences", wording.sentences);
        row.put("last", wording.last);
        row.put("starts_small", wording.starts_small);
        row.put("kinds", wording.kinds.count_ones() as f32);
        row.bits("says.", TEXT_KINDS.iter().map(|kind| kind.0), wording.kinds, 0);
        row.put("seen_before", self.seen[index].0 as f32);
        row.put("seen", self.seen[index].1 as f32);
        row.put("in_body", self.in_body[index]);
        let text = self.blocks.text_of(block);
        let short = text.len() <= 200;
        let is_title =
            short && text.len() > 5 && !self.title.is_empty() && self.title.contains(&text.to_lowercase());
        row.put("in_title", f32::from(u8::from(is_title)));
        let in_description = text.len() > 30
            && self
                .about
                .description
                .get(..60.min(self.about.description.len()))
                .is_some_and(|start| text.contains(start));
        row.put("in_description", f32::from(u8::from(in_description)));
    }

    fn around(&self, block: &Block, row: &mut Row) {
        let tag = self.region(block.region).map_or(Tag::Unknown, |region| region.tag);
        row.put("tag", tag_class(tag));
        row.put("heading_level", f32::from(tag.heading_level()));
        row.put("depth", f32::from(block.depth));
        row.bits("in.", place::NAMES.into_iter(), block.places, block.near_places);
        row.bits("class.", CLASS_KINDS.iter().map(|kind| kind.0), block.kinds, block.near_kinds);
        let mut at = block.region;
        for level in 0..6 {
            let name = |what: &str| format!("up{level}.{what}");
            let region = self.region(at);
            let score = self.scores.get(at as usize).copied().unwrap_or(0.0);
            let best = self.scores.get(self.top as usize).copied().unwrap_or(0.0).max(1.0);
            let (chars, links, prose, blocks) = region.map_or((0, 0, 0, 0), |region| {
                (region.chars, region.link_chars, region.prose_chars, region.num_blocks)
            });
            let fields = [
                ("share", ratio(chars, self.total)),
                ("link_share", ratio(links, chars)),
                ("prose_share", ratio(prose, chars)),
                ("blocks", blocks as f32),
                ("chars_per_block", ratio(chars, blocks)),
                ("repeats", self.repeats.get(at as usize).copied().unwrap_or(0) as f32),
                ("score", score / best),
            ];
            for (what, value) in fields {
                row.values.push(value);
                if let Some(names) = &mut row.names {
                    names.push(name(what));
                }
            }
            at = region.map_or(NONE, |region| region.parent);
        }
        let (up, within) = self.way_to_top(block.region);
        row.put("up_to_top", up);
        row.put("within_top", within);
        let most =
            self.chain(block.region).map(|at| self.repeats.get(at as usize).copied().unwrap_or(0)).max();
        row.put("most_repeats", most.unwrap_or(0) as f32);
    }

    fn neighbours(&self, index: usize, row: &mut Row) {
        for offset in [-3_isize, -2, -1, 1, 2, 3] {
            let other = index
                .checked_add_signed(offset)
                .and_then(|at| Some((self.blocks.blocks.get(at)?, self.wording.get(at)?)));
            let here = &self.blocks.blocks[index];
            let fields = other.map_or([-1.0; 6], |(block, wording)| {
                let tag = self.region(block.region).map_or(Tag::Unknown, |region| region.tag);
                let apart = f32::from(block.depth) - f32::from(here.depth);
                [
                    wording.words,
                    ratio(block.link_chars, block.chars),
                    wording.last,
                    tag_class(tag),
                    apart,
                    wording.kinds.count_ones() as f32,
                ]
            });
            for (what, value) in
                ["words", "link_share", "last", "tag", "depth", "kinds"].into_iter().zip(fields)
            {
                row.values.push(value);
                if let Some(names) = &mut row.names {
                    names.push(format!("by{offset}.{what}"));
                }
            }
        }
        for reach in [6_usize, 15] {
            let from = index.saturating_sub(reach);
            let to = (index + reach + 1).min(self.blocks.blocks.len());
            let (mut chars, mut links, mut prose) = (0, 0, 0);
            for block in &self.blocks.blocks[from..to] {
                chars += block.chars;
                links += block.link_chars;
                prose += if block.chars >= 80 { block.chars } else { 0 };
            }
            for (what, value) in [
                ("density", chars as f32 / (to - from) as f32),
                ("link_share", ratio(links, chars)),
                ("prose", ratio(prose, chars)),
            ] {
                row.values.push(value);
                if let Some(names) = &mut row.names {
                    names.push(format!("within{reach}.{what}"));
                }
            }
        }
    }

    fn position(&self, index: usize, block: &Block, row: &mut Row) {
        let count = self.blocks.blocks.len() as f32;
        row.put("index", index as f32);
        row.put("place", index as f32 / count);
        row.put("before_share", ratio(self.before[index], self.total));
        row.put("blocks_left", count - index as f32);
        let from = |mark: u32| if mark == NONE { -999.0 } else { index as f32 - mark as f32 };
        row.put("from_heading", from(self.first_heading));
        row.put("from_first_prose", from(self.first_prose));
        row.put("from_last_prose", from(self.last_prose));
        let last = self.heading[index];
        let heading = self.blocks.blocks.get(last as usize);
        row.put("from_last_heading", from(last));
        let kinds = self.wording.get(last as usize).map_or(0, |wording| wording.kinds);
        row.bits("under.", TEXT_KINDS.iter().map(|kind| kind.0), kinds, 0);
        let level = heading
            .and_then(|heading| self.region(heading.region))
            .map_or(0, |region| region.tag.heading_level());
        row.put("under.level", f32::from(level));
        row.put(
            "under.depth",
            heading.map_or(99.0, |heading| f32::from(heading.depth) - f32::from(block.depth)),
        );
        let next = self.blocks.blocks[index + 1..]
            .iter()
            .take(12)
            .position(|block| block.places & place::HEADING != 0);
        row.put("to_next_heading", next.map_or(13.0, |at| at as f32));
        let links = self.blocks.blocks[index..]
            .iter()
            .take(40)
            .fold((0, 0), |sum, block| (sum.0 + block.link_chars, sum.1 + block.chars));
        row.put("ahead.link_share", ratio(links.0, links.1));
    }

    fn whole(&self, row: &mut Row) {
        let all = self
            .blocks
            .regions
            .iter()
            .filter(|region| region.parent == NONE)
            .fold((0, 0, 0), |sum, region| {
                (sum.0 + region.chars, sum.1 + region.link_chars, sum.2 + region.prose_chars)
            });
        row.put("page.blocks", self.blocks.blocks.len() as f32);
        row.put("page.chars", self.total as f32);
        row.put("page.link_share", ratio(all.1, all.0));
        row.put("page.prose_share", ratio(all.2, all.0));
        row.put("page.segments", self.address.2 as f32);
        row.bits("address.", ADDRESS_KINDS.iter().map(|kind| kind.0), self.address.1, self.address.0);
        row.bits("schema.", SCHEMA_KINDS.iter().map(|kind| kind.0), self.about.schema_kinds, 0);
        row.put("page.body", if self.about.article_body.len() > 200 { 1.0 } else { 0.0 });
        row.put(
            "page.og",
            match self.about.open_graph_type.as_str() {
                "article" => 1.0,
                "website" => 2.0,
                kind if kind.contains("product") => 3.0,
                "" => 0.0,
                _ => 4.0,
            },
        );
        row.put("page.published", f32::from(u8::from(self.about.published.is_some())));
        let count =
            |bit: u32| self.blocks.blocks.iter().filter(|block| block.near_places & bit != 0).count() as f32;
        row.put("page.headings", count(place::HEADING));
        row.put(
            "page.articles",
            self.blocks.regions.iter().filter(|region| region.tag == Tag::Article).count() as f32,
        );
        row.put(
            "page.main",
            f32::from(u8::from(self.blocks.regions.iter().any(|region| region.tag == Tag::Main))),
        );
        let says =
            |bit: usize| self.wording.iter().filter(|wording| wording.kinds >> bit & 1 == 1).count() as f32;
        row.put("page.prices", says(9));
        row.put("page.comments", says(4));
        row.put("page.dates", says(6));
        row.put("page.top_share", self.region(self.top).map_or(0.0, |top| ratio(top.chars, self.total)));
        row.put("page.top_prose", self.region(self.top).map_or(0.0, |top| ratio(top.prose_chars, top.chars)));
    }
}

/// Kinds of regions in an order of how much prose they hold.
fn tag_class(tag: Tag) -> f32 {
    match tag {
        Tag::P => 12.0,
        Tag::Blockquote => 11.0,
        Tag::Pre | Tag::Listing => 10.0,
        Tag::Li => 9.0,
        Tag::Dd | Tag::Dt => 8.0,
        Tag::Td | Tag::Th | Tag::Caption => 7.0,
        _ if tag.is_heading() => 6.0,
        Tag::Figcaption => 5.0,
        Tag::Article | Tag::Section | Tag::Main => 4.0,
        Tag::Div => 3.0,
        Tag::Header | Tag::Footer | Tag::Nav | Tag::Aside => 2.0,
        Tag::Button | Tag::Option | Tag::Select | Tag::Legend | Tag::Form | Tag::Fieldset => 1.0,
        _ => 0.0,
    }
}
