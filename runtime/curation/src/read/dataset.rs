//! The files of Hugging Face data sets, with their formats and splits.
//!
//! Which files belong to a split stands in the `configs` of README.md's front matter; without it names and folders tell (`train`, `validation`, `test`
//! and their usual other words). It goes by names alone, those that the plan listed, so that a file which nobody hashed decides nothing. Arrow files, tables,
//! archives and what a README.md leaves unnamed are listed as unread, never passed over silently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use globset::GlobBuilder;
use serde::Deserialize;

use super::ReadError;
use super::format::{Fields, Format};

/// The name of a card, without its folder.
const CARD: &str = DatasetListing::CARD;
/// Bytes of a card that are looked at for front matter.
const MAX_CARD_BYTES: usize = 1 << 20;

/// What a part of a data set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Training.
    Train,
    /// Validation: also called `valid`, `dev`, `val`.
    Validation,
    /// Test: also called `testing`, `eval`.
    Test,
}

/// One file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFile {
    /// Its name below the folder, with `/`.
    pub name: String,
    /// How to read it.
    pub format: Format,
    /// What it is for.
    pub split: Split,
    /// The name of the configuration that it belongs to; `default` where there are none.
    pub config: String,
}

/// A file that is not read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name below the folder.
    pub name: String,
    /// A sentence.
    pub reason: &'static str,
}

/// The files of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetListing {
    /// Those that are read, ordered by configuration, split and name.
    pub files: Vec<DatasetFile>,
    /// Those that look like data and are not read.
    pub unread: Vec<Unread>,
}

#[derive(Debug, Default, Deserialize)]
struct Card {
    #[serde(default)]
    configs: Vec<Config>,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default = "default_config", rename = "config_name")]
    name: String,
    #[serde(default)]
    data_files: Option<DataFiles>,
    #[serde(default)]
    data_dir: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum DataFiles {
    Splits(Vec<SplitFiles>),
    Paths(Paths),
    BySplit(BTreeMap<String, Paths>),
}

