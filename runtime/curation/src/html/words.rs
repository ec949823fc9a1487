//! The words that give a block away: those that authors of pages write into `class` and `id`, and those that boilerplate says. Each list is a bit.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use xxhash_rust::xxh3::xxh3_64;

/// Kinds of class and id words, in the order of their bits.
pub(super) const CLASS_KINDS: [(&str, &str); 30] = [
    ("article", "article post entry story blog newsarticle"),
    ("content", "content body text prose main markdown richtext rte wysiwyg editor copy"),
    ("comment", "comment reply replies discussion disqus message thread respond"),
    ("nav", "nav menu navbar navigation submenu"),
    ("footer", "footer foot bottom copyright colophon"),
    ("header", "header masthead top topbar toolbar banner"),
    ("sidebar", "sidebar aside rail widget side secondary"),
    (
        "related",
        "related recommend more similar also trending popular latest suggest next prev upsell crosssell youmay",
    ),
    ("share", "share sharing social follow facebook twitter addtoany sharedaddy"),
    ("ad", "ad ads advert advertisement sponsor promo promoted outbrain taboola adslot dfp"),
    ("cookie", "cookie consent gdpr privacy onetrust"),
    ("modal", "modal popup overlay dialog tooltip drawer dropdown offcanvas flyout lightbox"),
    ("subscribe", "newsletter subscribe subscription signup login register paywall signin"),
    ("author", "author byline bio avatar profile user username"),
    ("date", "meta date time published timestamp posted updated dateline"),
    ("crumbs", "breadcrumb crumb pagination pager paging"),
    ("tag", "tag tags category categories topic keyword badge label"),
    ("media", "caption credit figure image img gallery media video slide slider carousel photo swiper"),
    ("product", "product price sku spec specification feature item pdp"),
    ("shop", "cart buy wishlist checkout filter sort facet quantity variant swatch"),
    ("card", "card tile grid result teaser listing list"),
    ("title", "title headline heading hero subtitle"),
    ("summary", "summary excerpt lead intro dek abstract description desc detail standfirst"),
    ("hidden", "hidden hide visually-hidden sr-only screen-reader invisible collapsed offscreen"),
    ("toc", "toc contents anchor jump index"),
    ("code", "code highlight example snippet sphinx docutils syntax"),
    ("faq", "question answer faq accordion tab tabs"),
    ("review", "review rating star testimonial quote"),
    ("form", "form input search button btn cta action"),
    ("note", "footnote reference cite source note disclaimer print noprint skip"),
];

/// Kinds of what short blocks say.
pub(super) const TEXT_KINDS: [(&str, &str); 16] = [
    (
        "share",
        "share|tweet|facebook|twitter|linkedin|pinterest|whatsapp|instagram|follow us|email this|copy link|reddit",
    ),
    (
        "subscribe",
        "subscribe|newsletter|sign up|signup|inbox|join our|mailing list|e-mail address|email address",
    ),
    ("legal", "cookie|privacy|terms of|all rights reserved|copyright|©|disclaimer|gdpr|consent"),
    (
        "related",
        "related|you may also|you might also|read more|more from|recommended|trending|see also|read also|most popular|up next|more stories|also like|latest news|popular posts|further reading|similar|read next|don't miss",
    ),
    ("comment", "comment|reply|leave a|replies|post a|responses|join the conversation"),
    ("author", "written by|posted by|author|editor|contributor|reporter|about the|by:"),
    (
        "date",
        "january|february|march|april|june|july|august|september|october|november|december| ago|updated|published|posted on|last modified|a.m.| p.m.",
    ),
    ("credit", "photo|getty|image:|images|credit|courtesy|(ap)|reuters|file -|video:|picture"),
    (
        "navigation",
        "home|menu|skip to|search|back to|previous|next|log in|login|sign in|close|view all|see all|show more|load more|toggle|account",
    ),
    (
        "price",
        "$|€|£|add to cart|add to bag|buy now|in stock|out of stock|shipping|sale|price|% off|quantity|checkout",
    ),
    ("reading", "min read|minute read|minutes read|listen to|reading time|views"),
    (
        "ad",
        "advertisement|sponsored|ad feedback|scroll to continue|continue reading|story continues|affiliate|commission",
    ),
    (
        "call",
        "learn more|click here|download|get started|contact us|book now|request|free trial|apply now|find out|try for|call us|shop now|enquire",
    ),
    ("review", "rating|reviews|stars|helpful|verified"),
    (
        "tags",
        "tags:|tagged|filed under|topics|categories|category:|in this article|table of contents|on this page|contents",
    ),
    ("error", "javascript|browser|enable|loading|please wait|captcha|not available"),
];

/// A matcher of words and which kind each of them is.
struct Lexicon {
    matcher: Option<AhoCorasick>,
    /// Kind and length of each word.
    words: Vec<(u8, u8)>,
}

