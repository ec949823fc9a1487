//! What the rule engine measures of every document, by name: what custom expressions may speak of.
//!
//! A share is a number from 0 to 1; a share of nothing is 0. What a word is follows the engine's word splitter.

/// Declares the signals: variant, name, what it is.
macro_rules! signals {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// A measured value of a document.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Signal {
            $(#[doc = $doc] $variant,)*
        }

        impl Signal {
            /// All of them, in the order of [`SIGNALS`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }

        /// Names of the signals and what each one is, in a fixed order.
        pub const SIGNALS: &[(&str, &str)] = &[$(($name, $doc),)*];
    };
}

signals! {
    Bytes "bytes" "Bytes of the text.",
    Chars "chars" "Characters of the text.",
    Words "words" "Words that are not only punctuation.",
    Tokens "tokens" "Words, punctuation that stands as a word of its own included.",
    UniqueWords "unique_words" "Distinct words, share of the words.",
    MeanWordLength "mean_word_length" "Characters a word, punctuation left out.",
    AlphaWords "alpha_words" "Words with a letter, share of the words.",
    StopWords "stop_words" "Different stop words out of Gopher's eight.",
    HashRatio "hash_ratio" "`#` a word.",
    EllipsisRatio "ellipsis_ratio" "`...` and `…` a word.",
    Lines "lines" "Lines, empty ones included.",
    BulletLines "bullet_lines" "Lines that start with a bullet, share of the lines.",
    EllipsisLines "ellipsis_lines" "Lines that end with an ellipsis, share of the lines.",
    Paragraphs "paragraphs" "Paragraphs: what empty lines part.",
    Sentences "sentences" "Sentences.",
    DuplicateLines "duplicate_lines" "Lines that stood there before, share of the lines.",
    DuplicateLineChars "duplicate_line_chars" "Characters of such lines, share of the characters.",
    DuplicateParagraphs "duplicate_paragraphs" "Paragraphs that stood there before, share of the paragraphs.",
    DuplicateParagraphChars "duplicate_paragraph_chars" "Characters of such paragraphs, share of the characters.",
    Top2gramChars "top_2gram_chars" "Characters of the most frequent pair of words, share of the characters.",
    Top3gramChars "top_3gram_chars" "The same for 3 words.",
    Top4gramChars "top_4gram_chars" "The same for 4 words.",
    Duplicate5gramChars "duplicate_5gram_chars" "Characters in runs of 5 words that stood there before, share of the characters.",
    Duplicate6gramChars "duplicate_6gram_chars" "The same for 6 words.",
    Duplicate7gramChars "duplicate_7gram_chars" "The same for 7 words.",
    Duplicate8gramChars "duplicate_8gram_chars" "The same for 8 words.",
    Duplicate9gramChars "duplicate_9gram_chars" "The same for 9 words.",
    Duplicate10gramChars "duplicate_10gram_chars" "The same for 10 words.",
    PunctuatedLines "punctuated_lines" "Lines that end a sentence, share of the lines that are not blank.",
    ShortLines "short_lines" "Lines of few characters, share of the lines that are not blank.",
    RepeatedLineChars "repeated_line_chars" "Characters of lines that stood there before, share of the characters without line breaks.",
    NewlineRatio "newline_ratio" "Line breaks a word.",
    Uppercase "uppercase" "Capital letters, share of the characters.",
    Digits "digits" "Digits 0 to 9, share of the characters.",
    Alphanumeric "alphanumeric" "Letters and digits, share of the characters.",
    MaxLineLength "max_line_length" "Characters of the longest line.",
    MeanLineLength "mean_line_length" "Characters a line.",
    Generated "generated" "1 where the first lines say that a tool wrote the file, else 0.",
    C4Sentences "c4_sentences" "Sentences of the lines that C4's rules left.",
    C4CurlyBracket "c4_curly_bracket" "1 where such a line has a curly bracket, else 0.",
    C4LoremIpsum "c4_lorem_ipsum" "1 where such a line has `lorem ipsum`, else 0.",
    C4BadWords "c4_bad_words" "Bad words in the text that C4's rules left, where a list is given.",
    C4BadWordsDraw "c4_bad_words_draw" "A number from 0 to 1 drawn by the text's hash, where a list is given.",
    RemovedWords "removed_words" "Words that RefinedWeb's line rules took out, share of the words.",
}

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        SIGNALS[self as usize].0
    }

    /// The signal of a name.
    pub fn of(name: &str) -> Option<Self> {
        SIGNALS.iter().position(|(known, _)| *known == name).map(|at| Self::ALL[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_find_their_signal() {
        for signal in Signal::ALL {
            assert_eq!(Signal::of(signal.name()), Some(*signal));
        }
        assert_eq!(Signal::of("wrds"), None);
    }
}
