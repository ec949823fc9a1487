//! Text to ids and back.

use std::ops::Range;

use rayon::prelude::*;

use crate::model::{PieceModel, Room};
use crate::{Encoder, Splitter};

/// A text of so many bytes is worth a cache of its pieces.
const CACHED_BYTES: usize = 1 << 14;
/// Texts that a thread takes at a time, with one cache for them.
const BATCH_TEXTS: usize = 64;

/// A splitter and the model of its pieces.
#[derive(Debug)]
pub struct Encoding {
    splitter: Splitter,
    model: PieceModel,
}

impl Encoding {
    /// Puts the two together.
    pub fn new(splitter: Splitter, model: impl Into<PieceModel>) -> Self {
        Self { splitter, model: model.into() }
    }

    /// Text to pieces.
    pub fn splitter(&self) -> &Splitter {
        &self.splitter
    }

    /// Pieces to ids.
    pub fn model(&self) -> &PieceModel {
        &self.model
    }

    /// A bulk encoder: one for each thread.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder::new(&self.splitter, &self.model)
    }

    /// Encodes a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, &mut ids);
        ids
    }

    /// Appends a text's ids.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) {
        if text.len() >= CACHED_BYTES {
            return self.encoder().encode_into(text, ids);
        }
        let mut room = Room::default();
        self.splitter.pieces(text, &mut |piece| self.model.encode_piece(piece.as_bytes(), &mut room, ids));
    }

    /// Encodes a text; with each id the bytes of the text that it stands for. A token may begin or end within a character.
    pub fn encode_with_offsets(&self, text: &str) -> Vec<(u32, Range<usize>)> {
        let mut at = 0;
        let with_range = |id: u32| {
            let start = at;
            at += self.model.token(id).map_or(0, <[u8]>::len);
            (id, start..at)
        };
        self.encode(text).into_iter().map(with_range).collect()
    }

    /// Encodes texts on all threads: the ids of each as [`Self::encode`] gives them, in the texts' order.
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<Vec<u32>> {
        let parts = texts.par_chunks(BATCH_TEXTS).map_init(
            || self.encoder(),
            |encoder, part| {
                let encode = |text: &T| {
                    let mut ids = Vec::new();
                    encoder.encode_into(text.as_ref(), &mut ids);
                    ids
                };
                part.iter().map(encode).collect::<Vec<_>>()
            },
        );
        parts.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// Decodes ids to bytes: a token may hold a part of a character. An id out of the vocabulary is U+FFFD.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            bytes.extend_from_slice(self.model.token(*id).unwrap_or("\u{fffd}".as_bytes()));
        }
        bytes
    }

    /// Decodes ids; invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::Digits;
    use proptest::prelude::*;

    use super::*;
    use crate::{Bpe, Ranks};

    /// The bytes and some words of several lengths, as tiktoken would merge them.
    fn encoding(pattern: &str) -> Encoding {
        let words = [
            "th",
            "the",
            " the",
            "in",
            "ing",
            "aa",
            "aaaa",
            "aaaaaaaa",
            "日",
            "日本",
            "  ",
            "    ",
            "an",
            "and",
            " and",
            "er",
            "on",
            "re",
            "at",
            "en",
            "internation",
            "international",
        ];
        let line = |(rank, token): (usize, Vec<u8>)| {
            use base64::Engine as _;
            format!("{} {rank}\n", base64::engine::general_purpose::STANDARD.encode(token))
        };
        let bytes = (0..=255).map(|byte| vec![byte]);
        let file: String =
            bytes.chain(words.iter().map(|word| word.as_bytes().to_vec())).enumerate().map(line).collect();
        let bpe = Bpe::new(Ranks::parse(file.as_bytes()).unwrap().vocabulary().unwrap(), &[], true).unwrap();
        Encoding::new(Splitter::named(pattern, Digits::UpTo3).unwrap(), bpe)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn every_way_to_encode_gives_the_same_ids_and_they_decode_to_the_text(
            texts in proptest::collection::vec(r"([a-e日本 \n']{0,8}(the|ing|and|internationalinternational|aaaaaaaaaaaaaaaaaaaa|\PC)){0,12}", 0..90),
            pattern in prop_oneof![Just("gpt2"), Just("cl100k"), Just("o200k"), Just("code"), Just(r"\S+|\s+")],
        ) {
            let encoding = encoding(pattern);
            let one_by_one: Vec<Vec<u32>> = texts.iter().map(|text| encoding.encode(text)).collect();
            prop_assert_eq!(&encoding.encode_batch(&texts), &one_by_one);
            let mut encoder = encoding.encoder();
            for (text, expected) in texts.iter().zip(&one_by_one) {
                let mut ids = Vec::new();
                encoder.encode_into(text, &mut ids);
                prop_assert_eq!(&ids, expected);
                prop_assert_eq!(&encoding.decode(&ids), text);
                let mut end = 0;
                for (id, range) in encoding.encode_with_offsets(text) {
                    prop_assert_eq!(range.start, end);
                    prop_assert_eq!(&text.as_bytes()[range.clone()], encoding.model().token(id).unwrap());
                    end = range.end;
                }
                prop_assert_eq!(end, text.len());
            }
        }
    }

    #[test]
    fn a_word_of_a_million_letters_takes_no_longer_for_each_byte() {
        let encoding = encoding("gpt2");
        for text in ["a".repeat(1_000_000), "th".repeat(500_000), "日本".repeat(200_000)] {
            let ids = encoding.encode(&text);
            assert_eq!(encoding.decode(&ids), text);
        }
        assert_eq!(encoding.encode(&"a".repeat(800)).len(), 100);
    }

    #[test]
    fn ids_out_of_the_vocabulary_are_shown_as_such() {
        assert_eq!(encoding("gpt2").decode(&[97, 4_000_000_000]), "a\u{fffd}");
    }
}
