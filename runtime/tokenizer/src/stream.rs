//! Bytes of tokens to text, as soon as it is sure.

/// Takes the bytes of one token after the other and gives whole characters: a token may end within one.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    /// Bytes that make no whole character yet: three at most.
    open: Vec<u8>,
}

impl TextStream {
    /// A stream that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes and gives the text that they decide: valid characters as they are, each invalid sequence as one U+FFFD. An unfinished character waits.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.open.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.open.len());
        let mut rest = self.open.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    rest = after;
                    let Some(len) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[len..];
                }
            }
        }
        let done = self.open.len() - rest.len();
        self.open.drain(..done);
        text
    }

    /// Whether no character is open.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Ends the text: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let is_open = !self.open.is_empty();
        self.open.clear();
        if is_open { char::REPLACEMENT_CHARACTER.to_string() } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_in_any_parts_give_what_they_give_at_once(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xe2), Just(0x82), Just(0xac), Just(0xf0), Just(0x9f)], 0..40),
            part in 1..5_usize,
        ) {
            let mut stream = TextStream::new();
            let mut text: String = bytes.chunks(part).map(|bytes| stream.push(bytes)).collect();
            prop_assert!(stream.open.len() < 4);
            text += &stream.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            prop_assert!(stream.is_settled());
        }
    }
}
