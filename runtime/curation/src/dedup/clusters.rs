//! Clusters of documents, streamed in document order.

use std::iter::Peekable;
use std::path::Path;

use super::error::DedupError;
use super::sort::{Budget, Distinct, Merge, Record, Sorted, Spill};
use super::verify::PairReport;

/// A document of a cluster of two or more. Documents that are in none are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The document.
    pub document: u64,
    /// Its cluster: the number of the cluster's first document.
    pub cluster: u64,
    /// Documents in the cluster.
    pub size: u64,
}

super::sort::integers!(Member, b"mem1", document: u64, cluster: u64, size: u64);

impl Member {
    /// Whether it is the first of its cluster, which stays.
    pub fn is_first(&self) -> bool {
        self.document == self.cluster
    }
}

/// Gives the members of all clusters in document order.
#[derive(Debug)]
pub struct Members {
    merge: Merge<Member>,
    /// Clusters of two or more.
    pub num_clusters: u64,
    /// Documents that are not the first of their cluster.
    pub num_duplicates: u64,
}

impl Iterator for Members {
    type Item = Result<Member, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.merge.next()
    }
}

/// What MinHash found.
#[derive(Debug)]
pub struct Clusters {
    /// The documents that are in clusters.
    pub members: Members,
    /// The pairs that made the clusters.
    pub pairs: PairReport,
}

/// How records are grouped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grouping<R> {
    /// Whether a record is of the group of the one before it.
    pub(super) is_same: fn(&R, &R) -> bool,
    /// Whether it is another document than the one before it.
    pub(super) is_other: fn(&R, &R) -> bool,
}

/// A record with what is known of its group.
#[derive(Debug, Clone)]
pub(super) struct Grouped<R> {
    pub(super) record: R,
    pub(super) first: R,
    /// Documents in the group.
    pub(super) size: u64,
}

/// Goes through groups of any size in constant memory: one reader counts a group, a second one follows and gives its records.
#[derive(Debug)]
pub(super) struct Groups<R: Record> {
    ahead: Peekable<Distinct<R>>,
    behind: Distinct<R>,
    grouping: Grouping<R>,
    /// Records of the group that are not given yet, its first and its size.
    group: Option<(u64, R, u64)>,
}

impl<R: Record> Groups<R> {
    pub(super) fn new(sorted: &Sorted<R>, grouping: Grouping<R>) -> Result<Self, DedupError> {
        Ok(Self { ahead: sorted.distinct()?.peekable(), behind: sorted.distinct()?, grouping, group: None })
    }

    fn count(&mut self) -> Result<Option<(u64, R, u64)>, DedupError> {
        let Some(first) = self.ahead.next().transpose()? else { return Ok(None) };
        let (mut left, mut size, mut last) = (1, 1, first.clone());
        while let Some(Ok(next)) = self.ahead.peek() {
            if !(self.grouping.is_same)(&last, next) {
                break;
            }
            size += u64::from((self.grouping.is_other)(&last, next));
            left += 1;
            last = next.clone();
            self.ahead.next();
        }
        Ok(Some((left, first, size)))
    }
}

impl<R: Record> Iterator for Groups<R> {
    type Item = Result<Grouped<R>, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.group.as_ref().is_none_or(|(left, ..)| *left == 0) {
            self.group = match self.count() {
                Ok(group) => Some(group?),
                Err(error) => return Some(Err(error)),
            };
        }
        let (left, first, size) = self.group.as_mut()?;
        *left -= 1;
        let grouped = |record| Grouped { record, first: first.clone(), size: *size };
        Some(self.behind.next()?.map(grouped))
    }
}

/// Brings the members of groups into document order.
pub(super) fn members<R: Record>(
    groups: Groups<R>,
    folder: &Path,
    budget: Budget,
    document: fn(&R) -> u64,
) -> Result<Members, DedupError> {
    let mut spill = Spill::new(folder, budget)?;
    let (mut num_clusters, mut num_duplicates) = (0, 0);
    for grouped in groups {
        let Grouped { record, first, size } = grouped?;
        if size < 2 {
            continue;
        }
        let member = Member { document: document(&record), cluster: document(&first), size };
        num_clusters += u64::from(member.is_first());
        num_duplicates += u64::from(!member.is_first());
        spill.push(member)?;
    }
    Ok(Members { merge: spill.sorted()?.records()?, num_clusters, num_duplicates })
}
