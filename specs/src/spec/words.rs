//! Lists of known words in messages, and the nearest of them to what was written.

/// Most words of a list that the user wrote, such as job names, in a message.
const MAX_LISTED: usize = 20;

/// `one of a, b, c`, or the only word; of a long list the first words and how many there are.
pub(crate) fn one_of<S: AsRef<str>>(
    known: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
) -> String {
    let known = known.into_iter();
    if known.len() == 1 { listed(known) } else { format!("one of {}", listed(known)) }
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

/// Words that other tools have for ours.
const FOREIGN: &[(&str, &str)] = &[
    ("type", "kind"),
    ("learning_rate", "lr"),
    ("layers", "num_hidden_layers"),
    ("num_layers", "num_hidden_layers"),
    ("n_layers", "num_hidden_layers"),
    ("d_model", "hidden_size"),
    ("width", "hidden_size"),
    ("heads", "num_attention_heads"),
    ("n_heads", "num_attention_heads"),
    ("seq_len", "length"),
    ("max_length", "length"),
    ("needs", "after"),
    ("depends_on", "after"),
    ("files", "paths"),
    ("gpus", "devices"),
    ("cpus", "cores"),
    ("batch_size", "micro_batch"),
    ("gpu", "devices"),
    ("gpu", "cuda"),
    ("txt", "text"),
    ("md", "markdown"),
    ("mask", "redact"),
    ("remove", "drop"),
    ("delete", "drop"),
    ("gpt", "transformer"),
    ("llama", "transformer"),
    ("rnn", "lstm"),
    ("scale", "scaling"),
    ("fp16", "bf16"),
    ("half", "bf16"),
    ("bfloat16", "bf16"),
    ("float32", "fp32"),
    ("finetune", "sft"),
    ("train", "pretrain"),
    ("benchmark", "eval"),
    ("align", "rlhf"),
];
/// Shortest word that is told by its beginning or end alone.
const MIN_AFFIX: usize = 4;

/// The known word that was meant: another tool's word for it, the nearest one, or the only one that begins or ends so.
pub(crate) fn nearest<S: AsRef<str>>(written: &str, known: impl IntoIterator<Item = S>) -> Option<String> {
    let written = written.to_lowercase();
    let own: Vec<&str> =
        FOREIGN.iter().filter(|(foreign, _)| *foreign == written).map(|(_, own)| *own).collect();
    let mut near = Near::new(&written);
    let mut affixed = Affixed::None;
    for word in known {
        let word = word.as_ref();
        if own.contains(&word) {
            return Some(word.to_owned());
        }
        let lower = word.to_lowercase();
        near.look_at(word, &lower);
        if is_affix(&written, &lower) || is_affix(&lower, &written) {
            affixed = match affixed {
                Affixed::None => Affixed::One(word.to_owned()),
                _ => Affixed::Several,
            };
        }
    }
    match (near.best, affixed) {
        (Some((_, word)), _) | (None, Affixed::One(word)) => Some(word),
        _ => None,
    }
}

/// Words that begin or end with the written one, or it with them.
enum Affixed {
    None,
    One(String),
    Several,
}

/// Whether a word begins or ends another one.
fn is_affix(part: &str, whole: &str) -> bool {
    part.len() >= MIN_AFFIX && (whole.starts_with(part) || whole.ends_with(part))
}

/// The search for the nearest word by Damerau–Levenshtein distance without regard to case, no further than a third of the written
/// word's length. A single letter is near to nothing else.
struct Near<'w> {
    written: &'w str,
    length: usize,
    limit: usize,
    letters: u64,
    best: Option<(usize, String)>,
}

impl<'w> Near<'w> {
    fn new(written: &'w str) -> Self {
        let length = written.chars().count();
        let limit = if length < 2 { 0 } else { ((length + 1) / 3).max(1) };
        Self { written, length, limit, letters: letters_of(written), best: None }
    }

    fn look_at(&mut self, word: &str, lower: &str) {
        // Each letter that only one of them has costs at least half an edit: most words are far by this alone.
        let others = (self.letters ^ letters_of(lower)).count_ones() as usize;
        if self.length.abs_diff(lower.chars().count()) > self.limit || others > 2 * self.limit {
            return;
        }
        let distance = strsim::damerau_levenshtein(self.written, lower);
        let is_better =
            self.best.as_ref().is_none_or(|(least, first)| (distance, word) < (*least, first.as_str()));
        if distance <= self.limit && is_better {
            self.best = Some((distance, word.to_owned()));
        }
    }
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
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!((nearest("f", ["a"]), nearest("A", ["a"]).as_deref()), (None, Some("a")));
    }

    #[test]
    fn a_word_is_told_by_its_beginning_or_end_where_no_other_has_it() {
        let shapes = ["constant", "linear_to_zero", "cosine"];
        assert_eq!(nearest("linear", shapes).as_deref(), Some("linear_to_zero"));
        assert_eq!(nearest("berlin", ["Europe/Berlin", "Europe/Bern"]).as_deref(), Some("Europe/Berlin"));
        assert_eq!(nearest("batch_size", ["batch", "phases"]).as_deref(), Some("batch"));
        assert_eq!(nearest("size", ["hidden_size", "intermediate_size"]), None);
    }

    #[test]
    fn words_of_other_tools_lead_to_ours_where_they_fit() {
        assert_eq!(nearest("gpu", ["auto", "cpu", "cuda"]).as_deref(), Some("cuda"));
        assert_eq!(nearest("Type", ["kind", "seed"]).as_deref(), Some("kind"));
        assert_eq!(nearest("type", ["seed"]), None);
        for (foreign, own) in FOREIGN {
            assert_eq!(nearest(foreign, [*own]).as_deref(), Some(*own));
        }
    }

    /// The filter by letters throws away no word that the distance would keep.
    #[test]
    fn the_filter_by_letters_loses_nothing() {
        let words: Vec<String> =
            (0..3000_u32).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
        for written in words.iter().step_by(97) {
            let mut near = Near::new(written);
            let limit = near.limit;
            let all = words.iter().filter(|word| *word != written);
            let plain = all
                .clone()
                .map(|word| (strsim::damerau_levenshtein(written, word), word.clone()))
                .filter(|(distance, _)| *distance <= limit)
                .min()
                .map(|(_, word)| word);
            all.for_each(|word| near.look_at(word, word));
            assert_eq!(near.best.map(|(_, word)| word), plain, "{written}");
        }
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        assert_eq!((one_of(["a", "b"]), one_of(["a"])), ("one of a, b".to_owned(), "a".to_owned()));
        let many: Vec<String> = (0..25).map(|i| format!("j{i}")).collect();
        assert!(listed(&many).ends_with("j19, … (25 in all)"));
    }
}
