//! The elements that have a meaning here, as numbers.

/// Declares the elements: their variants, their names and the way back.
macro_rules! tags {
    ($($variant:ident $name:literal)*) => {
        /// An element's name; every name without a meaning of its own is `Unknown`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Tag { Unknown, $($variant,)* }

        /// How many there are.
        pub(super) const NUM_TAGS: usize = [$($name,)*].len() + 1;

        impl Tag {
            /// The element of a name in small letters.
            #[expect(non_upper_case_globals, reason = "constants are named as the variants they stand for")]
            pub(super) fn of(name: &[u8]) -> Self {
                $(const $variant: &[u8] = $name.as_bytes();)*
                match name {
                    $($variant => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }
        }
    };
}

tags! {
    Html "html" Head "head" Body "body" Title "title" Meta "meta" Link "link" Base "base" Style "style" Script "script" Noscript "noscript"
    Template "template"
    Article "article" Aside "aside" Nav "nav" Section "section" Main "main" Header "header" Footer "footer" Hgroup "hgroup" Address "address"
    Search "search" Dialog "dialog" Details "details" Summary "summary"
    H1 "h1" H2 "h2" H3 "h3" H4 "h4" H5 "h5" H6 "h6"
    P "p" Div "div" Blockquote "blockquote" Pre "pre" Listing "listing" Xmp "xmp" Plaintext "plaintext" Ol "ol" Ul "ul" Menu "menu" Dir "dir" Li "li"
    Dl "dl" Dt "dt" Dd "dd" Figure "figure" Figcaption "figcaption" Hr "hr" Center "center" Marquee "marquee"
    Table "table" Caption "caption" Colgroup "colgroup" Col "col" Thead "thead" Tbody "tbody" Tfoot "tfoot" Tr "tr" Td "td" Th "th"
    Form "form" Fieldset "fieldset" Legend "legend" Label "label" Input "input" Button "button" Select "select" Datalist "datalist"
    Optgroup "optgroup" Option "option" Textarea "textarea" Output "output" Progress "progress" Meter "meter" Keygen "keygen"
    A "a" Abbr "abbr" Acronym "acronym" B "b" Bdi "bdi" Bdo "bdo" Big "big" Br "br" Cite "cite" Code "code" Data "data" Del "del" Dfn "dfn" Em "em"
    Font "font" I "i" Ins "ins" Kbd "kbd" Mark "mark" Nobr "nobr" Q "q" Rb "rb" Rp "rp" Rt "rt" Rtc "rtc" Ruby "ruby" S "s" Samp "samp" Small "small"
    Span "span" Strike "strike" Strong "strong" Sub "sub" Sup "sup" Time "time" Tt "tt" U "u" Var "var" Wbr "wbr"
    Img "img" Image "image" Picture "picture" Source "source" Audio "audio" Video "video" Track "track" Canvas "canvas" Map "map" Area "area"
    Iframe "iframe" Embed "embed" Object "object" Param "param" Applet "applet" Bgsound "bgsound" Basefont "basefont" Frame "frame"
    Frameset "frameset" Noframes "noframes" Noembed "noembed" Slot "slot"
    Svg "svg" Math "math" Foreignobject "foreignobject" Desc "desc" Mi "mi" Mn "mn" Mo "mo" Ms "ms" Mtext "mtext" Mspace "mspace" Mrow "mrow"
    Mfrac "mfrac" Msqrt "msqrt" Mroot "mroot" Mstyle "mstyle" Merror "merror" Mpadded "mpadded" Mphantom "mphantom" Mfenced "mfenced"
    Menclose "menclose" Msub "msub" Msup "msup" Msubsup "msubsup" Munder "munder" Mover "mover" Munderover "munderover" Mmultiscripts "mmultiscripts"
    Mprescripts "mprescripts" Mtable "mtable" Mtr "mtr" Mlabeledtr "mlabeledtr" Mtd "mtd" Maction "maction" Semantics "semantics"
    Annotation "annotation" AnnotationXml "annotation-xml"
}

/// The longest known name in bytes.
pub(super) const LONGEST_NAME: usize = 14;

impl Tag {
    /// Has no content and no end tag.
    pub(super) fn is_void(self) -> bool {
        use Tag::{
            Area, Base, Basefont, Bgsound, Br, Col, Embed, Frame, Hr, Img, Input, Keygen, Link, Meta, Param,
            Source, Track, Wbr,
        };
        matches!(
            self,
            Area | Base
                | Basefont
                | Bgsound
                | Br
                | Col
                | Embed
                | Frame
                | Hr
                | Img
                | Input
                | Keygen
                | Link
                | Meta
                | Param
                | Source
                | Track
                | Wbr
        )
    }

    /// Its content is text up to its own end tag.
    pub(super) fn is_raw(self) -> bool {
        use Tag::{Iframe, Noembed, Noframes, Noscript, Script, Style, Textarea, Title, Xmp};
        matches!(self, Script | Style | Title | Textarea | Xmp | Noscript | Iframe | Noembed | Noframes)
    }

    pub(super) fn is_heading(self) -> bool {
        self.heading_level() > 0
    }

    /// 1 to 6; 0 for what is no heading.
    pub(super) fn heading_level(self) -> u8 {
        match self {
            Tag::H1 => 1,
            Tag::H2 => 2,
            Tag::H3 => 3,
            Tag::H4 => 4,
            Tag::H5 => 5,
            Tag::H6 => 6,
            _ => 0,
        }
    }

    /// Belongs into the head.
    pub(super) fn is_of_head(self) -> bool {
        matches!(
            self,
            Tag::Title
                | Tag::Meta
                | Tag::Link
                | Tag::Base
                | Tag::Style
                | Tag::Script
                | Tag::Noscript
                | Tag::Template
                | Tag::Bgsound
                | Tag::Basefont
        )
    }

    /// An open paragraph ends before it, and its own end tag closes what is open within it.
    pub(super) fn closes_paragraph(self) -> bool {
        use Tag::{
            Address, Article, Aside, Blockquote, Center, Details, Dialog, Dir, Div, Dl, Fieldset, Figcaption,
            Figure, Footer, Form, Header, Hgroup, Hr, Listing, Main, Menu, Nav, Ol, P, Plaintext, Pre,
            Search, Section, Summary, Table, Ul, Xmp,
        };
        self.is_heading()
            || matches!(
                self,
                Address
                    | Article
                    | Aside
                    | Blockquote
                    | Center
                    | Details
                    | Dialog
                    | Dir
                    | Div
                    | Dl
                    | Fieldset
                    | Figcaption
                    | Figure
                    | Footer
                    | Form
                    | Header
                    | Hgroup
                    | Hr
                    | Listing
                    | Main
                    | Menu
                    | Nav
                    | Ol
                    | P
                    | Plaintext
                    | Pre
                    | Search
                    | Section
                    | Summary
                    | Table
                    | Ul
                    | Xmp
            )
    }

    /// The standard's category "special", as far as it is not void: an end tag of another name does not look past it.
    pub(super) fn is_special(self) -> bool {
        use Tag::{
            Applet, Body, Button, Caption, Colgroup, Dd, Dt, Foreignobject, Frameset, Head, Html, Li,
            Marquee, Object, Select, Tbody, Td, Template, Tfoot, Th, Thead, Tr,
        };
        self.closes_paragraph()
            || matches!(
                self,
                Applet
                    | Body
                    | Button
                    | Caption
                    | Colgroup
                    | Dd
                    | Dt
                    | Foreignobject
                    | Frameset
                    | Head
                    | Html
                    | Li
                    | Marquee
                    | Object
                    | Select
                    | Tbody
                    | Td
                    | Template
                    | Tfoot
                    | Th
                    | Thead
                    | Tr
            )
    }

    /// Formatting within a line: its end tag may come too late.
    pub(super) fn is_formatting(self) -> bool {
        use Tag::{A, B, Big, Code, Em, Font, I, Nobr, S, Small, Strike, Strong, Tt, U};
        matches!(self, A | B | Big | Code | Em | Font | I | Nobr | S | Small | Strike | Strong | Tt | U)
    }

    /// Starts a line of its own: what is before, within and after it are different blocks of text.
    pub(super) fn is_block(self) -> bool {
        use Tag::{
            Body, Button, Caption, Datalist, Dd, Dt, Head, Html, Legend, Li, Optgroup, Option, Select, Tbody,
            Td, Textarea, Tfoot, Th, Thead, Tr, Video,
        };
        self.closes_paragraph()
            || matches!(
                self,
                Body | Button
                    | Caption
                    | Datalist
                    | Dd
                    | Dt
                    | Head
                    | Html
                    | Legend
                    | Li
                    | Optgroup
                    | Option
                    | Select
                    | Tbody
                    | Td
                    | Textarea
                    | Tfoot
                    | Th
                    | Thead
                    | Tr
                    | Video
            )
    }

    /// Part of a table that only exists within one.
    pub(super) fn is_table_part(self) -> bool {
        matches!(
            self,
            Tag::Caption
                | Tag::Colgroup
                | Tag::Col
                | Tag::Thead
                | Tag::Tbody
                | Tag::Tfoot
                | Tag::Tr
                | Tag::Td
                | Tag::Th
        )
    }

    /// An end tag within it does not reach past it.
    pub(super) fn is_scope(self) -> bool {
        use Tag::{
            AnnotationXml, Applet, Caption, Foreignobject, Html, Marquee, Mi, Mn, Mo, Ms, Mtext, Object,
            Table, Td, Template, Th,
        };
        matches!(
            self,
            AnnotationXml
                | Applet
                | Caption
                | Foreignobject
                | Html
                | Marquee
                | Mi
                | Mn
                | Mo
                | Ms
                | Mtext
                | Object
                | Table
                | Td
                | Template
                | Th
        )
    }

    /// HTML within SVG or MathML ends those when it is one of these.
    pub(super) fn breaks_out(self) -> bool {
        use Tag::{
            B, Big, Blockquote, Body, Br, Center, Code, Dd, Div, Dl, Dt, Em, Embed, Head, Hr, I, Img, Li,
            Listing, Menu, Meta, Nobr, Ol, P, Pre, Ruby, S, Small, Span, Strike, Strong, Sub, Sup, Table, Tt,
            U, Ul, Var,
        };
        self.is_heading()
            || matches!(
                self,
                B | Big
                    | Blockquote
                    | Body
                    | Br
                    | Center
                    | Code
                    | Dd
                    | Div
                    | Dl
                    | Dt
                    | Em
                    | Embed
                    | Head
                    | Hr
                    | I
                    | Img
                    | Li
                    | Listing
                    | Menu
                    | Meta
                    | Nobr
                    | Ol
                    | P
                    | Pre
                    | Ruby
                    | S
                    | Small
                    | Span
                    | Strike
                    | Strong
                    | Sub
                    | Sup
                    | Table
                    | Tt
                    | U
                    | Ul
                    | Var
            )
    }

    /// HTML may stand within it although it is SVG or MathML.
    pub(super) fn is_integration_point(self) -> bool {
        matches!(
            self,
            Tag::Foreignobject
                | Tag::Desc
                | Tag::Title
                | Tag::Mtext
                | Tag::Mi
                | Tag::Mo
                | Tag::Mn
                | Tag::Ms
                | Tag::AnnotationXml
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_elements() {
        assert_eq!(Tag::of(b"annotation-xml"), Tag::AnnotationXml);
        assert_eq!(Tag::of(b"h6").heading_level(), 6);
        assert_eq!(Tag::of(b"my-element"), Tag::Unknown);
        assert!(NUM_TAGS > 150 && (Tag::AnnotationXml as usize) == NUM_TAGS - 1);
    }
}
