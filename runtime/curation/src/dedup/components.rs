//! Connected components of more edges than fit into memory.
//!
//! Where the edges' ends fit the budget they are joined by union-find. Where they do not, by rounds of large-star and small-star (Kiveris et al. 2014,
//! "Connected Components in MapReduce and Beyond", SoCC): each is one external sort and one pass; edges never become more, and O(log² n) rounds at
//! most (a handful in practice) leave stars around the least document of each component. Both give the same.

use std::path::Path;

use super::error::DedupError;
use super::sort::{Budget, Record, Sorted, Spill, integers};

/// What union-find takes for an edge: two ends, each as a number and as the index of what it is joined to.
const BYTES_PER_EDGE: usize = 2 * (size_of::<u64>() + size_of::<u32>());

/// Two documents that are near-duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) one: u64,
    pub(super) other: u64,
}

integers!(Edge, b"edg1", one: u64, other: u64);

/// A document and the first of its component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    pub(super) cluster: u64,
    pub(super) document: u64,
}

integers!(Label, b"lab1", cluster: u64, document: u64);

/// The label of each document that has an edge.
pub(super) fn components(
    edges: Sorted<Edge>,
    num_edges: u64,
    folder: &Path,
    budget: Budget,
) -> Result<Sorted<Label>, DedupError> {
    let bytes = num_edges.saturating_mul(BYTES_PER_EDGE as u64);
    let is_small = bytes <= (budget.bytes() / 4) as u64 && num_edges < u64::from(u32::MAX / 2);
    if is_small {
        in_memory(&edges, num_edges as usize, folder, budget)
    } else {
        by_stars(edges, folder, budget)
    }
}

fn in_memory(
    edges: &Sorted<Edge>,
    num_edges: usize,
    folder: &Path,
    budget: Budget,
) -> Result<Sorted<Label>, DedupError> {
    let mut documents = Vec::with_capacity(2 * num_edges);
    for edge in edges.distinct()? {
        let Edge { one, other } = edge?;
        documents.extend([one, other]);
    }
    documents.sort_unstable();
    documents.dedup();
    let mut parents: Vec<u32> = (0..documents.len() as u32).collect();
    for edge in edges.distinct()? {
        let Edge { one, other } = edge?;
        let ends = [one, other].map(|end| documents.partition_point(|document| *document < end));
        let [one, other] = ends.map(|end| root(&mut parents, end as u32));
        // The lesser index is the earlier document.
        parents[one.max(other) as usize] = one.min(other);
    }
    let mut labels = Spill::new(&folder.join("labels"), budget.part(3))?;
    for index in 0..documents.len() {
        let cluster = documents[root(&mut parents, index as u32) as usize];
        labels.push(Label { cluster, document: documents[index] })?;
    }
    labels.sorted()
}

/// The root of a tree; what is passed on the way is joined to its grandparent.
fn root(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        let above = parents[parents[at as usize] as usize];
        parents[at as usize] = above;
        at = above;
    }
    at
}

fn by_stars(mut edges: Sorted<Edge>, folder: &Path, budget: Budget) -> Result<Sorted<Label>, DedupError> {
    let part = budget.part(4);
    let mut before = None;
    for round in 0u64.. {
        let both = spilled(&folder.join(format!("both-{round}")), part, |spill| {
            for edge in edges.distinct()? {
                let Edge { one, other } = edge?;
                spill.push(Edge { one, other })?;
                spill.push(Edge { one: other, other: one })?;
            }
            Ok(())
        })?;
        let large = star(&both, &folder.join(format!("large-{round}")), part, |end, other| other > end)?;
        drop(both);
        edges = star(&large, &folder.join(format!("small-{round}")), part, |_, _| true)?;
        let now = fingerprint(&edges)?;
        if before.replace(now) == Some(now) {
            break;
        }
    }
    spilled(&folder.join("labels"), part, |labels| {
        for edge in edges.distinct()? {
            let Edge { one, other } = edge?;
            labels.push(Label { cluster: other, document: one })?;
            labels.push(Label { cluster: other, document: other })?;
        }
        Ok(())
    })
}

/// Joins each end's neighbours of one kind, and the end itself, to the least of them all. Edges come sorted by end, so that the least
/// neighbour is the first; they are written from the later document to the earlier.
fn star(
    edges: &Sorted<Edge>,
    folder: &Path,
    budget: Budget,
    is_joined: fn(u64, u64) -> bool,
) -> Result<Sorted<Edge>, DedupError> {
    spilled(folder, budget, |spill| {
        let mut end = None;
        let mut least = 0;
        for edge in edges.distinct()? {
            let Edge { one, other } = edge?;
            if end != Some(one) {
                end = Some(one);
                least = one.min(other);
                // In large stars this edge is the other end's to keep.
                if one > least && is_joined(one, least) {
                    spill.push(Edge { one, other: least })?;
                }
            }
            if other > least && is_joined(one, other) {
                spill.push(Edge { one: other, other: least })?;
            }
        }
        Ok(())
    })
}

fn spilled<R: Record>(
    folder: &Path,
    budget: Budget,
    fill: impl FnOnce(&mut Spill<R>) -> Result<(), DedupError>,
) -> Result<Sorted<R>, DedupError> {
    let mut spill = Spill::new(folder, budget)?;
    fill(&mut spill)?;
    spill.sorted()
}

/// Tells sets of edges apart.
fn fingerprint(edges: &Sorted<Edge>) -> Result<(u64, u128), DedupError> {
    let (mut num_edges, mut sum) = (0, 0u128);
    let mut bytes = Vec::new();
    for edge in edges.distinct()? {
        bytes.clear();
        edge?.encode(&mut bytes);
        num_edges += 1;
        sum = sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(&bytes));
    }
    Ok((num_edges, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn labels(edges: &[(u64, u64)], bytes: usize) -> Vec<(u64, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(bytes);
        let sorted = spilled(&folder.path().join("edges"), budget, |spill| {
            edges.iter().try_for_each(|&(one, other)| spill.push(Edge { one, other }))
        });
        let found = components(sorted.unwrap(), edges.len() as u64, folder.path(), budget).unwrap();
        found.distinct().unwrap().map(|label| label.map(|l| (l.cluster, l.document)).unwrap()).collect()
    }

    #[test]
    fn stars_and_union_find_agree() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        // From a few large components to many small ones, and one long path, which takes most rounds.
        for num_documents in [300, 1_000, 4_000] {
            let pair = |(one, other): (u64, u64)| (one.min(other), one.max(other));
            let mut edges: Vec<(u64, u64)> =
                (0..1_500).map(|_| pair((random(num_documents), random(num_documents)))).collect();
            edges.extend((0..700).map(|at| (10_000 + at, 10_001 + at)));
            edges.retain(|(one, other)| one != other);
            let small = labels(&edges, 1 << 20);
            assert_eq!(small, labels(&edges, 4096));
            let clusters: BTreeMap<u64, u64> =
                small.iter().map(|&(cluster, document)| (document, cluster)).collect();
            assert_eq!(clusters.len(), small.len(), "each document has one label");
            assert!(edges.iter().all(|(one, other)| clusters[one] == clusters[other]));
            assert!(clusters.iter().all(|(document, cluster)| cluster <= document));
            assert_eq!(clusters[&10_700], 10_000);
        }
    }
}
