//! Which examples a classifier is trained on, where one class has many more than another.

use serde::{Deserialize, Serialize};

use super::rows::mix;

/// How many examples of each class are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// All.
    AsIs,
    /// As many as the rarest class has.
    Equal,
    /// So many at most.
    AtMost(u64),
    /// So many times the rarest class at most.
    Ratio(f64),
}

/// The places of the examples that stay, ascending. Each example has a key (a hash of its document's id) and a class.
///
/// A class's examples with the lowest hashes of seed and key stay: whether one does depends on its class's keys alone and not on their order, and a larger sample holds the smaller
/// one. Classes without an example don't count as the rarest.
pub fn balance(examples: &[(u64, u32)], rule: Balance, seed: u64) -> Vec<usize> {
    let seed = mix(seed ^ 0xba1a_9ce5);
    // Class, hash and place.
    let mut sorted: Vec<(u32, u64, usize)> =
        examples.iter().enumerate().map(|(at, (key, class))| (*class, mix(seed ^ key), at)).collect();
    sorted.sort_unstable();
    let classes = || sorted.chunk_by(|a, b| a.0 == b.0);
    let rarest = classes().map(<[_]>::len).min().unwrap_or(0);
    let limit = match rule {
        Balance::AsIs => usize::MAX,
        Balance::Equal => rarest,
        Balance::AtMost(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        // As a cast does: what is below 0 or not a number is 0, what is too large the most.
        Balance::Ratio(ratio) => (ratio * rarest as f64) as usize,
    };
    let mut kept: Vec<usize> =
        classes().flat_map(|class| class.iter().take(limit).map(|one| one.2)).collect();
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<(u64, u32)> {
        (0..100).map(|key| (key, u32::from(key % 5 == 0))).collect()
    }

    fn of_class(examples: &[(u64, u32)], kept: &[usize], class: u32) -> usize {
        kept.iter().filter(|at| examples[**at].1 == class).count()
    }

    #[test]
    fn classes_are_evened_out() {
        let examples = examples();
        for (rule, few, many) in [
            (Balance::AsIs, 20, 80),
            (Balance::Equal, 20, 20),
            (Balance::AtMost(30), 20, 30),
            (Balance::Ratio(2.5), 20, 50),
        ] {
            let kept = balance(&examples, rule, 3);
            assert_eq!(
                (of_class(&examples, &kept, 1), of_class(&examples, &kept, 0)),
                (few, many),
                "{rule:?}"
            );
        }
        assert!(balance(&[], Balance::Equal, 1).is_empty());
        assert!(balance(&examples, Balance::Ratio(f64::NAN), 1).is_empty());
    }

    #[test]
    fn the_order_has_no_part_in_it_and_more_holds_less() {
        let examples = examples();
        let mut turned = examples.clone();
        turned.reverse();
        let keys = |examples: &[(u64, u32)], rule| {
            let mut keys: Vec<u64> = balance(examples, rule, 7).iter().map(|at| examples[*at].0).collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(keys(&examples, Balance::Equal), keys(&turned, Balance::Equal));
        let (few, more) = (keys(&examples, Balance::AtMost(10)), keys(&examples, Balance::AtMost(15)));
        assert!(few.iter().all(|key| more.contains(key)));
        assert_ne!(balance(&examples, Balance::Equal, 7), balance(&examples, Balance::Equal, 8));
    }
}
