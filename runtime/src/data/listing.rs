//! Which of the files that the plan found for a source are read: of data sets of Hugging Face's those of the training split.

use std::collections::{BTreeMap, BTreeSet};

use cupola_curation::read::{DatasetListing, Fields, Split, list_dataset};
use cupola_specs::contract::SourceFile;
use cupola_specs::job::{SourceFormat, SourceParams};

use super::{DataError, crawl};
use crate::job::StepContext;

/// Files that a warning names for each reason.
const NAMED_FILES: usize = 5;

/// The files of a source: those that the plan listed, or those that a crawl made.
pub(super) fn files_of(ctx: &StepContext, source: &SourceParams) -> Result<Vec<SourceFile>, DataError> {
    Ok(list(ctx, source)?.0)
}

/// The files of a source that are read, and words about those that are not; empty where there are none.
pub(super) fn list(ctx: &StepContext, source: &SourceParams) -> Result<(Vec<SourceFile>, String), DataError> {
    if source.crawl.is_some() {
        return Ok((crawl::files(ctx, source)?, String::new()));
    }
    let listed = ctx.sources(&format!("sources.{}", source.name))?;
    if source.format == SourceFormat::Huggingface {
        return training_split(ctx, listed);
    }
    Ok((listed, String::new()))
}

/// The files of data sets that hold rows for training.
fn training_split(
    ctx: &StepContext,
    listed: Vec<SourceFile>,
) -> Result<(Vec<SourceFile>, String), DataError> {
    let mut folders: BTreeMap<String, Vec<(String, SourceFile)>> = BTreeMap::new();
    for file in listed {
        let (folder, name) = folder_and_name(&file);
        folders.entry(folder).or_default().push((name, file));
    }
    let mut read = Vec::new();
    let mut unread: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for files in folders.into_values() {
        let mut cards = BTreeMap::new();
        for (name, file) in &files {
            if name.rsplit('/').next() == Some(DatasetListing::CARD) {
                cards.insert(name.clone(), ctx.read_source(file)?);
            }
        }
        let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
        let listing = list_dataset(&names, &cards, &Fields::default())
            .map_err(|error| DataError::Read(Box::new(error)))?;
        for file in listing.unread {
            unread.entry(file.reason.to_owned()).or_default().push(file.name);
        }
        // What one configuration trains on and another tests with is no text to train on.
        let held_out: BTreeMap<&str, Split> = listing
            .files
            .iter()
            .filter(|file| file.split != Split::Train)
            .map(|file| (file.name.as_str(), file.split))
            .collect();
        for (name, split) in &held_out {
            let reason = format!("The {} split is left out.", split.name());
            unread.entry(reason).or_default().push((*name).to_owned());
        }
        let known: BTreeSet<&str> = listing.files.iter().map(|file| file.name.as_str()).collect();
        let is_read = |name: &str| known.contains(name) && !held_out.contains_key(name);
        read.extend(files.into_iter().filter(|(name, _)| is_read(name)).map(|(_, file)| file));
    }
    let unread: Vec<String> = unread.iter().map(|(reason, names)| named(names, reason)).collect();
    Ok((read, unread.join(" ")))
}

/// Files that are not read for one reason.
fn named(names: &[String], reason: &str) -> String {
    let more = names.len().saturating_sub(NAMED_FILES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}: {reason}", names[..names.len().min(NAMED_FILES)].join(", "))
}

/// The folder from which on a file is named, and its name without what the plan put behind it to tell it from others.
fn folder_and_name(file: &SourceFile) -> (String, String) {
    let path = file.path.to_string_lossy();
    let folder =
        |name: &str| path.strip_suffix(name).filter(|folder| folder.ends_with('/')).map(str::to_owned);
    let name = if folder(&file.name).is_some() { &file.name } else { undistinguished(&file.name) };
    (folder(name).unwrap_or_default(), name.to_owned())
}

/// A name without the `~2` by which the plan tells files of equal names apart.
pub(super) fn undistinguished(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('~').filter(|(_, number)| is_number(number)).map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::feed::{Feed, Place};
    use crate::data::sample::{job_of, source};
    use crate::job::sample::job_in;

    /// Files of one data set, listed as the plan does.
    fn data_set(folder: &Path, files: &[(&str, &str)]) -> StepContext {
        let mut list = String::new();
        for (name, content) in files {
            let path = folder.join("set").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            let file = SourceFile {
                label: "sources.set".into(),
                path,
                name: (*name).into(),
                size_bytes: content.len() as u64,
                blake3: blake3::hash(content.as_bytes()).to_hex().to_string(),
            };
            list += &(serde_json::to_string(&file).unwrap() + "\n");
        }
        std::fs::write(folder.join("sources.jsonl"), list).unwrap();
        StepContext::new(job_in(folder), std::sync::Arc::default()).unwrap()
    }

    #[test]
    fn of_a_data_set_the_training_split_is_read_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let card = "---\nconfigs:\n- data_files:\n  - split: train\n    path: a/*\n  - split: test\n    path: b/*\n---\n";
        let row = "{\"text\": \"one\"}\n";
        let files =
            [("README.md", card), ("a/0.jsonl", row), ("a/0.csv", ""), ("b/0.jsonl", row), ("c.jsonl", row)];
        let ctx = data_set(dir.path(), &files);
        let set = source("set", SourceFormat::Huggingface, "prose");
        let (read, unread) = list(&ctx, &set).unwrap();
        assert_eq!(read.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a/0.jsonl"]);
        for told in ["b/0.jsonl: The test split", "a/0.csv: Tables", "c.jsonl: README.md names it in no"] {
            assert!(unread.contains(told), "{unread}");
        }
        let ctx = data_set(dir.path(), &[("test.jsonl", row)]);
        let params = job_of(vec![set]);
        let error = Feed::new(&ctx, &params, Place::default()).err().unwrap().to_string();
        assert!(error.contains("\"set\"") && error.contains("test.jsonl: The test split"), "{error}");
    }
}
