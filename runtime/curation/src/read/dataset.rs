//! The files of a Hugging Face dataset folder, with their formats and splits.
//!
//! Which files belong to a split stands in the `configs` of README.md's front matter; without it names and folders tell (`train`, `validation`, `test`
//! and their usual other words). Arrow files and archives are listed as unread, never passed over silently.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use serde::Deserialize;
use walkdir::WalkDir;

use super::format::{Fields, Format};
use super::{ReadError, Statuses};

/// Bytes of README.md that are looked at for front matter.
const MAX_README_BYTES: u64 = 1 << 20;
/// Files of a folder.
const MAX_FILES: usize = 1_000_000;

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
    /// Where it is.
    pub path: PathBuf,
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

/// Lists a local copy of a data set. `fields` names the text column.
///
/// # Errors
/// The folder can't be read; README.md's front matter is no YAML or names a pattern that is none.
pub fn list_dataset(folder: &Path, fields: &Fields) -> Result<DatasetListing, ReadError> {
    let names = file_names(folder)?;
    let configs = read_card(folder)?.configs;
    let mut listing = DatasetListing::default();
    let mut claimed: Vec<(String, String, Split)> = Vec::new();
    for config in &configs {
        for (split, pattern) in config.patterns() {
            let matches = matching(folder, &names, &pattern)?;
            let split = |name: &str| split.as_deref().and_then(split_word).or_else(|| split_of(name));
            claimed.extend(matches.into_iter().map(|name| {
                let split = split(&name).unwrap_or(Split::Train);
                (config.name.clone(), name, split)
            }));
        }
    }
    let by_card = configs.iter().any(|config| config.data_files.is_some() || config.data_dir.is_some());
    if !by_card {
        let others = names.iter().filter(|name| !is_about(name));
        claimed = others
            .map(|name| (default_config(), name.clone(), split_of(name).unwrap_or(Split::Train)))
            .collect();
    }
    claimed.sort_by(|a, b| (&a.0, a.2, &a.1).cmp(&(&b.0, b.2, &b.1)));
    claimed.dedup();
    for (config, name, split) in claimed {
        match format_of(&name, fields) {
            Ok(format) => {
                listing.files.push(DatasetFile { path: folder.join(&name), name, format, split, config });
            }
            Err(reason) => listing.unread.push(Unread { name, reason }),
        }
    }
    listing.unread.sort_by(|a, b| a.name.cmp(&b.name));
    listing.unread.dedup();
    Ok(listing)
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

fn failed(path: &Path, message: &dyn std::fmt::Display) -> ReadError {
    ReadError::Dataset { path: path.to_path_buf(), message: message.to_string() }
}

fn file_names(folder: &Path) -> Result<Vec<String>, ReadError> {
    let mut names = Vec::new();
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let walk = WalkDir::new(folder).follow_links(true).into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        if !entry.file_type().is_file() {
            continue;
        }
        let below = entry.path().strip_prefix(folder).map_err(|error| failed(folder, &error))?;
        let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
        let parts = parts.ok_or_else(|| failed(entry.path(), &"the file's name is not UTF-8; rename it"))?;
        names.push(parts.join("/"));
        if names.len() > MAX_FILES {
            return Err(failed(folder, &format!("more than {MAX_FILES} files; list a folder below it")));
        }
    }
    names.sort();
    Ok(names)
}

fn read_card(folder: &Path) -> Result<Card, ReadError> {
    let path = folder.join("README.md");
    let mut text = Vec::new();
    match std::fs::File::open(&path) {
        Ok(file) => {
            let read =
                std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_README_BYTES), &mut text);
            read.map_err(|error| ReadError::io(&path, error))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Card::default()),
        Err(error) => return Err(ReadError::io(&path, error)),
    }
    let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
    let text = text.trim_start_matches('\u{feff}');
    let Some(matter) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")) else {
        return Ok(Card::default());
    };
    serde_yaml::from_str(matter.0).map_err(|error| failed(&path, &format!("front matter: {error}")))
}

fn matching(folder: &Path, names: &[String], pattern: &str) -> Result<Vec<String>, ReadError> {
    let pattern = pattern.trim_start_matches("./");
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|error| failed(&folder.join("README.md"), &format!("`{pattern}`: {error}")))?;
    let matcher = glob.compile_matcher();
    Ok(names.iter().filter(|name| matcher.is_match(name)).cloned().collect())
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
        "md" => Ok(Format::Markdown),
        "html" | "htm" => Ok(Format::Html),
        "warc" | "wet" => Ok(Format::Warc(Statuses::Success)),
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

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    fn listed(folder: &tempfile::TempDir) -> Vec<(String, Split, String)> {
        let listing = list_dataset(folder.path(), &Fields::default()).unwrap();
        listing.files.into_iter().map(|file| (file.name, file.split, file.config)).collect()
    }

    #[test]
    fn names_tell_the_split_where_no_card_does() {
        let folder = folder(&[
            ("README.md", "# A data set"),
            ("dataset_infos.json", "{}"),
            ("data/train-00000-of-00002.parquet", ""),
            ("data/validation-0.jsonl.zst", ""),
            ("test/a.txt", ""),
            ("cache/x.arrow", ""),
            (".git/config", ""),
        ]);
        let default = || "default".to_owned();
        assert_eq!(
            listed(&folder),
            [
                ("data/train-00000-of-00002.parquet".to_owned(), Split::Train, default()),
                ("data/validation-0.jsonl.zst".to_owned(), Split::Validation, default()),
                ("test/a.txt".to_owned(), Split::Test, default()),
            ]
        );
        let listing = list_dataset(folder.path(), &Fields::default()).unwrap();
        assert_eq!(listing.unread.len(), 1);
        assert!(listing.unread[0].reason.contains("Parquet"));
    }

    #[test]
    fn a_card_names_configurations_and_patterns() {
        let card = "---\nlicense: mit\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/*.jsonl\n  \
                    - split: test\n    path: [en/held/out.jsonl]\n- config_name: fr\n  data_dir: fr\n---\n# x\n";
        let folder =
            folder(&[("README.md", card), ("en/a.jsonl", ""), ("en/held/out.jsonl", ""), ("fr/b.jsonl", "")]);
        let own = |name: &str, split, config: &str| (name.to_owned(), split, config.to_owned());
        assert_eq!(
            listed(&folder),
            [
                own("en/a.jsonl", Split::Train, "en"),
                own("en/held/out.jsonl", Split::Test, "en"),
                own("fr/b.jsonl", Split::Train, "fr"),
            ]
        );
    }
}
