//! Reads the escapes of JSON's texts: `b\u006fmb` in a call's arguments is what its client will read as `bomb`.

/// Takes escapes out of a text as it comes; what is no escape passes.
#[derive(Debug, Clone, Default)]
pub(super) struct Escapes {
    place: Place,
    /// Where the escape that is open began.
    start: usize,
    /// The first half of a character in two escapes.
    half: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Place {
    #[default]
    Outside,
    /// Behind a backslash.
    Begun,
    /// Behind `\u`: the digits so far, and how many.
    Digits(u32, u32),
    /// Behind the first half of a character.
    Half,
}

impl Escapes {
    /// Where the open escape began; none where there is none.
    pub(super) fn open(&self) -> Option<usize> {
        (!matches!(self.place, Place::Outside)).then_some(self.start)
    }

    /// Takes a character and its place, gives what became sure of it.
    pub(super) fn push(&mut self, character: char, at: usize, read: &mut Vec<(char, usize)>) {
        match (self.place, character) {
            (Place::Outside, '\\') => (self.place, self.start) = (Place::Begun, at),
            (Place::Outside, _) => read.push((character, at)),
            (Place::Half, '\\') => self.place = Place::Begun,
            (Place::Begun, 'u') => self.place = Place::Digits(0, 0),
            (Place::Begun, _) if self.half.take().is_some() => {
                read.push((char::REPLACEMENT_CHARACTER, self.start));
                self.push(character, at, read);
            }
            (Place::Begun, _) => {
                let meant = match character {
                    'n' | 'r' | 't' | 'f' => ' ',
                    'b' => '\u{8}',
                    other => other,
                };
                read.push((meant, self.start));
                self.place = Place::Outside;
            }
            (Place::Digits(value, count), _) if character.is_ascii_hexdigit() => {
                let value = value * 16 + character.to_digit(16).unwrap_or(0);
                self.place = Place::Digits(value, count + 1);
                if count == 3 {
                    self.end(value, read);
                }
            }
            _ => {
                self.finish(read);
                self.push(character, at, read);
            }
        }
    }

    /// Ends the text within an escape: it is none.
    pub(super) fn finish(&mut self, read: &mut Vec<(char, usize)>) {
        if self.open().is_some() {
            read.push((char::REPLACEMENT_CHARACTER, self.start));
        }
        (self.place, self.half) = (Place::Outside, None);
    }

    fn end(&mut self, value: u32, read: &mut Vec<(char, usize)>) {
        self.place = Place::Outside;
        match (self.half.take(), value) {
            (None, 0xd800..=0xdbff) => (self.place, self.half) = (Place::Half, Some(value)),
            (Some(half), 0xdc00..=0xdfff) => {
                let whole = 0x10000 + ((half - 0xd800) << 10) + (value - 0xdc00);
                read.push((char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER), self.start));
            }
            _ => read.push((char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER), self.start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_a_json_reader_does() {
        let read = |text: &str| {
            let (mut escapes, mut read) = (Escapes::default(), Vec::new());
            for (at, character) in text.char_indices() {
                escapes.push(character, at, &mut read);
            }
            escapes.finish(&mut read);
            read.into_iter().map(|(character, _)| character).collect::<String>()
        };
        for value in ["bomb", "a \"b\" \\ / ü", "𝄞 clef", "\u{1}"] {
            let spelt = serde_json::to_string(value).unwrap();
            assert_eq!(read(&spelt[1..spelt.len() - 1]), value);
            let units: Vec<String> = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            assert_eq!(read(&units.concat()), value);
        }
        assert_eq!(read("a\\nb\\tc"), "a b c");
        assert_eq!(read("\\ud800\\nx"), "\u{fffd} x");
        assert_eq!(read("\\ud800x\\u00"), "\u{fffd}x\u{fffd}");
    }
}
