//! Main-content extraction: a page's own text as Markdown, without its menus, banners and comments.
//!
//! One pass over the bytes makes a flat tree ([`HtmlError::Limit`] bounds it); one walk finds the blocks of text; a model of boosted trees says of each how
//! likely it is content, from its words, its tags and classes, its neighbours and what the page says about itself; what is kept is decided for the page as
//! a whole and written as Markdown, with tables, code and mathematics. Every decision can be looked at: [`explain`] lists blocks, features and likelihoods.
//! A page that is a program, and says its text in `noscript` to readers without scripts, is read as those read it.
//!
//! No recursion, no clock: work is linear in the bytes of the page, and the same page gives the same text on every machine.

mod error;

mod entities;
mod tag;

mod dom;
mod lex;
mod tree;

mod math;

mod place;
mod words;

mod blocks;
mod page;
mod walk;

mod wording;

mod survey;

mod features;

mod context;
mod kind;
mod model;

mod decide;

mod tables;

mod markdown;

mod links;
mod site;
#[cfg(test)]
mod tests;

use self::blocks::Layout;
use self::decide::Decision;
use self::dom::Dom;
use self::page::About;
use self::tree::Scripts;

pub use self::error::{HtmlError, Limits, Work};
pub use self::kind::PageType;
pub use self::links::{Link, Robots, links, robots};
pub use self::site::{RepeatedLines, SiteBlocks, SiteOptions};

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// With marks for headings, lists, tables, quotes and code.
    #[default]
    Markdown,
    /// Only the words.
    Text,
}

/// What is extracted and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Keep only the main content; otherwise all text that the page shows.
    pub main_content: bool,
    /// Keep formulas, as LaTeX between dollar signs.
    pub keep_math: bool,
    /// Keep blocks of code.
    pub keep_code: bool,
    /// How the text is written.
    pub format: Format,
    /// How much work a page may make.
    pub limits: Limits,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            main_content: true,
            keep_math: true,
            keep_code: true,
            format: Format::Markdown,
            limits: Limits::default(),
        }
    }
}

/// What a page holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Its text; empty where the page has none.
    pub text: String,
    /// Its title, without the site's name where the page says it apart.
    pub title: Option<String>,
    /// What kind of page it seems to be.
    pub page_type: PageType,
    /// The language it says it is in, as it says it (BCP 47).
    pub language: Option<String>,
    /// The address it says it has.
    pub canonical_url: Option<String>,
    /// When it says it was published, as it says it.
    pub published: Option<String>,
    /// Who it says wrote it.
    pub author: Option<String>,
    /// The site's name.
    pub site_name: Option<String>,
    /// What it says about itself in a sentence or two.
    pub description: Option<String>,
    /// Layout of text it shows.
    pub num_blocks: usize,
    /// Layout that were kept.
    pub num_kept: usize,
    /// The text is the article body of the page's structured data, since the page itself shows hardly any of it.
    pub is_from_data: bool,
}

/// A block of a page and what the model makes of it.
#[derive(Debug, Clone)]
pub struct BlockReport {
    /// Its text.
    pub text: String,
    /// What the first stage sees, in the order of [`Explanation::names`].
    pub features: Vec<f32>,
    /// How likely it is content after the first and after the second stage.
    pub likely: (f32, f32),
    /// Whether it is kept.
    pub is_kept: bool,
    /// The regions around it, the innermost first, as numbers that mean something within a page only.
    pub regions: Vec<u32>,
}

/// All blocks of a page.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// Names of the features.
    pub names: Vec<String>,
    /// The blocks in the page's order.
    pub blocks: Vec<BlockReport>,
}

/// Extracts a page's text. `url` is its address, if known: it helps to tell a forum from a shop.
///
/// # Errors
/// [`HtmlError::Limit`] for a page that no one wrote for people: drop it by its name.
pub fn extract(html: &str, url: Option<&str>, options: &ExtractOptions) -> Result<Extracted, HtmlError> {
    let (dom, found) = read(html, options.keep_math, options.limits)?;
    let about = page::about(&dom);
    let decision = decide::decide(&found, &about, url);
    let keep = kept(&found, &decision, options);
    let num_kept = keep.iter().filter(|keep| **keep).count();
    let mut text = markdown::render(&dom, &found, &keep, options.format);
    let body = (options.main_content && decide::is_hidden(&text, &about))
        .then(|| decide::article_body(&about, options));
    let is_from_data = body.is_some();
    if let Some(body) = body {
        text = body;
    }
    Ok(Extracted {
        text,
        page_type: decision.page_type,
        num_blocks: found.blocks.len(),
        num_kept,
        is_from_data,
        title: about.title.or(about.heading),
        language: about.language,
        canonical_url: about.canonical_url,
        published: about.published,
        author: about.author,
        site_name: about.site_name,
        description: Some(about.description).filter(|description| !description.is_empty()),
    })
}

/// Text in `noscript` counts from this many bytes on: less is a request to switch scripts on.
const MIN_NOSCRIPT: usize = 500;

/// Reads a page as a browser does or, where it says more to readers without scripts, as those do: some sites (all forums of Discourse) are programs that
/// fetch their text, and have it in `noscript` for others.
fn read(html: &str, keep_math: bool, limits: Limits) -> Result<(Dom<'_>, Layout), HtmlError> {
    let dom = tree::parse(html, Scripts::Run, limits)?;
    let found = walk::find(&dom, keep_math, limits)?;
    let shown: usize = found.blocks.iter().map(|block| block.chars as usize).sum();
    if dom.noscript_bytes < MIN_NOSCRIPT || dom.noscript_bytes <= shown {
        return Ok((dom, found));
    }
    let dom = tree::parse(html, Scripts::Off, limits)?;
    let found = walk::find(&dom, keep_math, limits)?;
    Ok((dom, found))
}

/// Which blocks are written under these options.
fn kept(found: &Layout, decision: &Decision, options: &ExtractOptions) -> Vec<bool> {
    let is_wanted = |block: &blocks::Block| options.keep_code || block.places & place::PRE == 0;
    let chosen = |index: usize| !options.main_content || decision.keep.get(index).copied().unwrap_or(false);
    found.blocks.iter().enumerate().map(|(index, block)| chosen(index) && is_wanted(block)).collect()
}

/// Lists a page's blocks with what the model sees and says. For people who ask why, and for the script that trains the model.
///
/// # Errors
/// [`HtmlError::Limit`].
pub fn explain(html: &str, url: Option<&str>, limits: Limits) -> Result<Explanation, HtmlError> {
    let (dom, found) = read(html, true, limits)?;
    let about: About = page::about(&dom);
    let decision = decide::decide(&found, &about, url);
    let names = decision.features.names.clone();
    let rows = decision.features.values.chunks(decision.features.stride.max(1));
    let blocks = found.blocks.iter().zip(rows).enumerate().map(|(index, (block, row))| BlockReport {
        text: found.text_of(block).to_owned(),
        features: row[..decision.features.width].to_vec(),
        likely: (
            decision.first.get(index).copied().unwrap_or(0.0),
            decision.second.get(index).copied().unwrap_or(0.0),
        ),
        is_kept: decision.keep.get(index).copied().unwrap_or(false),
        regions: regions_around(&found, block.region),
    });
    Ok(Explanation { names, blocks: blocks.collect() })
}

fn regions_around(found: &Layout, region: u32) -> Vec<u32> {
    std::iter::successors(Some(region), |at| found.regions.get(*at as usize).map(|region| region.parent))
        .take_while(|at| *at != blocks::NONE)
        .collect()
}
