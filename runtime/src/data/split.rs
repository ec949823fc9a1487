//! The validation split: by unit, so that no crate is on both sides.

use std::collections::{BTreeMap, BTreeSet};

use cupola_specs::job::SplitParams;

use super::document::{Document, seeded_position};

/// Units that go to validation: the share of units that was asked for, in an order by their seeded hash, and at least one where a
/// share was asked for and two units are there. A unit that alone holds more bytes than the whole share is passed over while others
/// are left, and a domain without a unit gets the first that has it.
pub(super) fn validation_units(
    params: &SplitParams,
    seed: u64,
    documents: &[Document],
    domain_of: &dyn Fn(&Document) -> String,
) -> BTreeSet<String> {
    let mut units: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for document in documents {
        *units.entry(&document.unit).or_default().entry(domain_of(document)).or_insert(0) +=
            document.text.len();
    }
    if params.validation <= 0.0 || units.len() < 2 {
        return BTreeSet::new();
    }
    let total: usize = units.values().flat_map(BTreeMap::values).sum();
    let most = params.validation * total as f64;
    let bytes = |unit: &&str| units[*unit].values().sum::<usize>() as f64;
    let mut order: Vec<&str> = units.keys().copied().collect();
    order.sort_by(|a, b| seeded_position(seed, a).total_cmp(&seeded_position(seed, b)));
    let (mut order, large): (Vec<&str>, Vec<&str>) = order.into_iter().partition(|unit| bytes(unit) <= most);
    order.extend(large);
    let wanted = (params.validation * units.len() as f64).round() as usize;
    let wanted = wanted.clamp(1, units.len() - 1);
    let mut chosen: BTreeSet<&str> = order[..wanted].iter().copied().collect();
    let domains: BTreeSet<&String> = units.values().flat_map(BTreeMap::keys).collect();
    for domain in domains {
        let holders = order.iter().filter(|unit| units[**unit].contains_key(domain));
        let is_held = holders.clone().any(|unit| chosen.contains(unit));
        if !is_held && holders.clone().count() > 1 && chosen.len() + 1 < units.len() {
            chosen.extend(holders.take(1));
        }
    }
    chosen.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::SplitUnit;

    use super::*;

    fn units(sizes: &[(&str, &str, usize)], validation: f64) -> BTreeSet<String> {
        let documents: Vec<Document> = sizes
            .iter()
            .map(|(unit, domain, size)| Document {
                unit: (*unit).into(),
                file: (*domain).into(),
                text: "x".repeat(*size),
                ..Document::default()
            })
            .collect();
        let params = SplitParams { validation, by: SplitUnit::Crate };
        validation_units(&params, 1, &documents, &|document| document.file.clone())
    }

    #[test]
    fn the_share_is_by_units_and_large_ones_are_passed_over() {
        let names: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
        let mut sizes: Vec<(&str, &str, usize)> =
            names.iter().map(|name| (name.as_str(), "code", 10)).collect();
        sizes.push(("huge", "code", 5000));
        let chosen = units(&sizes, 0.1);
        assert_eq!(chosen.len(), 4);
        assert!(!chosen.contains("huge"));
    }

    #[test]
    fn at_least_one_unit_is_held_out_and_every_domain_that_can_be() {
        assert_eq!(units(&[("a", "code", 5), ("b", "code", 5)], 0.01).len(), 1);
        assert!(units(&[("a", "code", 5)], 0.5).is_empty());
        let sizes =
            [("a", "code", 5), ("b", "code", 5), ("c", "code", 5), ("d", "docs", 5), ("e", "docs", 5)];
        let chosen = units(&sizes, 0.2);
        assert!(chosen.iter().any(|unit| ["d", "e"].contains(&unit.as_str())), "{chosen:?}");
        assert!(chosen.iter().any(|unit| ["a", "b", "c"].contains(&unit.as_str())), "{chosen:?}");
    }
}
