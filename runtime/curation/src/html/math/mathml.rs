//! Presentation MathML (MathML Core, W3C) to LaTeX. Iterative: what is open lies on a stack, so that nesting costs memory and no calls.

use std::fmt::Write as _;

use super::symbols;
use crate::html::dom::{Attr, Dom, NodeId};
use crate::html::tag::Tag;

/// Elements within elements of a formula that are converted; deeper ones are read as a row, so that no text is copied more often than this.
const MAX_DEPTH: usize = 64;

/// An element being converted and the LaTeX of its children.
struct Open {
    id: NodeId,
    end: NodeId,
    tag: Tag,
    parts: Vec<String>,
}

/// The LaTeX of a `math` element.
pub(super) fn latex(dom: &Dom, math: NodeId) -> String {
    let end = dom.node(math).end;
    let mut stack = vec![Open { id: math, end, tag: Tag::Mrow, parts: Vec::new() }];
    let mut id = math + 1;
    while id < end || stack.len() > 1 {
        if stack.len() > 1 && stack.last().is_some_and(|open| open.end <= id) {
            if let Some(open) = stack.pop() {
                let latex = convert(dom, &open);
                add(&mut stack, latex);
            }
            continue;
        }
        let node = dom.node(id);
        if node.is_text() {
            id += 1;
            continue;
        }
        match node.tag {
            Tag::Mi | Tag::Mn | Tag::Mo | Tag::Mtext | Tag::Ms => {
                add(&mut stack, token(dom, id, node.tag));
                id = node.end;
            }
            Tag::Mspace => {
                add(&mut stack, " ".to_owned());
                id = node.end;
            }
            Tag::Annotation | Tag::AnnotationXml | Tag::Mphantom => id = node.end,
            _ if stack.len() >= MAX_DEPTH => id += 1,
            tag => {
                stack.push(Open { id, end: node.end, tag, parts: Vec::new() });
                id += 1;
            }
        }
    }
    let latex = stack.pop().map(|open| row(&open.parts)).unwrap_or_default();
    latex.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn add(stack: &mut [Open], latex: String) {
    if let Some(open) = stack.last_mut() {
        open.parts.push(latex);
    }
}

/// Writes parts one after the other; a command and a letter after it are kept apart.
fn row(parts: &[String]) -> String {
    let mut out = String::new();
    for part in parts {
        if ends_with_command(&out) && part.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            out.push(' ');
        }
        out.push_str(part);
    }
    out
}

fn ends_with_command(latex: &str) -> bool {
    let name = latex.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    name.len() < latex.len() && name.ends_with('\\')
}

/// The LaTeX of an identifier, a number, an operator or a text.
fn token(dom: &Dom, id: NodeId, tag: Tag) -> String {
    let text = dom.text_within(id);
    let text = text.trim();
    let mut out = String::new();
    if matches!(tag, Tag::Mtext | Tag::Ms) {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        return if words.is_empty() {
            " ".to_owned()
        } else {
            format!("\\text{{{}}}", words.replace(['{', '}', '$'], ""))
        };
    }
    let letters = text.chars().count();
    if tag != Tag::Mn && letters > 1 && text.chars().all(char::is_alphabetic) {
        if symbols::is_function(text) {
            symbols::command(if text == "mod" { "bmod" } else { text }, &mut out);
        } else if tag == Tag::Mo {
            out = format!("\\operatorname{{{text}}}");
        } else {
            out = format!("\\mathrm{{{text}}}");
        }
        return out;
    }
    for letter in text.chars() {
        symbols::push(letter, &mut out);
    }
    match dom.attribute(id, Attr::Mathvariant) {
        Some("bold") => format!("\\mathbf{{{}}}", out.trim()),
        Some("bold-italic") => format!("\\boldsymbol{{{}}}", out.trim()),
        Some("double-struck") => format!("\\mathbb{{{}}}", out.trim()),
        Some("script") => format!("\\mathcal{{{}}}", out.trim()),
        Some("fraktur") => format!("\\mathfrak{{{}}}", out.trim()),
        Some("normal") if letters == 1 && out.len() == 1 && tag == Tag::Mi => format!("\\mathrm{{{out}}}"),
        _ => out,
    }
}

