//! Examples that classifiers learn from: files of texts, and lists of links.

use std::collections::BTreeMap;
use std::io::BufReader;

use cupola_curation::classifier::{
    Estimate, Example, LinkSet, Model, Scratch, Settings, TrainingSet, extract_links, roc_auc,
};
use cupola_curation::read::{Content, Cursor, Fields, FileReader, Format, Item, Limits};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::DataError;
use super::feed::by_name;
use crate::job::StepContext;

/// Examples of a label at most: more teach a linear model little.
const MAX_EXAMPLES: usize = 100_000;
/// Bytes of the examples of a label at most: two labels stay far below what a classifier holds.
const MAX_LABEL_BYTES: usize = 128 << 20;
/// Bytes of an example that are learned from.
const MAX_BYTES: usize = 16 << 10;
/// Examples of a label at least.
pub(super) const MIN_EXAMPLES: usize = 20;
/// Examples that a training goes through at least, repeats included.
pub(super) const STEPS: u64 = 20_000;
/// One in so many examples of a label is held out.
const HELD_OUT: usize = 10;
/// The label whose text files are a document each: how long a document is, is learned too.
const DOCUMENTS: &str = "quality.positive";

/// Texts of one label. Of more than [`MAX_EXAMPLES`], or more than [`MAX_LABEL_BYTES`], those with the lowest hashes stay, so that the order in which they come does not
/// matter; equal texts are one.
#[derive(Debug)]
pub(super) struct Sample {
    seed: u64,
    texts: BTreeMap<u64, String>,
    bytes: usize,
    max_bytes: usize,
    /// The lowest hash that had no place: what is behind it has none either.
    refused: Option<u64>,
}

impl Sample {
    /// An empty one.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, texts: BTreeMap::new(), bytes: 0, max_bytes: MAX_LABEL_BYTES, refused: None }
    }

    /// Adds a text; of a long one the start.
    pub(super) fn add(&mut self, mut text: String) {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        let hash = xxh3_64_with_seed(text.as_bytes(), self.seed);
        if self.refused.is_some_and(|refused| hash >= refused) {
            return;
        }
        self.bytes += text.len();
        if let Some(same) = self.texts.insert(hash, text) {
            self.bytes -= same.len();
        }
        while self.texts.len() > MAX_EXAMPLES || self.bytes > self.max_bytes {
            let Some((hash, text)) = self.texts.pop_last() else { break };
            self.bytes -= text.len();
            self.refused = Some(hash);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The texts with their hashes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.texts.iter().map(|(hash, text)| (*hash, text.as_str()))
    }
}

/// Gives each text of the files with a label: a document of a JSONL or Parquet file, a paragraph of a text, or a whole text where the label wants documents. What can't be
/// read is passed over with a warning; it is an error where nothing else is there.
pub(super) fn texts(ctx: &StepContext, label: &str, each: &mut dyn FnMut(String)) -> Result<(), DataError> {
    let (mut given, mut unread, mut first_unread) = (0_u64, 0_u64, String::new());
    for file in ctx.sources(label)? {
        let path = ctx.verified_source(&file)?;
        let format = by_name(&file.name, Fields::default());
        let has_rows = matches!(format, Format::Jsonl(_) | Format::Parquet(_));
        let reader = FileReader::open(&path, &file.name, format, Limits::default(), Cursor::default());
        for item in reader.map_err(|error| DataError::Read(Box::new(error)))? {
            match item.map_err(|error| DataError::Read(Box::new(error)))? {
                Item::Document(document) => {
                    let (Content::Text(text) | Content::Html(text)) = document.content;
                    if has_rows || label == DOCUMENTS {
                        given += 1;
                        each(text);
                        continue;
                    }
                    for paragraph in text.split("\n\n").map(str::trim).filter(|text| !text.is_empty()) {
                        given += 1;
                        each(paragraph.to_owned());
                    }
                }
                Item::Skipped(skipped) => {
                    if unread == 0 {
                        let told = format!("{} {}", skipped.reason.sentence(), skipped.detail);
                        first_unread = format!("{}, {}: {}", file.name, skipped.name, told.trim());
                    }
                    unread += 1;
                }
            }
        }
    }
    if unread > 0 && given == 0 {
        let (field, expected) = (label.to_owned(), "files with texts".into());
        return Err(DataError::Parameter { field, expected, got: format!("none; {first_unread}") });
    }
    if unread > 0 {
        let message =
            format!("{label}: {unread} examples can't be read and are left out; the first is {first_unread}");
        ctx.events().warning("examples", message);
    }
    Ok(())
}

