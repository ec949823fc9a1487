//! What comes after text that is not YAML: the entry that holds it is cut out by its indentation, and the rest is parsed again with
//! its lines where they were. A field of a job goes first; where that does not help the job, then the entry of the top. What was cut
//! out stands as a broken value, about which nothing more is said.

use super::session::Session;
use super::syntax::{Syntax, explain};
use super::text::Text;

/// Most pieces that are cut out of one file.
const MAX_CUTS: usize = 100;
/// Most bytes that are parsed again.
const MAX_BYTES: usize = 64 << 20;

/// The pieces that were cut out of one text.
pub(crate) struct Recovery {
    text: u32,
    /// Lines that stand for what was cut out: `key: ~`.
    heads: Vec<u32>,
    /// The lines that are parsed now, where they differ from the text.
    changed: Vec<(u32, String)>,
    cuts: usize,
    bytes: usize,
}

impl Recovery {
    /// Nothing is cut out yet.
    pub(crate) fn new(text: u32) -> Self {
        Self { text, heads: Vec::new(), changed: Vec::new(), cuts: 0, bytes: 0 }
    }

    /// Lines whose values were cut out.
    pub(crate) fn heads(&self) -> &[u32] {
        &self.heads
    }

    /// Reports a problem and gives the text without the entry that holds it; none where that can't be told.
    pub(crate) fn report_and_cut(&mut self, problem: &Syntax, session: &mut Session<'_>) -> Option<String> {
        let is_cut = |number: u32| self.changed.iter().any(|(known, _)| *known == number);
        let spot = explain(problem, &is_cut, session);
        session.is_cut = true;
        let text = session.text(self.text)?;
        self.cuts += 1;
        self.bytes += text.content.len();
        if self.cuts > MAX_CUTS || self.bytes > MAX_BYTES {
            return None;
        }
        let around = Piece::around(text, spot.line);
        let at = around.iter().position(|piece| !is_cut(piece.from))?;
        let names: Vec<String> = (around[at].from..around[at].to)
            .filter_map(|number| name_of(text.line(number)))
            .map(str::to_owned)
            .collect();
        let holder = around.get(at + 1).map(|holder| holder.from);
        let piece = around.into_iter().nth(at)?;
        self.changed.retain(|(number, _)| !(piece.from..piece.to).contains(number));
        self.changed.extend((piece.from + 1..piece.to).map(|number| (number, String::new())));
        if piece.head.is_some() {
            self.heads.push(piece.from);
        }
        self.changed.push((piece.from, piece.head.unwrap_or_default()));
        self.changed.sort();
        let content = self.content(text);
        let of_holder = |name: &String| Some((self.text, holder?, name.clone()));
        session.cut_fields.extend(names.iter().filter_map(of_holder));
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
    /// The entries that hold a line, the smallest first: the field of a job, the job, the entry of the top.
    fn around(text: &Text, line: u32) -> Vec<Self> {
        let mut pieces = Vec::new();
        let Some(mut from) = last_line(text, line, 0) else { return pieces };
        pieces.push(Self::from(text, from, 0));
        let depth = if name_of(text.line(from)) == Some("jobs") { 2 } else { 1 };
        for _ in 0..depth {
            let holder = indent_of(text.line(from)).unwrap_or(0);
            let inside = (from + 1..=text.line_count()).find_map(|number| indent_of(text.line(number)));
            let Some(indent) = inside.filter(|indent| *indent > holder) else { break };
            let Some(entry) = last_line(text, line, indent).filter(|entry| *entry > from) else { break };
            let is_job = depth == 2 && pieces.len() == 1;
            if !is_job && indent_of(text.line(entry)) != Some(indent) {
                break;
            }
            from = entry;
            pieces.push(Self::from(text, from, indent));
        }
        pieces.reverse();
        pieces
    }

    /// The entry that starts at a line, among others that are indented so.
    fn from(text: &Text, from: u32, indent: usize) -> Self {
        let ends = |number: &u32| is_entry(text, *number, indent);
        let to = (from + 1..=text.line_count()).find(ends).unwrap_or(text.line_count() + 1);
        let head = name_of(text.line(from)).map(|name| format!("{}{name}: ~", " ".repeat(indent)));
        Self { from, to, head }
    }
}

/// The last line up to this one that is indented by at most so much.
fn last_line(text: &Text, line: u32, indent: usize) -> Option<u32> {
    (1..=line).rev().find(|number| is_entry(text, *number, indent))
}

/// Whether an entry that is indented by at most so much starts at a line. An item of a list belongs to the key above it, which may be
/// indented as far.
fn is_entry(text: &Text, number: u32, indent: usize) -> bool {
    let Some(own) = indent_of(text.line(number)).filter(|own| *own <= indent) else { return false };
    if own < indent || !is_item(text.line(number)) {
        return true;
    }
    let above = (1..number).rev().find(|above| {
        let line = text.line(*above);
        indent_of(line).is_some_and(|other| other < own || other == own && !is_item(line))
    });
    !above.is_some_and(|above| text.line(above).trim_end().ends_with(':'))
}

/// Whether a line is an item of a list.
pub(crate) fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    line == "-" || line.starts_with("- ")
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
