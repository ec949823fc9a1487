//! Reads a call, `{"name": …, "arguments": {…}}`, character by character, so that its arguments can be passed on while they are written.

/// A call's object up to the characters that came so far.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectReader {
    place: Place,
    /// The text of what is read now: a name or a value.
    text: String,
    field: String,
    depth: usize,
    is_quoted: bool,
    is_escaped: bool,
    name: Option<String>,
    /// Arguments that were not passed on yet.
    arguments: String,
    has_arguments: bool,
}

/// Where in the object the next character is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Before,
    /// A name or the object's end.
    NameOrEnd,
    Name,
    Colon,
    ValueStart,
    /// A text.
    Text,
    /// An object or a list.
    Inside,
    /// A number or a word.
    Word,
    CommaOrEnd,
}

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The object goes on.
    More,
    /// It ended.
    End,
    /// It is no object.
    Bad,
}

impl ObjectReader {
    /// The function's name, once it is read.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Arguments since the last time; once the object ended without any, `{}`.
    pub(super) fn take_arguments(&mut self, has_ended: bool) -> String {
        if has_ended && !self.has_arguments {
            self.has_arguments = true;
            return "{}".to_owned();
        }
        std::mem::take(&mut self.arguments)
    }

    /// Goes on by a character.
    pub(super) fn push(&mut self, character: char) -> Step {
        match self.place {
            Place::Text | Place::Name if self.is_escaped || character != '"' => {
                self.text.push(character);
                self.is_escaped = !self.is_escaped && character == '\\';
                Step::More
            }
            Place::Text | Place::Name => self.end_text(),
            Place::Inside => self.inside(character),
            Place::Word if !matches!(character, ',' | '}') && !character.is_whitespace() => {
                self.text.push(character);
                Step::More
            }
            Place::Word => {
                self.end_word();
                self.between(character)
            }
            _ => self.between(character),
        }
    }

    /// A character outside of names and values.
    fn between(&mut self, character: char) -> Step {
        self.place = match (self.place, character) {
            (_, ' ' | '\n' | '\r' | '\t') => return Step::More,
            (Place::Before, '{') | (Place::CommaOrEnd, ',') => Place::NameOrEnd,
            (Place::NameOrEnd | Place::CommaOrEnd, '}') => return Step::End,
            (Place::NameOrEnd, '"') => Place::Name,
            (Place::Colon, ':') => Place::ValueStart,
            (Place::ValueStart, '"') => Place::Text,
            (Place::ValueStart, '{' | '[') => {
                self.place = Place::Inside;
                return self.inside(character);
            }
            (Place::ValueStart, '-' | '0'..='9' | 't' | 'f' | 'n') => {
                self.text.push(character);
                Place::Word
            }
            _ => return Step::Bad,
        };
        Step::More
    }

    /// A character of an object or a list.
    fn inside(&mut self, character: char) -> Step {
        if self.is_arguments() {
            self.arguments.push(character);
            self.has_arguments = true;
        }
        match character {
            _ if self.is_escaped => self.is_escaped = false,
            '\\' if self.is_quoted => self.is_escaped = true,
            '"' => self.is_quoted = !self.is_quoted,
            '{' | '[' if !self.is_quoted => self.depth += 1,
            '}' | ']' if !self.is_quoted => self.depth -= 1,
            _ => {}
        }
        if self.depth == 0 {
            self.place = Place::CommaOrEnd;
        }
        Step::More
    }

    fn end_text(&mut self) -> Step {
        let text = std::mem::take(&mut self.text);
        let Ok(text) = serde_json::from_str::<String>(&format!("\"{text}\"")) else { return Step::Bad };
        if self.place == Place::Name {
            self.field = text;
            self.place = Place::Colon;
            return Step::More;
        }
        self.place = Place::CommaOrEnd;
        if self.field == "name" && self.name.is_none() {
            self.name = Some(text);
        } else if self.is_arguments() {
            // Some models write the arguments' JSON as a text.
            self.arguments.push_str(&text);
            self.has_arguments = true;
        }
        Step::More
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.text);
        self.place = Place::CommaOrEnd;
        if self.is_arguments() && word != "null" {
            self.arguments.push_str(&word);
            self.has_arguments = true;
        }
    }

    fn is_arguments(&self) -> bool {
        ["arguments", "parameters"].contains(&self.field.as_str())
    }
}