/// The LaTeX of an element whose children are converted.
fn convert(dom: &Dom, open: &Open) -> String {
    let part = |index: usize| open.parts.get(index).map_or("", |part| part.trim());
    let inner = || row(&open.parts);
    match open.tag {
        Tag::Mfrac => fraction(dom, open),
        Tag::Msqrt => format!("\\sqrt{{{}}}", inner().trim()),
        Tag::Mroot => format!("\\sqrt[{}]{{{}}}", part(1), part(0)),
        Tag::Msup => format!("{}{}", base(part(0)), script('^', part(1))),
        Tag::Msub => format!("{}_{{{}}}", base(part(0)), part(1)),
        Tag::Msubsup => format!("{}_{{{}}}{}", base(part(0)), part(1), script('^', part(2))),
        Tag::Mover => over(part(0), part(1)),
        Tag::Munder => under(part(0), part(1)),
        Tag::Munderover => under_over(part(0), part(1), part(2)),
        Tag::Mmultiscripts => multiscripts(dom, open),
        Tag::Mfenced => fenced(dom, open),
        Tag::Mtable => format!(
            "\\begin{{matrix}} {} \\end{{matrix}}",
            open.parts.iter().map(|part| part.trim()).collect::<Vec<_>>().join(" \\\\ ")
        ),
        Tag::Mtr | Tag::Mlabeledtr => {
            let from = usize::from(open.tag == Tag::Mlabeledtr).min(open.parts.len());
            open.parts[from..].iter().map(|part| part.trim()).collect::<Vec<_>>().join(" & ")
        }
        Tag::Maction | Tag::Semantics => open.parts.first().cloned().unwrap_or_default(),
        Tag::Menclose => format!("\\boxed{{{}}}", inner().trim()),
        _ => fences(&inner()),
    }
}

/// A matrix within brackets that stretch.
fn fences(latex: &str) -> String {
    let text = latex.trim();
    let kinds =
        [("(", ")", "pmatrix"), ("[", "]", "bmatrix"), ("|", "|", "vmatrix"), ("\\{", "\\}", "Bmatrix")];
    for (open, close, kind) in kinds {
        let matrix = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).map(str::trim);
        let rows =
            matrix.and_then(|matrix| matrix.strip_prefix("\\begin{matrix}")?.strip_suffix("\\end{matrix}"));
        if let Some(rows) = rows.filter(|rows| !rows.contains("\\begin{matrix}")) {
            return format!("\\begin{{{kind}}}{rows}\\end{{{kind}}}");
        }
    }
    let rows = text
        .strip_prefix("\\{")
        .map(str::trim)
        .and_then(|rest| rest.strip_prefix("\\begin{matrix}")?.strip_suffix("\\end{matrix}"));
    match rows.filter(|rows| !rows.contains("\\begin{matrix}")) {
        Some(rows) => format!("\\begin{{cases}}{rows}\\end{{cases}}"),
        None => latex.to_owned(),
    }
}

fn fraction(dom: &Dom, open: &Open) -> String {
    let part = |index: usize| open.parts.get(index).map_or("", |part| part.trim());
    let is_binomial = dom
        .attribute(open.id, Attr::Linethickness)
        .is_some_and(|line| line.trim_end_matches(|letter: char| letter.is_alphabetic()).parse() == Ok(0.0));
    let command = if is_binomial { "binom" } else { "frac" };
    format!("\\{command}{{{}}}{{{}}}", part(0), part(1))
}

/// What carries an index: one letter or command as it is, more in braces.
fn base(latex: &str) -> String {
    let is_one = latex.chars().count() == 1
        || latex
            .strip_prefix('\\')
            .is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_alphabetic()));
    let is_group = latex.starts_with("\\math") && latex.ends_with('}') && latex.matches('{').count() == 1;
    if is_one || is_group || latex.chars().all(|letter| letter.is_ascii_digit()) && !latex.is_empty() {
        latex.to_owned()
    } else {
        format!("{{{latex}}}")
    }
}

