//! What the model sees of a block: its text, the boxes around it, its neighbours, its place on the page, and what the page says about itself. Everything is
//! a number with a name.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::blocks::{Block, Blocks, NONE, Region, place};
use super::page::{self, ADDRESS_KINDS, About, SCHEMA_KINDS};
use super::tag::Tag;
use super::words::{self, CLASS_KINDS, TEXT_KINDS};

/// The features of a page's blocks, row by row.
#[derive(Debug, Default)]
pub(super) struct Features {
    /// Numbers of one block after the other's.
    pub(super) values: Vec<f32>,
    /// How many a block has.
    pub(super) width: usize,
    /// Which of them is the first that is the same for all blocks.
    pub(super) whole_from: usize,
    /// Their names, of the first block's row.
    pub(super) names: Vec<String>,
}

/// What a block's text is made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wording {
    pub(super) words: f32,
    letters: f32,
    capitals: f32,
    digits: f32,
    capitalised: f32,
    stop_words: f32,
    commas: f32,
    sentences: f32,
    last: f32,
    starts_small: f32,
    kinds: u32,
    hash: u64,
}

/// Characters of a title that blocks are compared with.
const MAX_TITLE: usize = 300;

/// Short blocks are searched for phrases; a paragraph's words are its own.
const MAX_PHRASE_BYTES: usize = 300;

fn wording(text: &str) -> Wording {
    let mut out = Wording { hash: xxh3_64(text.as_bytes()), ..Wording::default() };
    let mut small = String::with_capacity(16);
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        out.words += 1.0;
        let first = word.chars().next().unwrap_or(' ');
        if first.is_uppercase() {
            out.capitalised += 1.0;
        }
        if word.len() <= 8 {
            small.clear();
            small.extend(word.chars().flat_map(char::to_lowercase));
            out.stop_words += f32::from(u8::from(words::is_stop_word(&small)));
        }
    }
    for letter in text.chars() {
        match letter {
            'a'..='z' => out.letters += 1.0,
            'A'..='Z' => {
                out.letters += 1.0;
                out.capitals += 1.0;
            }
            '0'..='9' => out.digits += 1.0,
            ',' | ';' | '，' | '、' => out.commas += 1.0,
            '.' | '!' | '?' | '。' | '！' | '？' => out.sentences += 1.0,
            _ if letter.is_alphabetic() => {
                out.letters += 1.0;
                out.capitals += f32::from(u8::from(letter.is_uppercase()));
            }
            _ => {}
        }
    }
    out.last = match text.trim_end_matches(['"', '”', '’', '\'', ')', ']', '*']).chars().next_back() {
        Some('.' | '!' | '?' | '。' | '！' | '？' | '…') => 3.0,
        Some(':' | '：') => 2.0,
        Some(',' | ';') => 1.0,
        _ => 0.0,
    };
    out.starts_small = f32::from(u8::from(text.chars().next().is_some_and(char::is_lowercase)));
    if text.len() <= MAX_PHRASE_BYTES {
        out.kinds = words::text_kinds(text);
    }
    out
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

/// Facts of the whole page that rows are made of.
struct Page<'p> {
    blocks: &'p Blocks,
    about: &'p About,
    wording: Vec<Wording>,
    /// How many siblings of the same tag and class each region has, itself included.
    repeats: Vec<u32>,
    /// The region that scores best as the article's, as Readability scores (Arc90, 2009), and what regions score.
    top: u32,
    scores: Vec<f32>,
    /// Characters before each block, and all.
    before: Vec<u32>,
    total: u32,
    /// For each block the last heading before it.
    heading: Vec<u32>,
    /// How often the block's text occurred before and in all.
    seen: Vec<(u32, u32)>,
    /// For each block the share of its words in the article body of the structured data.
    in_body: Vec<f32>,
    first_heading: u32,
    title: String,
    address: (u32, u32, u32),
    first_prose: u32,
    last_prose: u32,
    /// What is the same for all blocks.
    whole: Vec<f32>,
    whole_names: Vec<String>,
}

/// Makes the features of all blocks.
pub(super) fn features(blocks: &Blocks, about: &About, url: Option<&str>) -> (Features, Vec<Wording>) {
    let page = Page::new(blocks, about, url);
    let mut out = Features::default();
    for index in 0..blocks.blocks.len() {
        let names = (index == 0).then_some(&mut out.names);
        let mut row = Row { values: &mut out.values, names };
        page.row(index, &mut row);
        if index == 0 {
            out.width = out.values.len();
            out.whole_from = out.width - page.whole.len();
            out.values.reserve(out.width * blocks.blocks.len());
        }
    }
    (out, page.wording)
}

