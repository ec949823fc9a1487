//! Any bytes as `tokenizer.json`: refused with a reason, or a tokenizer whose ids decode to the text.
#![no_main]

use cupola_tokenizer::{Bpe, Encoding, Splitter, TokenizerJson};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(json) = TokenizerJson::parse(file) else { return };
    let again = TokenizerJson::read(&json.to_value());
    let specials: Vec<u32> = json.added.iter().map(|token| token.id).collect();
    let Ok(bpe) = Bpe::new(json.vocabulary.clone(), &specials, json.ignore_merges) else { return };
    assert!(again.is_ok(), "what was read is written so that it can be read");
    let Ok(splitter) = Splitter::of_patterns(&json.patterns) else { return };
    let encoding = Encoding::new(splitter, bpe);
    let text = String::from_utf8_lossy(&file[..file.len().min(300)]).into_owned();
    assert_eq!(encoding.decode(&encoding.encode(&text)), text);
});
