//! Mathematics of a page as LaTeX. Pages carry it as TeX that a script typesets (MathJax, KaTeX), as MathML, as both, or as a picture whose alternative text
//! is TeX; what the author wrote wins over what a converter made of it.

mod mathml;
mod symbols;

use super::dom::{Attr, Attribute, Dom, NodeId};
use super::tag::Tag;

/// A formula of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Formula {
    /// Its LaTeX, on one line, without dollar signs.
    pub(super) latex: String,
    /// Stands on a line of its own.
    pub(super) is_display: bool,
    /// The first node after it.
    pub(super) end: NodeId,
}

impl Formula {
    /// Appends it with its dollar signs.
    pub(super) fn write(&self, out: &mut String) {
        let mark = if self.is_display { "$$" } else { "$" };
        out.push_str(mark);
        out.push_str(&self.latex);
        out.push_str(mark);
    }
}

/// Whether an element of that name may be a formula: the others need no second look.
pub(super) fn may_be(tag: Tag) -> bool {
    matches!(tag, Tag::Math | Tag::Script | Tag::Span | Tag::Div | Tag::Img | Tag::Unknown)
}

/// The formula that an element is; none where it is something else. An empty one stands for what repeats another: the pixels of a formula whose TeX is
/// beside them.
pub(super) fn formula(dom: &Dom, id: NodeId) -> Option<Formula> {
    let end = dom.node(id).end;
    match dom.tag(id) {
        Tag::Math => Some(of_mathml(dom, id)),
        Tag::Script => {
            let kind = dom.attribute(id, Attr::Type).filter(|kind| kind.starts_with("math/tex"))?;
            let is_display = kind.contains("mode=display");
            Some(Formula { latex: tidy(&dom.text_within(id)), is_display, end })
        }
        Tag::Img => of_picture(dom, id),
        _ => of_container(dom, id),
    }
}

/// Whether a class may be one of those below: they all have `math` or `tex` in them, in some spelling.
fn may_be_of_formula(class: &str) -> bool {
    class
        .as_bytes()
        .windows(3)
        .any(|part| part.eq_ignore_ascii_case(b"ath") || part.eq_ignore_ascii_case(b"tex"))
}

/// An element of MathJax, KaTeX or one of their kin.
fn of_container(dom: &Dom, id: NodeId) -> Option<Formula> {
    let node = dom.node(id);
    if node.tag == Tag::Unknown {
        return of_mathjax_3(dom, id);
    }
    let is_named = |attribute: &Attribute| match attribute.name {
        Attr::Class => may_be_of_formula(dom.value(attribute)),
        name => matches!(name, Attr::DataTex | Attr::DataLatex | Attr::DataExpr),
    };
    if !dom.attributes(node).iter().any(is_named) {
        return None;
    }
    let class = dom.attribute(id, Attr::Class).unwrap_or_default();
    let has = |name: &str| class.split_ascii_whitespace().any(|word| word == name);
    let empty = Formula { latex: String::new(), is_display: false, end: node.end };
    let source =
        [Attr::DataTex, Attr::DataLatex, Attr::DataExpr].into_iter().find_map(|name| dom.attribute(id, name));
    if let Some(source) = source {
        return Some(Formula {
            latex: tidy(source),
            is_display: node.tag == Tag::Div || has("display"),
            ..empty
        });
    }
    if class.is_empty() {
        return None;
    }
    if has("katex-display")
        || has("katex")
        || has("mwe-math-element")
        || has("MathJax_Display")
        || has("MathJax_SVG")
        || has("MathJax")
    {
        let inner = within(dom, id, |inner| dom.tag(inner) == Tag::Math);
        let is_display = has("katex-display") || has("MathJax_Display");
        return match inner {
            Some(inner) => {
                let formula = of_mathml(dom, inner);
                Some(Formula { is_display: is_display || formula.is_display, end: node.end, ..formula })
            }
            // The source of MathJax 2 stands in a script beside its pixels.
            None if class.contains("MathJax") => Some(empty),
            None => within(dom, id, |inner| dom.tag(inner) == Tag::Img)
                .and_then(|inner| of_picture(dom, inner))
                .map(|formula| Formula { end: node.end, ..formula }),
        };
    }
    if has("MathJax_Preview") {
        return Some(empty);
    }
    // `span.math` of pandoc, Sphinx and others: TeX as text, most often within \( \) or \[ \].
    if (has("math") || has("tex") || has("arithmatex")) && node.end - id <= 4 {
        let text = dom.text_within(id);
        let (latex, is_display) = without_delimiters(&text)?;
        return Some(Formula {
            latex: tidy(latex),
            is_display: is_display || has("display") || node.tag == Tag::Div,
            ..empty
        });
    }
    None
}

