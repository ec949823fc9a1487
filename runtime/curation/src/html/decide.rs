//! Which blocks of a page are kept.

use super::blocks::Layout;
use super::context::{self, best_threshold, context};
use super::error::Limits;
use super::features::{self, Features};
use super::kind::{PageType, kind};
use super::model::{FIRST, SECOND};
use super::page::About;
use super::tree::{self, Scripts};
use super::{ExtractOptions, markdown};

/// An article body of the structured data counts from this many characters on.
const MIN_BODY: usize = 500;

/// It takes the text's place if the text is shorter than this share of it.
const MAX_SHOWN: f64 = 0.25;

/// What was decided, and from what.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) keep: Vec<bool>,
    pub(super) page_type: PageType,
    pub(super) features: Features,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

/// Decides for every block.
pub(super) fn decide(blocks: &Layout, about: &About, url: Option<&str>) -> Decision {
    let (mut features, wording) = features::features(blocks, about, url, context::NAMES.len());
    let (width, stride) = (features.width, features.stride);
    let first = FIRST.likely(&features.values, stride);
    let around = context(blocks, &first, &wording);
    let rows = features.values.chunks_mut(stride.max(1));
    for (row, around) in rows.zip(around.chunks(context::NAMES.len())) {
        row[width..].copy_from_slice(around);
    }
    let second = SECOND.likely(&features.values, stride);
    // Each stage errs in its own way: together they err less.
    let likely: Vec<f32> = first.iter().zip(&second).map(|(first, second)| (first + second) / 2.0).collect();
    let (threshold, _) = best_threshold(&likely, &wording);
    let keep = likely.iter().map(|likely| *likely >= threshold).collect();
    let page_type = kind(&features);
    Decision { keep, page_type, features, first, second }
}

/// Whether the page's structured data has the article and the page does not show it.
pub(super) fn is_hidden(text: &str, about: &About) -> bool {
    about.article_body.len() >= MIN_BODY && (text.len() as f64) < MAX_SHOWN * about.article_body.len() as f64
}

/// The article body of the structured data as text; some sites put HTML there.
pub(super) fn article_body(about: &About, options: &ExtractOptions) -> String {
    let body = about.article_body.trim();
    if !body.contains('<') && !body.contains('&') {
        return body.to_owned();
    }
    let limits = Limits::default();
    let Ok(dom) = tree::parse(body, Scripts::Run, limits) else { return String::new() };
    let Ok(found) = super::walk::find(&dom, options.keep_math, limits) else { return String::new() };
    markdown::render(&dom, &found, &vec![true; found.blocks.len()], options.format)
}