#[derive(Debug, Deserialize)]
struct SplitFiles {
    split: String,
    path: Paths,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

fn default_config() -> String {
    "default".to_owned()
}

/// Lists the files of data sets by their names below a folder. `cards` are the README.md among them, with their content: one that says which files its configurations
/// have decides for all files below it, but for those below another such one. `fields` names the text column.
///
/// # Errors
/// A card's front matter is no YAML or names a pattern that is none.
pub fn list_dataset(
    names: &[String],
    cards: &BTreeMap<String, Vec<u8>>,
    fields: &Fields,
) -> Result<DatasetListing, ReadError> {
    let mut described: BTreeMap<&str, Vec<Config>> = BTreeMap::new();
    for (name, content) in cards {
        let configs = read_card(name, content)?.configs;
        if configs.iter().any(|config| config.data_files.is_some() || config.data_dir.is_some()) {
            described.insert(name.strip_suffix(CARD).unwrap_or_default(), configs);
        }
    }
    let mut by_folder: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for name in names.iter().filter(|name| !is_hidden(name) && !is_about(name)) {
        let folders = name.rmatch_indices('/').map(|(at, _)| &name[..=at]).chain([""]);
        let folder = folders.into_iter().find(|folder| described.contains_key(folder));
        by_folder.entry(folder).or_default().push(name);
    }
    let mut listing = DatasetListing::default();
    let mut claimed: Vec<(String, &str, Split)> = Vec::new();
    for (folder, names) in by_folder {
        let Some((folder, configs)) = folder.and_then(|folder| Some((folder, described.get(folder)?))) else {
            let by_name = |name| (default_config(), name, split_of(name).unwrap_or(Split::Train));
            claimed.extend(names.into_iter().map(by_name));
            continue;
        };
        let named = claim(folder, configs, &names)?;
        let known: BTreeSet<&str> = named.iter().map(|(_, name, _)| *name).collect();
        let unnamed = names.into_iter().filter(|name| !known.contains(name));
        let reason = "README.md names it in no configuration.";
        listing.unread.extend(unnamed.map(|name| Unread { name: name.to_owned(), reason }));
        claimed.extend(named);
    }
    claimed.sort_by(|a, b| (&a.0, a.2, a.1).cmp(&(&b.0, b.2, b.1)));
    claimed.dedup();
    for (config, name, split) in claimed {
        let name = name.to_owned();
        match format_of(&name, fields) {
            Ok(format) => listing.files.push(DatasetFile { name, format, split, config }),
            Err(reason) => listing.unread.push(Unread { name, reason }),
        }
    }
    listing.unread.sort_by(|a, b| a.name.cmp(&b.name));
    listing.unread.dedup();
    Ok(listing)
}

/// The files below a card's folder that its configurations name, with configuration and split.
fn claim<'n>(
    folder: &str,
    configs: &[Config],
    names: &[&'n str],
) -> Result<Vec<(String, &'n str, Split)>, ReadError> {
    let mut claimed = Vec::new();
    for config in configs {
        for (split, pattern) in config.patterns() {
            let told = split.as_deref().and_then(|word| split_word(word).or_else(|| split_of(word)));
            for name in matching(folder, names, &pattern)? {
                let split = told.or_else(|| split_of(&name[folder.len()..])).unwrap_or(Split::Train);
                claimed.push((config.name.clone(), name, split));
            }
        }
    }
    Ok(claimed)
}

impl DatasetListing {
    /// The name of the file that describes a data set, without its folder.
    pub const CARD: &str = "README.md";
}

impl Split {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl Config {
    /// Its splits and the patterns of their files.
    fn patterns(&self) -> Vec<(Option<String>, String)> {
        let below = |pattern: &str| match &self.data_dir {
            Some(folder) if self.data_files.is_none() => {
                format!("{}/{pattern}", folder.trim_end_matches('/'))
            }
            _ => pattern.to_owned(),
        };
        let each = |split: Option<&String>, paths: &Paths| -> Vec<(Option<String>, String)> {
            let paths = match paths {
                Paths::One(path) => std::slice::from_ref(path),
                Paths::Many(paths) => paths,
            };
            paths.iter().map(|path| (split.cloned(), below(path))).collect()
        };
        match &self.data_files {
            Some(DataFiles::Paths(paths)) => each(None, paths),
            Some(DataFiles::Splits(splits)) => {
                splits.iter().flat_map(|files| each(Some(&files.split), &files.path)).collect()
            }
            Some(DataFiles::BySplit(splits)) => {
                splits.iter().flat_map(|(split, paths)| each(Some(split), paths)).collect()
            }
            None if self.data_dir.is_some() => vec![(None, below("**"))],
            None => Vec::new(),
        }
    }
}

fn failed(card: &str, message: &dyn std::fmt::Display) -> ReadError {
    ReadError::Dataset { path: card.into(), message: message.to_string() }
}

fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

fn read_card(name: &str, content: &[u8]) -> Result<Card, ReadError> {
    let text = String::from_utf8_lossy(&content[..content.len().min(MAX_CARD_BYTES)]).replace("\r\n", "\n");
    let text = text.trim_start_matches('\u{feff}');
    let Some(matter) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")) else {
        return Ok(Card::default());
    };
    serde_yaml::from_str(matter.0).map_err(|error| failed(name, &format!("front matter: {error}")))
}

/// The names below a folder that a pattern of its card matches.
fn matching<'n>(folder: &str, names: &[&'n str], pattern: &str) -> Result<Vec<&'n str>, ReadError> {
    let pattern = pattern.trim_start_matches("./");
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|error| failed(&format!("{folder}{CARD}"), &format!("`{pattern}`: {error}")))?;
    let matcher = glob.compile_matcher();
    Ok(names.iter().copied().filter(|name| matcher.is_match(&name[folder.len()..])).collect())
}

/// Files that are about the data.
fn is_about(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let extension = Path::new(&file).extension().and_then(|e| e.to_str()).unwrap_or_default();
    matches!(
        extension,
        "md" | "py" | "yaml" | "yml" | "toml" | "cfg" | "png" | "jpg" | "svg" | "ipynb" | "lock"
    ) || matches!(
        file.as_str(),
        "dataset_infos.json"
            | "dataset_info.json"
            | "dataset_dict.json"
            | "state.json"
            | "license"
            | "license.txt"
            | "citation.cff"
            | "requirements.txt"
    )
}

