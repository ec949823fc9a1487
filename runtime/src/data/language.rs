//! The language of a document, and the filter on it.

use cupola_curation::language::{Language, Prose};
use cupola_specs::job::LanguageParams;

use super::DataError;
use super::document::{Class, Document};
use super::funnel::Outcome;

/// Tells languages, and drops those that are not wanted.
pub(super) struct LanguageStation {
    language: Language,
    /// Whether any is not wanted.
    filters: bool,
}

impl LanguageStation {
    /// Looks the languages up; without a filter all stay.
    pub(super) fn new(params: Option<&LanguageParams>) -> Result<Self, DataError> {
        let all = LanguageParams { keep: Vec::new(), min_confidence: 0.0 };
        Ok(Self { language: Language::new(params.unwrap_or(&all))?, filters: params.is_some() })
    }

    /// Judges a document by its prose.
    pub(super) fn judge(&self, document: &Document) -> Outcome {
        let kind = match document.class {
            Class::Markdown => Prose::Markdown,
            Class::Prose => Prose::Text,
            Class::Rust => Prose::Rust,
        };
        let verdict = self.language.judge(kind, &document.text);
        let told = verdict.identified.filter(|found| !found.code.is_empty());
        Outcome {
            language: told.map(|found| found.code),
            signals: told.iter().map(|found| ("language_confidence".to_owned(), found.confidence)).collect(),
            dropped: verdict.dropped.filter(|_| self.filters).map(|reason| (0, reason)),
            ..Outcome::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_always_and_drops_only_where_a_job_says_so() {
        let german = "Diese Funktion gibt die Anzahl der Elemente zurück, die in der Liste stehen, und sonst nichts. Sie \
                      ändert die Liste dabei nicht, und sie darf von mehreren Fäden gleichzeitig gerufen werden.";
        let document = Document { text: german.into(), ..Document::default() };
        let told = LanguageStation::new(None).unwrap().judge(&document);
        assert_eq!((told.language, told.dropped), (Some("de"), None));
        let english = LanguageParams { keep: vec!["en".into()], min_confidence: 0.5 };
        assert!(LanguageStation::new(Some(&english)).unwrap().judge(&document).dropped.is_some());
    }
}
