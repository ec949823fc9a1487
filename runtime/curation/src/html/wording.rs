//! What a block's text is made of: its words, letters and marks, counted once for all features.

use xxhash_rust::xxh3::xxh3_64;

use super::words;

/// What a block's text is made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wording {
    pub(super) words: f32,
    pub(super) letters: f32,
    pub(super) capitals: f32,
    pub(super) digits: f32,
    pub(super) capitalised: f32,
    pub(super) stop_words: f32,
    pub(super) commas: f32,
    pub(super) sentences: f32,
    pub(super) last: f32,
    pub(super) starts_small: f32,
    pub(super) kinds: u32,
    pub(super) hash: u64,
}

/// Short blocks are searched for phrases; a paragraph's words are its own.
const MAX_PHRASE_BYTES: usize = 300;

/// Counts.
pub(super) fn wording(text: &str) -> Wording {
    let mut out = Wording { hash: xxh3_64(text.as_bytes()), ..Wording::default() };
    let mut small = String::with_capacity(16);
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        out.words += 1.0;
        let first = word.chars().next().unwrap_or(' ');
        if first.is_uppercase() {
            out.capitalised += 1.0;
        }
        if word.len() <= 8 {
            small.clear();
            small.extend(word.chars().flat_map(char::to_lowercase));
            out.stop_words += f32::from(u8::from(words::is_stop_word(&small)));
        }
    }
    for letter in text.chars() {
        match letter {
            'a'..='z' => out.letters += 1.0,
            'A'..='Z' => {
                out.letters += 1.0;
                out.capitals += 1.0;
            }
            '0'..='9' => out.digits += 1.0,
            ',' | ';' | '，' | '、' => out.commas += 1.0,
            '.' | '!' | '?' | '。' | '！' | '？' => out.sentences += 1.0,
            _ if letter.is_alphabetic() => {
                out.letters += 1.0;
                out.capitals += f32::from(u8::from(letter.is_uppercase()));
            }
            _ => {}
        }
    }
    out.last = match text.trim_end_matches(['"', '”', '’', '\'', ')', ']', '*']).chars().next_back() {
        Some('.' | '!' | '?' | '。' | '！' | '？' | '…') => 3.0,
        Some(':' | '：') => 2.0,
        Some(',' | ';') => 1.0,
        _ => 0.0,
    };
    out.starts_small = f32::from(u8::from(text.chars().next().is_some_and(char::is_lowercase)));
    if text.len() <= MAX_PHRASE_BYTES {
        out.kinds = words::text_kinds(text);
    }
    out
}