/// A superscript; primes are apostrophes.
fn script(mark: char, latex: &str) -> String {
    match latex {
        "\\prime" | "'" => "'".to_owned(),
        "\\prime\\prime" | "''" => "''".to_owned(),
        _ => format!("{mark}{{{latex}}}"),
    }
}

/// Whether limits of it stand under and over it by themselves.
fn takes_limits(latex: &str) -> bool {
    [
        "\\sum", "\\prod", "\\coprod", "\\int", "\\oint", "\\iint", "\\lim", "\\max", "\\min", "\\sup",
        "\\inf", "\\big", "\\limsup", "\\liminf", "\\arg", "\\det", "\\gcd", "\\Pr",
    ]
    .iter()
    .any(|name| latex.starts_with(name))
}

fn plain(latex: &str) -> String {
    match latex {
        "\\rightarrow" => "→".to_owned(),
        "\\sim" => "~".to_owned(),
        _ => latex.to_owned(),
    }
}

fn over(what: &str, over: &str) -> String {
    match symbols::accent(&plain(over)) {
        Some(accent) => format!("\\{accent}{{{what}}}"),
        None if takes_limits(what) || what.starts_with("\\overbrace") => format!("{what}^{{{over}}}"),
        None => format!("\\overset{{{over}}}{{{what}}}"),
    }
}

fn under(what: &str, under: &str) -> String {
    match symbols::accent_under(&plain(under.trim_start_matches('\\'))) {
        Some(accent) => format!("\\{accent}{{{what}}}"),
        None if takes_limits(what) || what.starts_with("\\underbrace") => format!("{what}_{{{under}}}"),
        None => format!("\\underset{{{under}}}{{{what}}}"),
    }
}

fn under_over(what: &str, below: &str, above: &str) -> String {
    if takes_limits(what) {
        format!("{what}_{{{below}}}^{{{above}}}")
    } else {
        over(&under(what, below), above)
    }
}

/// Indices on both sides: base, pairs, `mprescripts`, pairs.
fn multiscripts(dom: &Dom, open: &Open) -> String {
    let tags: Vec<Tag> =
        dom.children(open.id).filter(|id| !dom.node(*id).is_text()).map(|id| dom.tag(id)).collect();
    let split = tags
        .iter()
        .position(|tag| *tag == Tag::Mprescripts)
        .unwrap_or(open.parts.len())
        .min(open.parts.len());
    let scripts = |parts: &[String]| {
        let mut out = String::new();
        for pair in parts.chunks(2) {
            for (mark, part) in ['_', '^'].into_iter().zip(pair) {
                if !part.trim().is_empty() {
                    let _ = write!(out, "{mark}{{{}}}", part.trim());
                }
            }
        }
        out
    };
    let before = scripts(open.parts.get(split + 1..).unwrap_or_default());
    let after = scripts(open.parts.get(1..split).unwrap_or_default());
    let what = base(open.parts.first().map_or("", |part| part.trim()));
    if before.is_empty() { format!("{what}{after}") } else { format!("{{}}{before}{what}{after}") }
}

fn fenced(dom: &Dom, open: &Open) -> String {
    let mark = |name, default: &str| {
        let mut out = String::new();
        for letter in dom.attribute(open.id, name).unwrap_or(default).trim().chars() {
            symbols::push(letter, &mut out);
        }
        out
    };
    let separators: Vec<char> = dom
        .attribute(open.id, Attr::Separators)
        .unwrap_or(",")
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let mut out = mark(Attr::Open, "(");
    for (index, part) in open.parts.iter().enumerate() {
        if index > 0
            && let Some(separator) = separators.get(index - 1).or(separators.last())
        {
            symbols::push(*separator, &mut out);
            out.push(' ');
        }
        out.push_str(part.trim());
    }
    out.push_str(&mark(Attr::Close, ")"));
    fences(&out)
}
