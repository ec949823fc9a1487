//! Personal data and secrets of a document: kept, replaced by a tag, or a reason to drop it.

use std::sync::LazyLock;

use cupola_curation::pii::{Actions, Class, Finder, Placeholders, Verdict};
use cupola_specs::job::{PiiAction, PiiParams};

use super::document::Document;
use super::funnel::Outcome;

/// Finds whatever is personal, whatever the spec keeps.
static ALL: LazyLock<Finder> = LazyLock::new(|| Finder::new(Actions::all(PiiAction::Redact)));

/// The rules' names, in the order of [`Class::ALL`].
pub(super) fn rules() -> Vec<String> {
    Class::ALL.iter().map(|class| format!("pii.{}", class.name())).collect()
}

/// What a spec wants done.
pub(super) fn finder(params: &PiiParams) -> Finder {
    Finder::new(params).with_placeholders(Placeholders::Find)
}

/// Carries it out on a document.
pub(super) fn judge(finder: &Finder, document: &Document) -> Outcome {
    let text = &document.text;
    let place = |class: Class| Class::ALL.iter().position(|known| *known == class).unwrap_or_default();
    match finder.judge(text) {
        Verdict::Kept => Outcome::default(),
        Verdict::Dropped { class, count } => Outcome::drop(place(class), format!("{count} found")),
        Verdict::Redacted { text: redacted, counts } => {
            let mut removed = text.len().saturating_sub(redacted.len()) as u64;
            // The text's loss is told once, by the first class that has a part in it.
            let changes = counts.keys().map(|class| {
                let excerpt = first_line_with(&redacted, class.tag()).to_owned();
                (place(*class), std::mem::take(&mut removed), excerpt)
            });
            let changes = changes.collect();
            Outcome { changes, text: Some(redacted), ..Outcome::default() }
        }
    }
}

/// A text with tags for whatever is personal in it.
pub(super) fn mask(text: &str) -> String {
    ALL.redact(text)
}

/// Whether anything personal is in a text.
pub(super) fn is_personal(text: &str) -> bool {
    !ALL.find(text).is_empty()
}

fn first_line_with<'t>(text: &'t str, tag: &str) -> &'t str {
    text.lines().find(|line| line.contains(tag)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_redacted_under_its_rule_or_drops_the_document() {
        let params = PiiParams {
            email: PiiAction::Redact,
            ip: PiiAction::Keep,
            phone: PiiAction::Keep,
            card: PiiAction::Redact,
            secret: PiiAction::Drop,
        };
        let finder = finder(&params);
        let of = |text: &str| judge(&finder, &Document { text: text.into(), ..Document::default() });
        let outcome = of("write to jane.doe@corp.de\nor not");
        assert_eq!(outcome.text.as_deref(), Some("write to <EMAIL>\nor not"));
        let email = rules().iter().position(|rule| rule == "pii.email").unwrap();
        assert_eq!((outcome.changes[0].0, outcome.changes[0].2.as_str()), (email, "write to <EMAIL>"));
        let outcome = of("key: ghp_aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5");
        let secret = rules().iter().position(|rule| rule == "pii.secret").unwrap();
        assert_eq!(outcome.dropped.map(|(rule, _)| rule), Some(secret));
        assert!(of("nothing here").text.is_none());
    }
}
