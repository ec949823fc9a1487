//! A page as a whole, before its blocks become rows of numbers: which region looks like the article's, what repeats, which headings stand over what.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64;

use super::blocks::{Block, Layout, NONE, Region};
use super::page::{self, About};
use super::place;
use super::tag::Tag;
use super::wording::{Wording, wording};

/// Characters of a title that blocks are compared with.
const MAX_TITLE: usize = 300;

/// Facts of the whole page that rows are made of.
pub(super) struct Survey<'p> {
    pub(super) blocks: &'p Layout,
    pub(super) about: &'p About,
    pub(super) wording: Vec<Wording>,
    /// How many siblings of the same tag and class each region has, itself included.
    pub(super) repeats: Vec<u32>,
    /// The region that scores best as the article's, as Readability scores (Arc90, 2009), and what regions score.
    pub(super) top: u32,
    pub(super) scores: Vec<f32>,
    /// Characters before each block, and all.
    pub(super) before: Vec<u32>,
    pub(super) total: u32,
    /// For each block the last heading before it.
    pub(super) heading: Vec<u32>,
    /// How often the block's text occurred before and in all.
    pub(super) seen: Vec<(u32, u32)>,
    /// For each block the share of its words in the article body of the structured data.
    pub(super) in_body: Vec<f32>,
    pub(super) first_heading: u32,
    pub(super) title: String,
    pub(super) address: (u32, u32, u32),
    pub(super) first_prose: u32,
    pub(super) last_prose: u32,
}

/// A share; none of nothing.
pub(super) fn ratio(part: u32, whole: u32) -> f32 {
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

impl<'p> Survey<'p> {
    /// Looks at a page.
    pub(super) fn new(blocks: &'p Layout, about: &'p About, url: Option<&str>) -> Self {
        let wording: Vec<Wording> =
            blocks.blocks.iter().map(|block| wording(blocks.text_of(block))).collect();
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
                let is_first =
                    blocks.regions.get(block.region as usize).is_some_and(|region| region.tag == Tag::H1);
                if is_first && first_heading == NONE {
                    first_heading = index as u32;
                }
            }
        }
        let first_prose = blocks.blocks.iter().position(is_prose).map_or(NONE, |at| at as u32);
        let last_prose = blocks.blocks.iter().rposition(is_prose).map_or(NONE, |at| at as u32);
        let title: String = about
            .title
            .as_deref()
            .unwrap_or_default()
            .chars()
            .take(MAX_TITLE)
            .flat_map(char::to_lowercase)
            .collect();
        Self {
            repeats: repeats(&blocks.regions),
            seen: seen(&wording),
            in_body: in_body(blocks, &about.article_body),
            address: url.or(about.canonical_url.as_deref()).map_or((0, 0, 0), page::address),
            blocks,
            about,
            wording,
            top,
            scores,
            before,
            total,
            heading,
            first_heading,
            title,
            first_prose,
            last_prose,
        }
    }

    /// A region by its number.
    pub(super) fn region(&self, index: u32) -> Option<&Region> {
        self.blocks.regions.get(index as usize)
    }

    /// A region and those around it.
    pub(super) fn chain(&self, region: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors((region != NONE).then_some(region), |at| {
            self.region(*at).map(|region| region.parent).filter(|at| *at != NONE)
        })
        .take(24)
    }

    /// How many levels above the top region the first common region is, and whether it is the top region itself.
    pub(super) fn way_to_top(&self, region: u32) -> (f32, f32) {
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
}

fn scores(blocks: &Layout, wording: &[Wording]) -> (Vec<f32>, u32) {
    let mut scores = vec![0.0_f32; blocks.regions.len()];
    for (block, wording) in blocks.blocks.iter().zip(wording) {
        if block.chars < 25 || block.places & (place::LINK | place::BUTTON | place::NAV) != 0 {
            continue;
        }
        let score = (1.0 + wording.commas + (block.chars as f32 / 100.0).min(3.0))
            * (1.0 - ratio(block.link_chars, block.chars));
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
    regions
        .iter()
        .map(|region| counts.get(&(region.parent, region.signature)).copied().unwrap_or(0))
        .collect()
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
    before
        .into_iter()
        .zip(wording)
        .map(|(before, wording)| (before, counts.get(&wording.hash).copied().unwrap_or(1)))
        .collect()
}

/// The share of each block's runs of three words that the article body has; -1 where there is no body.
fn in_body(blocks: &Layout, body: &str) -> Vec<f32> {
    let runs = |text: &str| {
        let words: Vec<u64> = text
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(|word| xxh3_64(word.as_bytes()))
            .collect();
        let width = words.len().clamp(1, 3);
        words
            .windows(width)
            .map(|run| run.iter().fold(width as u64, |hash, word| hash.rotate_left(21) ^ word))
            .collect::<Vec<u64>>()
    };
    if body.len() < 200 {
        return vec![-1.0; blocks.blocks.len()];
    }
    let known: HashSet<u64> = runs(body).into_iter().collect();
    let share = |block: &Block| {
        let runs = runs(blocks.text_of(block));
        runs.iter().filter(|run| known.contains(run)).count() as f32 / runs.len().max(1) as f32
    };
    blocks.blocks.iter().map(share).collect()
}