impl Lexicon {
    fn new(kinds: &'static [(&'static str, &'static str)], separator: char) -> Self {
        let words = kinds
            .iter()
            .enumerate()
            .flat_map(|(kind, (_, words))| words.split(separator).map(move |word| (kind as u8, word)));
        let words: Vec<(u8, &str)> = words.collect();
        let matcher = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(words.iter().map(|word| word.1))
            .ok();
        Self { matcher, words: words.iter().map(|(kind, word)| (*kind, word.len() as u8)).collect() }
    }
}

static CLASSES: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::new(&CLASS_KINDS, ' '));
static TEXTS: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::new(&TEXT_KINDS, '|'));

/// Words shorter than this count only as whole words: `ad` is not in `header`.
const MIN_PART: u8 = 6;

/// Names seen last and their kinds: a page says the same few classes again and again.
#[derive(Debug)]
pub(super) struct SeenKinds(Vec<(u64, u32)>);

impl Default for SeenKinds {
    fn default() -> Self {
        Self(vec![(0, 0); 256])
    }
}

impl SeenKinds {
    /// The kinds of a name, as [`class_kinds`] finds them.
    pub(super) fn class_kinds(&mut self, value: &str) -> u32 {
        let hash = xxh3_64(value.as_bytes());
        let slot = hash as usize % self.0.len();
        if self.0[slot].0 != hash {
            self.0[slot] = (hash, class_kinds(value));
        }
        self.0[slot].1
    }
}

/// The kinds of the words of a class, an id or another name for machines.
fn class_kinds(value: &str) -> u32 {
    let Some(matcher) = &CLASSES.matcher else { return 0 };
    let bytes = value.as_bytes();
    let mut kinds = 0;
    for found in matcher.find_overlapping_iter(value) {
        let Some(&(kind, length)) = CLASSES.words.get(found.pattern().as_usize()) else { continue };
        let (start, end) = (found.start(), found.end());
        let starts = start == 0
            || !bytes[start - 1].is_ascii_alphabetic()
            || (bytes[start].is_ascii_uppercase() && bytes[start - 1].is_ascii_lowercase());
        let end = end + usize::from(bytes.get(end) == Some(&b's'));
        let ends = bytes.get(end).is_none_or(|byte| !byte.is_ascii_lowercase());
        if (starts && ends) || (length >= MIN_PART && (starts || ends)) {
            kinds |= 1 << kind;
        }
    }
    kinds
}

/// The kinds of the phrases of a text.
pub(super) fn text_kinds(text: &str) -> u32 {
    let Some(matcher) = &TEXTS.matcher else { return 0 };
    let bytes = text.as_bytes();
    let mut kinds = 0;
    for found in matcher.find_overlapping_iter(text) {
        let starts = found.start() == 0
            || !bytes[found.start() - 1].is_ascii_alphabetic()
            || !bytes[found.start()].is_ascii_alphabetic();
        if starts && let Some(&(kind, _)) = TEXTS.words.get(found.pattern().as_usize()) {
            kinds |= 1 << kind;
        }
    }
    kinds
}

/// Words of sentences, of the languages most written: what menus lack.
const STOP_WORDS: &str = "the of and to in a is that it for on with as was he be by at this are from have or his an they which you had we not but what were \
    all when your can there their has will our more if who its about would she been i der die und das den von zu mit ist nicht ein eine auf für im dem sich \
    des auch es an le la les de et des en un une du que est pour dans qui par sur pas au el los las y del se por con una su para es lo como il di che è per \
    non della con sono het een van dat op te zijn voor met o e do da em os no na og det som på av är att och w z na się jest do nie и в не на что с по";

static STOP: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut words: Vec<u64> = STOP_WORDS.split_whitespace().filter_map(packed).collect();
    words.sort_unstable();
    words.dedup();
    words
});

/// A word of at most eight bytes as a number.
fn packed(word: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes.get_mut(..word.len())?.copy_from_slice(word.as_bytes());
    Some(u64::from_le_bytes(bytes))
}

/// Whether a word in small letters is one that sentences are made with.
pub(super) fn is_stop_word(word: &str) -> bool {
    packed(word).is_some_and(|word| STOP.binary_search(&word).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(mask: u32) -> Vec<&'static str> {
        CLASS_KINDS
            .iter()
            .enumerate()
            .filter(|(bit, _)| mask >> bit & 1 == 1)
            .map(|(_, kind)| kind.0)
            .collect()
    }

    #[test]
    fn class_words_are_found_whole_or_long() {
        assert!(CLASSES.matcher.is_some() && TEXTS.matcher.is_some());
        assert_eq!(names(class_kinds("header")), ["header"]);
        assert_eq!(names(class_kinds("articleBody")), ["article", "content"]);
        assert_eq!(names(class_kinds("post-comments")), ["article", "comment"]);
        assert_eq!(names(class_kinds("breadcrumbs")), ["crumbs"]);
        assert!(class_kinds("loadable shadow").eq(&0));
    }

    #[test]
    fn phrases_start_with_a_word() {
        assert_eq!(text_kinds("Unrelated"), 0);
        assert_ne!(text_kinds("© 2024 Example. All rights reserved"), 0);
        assert!(is_stop_word("the") && is_stop_word("für") && !is_stop_word("cathedral"));
    }
}
