//! What stands around a candidate.

use super::class::Class;

/// The character before a byte.
pub(super) fn before(text: &str, at: usize) -> Option<char> {
    text.get(..at)?.chars().next_back()
}

/// The character at a byte.
pub(super) fn after(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// Whether a character can belong to a word or an identifier.
pub(super) fn is_wordy(c: Option<char>) -> bool {
    c.is_some_and(|c| c == '_' || c.is_alphanumeric())
}

/// The end of the run of bytes that satisfy a test, at most `most` bytes on.
pub(super) fn run_end(bytes: &[u8], from: usize, most: usize, test: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(from..).unwrap_or(&[]);
    from + rest.iter().take(most).take_while(|byte| test(**byte)).count()
}

/// The start of the run of bytes that satisfy a test and end at `to`, at most `most` bytes back.
pub(super) fn run_start(bytes: &[u8], to: usize, most: usize, test: impl Fn(u8) -> bool) -> usize {
    let head = bytes.get(..to).unwrap_or(&[]);
    to - head.iter().rev().take(most).take_while(|byte| test(**byte)).count()
}

/// Whether one of the words stands in the `most` bytes before `at`, on the same line. Words are in lower case; the text's case doesn't matter.
/// A tag that replaced something is no word.
pub(super) fn word_before(text: &str, at: usize, most: usize, words: &[&str]) -> bool {
    let mut start = at.saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let window = &text[start..at];
    let window = window.rfind('\n').map_or(window, |end| &window[end..]);
    spans_of_words(window).any(|(from, word)| {
        let whole = from > 0 || start == 0 || !is_wordy(before(text, start));
        whole && !is_tag(window, from, word) && words.iter().any(|known| equals_lower(word, known))
    })
}

/// Whether one of the words is a label right before `at`: `Phone: `, `Tel.: `, `fax no. `.
pub(super) fn label_before(text: &str, at: usize, words: &[&str]) -> bool {
    let mut end = at;
    for _ in 0..2 {
        let stop = end.saturating_sub(6);
        while end > stop {
            match before(text, end) {
                Some(c) if !c.is_alphanumeric() && c != '\n' => end -= c.len_utf8(),
                _ => break,
            }
        }
        let mut start = end;
        while let Some(c) = before(text, start).filter(|c| c.is_alphanumeric() && end - start < 24) {
            start -= c.len_utf8();
        }
        let word = &text[start..end];
        if word.is_empty() {
            return false;
        }
        if words.iter().any(|known| equals_lower(word, known)) {
            let opens = before(text, start) == Some('<') && after(text, end) == Some('>');
            return !(opens && Class::ALL.iter().any(|class| class.tag().contains(word)));
        }
        // `phone no. 415…`, `phone number: …`, `(mobile)` between the label and the number.
        if ![
            "no", "nr", "number", "num", "is", "at", "on", "us", "me", "office", "work", "home", "direct",
            "free",
        ]
        .iter()
        .any(|between| equals_lower(word, between))
        {
            return false;
        }
        end = start;
    }
    false
}

fn spans_of_words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

fn is_tag(text: &str, from: usize, word: &str) -> bool {
    let opens = before(text, from) == Some('<') && after(text, from + word.len()) == Some('>');
    opens && Class::ALL.iter().any(|class| class.tag()[1..].starts_with(word))
}

fn equals_lower(word: &str, known: &str) -> bool {
    if word.is_ascii() { word.eq_ignore_ascii_case(known) } else { word.to_lowercase() == known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_words_are_seen_before_a_number() {
        let label = |text: &str| label_before(text, text.len(), &["phone", "tel", "téléphone"]);
        assert!(label("Phone: ") && label("my TEL.: ") && label("phone no. ") && label("Téléphone : "));
        assert!(
            !label("headphone: ")
                && !label("phone is broken ")
                && !label("<PHONE> ")
                && !label("")
                && !label("é")
        );
        let word = |text: &str| word_before(text, text.len(), 20, &["call"]);
        assert!(word("please call Jane at ") && word("Call "));
        assert!(!word("recall it ") && !word("call\nJane ") && !word("call a very long way before it "));
    }
}
