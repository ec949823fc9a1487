//! How a tokenizer splits what tokenizers are asked about: numbers, indented code, an address, other languages.

use serde::{Deserialize, Serialize};

use super::{Subject, Token};

/// Pieces of one example that are shown at most.
const MOST_PIECES: usize = 256;

/// Name and text of each example.
const TEXTS: [(&str, &str); 10] = [
    ("number_of_3", "327"),
    ("number_of_7", "1234567"),
    ("decimal", "Total: $1,234.50 (+3.7%)"),
    (
        "python",
        "def mean(xs):\n    total = 0.0\n    for x in xs:\n        total += x\n    return total / len(xs)\n",
    ),
    (
        "rust",
        "fn main() {\n    let xs: Vec<u32> = (0..10).collect();\n    if xs.is_empty() {\n        return;\n    }\n}\n",
    ),
    ("url", "https://www.example.com/path/to/page.html?id=42&lang=en#section-3"),
    ("german", "Die Straßenbahnhaltestelle liegt gegenüber der Universitätsbibliothek."),
    ("russian", "Завтра утром мы поедем за город, если не будет дождя."),
    ("chinese", "我们明天早上去图书馆看书。"),
    ("hindi", "कल सुबह हम पुस्तकालय जाएंगे।"),
];

/// A text and its tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What it is an example of.
    pub name: String,
    /// The text.
    pub text: String,
    /// How many tokens it has.
    pub num_tokens: u64,
    /// Its tokens in order; of a text with very many the first ones.
    pub tokens: Vec<Token>,
}

/// The examples of a tokenizer.
pub(super) fn examples(subject: &Subject) -> Vec<Example> {
    let mut ids = Vec::new();
    let mut example = |(name, text): (&str, &str)| {
        ids.clear();
        (subject.encode)(text, &mut ids);
        let tokens = ids.iter().take(MOST_PIECES).map(|id| Token::new(subject, *id)).collect();
        Example { name: name.to_owned(), text: text.to_owned(), num_tokens: ids.len() as u64, tokens }
    };
    TEXTS.into_iter().map(&mut example).collect()
}
