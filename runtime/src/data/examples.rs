//! Examples that classifiers learn from: files of texts, and lists of links.

use std::collections::BTreeMap;
use std::io::BufReader;

use cupola_curation::classifier::{
    Estimate, Example, LinkSet, Model, Scratch, Settings, TrainingSet, extract_links, roc_auc,
};
use cupola_curation::read::{Content, Cursor, Fields, FileReader, Item, Limits};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::DataError;
use super::feed::by_name;
use crate::job::StepContext;

/// Examples of a label at most: more teach a linear model little.
const MAX_EXAMPLES: usize = 100_000;
/// Bytes of an example that are learned from.
const MAX_BYTES: usize = 16 << 10;
/// Examples of a label at least.
pub(super) const MIN_EXAMPLES: usize = 20;
/// Examples that a training goes through at least, repeats included.
pub(super) const STEPS: u64 = 20_000;
/// One in so many examples of a label is held out.
const HELD_OUT: usize = 10;

/// Texts of one label. Of more than [`MAX_EXAMPLES`] those with the lowest hashes stay, so that the order in which they come does not matter; equal
/// texts are one.
#[derive(Debug)]
pub(super) struct Sample {
    seed: u64,
    texts: BTreeMap<u64, String>,
}

impl Sample {
    /// An empty one.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, texts: BTreeMap::new() }
    }

    /// Adds a text; of a long one the start.
    pub(super) fn add(&mut self, mut text: String) {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        let hash = xxh3_64_with_seed(text.as_bytes(), self.seed);
        self.texts.insert(hash, text);
        if self.texts.len() > MAX_EXAMPLES {
            self.texts.pop_last();
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

/// Gives each text of the files with a label: a document of a JSONL or Parquet file, a paragraph of a text.
pub(super) fn texts(ctx: &StepContext, label: &str, each: &mut dyn FnMut(String)) -> Result<(), DataError> {
    for file in ctx.sources(label)? {
        let path = ctx.verified_source(&file)?;
        let format = by_name(&file.name, Fields::default());
        let is_whole = !matches!(
            format,
            cupola_curation::read::Format::Jsonl(_) | cupola_curation::read::Format::Parquet(_)
        );
        let reader = FileReader::open(&path, &file.name, format, Limits::default(), Cursor::default());
        for item in reader.map_err(|error| DataError::Read(Box::new(error)))? {
            match item.map_err(|error| DataError::Read(Box::new(error)))? {
                Item::Document(document) => {
                    let (Content::Text(text) | Content::Html(text)) = document.content;
                    if is_whole {
                        let paragraphs = text.split("\n\n").map(str::trim).filter(|text| !text.is_empty());
                        paragraphs.for_each(|text| each(text.to_owned()));
                    } else {
                        each(text);
                    }
                }
                Item::Skipped(skipped) => {
                    let reason =
                        format!("{}: {} {}", skipped.name, skipped.reason.sentence(), skipped.detail);
                    return Err(DataError::Parameter {
                        field: label.to_owned(),
                        expected: "files of texts".into(),
                        got: format!("{}, {}", file.name, reason.trim()),
                    });
                }
            }
        }
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
