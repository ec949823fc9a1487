//! Any bytes as a `.tiktoken` file and as the frame beside it: refused with a reason, or ranks that are written as they were read and whose ids decode
//! to the text.
#![no_main]

use cupola_tokenizer::{Ranks, TiktokenFrame, TokenizerFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let read = TiktokenFrame::parse(file);
    if let Ok(frame) = &read {
        assert_eq!(TiktokenFrame::parse(frame.to_value().to_string().as_bytes()).ok().as_ref(), Some(frame));
    }
    let Ok(ranks) = Ranks::parse(file) else { return };
    assert_eq!(Ranks::parse(ranks.write().as_bytes()).ok().as_ref(), Some(&ranks));
    let mut frame = TiktokenFrame::published("cl100k_base").expect("a published name");
    frame.specials.clear();
    let Ok(json) = frame.tokenizer(&ranks) else { return };
    let encoding = TokenizerFile::from(json).into_encoding().expect("merges that were found fit the tokens");
    let text = String::from_utf8_lossy(&file[..file.len().min(300)]).into_owned();
    assert_eq!(encoding.decode(&encoding.encode(&text)), text);
});
