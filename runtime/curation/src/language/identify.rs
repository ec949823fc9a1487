//! The language of a text, and the filter by language.

use cupola_specs::job::LanguageParams;
use whatlang::Lang;

use super::prose::Prose;

/// Fewer letters than this say nothing about a document's language.
const MIN_LETTERS: usize = 120;

/// The trigram models' languages by ISO 639-1 code.
const CODES: &str = "ara ar|aze az|bel be|ben bn|bul bg|cat ca|ces cs|cmn zh|dan da|deu de|ell el|eng en|epo eo|est et|fin fi|\
    fra fr|guj gu|heb he|hin hi|hrv hr|hun hu|hye hy|ind id|ita it|jav jv|jpn ja|kan kn|kat ka|khm km|kor ko|lat la|lav lv|\
    lit lt|mal ml|mar mr|mkd mk|mya my|nep ne|nld nl|nob nb|ori or|pan pa|pes fa|pol pl|por pt|ron ro|rus ru|sin si|slk sk|\
    slv sl|sna sn|spa es|srp sr|swe sv|tam ta|tel te|tgl tl|tha th|tuk tk|tur tr|ukr uk|urd ur|uzb uz|vie vi|yid yi|zul zu|\
    afr af|aka ak|amh am";

/// A language code that no model has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{code}` is not the ISO 639-1 code of a language that can be told apart")]
pub struct LanguageError {
    /// As it is written.
    pub code: String,
}

/// A text's language.
///
/// What a threshold keeps and how much of it is named right, of 15,141 sentences of 16 languages, one by one (95 characters on
/// average) and five in a row:
///
/// | confidence at least | single: kept | right | five: kept | right |
/// |---|---|---|---|---|
/// | 0 | 100 % | 95.3 % | 100 % | 99.90 % |
/// | 0.1 | 96.9 % | 96.8 % | 100 % | 99.93 % |
/// | 0.25 | 93.0 % | 98.1 % | 99.8 % | 99.93 % |
/// | 0.5 | 87.1 % | 99.1 % | 99.5 % | 99.97 % |
/// | 0.65 | 83.3 % | 99.3 % | 99.3 % | 99.97 % |
/// | 0.8 | 79.6 % | 99.5 % | 99.0 % | 100 % |
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Identified {
    /// ISO 639-1; empty where the text has no letter.
    pub code: &'static str,
    /// How far the language is ahead of the next one, 0 to 1; no probability.
    pub confidence: f64,
}

/// What the filter says of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageVerdict {
    /// What was identified; none of a document with too few letters, which stays.
    pub identified: Option<Identified>,
    /// Why the document goes; none where it stays.
    pub dropped: Option<String>,
}

/// Identifies languages, and filters by them.
#[derive(Debug, Clone)]
pub struct Language {
    keep: Vec<&'static str>,
    min_confidence: f64,
}

impl Language {
    /// A filter that keeps these languages.
    ///
    /// # Errors
    /// An unknown code.
    pub fn new(params: &LanguageParams) -> Result<Self, LanguageError> {
        let keep = params.keep.iter().map(|code| {
            let known = pairs().map(|(_, known)| known).find(|known| known == code);
            known.ok_or_else(|| LanguageError { code: code.clone() })
        });
        Ok(Self { keep: keep.collect::<Result<_, _>>()?, min_confidence: params.min_confidence })
    }

    /// The language of a text, all of which counts. Prose is made by [`Prose::of`].
    pub fn identify(&self, text: &str) -> Identified {
        match whatlang::detect(text) {
            Some(found) => Identified { code: code_of(found.lang()), confidence: found.confidence() },
            None => Identified { code: "", confidence: 0.0 },
        }
    }

    /// Judges a document by its prose: it goes where it is another language, or one of the kept ones with too little confidence. What has
    /// too few letters stays. Comments are a thin sample: source code goes only where another language is certain.
    pub fn judge(&self, kind: Prose, text: &str) -> LanguageVerdict {
        let prose = kind.of(text);
        let letters = prose.chars().filter(|c| c.is_alphabetic()).take(MIN_LETTERS).count();
        if letters < MIN_LETTERS {
            return LanguageVerdict { identified: None, dropped: None };
        }
        let found = self.identify(&prose);
        let Identified { code, confidence } = found;
        let is_kept = self.keep.contains(&code);
        let is_sure = confidence >= self.min_confidence;
        let stays = if kind == Prose::Rust { is_kept || !is_sure } else { is_kept && is_sure };
        let dropped = if stays || code.is_empty() {
            None
        } else if is_kept {
            Some(format!("{code} with confidence {confidence:.2} < {}", self.min_confidence))
        } else {
            Some(format!("{code} with confidence {confidence:.2}"))
        };
        LanguageVerdict { identified: Some(found), dropped }
    }
}

/// whatlang's codes and those of ISO 639-1.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    CODES.split('|').filter_map(|pair| pair.split_once(' '))
}

fn code_of(lang: Lang) -> &'static str {
    pairs().find(|(name, _)| *name == lang.code()).map_or("", |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn english() -> Language {
        Language::new(&LanguageParams { keep: vec!["en".into()], min_confidence: 0.5 }).unwrap()
    }

    #[test]
    fn another_language_goes_and_too_little_prose_stays() {
        let german = "Diese Funktion gibt die Anzahl der Elemente zurück, die in der Liste stehen, und sonst nichts. Sie \
                      ändert die Liste dabei nicht, und sie darf von mehreren Fäden gleichzeitig gerufen werden.";
        let english_text = "This function returns the number of elements that are in the list and nothing else. It does not \
                       change the list, and several threads may call it at the same time without any other measures.";
        let drops = |kind, text: &str| english().judge(kind, text).dropped.is_some();
        assert!(drops(Prose::Text, german));
        assert!(!drops(Prose::Text, english_text));
        assert!(drops(Prose::Rust, &format!("// {german}\nfn a() {{}}")));
        assert!(!drops(Prose::Rust, "fn anzahl() { /* */ }\n// kurz"));
        assert!(!drops(Prose::Markdown, &format!("```\n{german}\n```\nshort")));
        assert_eq!(english().identify(german).code, "de");
        assert_eq!(english().identify("123 !").code, "");
    }

    #[test]
    fn every_code_names_a_language_and_an_unknown_one_is_an_error() {
        assert_eq!(pairs().count(), whatlang::Lang::all().len());
        for lang in Lang::all() {
            assert_eq!(code_of(*lang).len(), 2, "{}", lang.code());
        }
        let params = LanguageParams { keep: vec!["eng".into()], min_confidence: 0.5 };
        assert_eq!(Language::new(&params).unwrap_err().code, "eng");
    }

    #[test]
    fn shared_sentences_are_named_right() {
        let Some(root) = std::env::var_os("CUPOLA_SHARED") else {
            eprintln!("skipped: CUPOLA_SHARED is not set");
            return;
        };
        let folder = std::path::Path::new(&root).join("data/labels/language");
        let (mut right, mut all) = (0, 0);
        for (_, code) in pairs() {
            let Ok(file) = std::fs::File::open(folder.join(format!("{code}.txt.gz"))) else { continue };
            let mut text = String::new();
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for lines in lines.chunks(5) {
                right += usize::from(english().identify(&lines.join(" ")).code == code);
                all += 1;
            }
        }
        assert!(all > 2000 && right as f64 / all as f64 > 0.995, "{right} of {all}");
    }
}
