//! The rules of a job in the order in which its documents meet them.

use std::collections::BTreeMap;

use cupola_specs::job::DataParams;

use super::funnel::Funnel;

/// Rules that look at documents together, in order; those of the stations that look at one alone come before them.
const TOGETHER: [&str; 9] = [
    "exact_document",
    "lines",
    "paragraphs",
    "site",
    "decontaminate",
    "empty",
    "near_duplicate",
    "quality",
    "substrings",
];

/// The names of all rules, with the places of those that this crate's passes ask for.
pub(super) struct Rules {
    names: Vec<String>,
    places: BTreeMap<&'static str, usize>,
}

impl Rules {
    /// The rules of the stations, and those of the deduplication and of the filters that are on.
    pub(super) fn new(stations: &[String], params: &DataParams) -> Self {
        let dedup = &params.dedup;
        let mut rules = Self { names: stations.to_vec(), places: BTreeMap::new() };
        for name in TOGETHER {
            let is_on = match name {
                "exact_document" => dedup.exact_document,
                "site" => params.extract.site_repeats > 0,
                "lines" => dedup.lines_min_repeats > 0,
                "paragraphs" => dedup.paragraphs,
                "decontaminate" => params.decontaminate.is_some(),
                "near_duplicate" => dedup.minhash.is_some(),
                "quality" => params.quality.is_some(),
                "substrings" => dedup.substring_min_bytes > 0,
                _ => true,
            };
            rules.places.insert(name, rules.names.len());
            if is_on {
                rules.names.push(name.to_owned());
            }
        }
        rules
    }

    /// A funnel in which nothing has been removed.
    pub(super) fn funnel(&self) -> Funnel {
        Funnel::new(&self.names)
    }

    /// The place of one of [`TOGETHER`]. A rule that is off has the place of the next, and is never recorded.
    pub(super) fn place(&self, name: &str) -> usize {
        self.places.get(name).copied().unwrap_or_default()
    }
}