/// A classifier of two kinds of texts, which learns from nine tenths of the examples of each, and the area under its ROC curve on the tenth that is held out, by the
/// hash of the texts. The second label is the one that is looked for.
pub(super) fn learn(
    samples: &[Sample; 2],
    labels: [&str; 2],
    seed: u64,
) -> Result<(Model, Estimate), DataError> {
    let settings = Settings { dim: 16, word_ngrams: 2, lr: 0.25, seed, ..Settings::default() };
    let mut set = TrainingSet::new(&labels.map(str::to_owned), &settings)?;
    let threads = rayon::current_num_threads();
    let mut held_out = Vec::new();
    for (label, sample) in samples.iter().enumerate() {
        let mut examples = Vec::new();
        // A sample is in the order of its hashes.
        for (at, (_, text)) in sample.iter().enumerate() {
            if at % HELD_OUT == 0 {
                held_out.push((text, label == 1));
            } else {
                examples.push(Example { text, label: label as u32 });
            }
        }
        set.extend(&examples, threads)?;
    }
    let model = set.at_least(STEPS).train(threads)?;
    let mut scratch = Scratch::default();
    let scored: Vec<(f32, bool)> =
        held_out.into_iter().map(|(text, is_it)| (model.predict(text, &mut scratch)[1], is_it)).collect();
    let roc_auc = roc_auc(&scored)?;
    Ok((model, roc_auc))
}

/// The links of the files with a label.
pub(super) fn links(ctx: &StepContext, label: &str) -> Result<LinkSet, DataError> {
    let mut all = LinkSet::default();
    for file in ctx.sources(label)? {
        let path = ctx.verified_source(&file)?;
        let found = std::fs::File::open(&path)
            .and_then(|content| extract_links(BufReader::new(content), None))
            .and_then(LinkSet::new)
            .map_err(|error| DataError::io(&path, error))?;
        all.merge(&found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sample::write_sources;
    use crate::job::sample::job_in;

    fn all(files: &[(&str, &str, &str)], label: &str) -> Result<Vec<String>, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> =
            files.iter().map(|(label, name, text)| (*label, *name, text.as_bytes().to_vec())).collect();
        write_sources(dir.path(), &files);
        let ctx = StepContext::new(job_in(dir.path()), std::sync::Arc::default()).unwrap();
        let mut all = Vec::new();
        texts(&ctx, label, &mut |text| all.push(text)).map(|()| all)
    }

    #[test]
    fn a_text_is_a_document_of_quality_and_paragraphs_of_other_labels() {
        let files = |label| [(label, "a.md", "One.\n\nTwo.\n")];
        assert_eq!(all(&files(DOCUMENTS), DOCUMENTS).unwrap(), ["One.\n\nTwo.\n"]);
        assert_eq!(all(&files("domains.code"), "domains.code").unwrap(), ["One.", "Two."]);
    }

    #[test]
    fn lines_that_are_no_example_are_passed_over_unless_there_is_no_other() {
        let good = "{\"text\": \"one\"}\nbroken\n{\"text\": \"two\"}\n";
        assert_eq!(all(&[("domains.code", "a.jsonl", good)], "domains.code").unwrap(), ["one\n", "two\n"]);
        let error = all(&[("domains.code", "a.jsonl", "broken\n")], "domains.code").unwrap_err().to_string();
        assert!(error.starts_with("domains.code: ") && error.contains("a.jsonl, line 1"), "{error}");
    }

    #[test]
    fn a_sample_has_a_bound_of_bytes_and_no_order() {
        let texts: Vec<String> = (0..200).map(|n| format!("{n}").repeat(1 + n % 17)).collect();
        let of = |order: &mut dyn Iterator<Item = &String>| {
            let mut sample = Sample { max_bytes: 900, ..Sample::new(3) };
            order.for_each(|text| sample.add(text.clone()));
            sample.iter().map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
        };
        let expected = of(&mut texts.iter());
        let bytes: usize = expected.iter().map(String::len).sum();
        assert!((800..=900).contains(&bytes), "{bytes}");
        assert_eq!(of(&mut texts.iter().rev()), expected);
        let halves = texts.iter().skip(1).step_by(2).chain(texts.iter().step_by(2));
        assert_eq!(of(&mut halves.chain(&texts)), expected);
    }
}
