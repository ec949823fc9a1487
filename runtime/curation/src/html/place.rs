//! Kinds of places, as bits: what a tag or a role says about all that is within.

use super::tag::Tag;

/// Their names, in the order of their bits.
pub(super) const NAMES: [&str; 22] = [
    "article",
    "main",
    "aside",
    "nav",
    "header",
    "footer",
    "form",
    "table",
    "li",
    "figure",
    "blockquote",
    "section",
    "pre",
    "dl",
    "details",
    "button",
    "label",
    "link",
    "hidden",
    "dialog",
    "heading",
    "emphasis",
];
pub(super) const ARTICLE: u32 = 1;
pub(super) const MAIN: u32 = 1 << 1;
pub(super) const ASIDE: u32 = 1 << 2;
pub(super) const NAV: u32 = 1 << 3;
pub(super) const HEADER: u32 = 1 << 4;
pub(super) const FOOTER: u32 = 1 << 5;
pub(super) const FORM: u32 = 1 << 6;
pub(super) const TABLE: u32 = 1 << 7;
pub(super) const LI: u32 = 1 << 8;
pub(super) const FIGURE: u32 = 1 << 9;
pub(super) const BLOCKQUOTE: u32 = 1 << 10;
pub(super) const SECTION: u32 = 1 << 11;
pub(super) const PRE: u32 = 1 << 12;
pub(super) const DL: u32 = 1 << 13;
pub(super) const DETAILS: u32 = 1 << 14;
pub(super) const BUTTON: u32 = 1 << 15;
pub(super) const LABEL: u32 = 1 << 16;
pub(super) const LINK: u32 = 1 << 17;
pub(super) const HIDDEN: u32 = 1 << 18;
pub(super) const DIALOG: u32 = 1 << 19;
pub(super) const HEADING: u32 = 1 << 20;
pub(super) const EMPHASIS: u32 = 1 << 21;

/// The place that an element is by its name.
pub(super) fn place_of(tag: Tag) -> u32 {
    match tag {
        Tag::Article => ARTICLE,
        Tag::Main => MAIN,
        Tag::Aside => ASIDE,
        Tag::Nav | Tag::Menu => NAV,
        Tag::Header => HEADER,
        Tag::Footer => FOOTER,
        Tag::Form => FORM,
        Tag::Table => TABLE,
        Tag::Li => LI,
        Tag::Figure | Tag::Figcaption => FIGURE,
        Tag::Blockquote => BLOCKQUOTE,
        Tag::Section => SECTION,
        Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext => PRE,
        Tag::Dl => DL,
        Tag::Details | Tag::Summary => DETAILS,
        Tag::Button | Tag::Select => BUTTON,
        Tag::Label | Tag::Legend => LABEL,
        Tag::A => LINK,
        Tag::Dialog => DIALOG,
        Tag::B | Tag::Strong | Tag::I | Tag::Em => EMPHASIS,
        _ if tag.is_heading() => HEADING,
        _ => 0,
    }
}

/// The place that a role makes of an element.
pub(super) fn place_of_role(role: &str) -> u32 {
    match role {
        "article" => ARTICLE,
        "main" => MAIN,
        "complementary" | "note" => ASIDE,
        "navigation" | "menu" | "menubar" => NAV,
        "banner" => HEADER,
        "contentinfo" => FOOTER,
        "search" | "form" => FORM,
        "dialog" | "alertdialog" | "alert" => DIALOG,
        "button" | "tab" => BUTTON,
        _ => 0,
    }
}
