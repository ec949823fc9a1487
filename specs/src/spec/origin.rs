//! Where a value is written.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize, Serializer};

use super::tree::{Node, Spot};

/// A place in a file; line and column count from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The file as the user named it, or `--set key` for a value of the command line.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Where every written value of a spec is from, by field path: `jobs.base.tokens`. It holds the tree that was loaded, so that a spec
/// of many jobs pays only for the places that are asked for.
#[derive(Clone)]
pub struct Origins {
    root: Node,
    files: Vec<String>,
    /// The jobs by name, found when the first one is asked for.
    jobs: OnceLock<HashMap<String, usize>>,
}

impl Origins {
    /// The places of a tree; `files` are the names of the texts that its nodes point into.
    pub(crate) fn new(root: Node, files: Vec<String>) -> Self {
        Self { root, files, jobs: OnceLock::new() }
    }

    /// Where the value of this very path is written; none for a default.
    pub fn get(&self, path: &str) -> Option<Origin> {
        let spot = match path.strip_prefix("jobs.") {
            Some(rest) => self.of_job(rest)?,
            None => of_path(&self.root, path)?,
        };
        Some(self.origin(spot))
    }

    /// Whether the value of this very path is written.
    pub fn contains_key(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The place of a job or of a field in it. A matrix job's name may hold dots.
    fn of_job(&self, path: &str) -> Option<Spot> {
        let jobs = self.root.get("jobs")?.entries();
        let index = self
            .jobs
            .get_or_init(|| jobs.iter().enumerate().map(|(at, (key, _))| (key.name.clone(), at)).collect());
        heads(path).find_map(|(name, rest)| {
            let (key, job) = &jobs[*index.get(name)?];
            if rest.is_empty() { Some(key.spot) } else { of_path(job, rest) }
        })
    }

    fn origin(&self, spot: Spot) -> Origin {
        let file = self.files.get(spot.text as usize).cloned().unwrap_or_default();
        Origin { file, line: spot.line, column: spot.column }
    }
}

/// The place of a field path in a tree: that of the key, or of an item of a list.
fn of_path(node: &Node, path: &str) -> Option<Spot> {
    heads(path).find_map(|(name, rest)| {
        let entry = node.entries().iter().find(|(key, _)| key.name == name);
        let (spot, child) = if let Some((key, child)) = entry {
            (key.spot, child)
        } else {
            let item = name.parse::<usize>().ok().and_then(|index| node.items().get(index))?;
            (item.spot, item)
        };
        if rest.is_empty() { Some(spot) } else { of_path(child, rest) }
    })
}

/// A path cut at each of its dots: the first segment, which may hold dots itself, and what follows it.
fn heads(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let cuts = path.match_indices('.').map(|(at, _)| (&path[..at], &path[at + 1..]));
    cuts.chain(std::iter::once((path, "")))
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("files", &self.files).finish_non_exhaustive()
    }
}

impl PartialEq for Origins {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.files == other.files
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = BTreeMap::new();
        self.root.walk(&mut String::new(), &mut |path, spot| {
            all.insert(path.to_owned(), self.origin(spot));
        });
        all.serialize(serializer)
    }
}
