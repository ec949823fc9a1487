//! Any bytes as `tokenizer.json`: refused with a reason, or a tokenizer whose ids decode to the text.
#![no_main]

use cupola_tokenizer::TokenizerFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(json) = TokenizerFile::parse(file) else { return };
    let again = TokenizerFile::read(&json.to_value());
    let Ok(encoding) = json.into_encoding() else { return };
    assert!(again.is_ok(), "what was read is written so that it can be read");
    let text = String::from_utf8_lossy(&file[..file.len().min(300)]).into_owned();
    assert_eq!(encoding.decode(&encoding.encode(&text)), text);
});