fn ratio(part: u32, whole: u32) -> f32 {
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

impl<'p> Page<'p> {
    fn new(blocks: &'p Blocks, about: &'p About, url: Option<&str>) -> Self {
        let wording: Vec<Wording> = blocks.blocks.iter().map(|block| wording(blocks.text_of(block))).collect();
        let (scores, top) = scores(blocks, &wording);
        let mut before = Vec::with_capacity(blocks.blocks.len());
        let mut total = 0;
        let mut heading = Vec::with_capacity(blocks.blocks.len());
        let mut last_heading = NONE;
        let mut first_heading = NONE;
        let is_prose = |block: &Block| block.chars >= 80 && block.link_chars * 3 < block.chars;
        for (index, block) in blocks.blocks.iter().enumerate() {
            before.push(total);
            total += block.chars;
            heading.push(last_heading);
            if block.places & place::HEADING != 0 {
                last_heading = index as u32;
                let is_first = blocks.regions.get(block.region as usize).is_some_and(|region| region.tag == Tag::H1);
                if is_first && first_heading == NONE {
                    first_heading = index as u32;
                }
            }
        }
        let first_prose = blocks.blocks.iter().position(is_prose).map_or(NONE, |at| at as u32);
        let last_prose = blocks.blocks.iter().rposition(is_prose).map_or(NONE, |at| at as u32);
        let title: String = about.title.as_deref().unwrap_or_default().chars().take(MAX_TITLE).flat_map(char::to_lowercase).collect();
        let mut page = Self {
            repeats: repeats(&blocks.regions),
            seen: seen(&wording),
            in_body: in_body(blocks, &about.article_body),
            address: url.or(about.canonical_url.as_deref()).map_or((0, 0, 0), page::address),
            blocks, about, wording, top, scores, before, total, heading, first_heading, title, first_prose, last_prose,
            whole: Vec::new(),
            whole_names: Vec::new(),
        };
        let (mut values, mut names) = (Vec::new(), Vec::new());
        page.whole(&mut Row { values: &mut values, names: Some(&mut names) });
        (page.whole, page.whole_names) = (values, names);
        page
    }

    fn region(&self, index: u32) -> Option<&Region> {
        self.blocks.regions.get(index as usize)
    }

    fn row(&self, index: usize, row: &mut Row) {
        let block = &self.blocks.blocks[index];
        self.own(index, block, row);
        self.around(block, row);
        self.neighbours(index, row);
        self.position(index, block, row);
        row.values.extend_from_slice(&self.whole);
        if let Some(names) = &mut row.names {
            names.extend_from_slice(&self.whole_names);
        }
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
        let is_title = short && text.len() > 5 && !self.title.is_empty() && self.title.contains(&text.to_lowercase());
        row.put("in_title", f32::from(u8::from(is_title)));
        let in_description = text.len() > 30 && self.about.description.get(..60.min(self.about.description.len())).is_some_and(|start| text.contains(start));
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
            let (chars, links, prose, blocks) = region.map_or((0, 0, 0, 0), |region| (region.chars, region.link_chars, region.prose_chars, region.num_blocks));
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
        let most = self.chain(block.region).map(|at| self.repeats.get(at as usize).copied().unwrap_or(0)).max();
        row.put("most_repeats", most.unwrap_or(0) as f32);
    }

    /// A region and those around it.
    fn chain(&self, region: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors((region != NONE).then_some(region), |at| self.region(*at).map(|region| region.parent).filter(|at| *at != NONE)).take(24)
    }

    /// How many levels above the top region the first common region is, and whether it is the top region itself.
    fn way_to_top(&self, region: u32) -> (f32, f32) {
        let Some(top) = self.region(self.top) else { return (99.0, 0.0) };
        let (mut a, mut b) = (region, self.top);
        for _ in 0..400 {
            let (Some(left), Some(right)) = (self.region(a), self.region(b)) else { break };
            if a == b {
                return (f32::from(top.depth - left.depth), f32::from(u8::from(a == self.top)));
            }
            if left.depth >= right.depth {
                a = left.parent;
            } else {
                b = right.parent;
            }
        }
        (99.0, 0.0)
    }

    fn neighbours(&self, index: usize, row: &mut Row) {
        for offset in [-3_isize, -2, -1, 1, 2, 3] {
            let other = index.checked_add_signed(offset).and_then(|at| Some((self.blocks.blocks.get(at)?, self.wording.get(at)?)));
            let here = &self.blocks.blocks[index];
            let fields = other.map_or([-1.0; 6], |(block, wording)| {
                let tag = self.region(block.region).map_or(Tag::Unknown, |region| region.tag);
                let apart = f32::from(block.depth) - f32::from(here.depth);
                [wording.words, ratio(block.link_chars, block.chars), wording.last, tag_class(tag), apart, wording.kinds.count_ones() as f32]
            });
            for (what, value) in ["words", "link_share", "last", "tag", "depth", "kinds"].into_iter().zip(fields) {
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
            for (what, value) in [("density", chars as f32 / (to - from) as f32), ("link_share", ratio(links, chars)), ("prose", ratio(prose, chars))] {
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
        let level = heading.and_then(|heading| self.region(heading.region)).map_or(0, |region| region.tag.heading_level());
        row.put("under.level", f32::from(level));
        row.put("under.depth", heading.map_or(99.0, |heading| f32::from(heading.depth) - f32::from(block.depth)));
        let next = self.blocks.blocks[index + 1..].iter().take(12).position(|block| block.places & place::HEADING != 0);
        row.put("to_next_heading", next.map_or(13.0, |at| at as f32));
        let links = self.blocks.blocks[index..].iter().take(40).fold((0, 0), |sum, block| (sum.0 + block.link_chars, sum.1 + block.chars));
        row.put("ahead.link_share", ratio(links.0, links.1));
    }

    fn whole(&self, row: &mut Row) {
        let all = self.blocks.regions.iter().filter(|region| region.parent == NONE).fold((0, 0, 0), |sum, region| (sum.0 + region.chars, sum.1 + region.link_chars, sum.2 + region.prose_chars));
        row.put("page.blocks", self.blocks.blocks.len() as f32);
        row.put("page.chars", self.total as f32);
        row.put("page.link_share", ratio(all.1, all.0));
        row.put("page.prose_share", ratio(all.2, all.0));
        row.put("page.segments", self.address.2 as f32);
        row.bits("address.", ADDRESS_KINDS.iter().map(|kind| kind.0), self.address.1, self.address.0);
        row.bits("schema.", SCHEMA_KINDS.iter().map(|kind| kind.0), self.about.schema_kinds, 0);
        row.put("page.body", if self.about.article_body.len() > 200 { 1.0 } else { 0.0 });
        row.put("page.og", match self.about.open_graph_type.as_str() {
            "article" => 1.0,
            "website" => 2.0,
            kind if kind.contains("product") => 3.0,
            "" => 0.0,
            _ => 4.0,
        });
        row.put("page.published", f32::from(u8::from(self.about.published.is_some())));
        let count = |bit: u32| self.blocks.blocks.iter().filter(|block| block.near_places & bit != 0).count() as f32;
        row.put("page.headings", count(place::HEADING));
        row.put("page.articles", self.blocks.regions.iter().filter(|region| region.tag == Tag::Article).count() as f32);
        row.put("page.main", f32::from(u8::from(self.blocks.regions.iter().any(|region| region.tag == Tag::Main))));
        let says = |bit: usize| self.wording.iter().filter(|wording| wording.kinds >> bit & 1 == 1).count() as f32;
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

fn scores(blocks: &Blocks, wording: &[Wording]) -> (Vec<f32>, u32) {
    let mut scores = vec![0.0_f32; blocks.regions.len()];
    for (block, wording) in blocks.blocks.iter().zip(wording) {
        if block.chars < 25 || block.places & (place::LINK | place::BUTTON | place::NAV) != 0 {
            continue;
        }
        let score = (1.0 + wording.commas + (block.chars as f32 / 100.0).min(3.0)) * (1.0 - ratio(block.link_chars, block.chars));
        let mut at = block.region;
        for share in [0.3, 1.0, 0.5, 0.25] {
            let Some(region) = blocks.regions.get(at as usize) else { break };
            scores[at as usize] += score * share;
            at = region.parent;
        }
    }
    for (score, region) in scores.iter_mut().zip(&blocks.regions) {
        *score *= 1.0 - ratio(region.link_chars, region.chars);
    }
    let mut top = NONE;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores.get(top as usize).copied().unwrap_or(0.0) {
            top = index as u32;
        }
    }
    (scores, top)
}

fn repeats(regions: &[Region]) -> Vec<u32> {
    let mut counts: HashMap<(u32, u64), u32> = HashMap::with_capacity(regions.len());
    for region in regions {
        *counts.entry((region.parent, region.signature)).or_default() += 1;
    }
    regions.iter().map(|region| counts.get(&(region.parent, region.signature)).copied().unwrap_or(0)).collect()
}

fn seen(wording: &[Wording]) -> Vec<(u32, u32)> {
    let mut counts: HashMap<u64, u32> = HashMap::with_capacity(wording.len());
    let before: Vec<u32> = wording
        .iter()
        .map(|wording| {
            let count = counts.entry(wording.hash).or_default();
            *count += 1;
            *count - 1
        })
        .collect();
    before.into_iter().zip(wording).map(|(before, wording)| (before, counts.get(&wording.hash).copied().unwrap_or(1))).collect()
}

/// The share of each block's runs of three words that the article body has; -1 where there is no body.
fn in_body(blocks: &Blocks, body: &str) -> Vec<f32> {
    let runs = |text: &str| {
        let words: Vec<u64> = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(|word| xxh3_64(word.as_bytes())).collect();
        let width = words.len().clamp(1, 3);
        words.windows(width).map(|run| run.iter().fold(width as u64, |hash, word| hash.rotate_left(21) ^ word)).collect::<Vec<u64>>()
    };
    if body.len() < 200 {
        return vec![-1.0; blocks.blocks.len()];
    }
    let known: std::collections::HashSet<u64> = runs(body).into_iter().collect();
    let share = |block: &Block| {
        let runs = runs(blocks.text_of(block));
        runs.iter().filter(|run| known.contains(run)).count() as f32 / runs.len().max(1) as f32
    };
    blocks.blocks.iter().map(share).collect()
}