/// `mjx-container` of MathJax 3, which holds MathML for those who can't see.
fn of_mathjax_3(dom: &Dom, id: NodeId) -> Option<Formula> {
    let class = dom.attribute(id, Attr::Class)?;
    if !class.split_ascii_whitespace().any(|word| word == "MathJax" || word == "MathJax_SVG") {
        return None;
    }
    let is_display = dom.attribute(id, Attr::Display) == Some("true");
    let end = dom.node(id).end;
    let latex = within(dom, id, |inner| dom.tag(inner) == Tag::Math)
        .map(|inner| of_mathml(dom, inner).latex)
        .unwrap_or_default();
    Some(Formula { latex, is_display, end })
}

/// Nodes of an element that are searched for its formula, so that elements within elements are not searched again and again.
const MAX_SEARCH: NodeId = 2_048;

fn within(dom: &Dom, id: NodeId, wanted: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    (id + 1..dom.node(id).end.min(id + MAX_SEARCH))
        .find(|inner| !dom.node(*inner).is_text() && wanted(*inner))
}

/// A picture of a formula, as Wikipedia and WordPress make them.
fn of_picture(dom: &Dom, id: NodeId) -> Option<Formula> {
    let class = dom.attribute(id, Attr::Class).unwrap_or_default();
    let is_formula = ["mwe-math-fallback-image", "latex", "tex", "math"]
        .iter()
        .any(|name| class.split_ascii_whitespace().any(|word| word.starts_with(name)));
    let alt = dom.attribute(id, Attr::Alt).filter(|alt| is_formula && !alt.trim().is_empty())?;
    Some(Formula { latex: tidy(alt), is_display: class.contains("display"), end: dom.node(id).end })
}

/// A `math` element: its annotation in TeX, its `alttext`, or what its presentation converts to.
fn of_mathml(dom: &Dom, id: NodeId) -> Formula {
    let end = dom.node(id).end;
    let is_display =
        dom.attribute(id, Attr::Display) == Some("block") || dom.attribute(id, Attr::Mode) == Some("display");
    let is_tex = |inner: NodeId| {
        dom.tag(inner) == Tag::Annotation
            && dom
                .attribute(inner, Attr::Encoding)
                .is_some_and(|kind| kind.to_ascii_lowercase().contains("tex"))
    };
    let annotation =
        within(dom, id, is_tex).map(|inner| tidy(&dom.text_within(inner))).filter(|latex| !latex.is_empty());
    let alttext = || dom.attribute(id, Attr::Alttext).filter(|alt| !alt.trim().is_empty()).map(tidy);
    let latex = annotation.or_else(alttext).unwrap_or_else(|| mathml::latex(dom, id));
    Formula { latex, is_display, end }
}

/// The TeX within `\( \)`, `\[ \]`, `$ $` or `$$ $$`, and whether those mean a line of its own; none where the text is not TeX.
fn without_delimiters(text: &str) -> Option<(&str, bool)> {
    let text = text.trim();
    for (start, end, is_display) in
        [("\\(", "\\)", false), ("\\[", "\\]", true), ("$$", "$$", true), ("$", "$", false)]
    {
        if let Some(inner) = text.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) {
            return Some((inner, is_display));
        }
    }
    text.contains(['\\', '^', '_']).then_some((text, false))
}

/// TeX on one line, without the frame that Wikipedia puts around it.
fn tidy(latex: &str) -> String {
    let mut out = latex.split_whitespace().collect::<Vec<_>>().join(" ");
    for frame in ["{\\displaystyle ", "{\\textstyle "] {
        if out.starts_with(frame) && out.ends_with('}') && closes_at_end(&out) {
            out = out[frame.len()..out.len() - 1].trim().to_owned();
        }
    }
    // A formula ends at its dollar sign: one within would end it early.
    let bare = out.trim_matches('$');
    if bare.contains('$') && !bare.contains("\\$") && !bare.contains("\\text") {
        return bare.replace('$', "");
    }
    bare.trim().to_owned()
}

/// Whether the brace at the start is closed by the one at the end.
fn closes_at_end(latex: &str) -> bool {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, letter) in latex.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 == latex.len();
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
