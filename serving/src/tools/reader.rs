//! Tells a model's calls of tools from its text, while the answer comes.

use super::CallFormat;
use super::object::{ObjectReader, Step};
use crate::api::random_u64;

/// What became sure of an answer, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text.
    Text(String),
    /// A call begins: its place among the answer's calls, its id, its function.
    Call { index: usize, id: String, name: String },
    /// More of a call's arguments.
    Arguments { index: usize, text: String },
}

/// A call with all its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeCall {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON, as the model wrote it.
    pub(crate) arguments: String,
}

/// The calls that pieces make up.
pub(crate) fn whole_calls(pieces: &[Piece]) -> Vec<WholeCall> {
    let mut calls: Vec<WholeCall> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(_) => {}
            Piece::Call { id, name, .. } => {
                calls.push(WholeCall { id: id.clone(), name: name.clone(), arguments: String::new() });
            }
            Piece::Arguments { index, text } => {
                if let Some(call) = calls.get_mut(*index) {
                    call.arguments.push_str(text);
                }
            }
        }
    }
    calls
}

/// Reads one answer.
#[derive(Debug, Clone)]
pub(crate) struct CallReader {
    format: CallFormat,
    /// Whether the answer ends behind its first call.
    is_single: bool,
    place: Place,
    /// Text that may yet be the start of a mark, or blanks that may stand before one.
    held: String,
    /// What came since a call's mark: text again, where it is no call.
    raw: String,
    /// Whether text was told before any call.
    has_text: bool,
    num_calls: usize,
    /// The functions that there are.
    functions: Vec<String>,
    /// Whether the object that is read stands behind a mark: one without it is a call only of a function that there is.
    is_marked: bool,
}

#[derive(Debug, Clone)]
enum Place {
    /// In text, where a mark may come.
    Text,
    /// Behind a mark, where an object must come.
    Mark,
    /// In an object; whether its function was told.
    Object(ObjectReader, bool),
    /// Behind an object.
    Behind,
}

impl CallReader {
    /// A reader at the beginning of an answer that may call `functions`.
    pub(crate) fn new(format: CallFormat, is_single: bool, functions: Vec<String>) -> Self {
        Self {
            format,
            is_single,
            place: Place::Text,
            held: String::new(),
            raw: String::new(),
            has_text: false,
            num_calls: 0,
            functions,
            is_marked: false,
        }
    }

    /// Whether the answer has calls, each of them whole.
    pub(crate) fn has_whole_calls(&self) -> bool {
        self.num_calls > 0 && !matches!(self.place, Place::Object(..))
    }

    /// Whether nothing may follow.
    pub(crate) fn is_done(&self) -> bool {
        self.is_single && self.has_whole_calls()
    }

