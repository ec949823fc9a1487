//! What a page says about itself: its head, its structured data and its address.

use serde_json::Value;

use super::blocks::collapse;
use super::dom::{Attr, Dom};
use super::tag::Tag;

/// Kinds of structured data (schema.org types), as bits.
pub(super) const SCHEMA_KINDS: [(&str, &[&str]); 8] = [
    ("article", &["Article", "BlogPosting", "Report", "TechArticle"]),
    ("product", &["Product", "Offer", "ProductGroup"]),
    ("list", &["ItemList", "CollectionPage", "SearchResultsPage", "OfferCatalog"]),
    ("forum", &["DiscussionForumPosting", "QAPage", "SocialMediaPosting"]),
    ("faq", &["FAQPage", "HowTo", "Recipe"]),
    ("organization", &["Organization", "LocalBusiness", "Service", "Course"]),
    ("website", &["WebSite"]),
    ("crumbs", &["BreadcrumbList"]),
];

/// Kinds of words of an address, as bits.
pub(super) const ADDRESS_KINDS: [(&str, &[&str]); 8] = [
    (
        "forum",
        &[
            "forum",
            "forums",
            "thread",
            "threads",
            "topic",
            "topics",
            "viewtopic",
            "showthread",
            "discussion",
            "discussions",
            "community",
            "questions",
            "comments",
            "t",
            "q",
            "issues",
        ],
    ),
    ("product", &["product", "products", "shop", "store", "p", "item", "itm", "dp", "buy", "sku", "ip"]),
    (
        "collection",
        &[
            "collection",
            "collections",
            "category",
            "categories",
            "catalog",
            "c",
            "cat",
            "browse",
            "subcategory",
            "search",
            "department",
        ],
    ),
    (
        "documentation",
        &[
            "docs",
            "doc",
            "documentation",
            "reference",
            "api",
            "guide",
            "guides",
            "manual",
            "wiki",
            "help",
            "kb",
            "support",
            "developer",
            "developers",
            "learn",
            "tutorial",
            "tutorials",
            "stable",
            "latest",
        ],
    ),
    (
        "article",
        &[
            "blog", "blogs", "news", "article", "articles", "story", "stories", "post", "posts", "insights",
            "opinion", "magazine", "press",
        ],
    ),
    (
        "service",
        &[
            "service",
            "services",
            "solutions",
            "pricing",
            "plans",
            "features",
            "platform",
            "about",
            "contact",
            "courses",
            "programs",
        ],
    ),
    (
        "listing",
        &[
            "tag",
            "tags",
            "archive",
            "archives",
            "directory",
            "listing",
            "listings",
            "events",
            "jobs",
            "best",
            "top",
            "list",
            "results",
            "topics",
        ],
    ),
    ("index", &["index", "home", "default", "main"]),
];

/// What a page says about itself.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) title: Option<String>,
    pub(super) heading: Option<String>,
    pub(super) description: String,
    pub(super) language: Option<String>,
    pub(super) canonical_url: Option<String>,
    pub(super) published: Option<String>,
    pub(super) author: Option<String>,
    pub(super) site_name: Option<String>,
    /// The text of the article, where structured data has it.
    pub(super) article_body: String,
    pub(super) open_graph_type: String,
    pub(super) generator: String,
    /// Bits of [`SCHEMA_KINDS`].
    pub(super) schema_kinds: u32,
    pub(super) robots: String,
}

/// Structured data of a page is read up to this many bytes a script.
const MAX_DATA_BYTES: usize = 1 << 20;

/// First headings that are looked at for one that says something.
const MAX_HEADINGS: u32 = 8;

/// Reads a page's head, its first heading and its structured data.
pub(super) fn about(dom: &Dom) -> About {
    let mut about = About::default();
    let mut headings = 0;
    for id in 0..dom.len() {
        let node = dom.node(id);
        if node.is_text() {
            continue;
        }
        match node.tag {
            Tag::Html => about.language = dom.attribute(id, Attr::Lang).and_then(clean),
            Tag::Title if about.title.is_none() && node.flags & super::dom::flag::FOREIGN == 0 => {
                about.title = clean(&dom.text_within(id));
            }
            Tag::H1 if about.heading.is_none() && headings < MAX_HEADINGS => {
                headings += 1;
                about.heading = clean(&dom.text_within(id));
            }
            Tag::Link => about.link(dom, id),
            Tag::Meta => about.meta(dom, id),
            Tag::Time if about.published.is_none() => {
                about.published = dom.attribute(id, Attr::Datetime).and_then(clean);
            }
            Tag::Script if dom.attribute(id, Attr::Type).is_some_and(|kind| kind.contains("ld+json")) => {
                about.data(&dom.text_within(id));
            }
            _ => {}
        }
    }
    about
}

