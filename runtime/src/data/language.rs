//! The language filter, judged on prose: trigram models know no code, so code is taken out first, and what then has too few
//! letters to be judged stays. Comments are a thin sample: source code goes only where another language is certain.

use cupola_specs::job::LanguageParams;
use whatlang::Lang;

use super::DataError;
use super::document::{Class, Document};
use super::funnel::Outcome;

/// Fewer letters than this say nothing about a language.
const MIN_LETTERS: usize = 120;
/// So much prose is enough to judge by, bytes.
const MAX_BYTES: usize = 4096;

/// The trigram models' languages by ISO 639-1 code.
const CODES: &str = "ara ar|aze az|bel be|ben bn|bul bg|cat ca|ces cs|cmn zh|dan da|deu de|ell el|eng en|epo eo|est et|fin fi|\
    fra fr|guj gu|heb he|hin hi|hrv hr|hun hu|hye hy|ind id|ita it|jav jv|jpn ja|kan kn|kat ka|khm km|kor ko|lat la|lav lv|\
    lit lt|mal ml|mar mr|mkd mk|mya my|nep ne|nld nl|nob nb|ori or|pan pa|pes fa|pol pl|por pt|ron ro|rus ru|sin si|slk sk|\
    slv sl|sna sn|spa es|srp sr|swe sv|tam ta|tel te|tgl tl|tha th|tuk tk|tur tr|ukr uk|urd ur|uzb uz|vie vi|yid yi|zul zu|\
    afr af|aka ak|amh am";

/// A language filter with its languages looked up.
#[derive(Debug)]
pub(super) struct LanguageFilter {
    keep: Vec<Lang>,
    min_confidence: f64,
}

impl LanguageFilter {
    /// Looks the languages up; an unknown code is an error.
    pub(super) fn new(params: &LanguageParams) -> Result<Self, DataError> {
        let keep = params.keep.iter().map(|code| {
            let name = CODES.split('|').find_map(|pair| pair.strip_suffix(code.as_str())?.strip_suffix(' '));
            name.and_then(Lang::from_code).ok_or_else(|| DataError::Parameter {
                field: "language.keep".into(),
                expected: "ISO 639-1 codes of languages that can be told apart".into(),
                got: code.clone(),
            })
        });
        Ok(Self { keep: keep.collect::<Result<_, _>>()?, min_confidence: params.min_confidence })
    }

    /// Drops a document whose prose is in another language, or in none of them with enough confidence.
    pub(super) fn judge(&self, document: &Document) -> Outcome {
        let prose = prose(document.class, &document.text);
        if prose.chars().filter(|c| c.is_alphabetic()).count() < MIN_LETTERS {
            return Outcome::default();
        }
        let Some(info) = whatlang::detect(&prose) else { return Outcome::default() };
        let kept = self.keep.contains(&info.lang());
        if document.class == Class::Rust && (kept || info.confidence() < self.min_confidence) {
            return Outcome::default();
        }
        let reason = match (kept, info.confidence()) {
            (true, confidence) if confidence < self.min_confidence => {
                format!("{} with confidence {confidence:.2} < {}", info.lang().code(), self.min_confidence)
            }
            (true, confidence) => {
                return Outcome { signals: vec![("language_confidence".to_owned(), confidence)], ..Outcome::default() };
            }
            (false, confidence) => format!("{} with confidence {confidence:.2}", info.lang().code()),
        };
        Outcome::drop(0, reason)
    }
}

/// A document's prose: comments of Rust, Markdown without code and links, anything else as it is.
fn prose(class: Class, text: &str) -> String {
    let mut prose = String::new();
    let mut in_fence = false;
    for line in text.lines() {
        if prose.len() >= MAX_BYTES {
            break;
        }
        let line = line.trim_start();
        match class {
            Class::Rust => {
                let Some(comment) = line.strip_prefix("//").or_else(|| line.strip_prefix("* ")) else {
                    continue;
                };
                words(comment.trim_start_matches(['/', '!']), &mut in_fence, &mut prose);
            }
            Class::Markdown => words(line, &mut in_fence, &mut prose),
            Class::Prose => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    prose
}

/// Appends a line's words that are no code, no link and no name.
fn words(line: &str, in_fence: &mut bool, prose: &mut String) {
    let line = line.trim_start();
    if line.starts_with("```") || line.starts_with("~~~") {
        *in_fence = !*in_fence;
    }
    if *in_fence || line.starts_with("```") || line.starts_with('|') {
        return;
    }
    for (index, stretch) in line.split('`').enumerate() {
        if index % 2 == 1 {
            continue;
        }
        for word in stretch.split_whitespace() {
            let plain = word.trim_matches(|c: char| c.is_ascii_punctuation());
            let is_name = plain.contains(['_', '/', ':', '@', '=', '<', '(', '.', '[']);
            if !is_name && !plain.is_empty() {
                prose.push_str(plain);
                prose.push(' ');
            }
        }
    }
    prose.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(class: Class, text: &str) -> Outcome {
        let params = LanguageParams { keep: vec!["en".into()], min_confidence: 0.5 };
        let document = Document { class, text: text.into(), ..Document::default() };
        LanguageFilter::new(&params).unwrap().judge(&document)
    }

    #[test]
    fn another_language_goes_and_too_little_prose_stays() {
        let german = "Diese Funktion gibt die Anzahl der Elemente zurück, die in der Liste stehen, und sonst nichts. Sie \
                      ändert die Liste dabei nicht, und sie darf von mehreren Fäden gleichzeitig gerufen werden.";
        let english = "This function returns the number of elements that are in the list and nothing else. It does not \
                       change the list, and several threads may call it at the same time without any other measures.";
        assert!(judge(Class::Prose, german).dropped.is_some());
        assert!(judge(Class::Prose, english).dropped.is_none());
        assert!(judge(Class::Rust, &format!("// {german}\nfn a() {{}}")).dropped.is_some());
        assert!(judge(Class::Rust, "fn anzahl() { /* */ }\n// kurz").dropped.is_none());
        assert!(judge(Class::Markdown, &format!("```\n{german}\n```\nshort")).dropped.is_none());
    }

    #[test]
    fn every_code_names_a_language_and_an_unknown_one_is_an_error() {
        for pair in CODES.split('|') {
            let (name, code) = pair.split_once(' ').unwrap();
            assert!(Lang::from_code(name).is_some(), "{name}");
            assert_eq!(code.len(), 2);
        }
        let params = LanguageParams { keep: vec!["eng".into()], min_confidence: 0.5 };
        assert!(LanguageFilter::new(&params).is_err());
    }
}
