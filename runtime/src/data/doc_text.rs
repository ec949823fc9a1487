//! A doc comment to the answer that an assistant would give: its prose up to the first heading, list or code, without markup.

use std::sync::LazyLock;

use regex::Regex;

/// Markdown of links and emphasis, and what stays of it.
static MARKUP: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "constant patterns that the tests compile")]
    let compiled = |pattern: &str| Regex::new(pattern).expect("a constant pattern");
    vec![
        (compiled(r"!\[[^\]]*\]\([^)]*\)"), ""),
        (compiled(r"\[((?:`[^`]*`|[^\[\]`])+)\]\([^)]*\)"), "$1"),
        (compiled(r"\[((?:`[^`]*`|[^\[\]`])+)\]\[[^\]]*\]"), "$1"),
        (compiled(r"\[(`[^`\]]+`)\]"), "$1"),
        (compiled(r"\[([A-Za-z_][A-Za-z0-9_:!()]*)\]"), "`$1`"),
        (compiled(r"\*\*([^*]+)\*\*"), "$1"),
        (compiled(r"\*([A-Za-z][^*]*)\*"), "$1"),
        (compiled(r"\s+"), " "),
    ]
});

/// Starts of answers that say nothing by themselves.
const EMPTY_STARTS: [&str; 17] = [
    "see ",
    "see also",
    "refer to",
    "alias ",
    "todo",
    "fixme",
    "xxx",
    "hack",
    "copyright",
    "note",
    "warning",
    "deprecated",
    "safety",
    "same as",
    "like ",
    "like [",
    "as above",
];

/// What no sentence for people holds.
const CODE_SIGNS: [&str; 10] = ["http", "://", "{{", "}}", "#[", "$", "<!--", "```", "TODO", "FIXME"];

/// Words that any sentence may hold, whatever it is about.
const FILLERS: [&str; 14] =
    ["a", "an", "the", "this", "that", "of", "to", "for", "is", "it", "its", "self", "new", "function"];

/// The answer that a doc comment gives about the function `name`; none where it is too short, too long, or no plain English.
pub(super) fn answer(doc: &str, name: &str, min_chars: u64, max_chars: u64) -> Option<String> {
    let paragraphs = paragraphs(doc);
    let whole = paragraphs.join("\n\n");
    let fits = |text: &str| (min_chars..=max_chars).contains(&(text.chars().count() as u64));
    let answer = [whole, paragraphs.into_iter().next()?].into_iter().find(|text| fits(text))?;
    (is_natural(&answer) && !only_says_its_name(&answer, name)).then_some(answer)
}

/// Paragraphs of prose up to the first heading, list, table, quote or code. A sentence that runs into what was cut goes with it.
fn paragraphs(doc: &str) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut open = String::new();
    let mut runs_on = false;
    for line in doc.lines() {
        let is_indented_code = line.starts_with("     ") && open.is_empty();
        let line = line.trim();
        if is_indented_code || ends_prose(line) {
            runs_on = !line.starts_with('#');
            break;
        }
        if line.is_empty() {
            paragraphs.push(std::mem::take(&mut open));
        } else if !is_link_definition(line) {
            open.push_str(line);
            open.push(' ');
        }
    }
    paragraphs.push(open);
    let clean = |paragraph: &String| {
        MARKUP
            .iter()
            .fold(paragraph.clone(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
    };
    let mut clean: Vec<String> = paragraphs
        .iter()
        .map(clean)
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    while clean.last().is_some_and(|last| last.ends_with(':') || runs_on && !last.ends_with(['.', '!', '?']))
    {
        clean.pop();
    }
    clean
}

fn ends_prose(line: &str) -> bool {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_numbered = number.len() < line.len() && (number.starts_with(". ") || number.starts_with(") "));
    let starts = ["#", "```", "~~~", "|", "* ", "- ", "+ ", ">", "<", "$$", "---", "***", "==="];
    is_numbered || starts.iter().any(|start| line.starts_with(start))
}

fn is_link_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// Whether a text reads as English sentences for people.
fn is_natural(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    let starts_well = text.starts_with(|c: char| c.is_uppercase());
    let ends_well = text.ends_with(['.', '!']) || !text.contains(['.', '!', '?', ':', ';']);
    let plain = words.iter().filter(|word| is_plain_word(word)).count();
    let ticks = text.matches('`').count();
    starts_well
        && ends_well
        && words.len() >= 3
        && text.is_ascii()
        && ticks.is_multiple_of(2)
        && 10 * plain >= 6 * words.len()
        && !EMPTY_STARTS.iter().any(|start| lower.starts_with(start))
        && !CODE_SIGNS.iter().any(|sign| text.contains(sign))
        && !text.contains(['[', ']', '<', '>', '\\'].as_slice())
        && has_english(&lower)
}

fn is_plain_word(word: &str) -> bool {
    let word =
        word.trim_matches(|c: char| matches!(c, '.' | ',' | ';' | ':' | '(' | ')' | '"' | '\'' | '!' | '?'));
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == '-' || c == '\'')
}

