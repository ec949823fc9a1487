//! The validation split: by unit, so that no crate is on both sides.

use std::collections::BTreeMap;

use cupola_specs::job::SplitParams;
use xxhash_rust::xxh3::xxh3_128;

/// The units of a corpus with their bytes by domain. It holds a unit as its hash: 16 bytes, its place in the seeded order, and 24 bytes a domain.
#[derive(Debug)]
pub(super) struct Units {
    seed: u64,
    units: BTreeMap<u128, Unit>,
}

#[derive(Debug, Default)]
struct Unit {
    position: u64,
    bytes: Vec<(u32, u64)>,
}

impl Unit {
    fn bytes(&self) -> u64 {
        self.bytes.iter().map(|(_, bytes)| bytes).sum()
    }

    fn has(&self, domain: u32) -> bool {
        self.bytes.iter().any(|(of, _)| *of == domain)
    }
}

/// The units that go to validation.
#[derive(Debug, Default)]
pub(super) struct HeldOut(Vec<u128>);

impl HeldOut {
    /// Whether a unit is among them.
    pub(super) fn contains(&self, unit: &str) -> bool {
        self.0.binary_search(&xxh3_128(unit.as_bytes())).is_ok()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Units {
    /// No units yet; the seed orders them.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, units: BTreeMap::new() }
    }

    /// A document of a unit and a domain.
    pub(super) fn add(&mut self, unit: &str, domain: u32, bytes: u64) {
        let position = || xxhash_rust::xxh3::xxh3_64_with_seed(unit.as_bytes(), self.seed);
        let known = self
            .units
            .entry(xxh3_128(unit.as_bytes()))
            .or_insert_with(|| Unit { position: position(), bytes: Vec::new() });
        match known.bytes.iter_mut().find(|(of, _)| *of == domain) {
            Some((_, sum)) => *sum += bytes,
            None => known.bytes.push((domain, bytes)),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// Units that go to validation: the share of units that was asked for, in an order by their seeded hash, and at least one where a
    /// share was asked for and two units are there. A unit that alone holds more bytes than the whole share is passed over while
    /// others are left, and a domain without a unit gets the first that has it.
    pub(super) fn held_out(&self, params: &SplitParams) -> HeldOut {
        if params.validation <= 0.0 || self.units.len() < 2 {
            return HeldOut::default();
        }
        let total: u64 = self.units.values().map(Unit::bytes).sum();
        let most = params.validation * total as f64;
        let mut order: Vec<(&u128, &Unit)> = self.units.iter().collect();
        order.sort_by_key(|(hash, unit)| (unit.bytes() as f64 > most, unit.position, **hash));
        let wanted = (params.validation * order.len() as f64).round() as usize;
        let wanted = wanted.clamp(1, order.len() - 1);
        let mut chosen: Vec<u128> = order[..wanted].iter().map(|(hash, _)| **hash).collect();
        let mut domains: Vec<u32> =
            order.iter().flat_map(|(_, unit)| unit.bytes.iter().map(|(domain, _)| *domain)).collect();
        domains.sort_unstable();
        domains.dedup();
        for domain in domains {
            let mut holders = order.iter().filter(|(_, unit)| unit.has(domain)).map(|(hash, _)| **hash);
            let is_held = chosen.iter().any(|hash| self.units[hash].has(domain));
            let first = holders.next();
            if !is_held && holders.next().is_some() && chosen.len() + 1 < order.len() {
                chosen.extend(first);
            }
        }
        chosen.sort_unstable();
        HeldOut(chosen)
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::SplitUnit;

    use super::*;

    fn held_out(sizes: &[(&str, u32, u64)], validation: f64) -> Vec<String> {
        let mut units = Units::new(1);
        for (unit, domain, bytes) in sizes {
            units.add(unit, *domain, *bytes);
        }
        let held = units.held_out(&SplitParams { validation, by: SplitUnit::Crate });
        let names = sizes.iter().map(|(unit, ..)| (*unit).to_owned());
        names.filter(|unit| held.contains(unit)).collect()
    }

    #[test]
    fn the_share_is_by_units_and_large_ones_are_passed_over() {
        let names: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
        let mut sizes: Vec<(&str, u32, u64)> = names.iter().map(|name| (name.as_str(), 0, 10)).collect();
        sizes.push(("huge", 0, 5000));
        let chosen = held_out(&sizes, 0.1);
        assert_eq!(chosen.len(), 4);
        assert!(!chosen.contains(&"huge".to_owned()));
    }

    #[test]
    fn at_least_one_unit_is_held_out_and_every_domain_that_can_be() {
        assert_eq!(held_out(&[("a", 0, 5), ("b", 0, 5)], 0.01).len(), 1);
        assert!(held_out(&[("a", 0, 5)], 0.5).is_empty());
        let sizes = [("a", 0, 5), ("b", 0, 5), ("c", 0, 5), ("d", 1, 5), ("e", 1, 5)];
        let chosen = held_out(&sizes, 0.2);
        assert!(chosen.iter().any(|unit| ["d", "e"].contains(&unit.as_str())), "{chosen:?}");
        assert!(chosen.iter().any(|unit| ["a", "b", "c"].contains(&unit.as_str())), "{chosen:?}");
    }

    #[test]
    fn the_order_of_documents_does_not_matter() {
        let sizes: Vec<(String, u32, u64)> =
            (0..200).map(|n| (format!("u{}", n % 70), n % 3, u64::from(n))).collect();
        let forth: Vec<(&str, u32, u64)> = sizes.iter().map(|(u, d, b)| (u.as_str(), *d, *b)).collect();
        let back: Vec<(&str, u32, u64)> = forth.iter().rev().copied().collect();
        let mut back = held_out(&back, 0.1);
        back.reverse();
        let mut forth = held_out(&forth, 0.1);
        forth.sort();
        back.sort();
        forth.dedup();
        back.dedup();
        assert_eq!(forth, back);
    }
}