/// A text with its white space collapsed; none where nothing is left.
pub(super) fn clean(text: &str) -> Option<String> {
    let mut out = String::new();
    collapse(text, &mut out, 0, false);
    (!out.is_empty()).then_some(out)
}

impl About {
    fn link(&mut self, dom: &Dom, id: u32) {
        let is_canonical = dom.attribute(id, Attr::Rel).is_some_and(|rel| {
            rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("canonical"))
        });
        if is_canonical && self.canonical_url.is_none() {
            self.canonical_url = dom.attribute(id, Attr::Href).and_then(clean);
        }
    }

    fn meta(&mut self, dom: &Dom, id: u32) {
        let Some(content) = dom.attribute(id, Attr::Content).and_then(clean) else { return };
        let name = [Attr::Property, Attr::Name, Attr::Itemprop, Attr::HttpEquiv]
            .into_iter()
            .find_map(|name| dom.attribute(id, name));
        let name = name.unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "og:type" => self.open_graph_type = content.to_ascii_lowercase(),
            "generator" => self.generator = content.to_ascii_lowercase(),
            "robots" => self.robots = content.to_ascii_lowercase(),
            "og:description" | "description" | "twitter:description"
                if self.description.len() < content.len() =>
            {
                self.description = content;
            }
            "og:title" => self.title = Some(content),
            "og:site_name" => self.site_name = Some(content),
            "og:url" if self.canonical_url.is_none() => self.canonical_url = Some(content),
            "author" | "article:author" | "dc.creator" if self.author.is_none() => {
                self.author = Some(content);
            }
            "content-language" | "og:locale" | "language" if self.language.is_none() => {
                self.language = Some(content.replace('_', "-"));
            }
            "article:published_time"
            | "datepublished"
            | "date"
            | "dc.date"
            | "pubdate"
            | "publish-date"
            | "parsely-pub-date"
            | "dc.date.issued"
                if self.published.is_none() =>
            {
                self.published = Some(content);
            }
            _ => {}
        }
    }

    /// Reads one script of structured data. serde_json bounds the depth.
    fn data(&mut self, text: &str) {
        if text.len() > MAX_DATA_BYTES {
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(text.trim().trim_end_matches(';')) else { return };
        let mut pending = vec![&value];
        while let Some(value) = pending.pop() {
            match value {
                Value::Array(items) => pending.extend(items.iter().rev()),
                Value::Object(fields) => {
                    self.object(fields);
                    pending.extend(
                        fields
                            .iter()
                            .filter(|(key, _)| {
                                matches!(key.as_str(), "@graph" | "mainEntity" | "mainEntityOfPage")
                            })
                            .map(|(_, value)| value),
                    );
                }
                _ => {}
            }
        }
    }

    fn object(&mut self, fields: &serde_json::Map<String, Value>) {
        let kinds = match fields.get("@type") {
            Some(Value::String(kind)) => vec![kind.as_str()],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        for kind in kinds {
            for (bit, (_, names)) in SCHEMA_KINDS.iter().enumerate() {
                if names.iter().any(|name| kind.ends_with(name)) {
                    self.schema_kinds |= 1 << bit;
                }
            }
        }
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        if let Some(body) = text("articleBody").or_else(|| text("text"))
            && body.len() > self.article_body.len()
        {
            body.clone_into(&mut self.article_body);
        }
        if let Some(date) = text("datePublished") {
            self.published = clean(date).or(self.published.take());
        }
        if let Some(description) = text("description")
            && description.len() > self.description.len()
        {
            description.clone_into(&mut self.description);
        }
    }
}

/// Bits of [`ADDRESS_KINDS`], of the host and of the path, and the path's segments.
pub(super) fn address(url: &str) -> (u32, u32, u32) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let segments = path.split('/').filter(|segment| !segment.is_empty()).count() as u32;
    (kinds_of(host, &['.', '-', ':']), kinds_of(path, &['/', '-', '_', '.']), segments)
}

fn kinds_of(text: &str, separators: &[char]) -> u32 {
    let mut kinds = 0;
    for word in text.split(separators) {
        for (bit, (_, words)) in ADDRESS_KINDS.iter().enumerate() {
            if words.iter().any(|other| other.eq_ignore_ascii_case(word)) {
                kinds |= 1 << bit;
            }
        }
    }
    kinds
}
