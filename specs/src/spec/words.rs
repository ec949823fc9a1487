//! Lists of known words in messages, and the nearest of them to what was written.

/// Most words of a list that the user wrote, such as job names, in a message.
const MAX_LISTED: usize = 20;

/// `one of a, b, c`; of a long list the first words and how many there are.
pub(crate) fn one_of<S: AsRef<str>>(
    known: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
) -> String {
    format!("one of {}", listed(known))
}

/// `a, b, c`; of a long list the first words and how many there are.
pub(crate) fn listed<S: AsRef<str>>(
    known: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
) -> String {
    let known = known.into_iter();
    let count = known.len();
    let words: Vec<String> = known.take(MAX_LISTED).map(|word| word.as_ref().to_owned()).collect();
    let list = words.join(", ");
    if count > MAX_LISTED { format!("{list}, … ({count} in all)") } else { list }
}

/// The nearest word by Damerau–Levenshtein distance without regard to case, no further than a third of the written word's length.
pub(crate) fn nearest<S: AsRef<str>>(written: &str, known: impl IntoIterator<Item = S>) -> Option<String> {
    let written = written.to_lowercase();
    let length = written.chars().count();
    let limit = ((length + 1) / 3).max(1);
    let letters = letters_of(&written);
    let mut best: Option<(usize, String)> = None;
    for word in known {
        let word = word.as_ref();
        let lower = word.to_lowercase();
        // Each letter that only one of them has costs at least half an edit: most words are far by this alone.
        let others = (letters ^ letters_of(&lower)).count_ones() as usize;
        if length.abs_diff(lower.chars().count()) > limit || others > 2 * limit {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&written, &lower);
        let is_better =
            best.as_ref().is_none_or(|(least, first)| (distance, word) < (*least, first.as_str()));
        if distance <= limit && is_better {
            best = Some((distance, word.to_owned()));
        }
    }
    best.map(|(_, word)| word)
}

/// The letters of a word as a set of 64 classes.
fn letters_of(word: &str) -> u64 {
    word.chars().fold(0, |set, c| set | 1 << (u32::from(c) % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_ignores_case_and_is_near() {
        assert_eq!(nearest("Kind", ["kind", "king"]).as_deref(), Some("kind"));
        assert_eq!(nearest("vocab_sise", ["vocab_size", "pattern"]).as_deref(), Some("vocab_size"));
        assert_eq!(nearest("rustt", ["rust", "text"]).as_deref(), Some("rust"));
        assert_eq!(nearest("colour", ["corpus", "tokens"]), None);
        assert_eq!(nearest("", ["a"]).as_deref(), Some("a"));
    }

    /// The filter by letters throws away no word that the distance would keep.
    #[test]
    fn the_filter_by_letters_loses_nothing() {
        let words: Vec<String> =
            (0..3000_u32).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
        for written in words.iter().step_by(97) {
            let limit = ((written.chars().count() + 1) / 3).max(1);
            let all = words.iter().filter(|word| *word != written);
            let plain = all
                .clone()
                .map(|word| (strsim::damerau_levenshtein(written, word), word.clone()))
                .filter(|(distance, _)| *distance <= limit)
                .min()
                .map(|(_, word)| word);
            assert_eq!(nearest(written, all), plain, "{written}");
        }
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        assert_eq!(one_of(["a", "b"]), "one of a, b");
        let many: Vec<String> = (0..25).map(|i| format!("j{i}")).collect();
        assert!(listed(&many).ends_with("j19, … (25 in all)"));
    }
}
