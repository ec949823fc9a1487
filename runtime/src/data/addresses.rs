//! The filter on the addresses of web pages: which lists a job has.

use cupola_curation::urls::{List, UrlFilter, UrlLists, UrlRule};
use cupola_specs::job::UrlList;

use super::DataError;
use super::document::Document;
use super::funnel::Outcome;
use crate::job::StepContext;

/// The rules' names, in the order of [`UrlRule::ALL`].
pub(super) fn rules() -> Vec<String> {
    UrlRule::ALL.iter().map(|rule| rule.name().to_owned()).collect()
}

/// Reads the lists. Lines that are no entry are a warning.
pub(super) fn filter(ctx: &StepContext, wanted: &[UrlList]) -> Result<UrlFilter, DataError> {
    let mut contents = Vec::new();
    for list in wanted {
        for file in ctx.sources(&format!("urls.{}", list.name()))? {
            contents.push((*list, file.name.clone(), ctx.read_source(&file)?));
        }
    }
    let of = |wanted: UrlList| -> Vec<List<'_>> {
        let lists = contents.iter().filter(|(list, ..)| *list == wanted);
        lists.map(|(_, name, bytes)| List { name, bytes }).collect()
    };
    let filter = UrlFilter::new(&UrlLists {
        domains: &of(UrlList::BlockDomains),
        urls: &of(UrlList::BlockUrls),
        hard_words: &of(UrlList::BlockWords),
        soft_words: &of(UrlList::SoftWords),
        substrings: &of(UrlList::BlockSubstrings),
        ..UrlLists::default()
    })?;
    let (first, count) = filter.skipped();
    if let Some(skipped) = first.first() {
        let message = format!(
            "{count} lines are no entry; the first is line {} of {}: {}",
            skipped.line, skipped.list, skipped.text
        );
        ctx.events().warning("urls", message);
    }
    Ok(filter)
}

/// Drops a document whose address is blocked.
pub(super) fn judge(filter: &UrlFilter, document: &Document) -> Outcome {
    let blocked = document.url.as_ref().and_then(|url| filter.judge(url));
    let Some(blocked) = blocked else { return Outcome::default() };
    let rule = UrlRule::ALL.iter().position(|rule| *rule == blocked.rule).unwrap_or_default();
    Outcome::drop(rule, format!("{} in {}", blocked.entry, blocked.list))
}
