//! Any text by any published pattern: the pieces are those of the regex engine, and every way to encode gives the same ids, which decode to the text.
#![no_main]

use std::sync::LazyLock;

use cupola_specs::job::Digits;
use cupola_tokenizer::{Bpe, Encoding, Splitter, Vocabulary};
use libfuzzer_sys::fuzz_target;

/// Bytes of text: the backtracking engine gives up on much longer runs.
const MOST_BYTES: usize = 2000;

/// Each pattern as the product has it, and as a regex that it does not know by sight.
static SPLITTERS: LazyLock<Vec<(Encoding, Splitter)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for name in ["gpt2", "gpt4", "cl100k", "o200k", "code"] {
        for digits in [Digits::Single, Digits::UpTo2, Digits::UpTo3] {
            let splitter = Splitter::named(name, digits).expect("a published pattern");
            let wrapped: Vec<String> = splitter.patterns().iter().map(|pattern| format!("(?:{pattern})")).collect();
            let regexes = Splitter::of_patterns(&wrapped).expect("a regex");
            assert!(splitter.is_fast() && !regexes.is_fast());
            all.push((Encoding::new(splitter, bpe()), regexes));
        }
    }
    all
});

/// The bytes, and tokens of all neighbours in some words.
fn bpe() -> Bpe {
    let mut vocabulary = Vocabulary {
        tokens: (0..=255).map(|byte| vec![byte]).collect(),
        byte_ids: std::array::from_fn(|byte| byte as u32),
        merges: Vec::new(),
    };
    for word in [" the", "aaaaaaaa", "    ", "日本", " don't", "\r\n\r\n", "123", "ſſ"] {
        let mut left = u32::from(word.as_bytes()[0]);
        for byte in &word.as_bytes()[1..] {
            let token = [vocabulary.tokens[left as usize].as_slice(), &[*byte]].concat();
            let known = vocabulary.tokens.iter().position(|other| *other == token);
            let id = known.unwrap_or(vocabulary.tokens.len()) as u32;
            if known.is_none() {
                vocabulary.tokens.push(token);
                vocabulary.merges.push((left, u32::from(*byte), id));
            }
            left = id;
        }
    }
    Bpe::new(vocabulary, &[], false).expect("a vocabulary that fits")
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let (encoding, regexes) = &SPLITTERS[usize::from(*choice) % SPLITTERS.len()];
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_BYTES)]).into_owned();
    let (mut fast, mut exact) = (Vec::new(), Vec::new());
    encoding.splitter().pieces(&text, &mut |piece| fast.push(piece));
    regexes.pieces(&text, &mut |piece| exact.push(piece));
    assert_eq!(fast, exact);
    let ids = encoding.encode(&text);
    assert_eq!(encoding.decode_bytes(&ids), text.as_bytes());
    let mut again = Vec::new();
    let mut encoder = encoding.encoder();
    for _ in 0..2 {
        again.clear();
        encoder.encode_into(&text, &mut again);
        assert_eq!(again, ids);
    }
    let with_offsets = encoding.encode_with_offsets(&text);
    assert!(with_offsets.iter().map(|(id, _)| id).eq(&ids));
    assert_eq!(with_offsets.last().map_or(0, |(_, range)| range.end), text.len());
});
