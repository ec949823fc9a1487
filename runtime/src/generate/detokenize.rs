//! Turns a stream of token bytes into text that can be shown at once: whole UTF-8 characters only, and nothing that may yet turn
//! out to be the start of a stop string.

use cupola_tokenizer::TextStream;

/// Bytes in, text out, for one answer.
#[derive(Debug, Clone, Default)]
pub struct Detokenizer {
    stops: Vec<String>,
    bytes: TextStream,
    /// Text that may be the start of a stop string.
    held: String,
    stopped: bool,
}

/// What became sure with the last bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// Text that can be shown.
    pub text: String,
    /// Whether a stop string came; the text ends before it, and nothing follows.
    pub stopped: bool,
}

impl Detokenizer {
    /// A detokenizer that ends the text before the first of `stops`. Empty stop strings have no meaning and are left out.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Self::default() }
    }

    /// Takes the bytes of the next token.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        if self.stopped {
            return Piece { text: String::new(), stopped: true };
        }
        self.held.push_str(&self.bytes.push(bytes));
        self.release()
    }

    /// Whether all that came is told: no character and no stop string is open.
    pub fn is_settled(&self) -> bool {
        self.bytes.is_settled() && self.held.is_empty()
    }

    /// Ends the text: an unfinished character becomes U+FFFD, and held text is no stop string after all.
    pub fn finish(&mut self) -> Piece {
        if self.stopped {
            return Piece { text: String::new(), stopped: true };
        }
        self.held.push_str(&self.bytes.finish());
        let mut piece = self.release();
        if !piece.stopped {
            piece.text.push_str(&std::mem::take(&mut self.held));
        }
        piece
    }

    fn release(&mut self) -> Piece {
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.stopped = true;
            self.held.truncate(at);
            return Piece { text: std::mem::take(&mut self.held), stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Piece { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }
}

/// Length of the longest end of `text` that is a true start of `stop`, in bytes.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .skip(1)
        .chain(std::iter::once(stop.len()))
        .filter(|&len| len < stop.len() && text.ends_with(&stop[..len]))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(detokenizer: &mut Detokenizer, pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut texts: Vec<String> = pieces.iter().map(|bytes| detokenizer.push(bytes).text).collect();
        let last = detokenizer.finish();
        texts.push(last.text);
        (texts, last.stopped)
    }

    #[test]
    fn characters_wait_for_their_last_byte() {
        let euro = "€".as_bytes();
        let (texts, _) = all(&mut Detokenizer::new(&[]), &[&euro[..1], &euro[1..2], &euro[2..], b"x"]);
        assert_eq!(texts, ["", "", "€", "x", ""]);
        let (texts, _) = all(&mut Detokenizer::new(&[]), &[b"a\xff", b"b\xe2\x82"]);
        assert_eq!(texts, ["a\u{fffd}", "b", "\u{fffd}"]);
    }

    #[test]
    fn stop_strings_are_found_across_tokens() {
        let stops = ["\n\nUser".to_owned(), "END".to_owned()];
        let (texts, stopped) = all(&mut Detokenizer::new(&stops), &[b"hi\n", b"\nUs", b"er: no"]);
        assert_eq!((texts.concat().as_str(), stopped), ("hi", true));
        let (texts, stopped) = all(&mut Detokenizer::new(&stops), &[b"hi\n", b"\nUs", b"ual E", b"N"]);
        assert_eq!(texts, ["hi", "", "\n\nUsual ", "", "EN"]);
        assert!(!stopped);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_text(text in "[abE€N\\nD]{0,40}", cuts in prop::collection::vec(0usize..60, 0..8)) {
            let stops = ["END".to_owned(), "b\n".to_owned()];
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (texts, stopped) = all(&mut Detokenizer::new(&stops), &pieces);
            let end = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
            prop_assert_eq!(texts.concat(), &text[..end.unwrap_or(text.len())]);
            prop_assert_eq!(stopped, end.is_some());
        }
    }
}
