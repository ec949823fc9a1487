//! Clusters of near-duplicates: found once, kept in a file, gone through as often as is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use cupola_curation::dedup::{DedupError, Member};
use cupola_specs::artifact::{ClusterExample, ClusterStatistics};

use super::DataError;
use super::document::Document;
use super::funnel::excerpt;
use super::trim::NearDuplicates;
use super::walk::Decisions;

/// Clusters that the statistics show.
const SHOWN: usize = 20;
/// Bytes of a member in the file.
const MEMBER_BYTES: usize = 24;

/// The clusters of a corpus; none where they are not looked for.
pub(super) struct Clusters {
    path: Option<PathBuf>,
    statistics: ClusterStatistics,
    /// First documents of the largest clusters, with the clusters' sizes.
    largest: BTreeMap<u64, u64>,
}

impl Clusters {
    /// Joins what shares a band.
    pub(super) fn find(near: Option<&NearDuplicates>, folder: &std::path::Path) -> Result<Self, DataError> {
        let mut clusters =
            Self { path: None, statistics: ClusterStatistics::default(), largest: BTreeMap::new() };
        let Some(near) = near else { return Ok(clusters) };
        let path = folder.join("clusters.bin");
        let members = near.bands.finish()?.members;
        clusters.statistics.clusters = members.num_clusters;
        clusters.statistics.duplicates = members.num_duplicates;
        let io = |error| DataError::io(&path, error);
        let mut file = BufWriter::new(File::create(&path).map_err(io)?);
        let mut largest: Vec<(u64, u64)> = Vec::new();
        for member in members {
            let member = member?;
            for number in [member.document, member.cluster, member.size] {
                file.write_all(&number.to_le_bytes()).map_err(io)?;
            }
            if member.is_first() {
                largest.push((member.size, member.document));
                if largest.len() == 2 * SHOWN {
                    keep_largest(&mut largest);
                }
            }
        }
        file.flush().map_err(io)?;
        keep_largest(&mut largest);
        clusters.largest = largest.into_iter().map(|(size, first)| (first, size)).collect();
        clusters.path = Some(path);
        Ok(clusters)
    }

    /// The members in the documents' order.
    pub(super) fn decisions(&self) -> Result<Decisions<Members>, DataError> {
        let open = |path: &PathBuf| {
            let file = File::open(path).map_err(|e| DataError::io(path, e))?;
            Ok::<_, DataError>(Members { path: path.clone(), file: BufReader::new(file) })
        };
        Ok(Decisions::new(self.path.as_ref().map(open).transpose()?))
    }

    /// Takes note of a document that is left, where it is the first of one of the largest clusters.
    pub(super) fn look(&mut self, document: &Document) {
        if let Some(size) = self.largest.get(&document.number) {
            self.statistics.largest.push(ClusterExample {
                documents: *size,
                first: document.id.clone(),
                file: document.file.clone(),
                excerpt: excerpt(&document.text),
            });
        }
    }

    /// What is said of them; none where they were not looked for.
    pub(super) fn statistics(self) -> Option<ClusterStatistics> {
        let mut statistics = self.statistics;
        statistics
            .largest
            .sort_by(|one, other| (other.documents, &one.first).cmp(&(one.documents, &other.first)));
        self.path.map(|_| statistics)
    }
}

fn keep_largest(clusters: &mut Vec<(u64, u64)>) {
    clusters.sort_unstable_by_key(|(size, first)| (std::cmp::Reverse(*size), *first));
    clusters.truncate(SHOWN);
}

/// Reads members from the file.
pub(super) struct Members {
    path: PathBuf,
    file: BufReader<File>,
}

impl Iterator for Members {
    type Item = Result<Member, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = [0; MEMBER_BYTES];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {
                let number = |at: usize| {
                    let mut eight = [0; 8];
                    eight.copy_from_slice(&bytes[at..at + 8]);
                    u64::from_le_bytes(eight)
                };
                Some(Ok(Member { document: number(0), cluster: number(8), size: number(16) }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
            Err(source) => Some(Err(DedupError::Io { path: self.path.clone(), source })),
        }
    }
}
