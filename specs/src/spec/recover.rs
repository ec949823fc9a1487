//! What comes after text that is not YAML: the job or top-level entry that holds it is cut out by its indentation, and the rest is
//! parsed again with its lines where they were. What was cut out stands as a broken value, about which nothing more is said.

use super::session::Session;
use super::syntax::{Syntax, explain};
use super::text::Text;
use super::tree::Spot;

/// Most pieces that are cut out of one file.
const MAX_CUTS: usize = 20;
/// Most bytes that are parsed again.
const MAX_BYTES: usize = 64 << 20;

/// The pieces that were cut out of one text.
pub(crate) struct Recovery {
    text: u32,
    /// Lines that stand for what was cut out: `key: ~`.
    heads: Vec<u32>,
    /// The lines that are parsed now, where they differ from the text.
    changed: Vec<(u32, String)>,
    /// Where the last piece was cut out.
    last: Option<Spot>,
    cuts: usize,
    bytes: usize,
}

impl Recovery {
    /// Nothing is cut out yet.
    pub(crate) fn new(text: u32) -> Self {
        Self { text, heads: Vec::new(), changed: Vec::new(), last: None, cuts: 0, bytes: 0 }
    }

    /// Lines whose values were cut out.
    pub(crate) fn heads(&self) -> &[u32] {
        &self.heads
    }

    /// Reports a problem and gives the text without the entry that holds it; none where that can't be told.
    pub(crate) fn report_and_cut(&mut self, problem: &Syntax, session: &mut Session<'_>) -> Option<String> {
        let spot = explain(problem, session);
        session.is_cut = true;
        let text = session.text(self.text)?;
        self.cuts += 1;
        self.bytes += text.content.len();
        if self.cuts > MAX_CUTS || self.bytes > MAX_BYTES || self.last == Some(spot) {
            return None;
        }
        self.last = Some(spot);
        let piece = Piece::around(text, spot.line)?;
        let names: Vec<String> = (piece.from..piece.to)
            .filter_map(|number| name_of(text.line(number)))
            .map(str::to_owned)
            .collect();
        self.changed.retain(|(number, _)| !(piece.from..piece.to).contains(number));
        self.changed.extend((piece.from + 1..piece.to).map(|number| (number, String::new())));
        if piece.head.is_some() {
            self.heads.push(piece.from);
        }
        self.changed.push((piece.from, piece.head.unwrap_or_default()));
        self.changed.sort();
        let content = self.content(text);
        session.cut_names.extend(names);
        Some(content)
    }

    /// The text with the changed lines.
    fn content(&self, text: &Text) -> String {
        let mut out = String::with_capacity(text.content.len());
        let mut changed = self.changed.iter().peekable();
        for number in 1..=text.line_count() {
            match changed.next_if(|(known, _)| *known == number) {
                Some((_, line)) => out.push_str(line),
                None => out.push_str(text.line(number)),
            }
            out.push('\n');
        }
        out
    }
}

/// Lines that are cut out.
struct Piece {
    from: u32,
    /// The line behind the last one.
    to: u32,
    /// What stands for it; none where its key can't be told.
    head: Option<String>,
}

impl Piece {
    /// The job around a line, or the entry of the top.
    fn around(text: &Text, line: u32) -> Option<Self> {
        let top = last_line(text, line, 0)?;
        let is_jobs = name_of(text.line(top)) == Some("jobs");
        let job_indent = (top + 1..=text.line_count()).find_map(|number| indent_of(text.line(number)));
        let (from, indent) = match job_indent.filter(|indent| is_jobs && *indent > 0) {
            Some(indent) => (last_line(text, line, indent)?, indent),
            None => (top, 0),
        };
        let indent = if from == top { 0 } else { indent };
        let ends = |number: &u32| indent_of(text.line(*number)).is_some_and(|other| other <= indent);
        let to = (from + 1..=text.line_count()).find(ends).unwrap_or(text.line_count() + 1);
        let own = indent_of(text.line(from))?;
        let head = name_of(text.line(from)).map(|name| format!("{}{name}: ~", " ".repeat(own)));
        Some(Self { from, to, head })
    }
}

/// The last line up to this one that is indented by at most so much.
fn last_line(text: &Text, line: u32, indent: usize) -> Option<u32> {
    (1..=line).rev().find(|number| indent_of(text.line(*number)).is_some_and(|own| own <= indent))
}

/// The spaces in front of a line; none where it is blank, a comment, or indented by a tab.
fn indent_of(line: &str) -> Option<usize> {
    let rest = line.trim_start_matches(' ');
    let is_content = !rest.trim().is_empty() && !rest.starts_with(['#', '\t']);
    is_content.then(|| line.len() - rest.len())
}

/// The key of a line, or the word that was meant as one.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '-', '\t']);
    let name = match line.split_once(':') {
        Some((name, _)) => name.trim(),
        None => line.split_whitespace().next()?,
    };
    let name = name.trim_matches(['"', '\'']);
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}
