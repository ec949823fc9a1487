//! Any bytes as a `.tiktoken` file: refused with a reason, or ranks that are written as they were read and whose ids decode to the text.
#![no_main]

use cupola_specs::job::Digits;
use cupola_tokenizer::{Bpe, Encoding, Ranks, Splitter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(ranks) = Ranks::parse(file) else { return };
    assert_eq!(Ranks::parse(ranks.write().as_bytes()).ok().as_ref(), Some(&ranks));
    let Ok(vocabulary) = ranks.vocabulary() else { return };
    let bpe = Bpe::new(vocabulary, &[], true).expect("merges that were found fit the tokens");
    let splitter = Splitter::named("cl100k", Digits::UpTo3).expect("a published pattern");
    let encoding = Encoding::new(splitter, bpe);
    let text = String::from_utf8_lossy(&file[..file.len().min(300)]).into_owned();
    assert_eq!(encoding.decode(&encoding.encode(&text)), text);
});