fn format_of(name: &str, fields: &Fields) -> Result<Format, &'static str> {
    let lower = name.to_ascii_lowercase();
    let bare = [".gz", ".zst"].iter().find_map(|packed| lower.strip_suffix(packed)).unwrap_or(&lower);
    let extension = Path::new(bare).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "parquet" => Ok(Format::Parquet(fields.clone())),
        "jsonl" | "json" | "ndjson" => Ok(Format::Jsonl(fields.clone())),
        "txt" => Ok(Format::Text),
        "html" | "htm" | "warc" | "wet" => {
            Err("Web pages are no rows; read them in a source of their own, `format: html` or `warc`.")
        }
        "arrow" => Err("Arrow files are not read; save the data set as Parquet (`to_parquet`)."),
        "csv" | "tsv" => {
            Err("Tables of text with separators are not read; save the data set as Parquet or JSONL.")
        }
        "zip" | "tar" | "tgz" | "xz" | "bz2" | "7z" => Err("Archives are not read; unpack it."),
        _ => Err("The format is not one of those that are read."),
    }
}

fn split_word(word: &str) -> Option<Split> {
    match word.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "validation" | "valid" | "dev" | "val" => Some(Split::Validation),
        "test" | "testing" | "eval" | "evaluation" => Some(Split::Test),
        _ => None,
    }
}

/// The split that a name tells: the last word of it that is one.
fn split_of(name: &str) -> Option<Split> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).rev().find_map(split_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str], cards: &[(&str, &str)]) -> Result<DatasetListing, ReadError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cards = cards.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        list_dataset(&names, &cards, &Fields::default())
    }

    fn listed(listing: &DatasetListing) -> Vec<(&str, Split, &str)> {
        listing.files.iter().map(|file| (file.name.as_str(), file.split, file.config.as_str())).collect()
    }

    #[test]
    fn names_tell_the_split_where_no_card_does() {
        let names = [
            "README.md",
            "dataset_infos.json",
            "data/train-00000-of-00002.parquet",
            "data/validation-0.jsonl.zst",
            "test/a.txt",
            "cache/x.arrow",
            "page.html",
            ".cache/huggingface/a.json",
        ];
        let listing = listing(&names, &[("README.md", "# A data set")]).unwrap();
        assert_eq!(
            listed(&listing),
            [
                ("data/train-00000-of-00002.parquet", Split::Train, "default"),
                ("data/validation-0.jsonl.zst", Split::Validation, "default"),
                ("test/a.txt", Split::Test, "default"),
            ]
        );
        let unread: Vec<&str> = listing.unread.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(unread, ["cache/x.arrow", "page.html"]);
        assert!(listing.unread[0].reason.contains("Parquet"));
    }

    #[test]
    fn a_card_names_configurations_and_patterns() {
        let card = "---\nlicense: mit\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/*.jsonl\n  \
                    - split: test_hard\n    path: [en/held/out.jsonl]\n- config_name: fr\n  data_dir: fr\n---\n# x\n";
        let names =
            ["README.md", "en/a.jsonl", "en/held/out.jsonl", "extra.csv", "fr/b.jsonl", "fr/README.md"];
        let listing = listing(&names, &[("README.md", card), ("fr/README.md", "# French")]).unwrap();
        assert_eq!(
            listed(&listing),
            [
                ("en/a.jsonl", Split::Train, "en"),
                ("en/held/out.jsonl", Split::Test, "en"),
                ("fr/b.jsonl", Split::Train, "fr"),
            ]
        );
        assert_eq!(listing.unread.len(), 1);
        assert!(listing.unread[0].name == "extra.csv" && listing.unread[0].reason.contains("README.md"));
    }

    #[test]
    fn each_card_decides_for_its_own_folder_and_a_broken_one_is_named() {
        let card = "---\nconfigs:\n- data_files:\n  - split: test\n    path: '*.jsonl'\n---\n";
        let names = ["one/README.md", "one/a.jsonl", "two/a.jsonl"];
        let found = listing(&names, &[("one/README.md", card)]).unwrap();
        assert_eq!(
            listed(&found),
            [("two/a.jsonl", Split::Train, "default"), ("one/a.jsonl", Split::Test, "default")]
        );
        let broken = listing(&names, &[("one/README.md", "---\nconfigs: 3\n---\n")]);
        assert!(broken.unwrap_err().to_string().starts_with("one/README.md: front matter"));
    }
}
