//! Any bytes are a page: decoded as the web's are, and extracted.
#![no_main]

use cupola_curation::html::{ExtractOptions, extract};
use cupola_curation::read::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(decoded) = decode(data, None, true) {
        let _ = extract(&decoded.text, Some("https://example.org/a/b"), &ExtractOptions::default());
    }
});