    /// Takes more of the answer.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for character in text.chars() {
            if self.is_done() {
                break;
            }
            self.take(character, &mut pieces);
        }
        if let Place::Object(reader, true) = &mut self.place {
            let text = reader.take_arguments(false);
            if !text.is_empty() {
                pieces.push(Piece::Arguments { index: self.num_calls, text });
            }
        }
        joined(pieces)
    }

    /// Ends the answer: what was held is text after all, but for blanks beside calls. A call that was cut stays cut.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let is_told = matches!(self.place, Place::Object(_, true));
        if !self.raw.is_empty() && !is_told && !matches!(self.place, Place::Behind) {
            self.give_up(&mut pieces);
        }
        let rest = std::mem::take(&mut self.held);
        if self.num_calls == 0 || !rest.trim().is_empty() {
            pieces.push(Piece::Text(rest));
        }
        joined(pieces)
    }

    fn take(&mut self, character: char, pieces: &mut Vec<Piece>) {
        match &mut self.place {
            Place::Text => {
                self.held.push(character);
                self.look_for_mark(pieces);
            }
            Place::Mark => self.at_mark(character, pieces),
            Place::Object(..) => self.in_object(character, pieces),
            Place::Behind => self.behind(character, pieces),
        }
    }

    /// Tells the text that can't be part of a mark any more.
    fn look_for_mark(&mut self, pieces: &mut Vec<Piece>) {
        let is_start = !self.has_text && self.num_calls == 0;
        if self.format == CallFormat::Llama && is_start && self.held.trim_start().starts_with('{') {
            self.raw = std::mem::take(&mut self.held);
            self.is_marked = false;
            self.open_object();
            return;
        }
        let mark = self.format.mark();
        if let Some(text) = self.held.strip_suffix(mark) {
            let text = text.trim_end().to_owned();
            // The blanks before it belong to the text where it is no mark after all.
            self.raw = self.held.split_off(text.len());
            self.held.clear();
            self.is_marked = true;
            self.tell(text, pieces);
            self.place = Place::Mark;
            return;
        }
        let partial = (1..mark.len())
            .rev()
            .find(|&len| mark.is_char_boundary(len) && self.held.ends_with(&mark[..len]));
        let sure = &self.held[..self.held.len() - partial.unwrap_or(0)];
        let sure = sure.trim_end().len();
        let rest = self.held.split_off(sure);
        let text = std::mem::replace(&mut self.held, rest);
        self.tell(text, pieces);
    }

    fn tell(&mut self, text: String, pieces: &mut Vec<Piece>) {
        if !text.is_empty() {
            self.has_text = true;
            pieces.push(Piece::Text(text));
        }
    }

    fn at_mark(&mut self, character: char, pieces: &mut Vec<Piece>) {
        self.raw.push(character);
        match character {
            '{' => self.open_object(),
            '[' if self.format == CallFormat::Mistral => {}
            blank if blank.is_whitespace() => {}
            _ => self.give_up(pieces),
        }
    }

    fn open_object(&mut self) {
        let mut reader = ObjectReader::default();
        reader.push('{');
        self.place = Place::Object(reader, false);
    }

    fn in_object(&mut self, character: char, pieces: &mut Vec<Piece>) {
        let Place::Object(reader, is_told) = &mut self.place else { return };
        let index = self.num_calls;
        self.raw.push(character);
        let step = reader.push(character);
        if let Some(name) = reader.name().filter(|_| !*is_told) {
            if !self.is_marked && !self.functions.iter().any(|function| function == name) {
                self.give_up(pieces);
                return;
            }
            *is_told = true;
            pieces.push(Piece::Call { index, id: self.format.new_id(), name: name.to_owned() });
        }
        match step {
            Step::More => {}
            // Broken behind its function: what it has of arguments stands, as the model wrote it.
            Step::End | Step::Bad if *is_told => {
                let text = reader.take_arguments(true);
                pieces.push(Piece::Arguments { index, text });
                self.num_calls += 1;
                self.place = Place::Behind;
                self.raw.clear();
            }
            Step::End | Step::Bad => self.give_up(pieces),
        }
    }

    /// Behind a call: its closing mark, another call, or text.
    fn behind(&mut self, character: char, pieces: &mut Vec<Piece>) {
        self.raw.push(character);
        let blank = character.is_whitespace();
        match self.format {
            CallFormat::Hermes => {
                let close = "</tool_call>";
                let so_far = self.raw.trim_start();
                if so_far == close {
                    self.raw.clear();
                    self.place = Place::Text;
                } else if !close.starts_with(so_far) {
                    self.give_up(pieces);
                }
            }
            CallFormat::Llama if character == ';' || blank => {}
            CallFormat::Mistral if matches!(character, ',' | ']') || blank => {}
            CallFormat::Llama | CallFormat::Mistral if character == '{' => self.open_object(),
            CallFormat::Llama | CallFormat::Mistral => self.give_up(pieces),
        }
    }

    /// What came since the mark is text.
    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        let text = std::mem::take(&mut self.raw);
        self.place = Place::Text;
        self.tell(text, pieces);
    }
}

impl CallFormat {
    /// A call's id. Mistral's templates take nine letters or digits and nothing else.
    fn new_id(self) -> String {
        let letters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        let text = |count: usize| -> String {
            (0..count).map(|_| letters[(random_u64() % letters.len() as u64) as usize]).collect()
        };
        match self {
            Self::Mistral => text(9),
            Self::Hermes | Self::Llama => format!("call_{}", text(24)),
        }
    }
}

/// Pieces of one kind in a row as one.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
            (Some(Piece::Arguments { index, text }), Piece::Arguments { index: next, text: more })
                if *index == next =>
            {
                text.push_str(&more);
            }
            (_, Piece::Text(text)) if text.is_empty() => {}
            (_, Piece::Arguments { text, .. }) if text.is_empty() => {}
            (_, piece) => joined.push(piece),
        }
    }
    joined
}