/// Function words of English: text in another Latin script holds few of them.
fn has_english(lower: &str) -> bool {
    const WORDS: [&str; 24] = [
        "the", "a", "an", "of", "to", "in", "is", "for", "with", "if", "this", "from", "and", "by", "as",
        "on", "that", "into", "at", "or", "be", "it", "given", "all",
    ];
    lower.split(|c: char| !c.is_alphabetic()).any(|word| WORDS.contains(&word))
}

/// Whether an answer has no word that is not in the function's name.
fn only_says_its_name(answer: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = answer.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.all(|word| {
        let word = word.to_lowercase();
        let stem = word.trim_end_matches('s');
        FILLERS.contains(&word.as_str()) || name.contains(stem)
    })
}

/// What two answers that say the same have in common: letters in lower case, numbers as 0.
pub(super) fn answer_key(answer: &str) -> String {
    let mut key = String::with_capacity(answer.len());
    for c in answer.chars() {
        match c {
            '0'..='9' if key.ends_with('0') => {}
            '0'..='9' => key.push('0'),
            c if c.is_alphabetic() => key.extend(c.to_lowercase()),
            _ => {}
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(doc: &str) -> Option<String> {
        answer(doc, "split_at", 10, 120)
    }

    #[test]
    fn the_prose_before_the_first_heading_stays_without_markup() {
        let doc = " Divides a [slice](https://x.y/z) into **two**,\n at an index of type [`usize`].\n\n The first holds [Self::len] \
                   items.\n\n # Panics\n\n Panics.";
        let expected =
            "Divides a slice into two, at an index of type `usize`.\n\nThe first holds `Self::len` items.";
        assert_eq!(of(doc).unwrap(), expected);
        let long = doc.replace("# Panics", &"And on it goes, over and over again. ".repeat(5));
        assert_eq!(of(&long).unwrap(), "Divides a slice into two, at an index of type `usize`.");
    }

    #[test]
    fn what_introduces_a_list_goes_with_it() {
        assert_eq!(
            of("Finds the place of it.\n\nThe rules are:\n\n* one"),
            Some("Finds the place of it.".into())
        );
        assert_eq!(of("It is one of these:\n- a\n- b"), None);
        assert_eq!(of("Creates a line of points from\n```\nx\n```"), None);
    }

    #[test]
    fn what_says_nothing_goes() {
        for doc in [
            "Split.",
            "Splits at.",
            "See the module's documentation for it.",
            "Gibt die Anzahl der Elemente aus.",
            "TODO: write this for the next release.",
            "Uses <https://x.y> for the thing.",
            "returns the thing in lower case.",
            "返回 the number of elements.",
        ] {
            assert_eq!(of(doc), None, "{doc}");
        }
    }

    #[test]
    fn answers_that_differ_in_numbers_only_are_the_same() {
        assert_eq!(answer_key("Reads the 16-bit value."), answer_key("Reads the 8 bit value"));
        assert_ne!(answer_key("Reads the value."), answer_key("Writes the value."));
    }
}
