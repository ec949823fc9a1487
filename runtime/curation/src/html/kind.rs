//! Kinds of pages.

use super::features::Features;
use super::model;

/// What kind of page it is: the kinds of the WCXB set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageType {
    /// Prose with an author: news, blog posts, guides.
    Article,
    /// Posts of several people under one question or topic.
    Forum,
    /// One thing to buy.
    Product,
    /// Things to buy.
    Collection,
    /// Links with a few words each: news of a topic, search results, directories.
    Listing,
    /// How something works, of a program or a device.
    Documentation,
    /// What someone offers: landing pages, services, about pages.
    Service,
}

/// The kinds in the order of the model's classes.
pub(super) const KINDS: [PageType; 7] = [
    PageType::Article,
    PageType::Forum,
    PageType::Product,
    PageType::Collection,
    PageType::Listing,
    PageType::Documentation,
    PageType::Service,
];

/// The kind of a page, from what is the same for all of its blocks.
pub(super) fn kind(features: &Features) -> PageType {
    let row = features.values.get(features.whole_from..features.width).unwrap_or_default();
    let sums = model::KINDS.classes(row, KINDS.len());
    let mut best = 0;
    for (index, sum) in sums.iter().enumerate() {
        if *sum > sums[best] {
            best = index;
        }
    }
    KINDS[best]
}
