//! What is left of a corpus, told in numbers: how long documents are, in which languages, from which sites.

use std::collections::BTreeMap;

use cupola_curation::urls::registered_domain;
use cupola_specs::artifact::{CorpusStatistics, LengthBin, SiteStatistics};

use super::document::Document;

/// Sites that are shown.
const SHOWN_SITES: usize = 30;
/// Sites that are counted at a time; of more, those with the fewest documents are forgotten, so that small sites of a large corpus may be counted short.
const COUNTED_SITES: usize = 1 << 18;

/// The numbers in the making.
#[derive(Debug, Default)]
pub(super) struct Portrait {
    /// Documents by the power of two that is above their bytes.
    lengths: BTreeMap<u32, u64>,
    languages: BTreeMap<String, u64>,
    sites: BTreeMap<String, (u64, u64)>,
}

impl Portrait {
    /// Counts a document.
    pub(super) fn add(&mut self, document: &Document) {
        let bytes = document.text.len() as u64;
        *self.lengths.entry(u64::BITS - bytes.leading_zeros()).or_insert(0) += 1;
        if let Some(language) = &document.language {
            *self.languages.entry(language.clone()).or_insert(0) += 1;
        }
        if let Some(site) = document.url.as_deref().and_then(registered_domain) {
            let (documents, sum) = self.sites.entry(site).or_insert((0, 0));
            (*documents, *sum) = (*documents + 1, *sum + bytes);
            if self.sites.len() > 2 * COUNTED_SITES {
                self.forget(COUNTED_SITES);
            }
        }
    }

    /// Keeps the sites with the most documents.
    fn forget(&mut self, most: usize) {
        let mut sites: Vec<(String, (u64, u64))> = std::mem::take(&mut self.sites).into_iter().collect();
        sites.sort_by(|(one, of_one), (other, of_other)| (of_other.0, one).cmp(&(of_one.0, other)));
        sites.truncate(most);
        self.sites = sites.into_iter().collect();
    }

    /// Writes the numbers down.
    pub(super) fn finish(mut self, statistics: &mut CorpusStatistics) {
        statistics.lengths = self
            .lengths
            .iter()
            .map(|(power, documents)| LengthBin { below_bytes: 1 << power.min(&63), documents: *documents })
            .collect();
        statistics.languages = std::mem::take(&mut self.languages);
        self.forget(SHOWN_SITES);
        let sites = self.sites.into_iter();
        statistics.sites =
            sites.map(|(site, (documents, bytes))| SiteStatistics { site, documents, bytes }).collect();
        statistics
            .sites
            .sort_by(|one, other| (other.documents, &one.site).cmp(&(one.documents, &other.site)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_languages_and_sites_are_counted() {
        let mut portrait = Portrait::default();
        for (url, text) in
            [("http://a.example.org/1", "abc"), ("http://b.example.org/2", "abcd"), ("http://x.de/", "")]
        {
            let language = Some("en".to_owned());
            let document =
                Document { url: Some(url.into()), text: text.into(), language, ..Document::default() };
            portrait.add(&document);
        }
        let mut statistics = CorpusStatistics::default();
        portrait.finish(&mut statistics);
        let lengths: Vec<(u64, u64)> =
            statistics.lengths.iter().map(|bin| (bin.below_bytes, bin.documents)).collect();
        assert_eq!(lengths, [(1, 1), (4, 1), (8, 1)]);
        assert_eq!(statistics.languages["en"], 3);
        let sites: Vec<(&str, u64, u64)> =
            statistics.sites.iter().map(|site| (site.site.as_str(), site.documents, site.bytes)).collect();
        assert_eq!(sites, [("example.org", 2, 7), ("x.de", 1, 0)]);
    }
}
