//! Toxic text: words of lists, and a classifier, which fastText trained or which learns from examples.

use std::cell::RefCell;

use cupola_curation::classifier::{FastText, Model, Scratch};
use cupola_curation::rules::WordList;
use cupola_specs::artifact::ToxicityStatistics;
use cupola_specs::job::{ToxicityClassifierParams, ToxicityParams};
use unicode_segmentation::UnicodeSegmentation;

use super::DataError;
use super::document::Document;
use super::examples::{MIN_EXAMPLES, Sample, learn, texts};
use super::funnel::Outcome;
use crate::job::StepContext;

/// Labels of a model that an error names.
const NAMED_LABELS: usize = 20;

thread_local! {
    /// Tables that are used again for each document.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The words of the lists against toxic text.
pub(super) fn word_list(ctx: &StepContext) -> Result<WordList, DataError> {
    let mut all = Vec::new();
    for file in ctx.sources("safety.toxicity")? {
        all.extend(ctx.read_source(&file)?);
        all.push(b'\n');
    }
    Ok(WordList::new(&all)?)
}

/// Drops a document of which too many words are on the lists. Its words are those of `words: unicode` whatever the job says, because `spacy_like` takes what stands
/// between two blanks for one word, and a Chinese sentence has none.
pub(super) fn judge_words(words: &WordList, params: &ToxicityParams, document: &Document) -> Outcome {
    let hits = words.find(&document.text);
    let signals = vec![("toxic_words".to_owned(), hits.count as f64)];
    if hits.count <= params.min_matches {
        return Outcome { signals, ..Outcome::default() };
    }
    let of = document.text.unicode_words().count().max(1);
    let share = hits.count as f64 / of as f64;
    if share <= params.max_share {
        return Outcome { signals, ..Outcome::default() };
    }
    let reason = format!("{} words of the lists, share {share:.4} > {}", hits.count, params.max_share);
    Outcome { signals, ..Outcome::drop(0, reason) }
}

/// A classifier of toxic text.
pub(super) struct ToxicityClassifier {
    model: ToxicityModel,
    /// The place of what is not wanted among the model's labels.
    label: usize,
    threshold: f64,
    /// What is said of it; none of a model that another tool trained.
    pub(super) statistics: Option<ToxicityStatistics>,
}

/// Who says how likely a label is.
enum ToxicityModel {
    Learned(Box<Model>),
    FastText(Box<FastText>),
}

impl ToxicityClassifier {
    /// Reads the model, or learns from the examples.
    pub(super) fn new(ctx: &StepContext, params: &ToxicityClassifierParams) -> Result<Self, DataError> {
        match &params.label {
            Some(label) => Self::read(ctx, label, params.threshold),
            None => Self::learn(ctx, params.threshold),
        }
    }

    fn read(ctx: &StepContext, label: &str, threshold: f64) -> Result<Self, DataError> {
        let files = ctx.sources("safety.classifier.model")?;
        let [file] = &files[..] else {
            return Err(DataError::Parameter {
                field: "safety.classifier.model".into(),
                expected: "one file".into(),
                got: format!("{} files", files.len()),
            });
        };
        let model = FastText::open(&ctx.verified_source(file)?)?;
        let Some(place) = model.label(label) else {
            let names = model.labels();
            let named = names[..names.len().min(NAMED_LABELS)].join(", ");
            let more = names.len().saturating_sub(NAMED_LABELS);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(DataError::Parameter {
                field: "safety.classifier.label".into(),
                expected: format!("a label of {}: {named}{more}", file.name),
                got: label.to_owned(),
            });
        };
        let model = ToxicityModel::FastText(Box::new(model));
        Ok(Self { model, label: place, threshold, statistics: None })
    }

    fn learn(ctx: &StepContext, threshold: f64) -> Result<Self, DataError> {
        let seed = ctx.seed("toxicity");
        let mut samples = [Sample::new(seed), Sample::new(seed)];
        for (sample, label) in samples.iter_mut().zip(["clean", "toxic"]) {
            texts(ctx, &format!("safety.classifier.{label}"), &mut |text| sample.add(text))?;
        }
        let [clean, toxic] = &samples;
        if clean.len() < MIN_EXAMPLES || toxic.len() < MIN_EXAMPLES {
            return Err(DataError::Parameter {
                field: "safety.classifier".into(),
                expected: format!("at least {MIN_EXAMPLES} toxic texts and as many clean ones"),
                got: format!("{} and {}", toxic.len(), clean.len()),
            });
        }
        let (model, roc_auc) = learn(&samples, ["clean", "toxic"], seed)?;
        let statistics = ToxicityStatistics {
            toxic_examples: toxic.len() as u64,
            clean_examples: clean.len() as u64,
            held_out_examples: roc_auc.positives + roc_auc.negatives,
            roc_auc: roc_auc.value,
            roc_auc_low: roc_auc.low,
            roc_auc_high: roc_auc.high,
        };
        let model = ToxicityModel::Learned(Box::new(model));
        Ok(Self { model, label: 1, threshold, statistics: Some(statistics) })
    }

    /// Drops a document that is toxic by the threshold or more.
    pub(super) fn judge(&self, document: &Document) -> Outcome {
        let probability = SCRATCH.with_borrow_mut(|scratch| match &self.model {
            ToxicityModel::Learned(model) => model.predict(&document.text, scratch)[self.label],
            ToxicityModel::FastText(model) => model.predict(&document.text, scratch)[self.label],
        });
        let probability = f64::from(probability);
        let signals = vec![("toxicity".to_owned(), probability)];
        if probability < self.threshold {
            return Outcome { signals, ..Outcome::default() };
        }
        let reason = format!("toxicity {probability:.4} >= {}", self.threshold);
        Outcome { signals, ..Outcome::drop(0, reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sample::write_sources;
    use crate::job::sample::job_in;

    fn context(files: &[(&str, &str, Vec<u8>)], folder: &std::path::Path) -> StepContext {
        write_sources(folder, files);
        StepContext::new(job_in(folder), std::sync::Arc::default()).unwrap()
    }

    fn lines(words: [&str; 4]) -> Vec<u8> {
        let line =
            |at: usize| format!("{} {} it is {}\n\n", words[at % 4], words[at / 4 % 4], words[at / 16 % 4]);
        (0..64).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn the_share_is_of_words_where_no_blank_parts_them_too() {
        let list = WordList::new("坏".as_bytes()).unwrap();
        let params = ToxicityParams { max_share: 0.1, min_matches: 2 };
        let of = |text: String| judge_words(&list, &params, &Document { text, ..Document::default() });
        let rare = of(format!("{}坏。坏。坏。", "今天天气很好我们去公园".repeat(10)));
        assert!(rare.dropped.is_none() && rare.signals == [("toxic_words".to_owned(), 3.0)], "{rare:?}");
        let dense = of("坏坏坏天气".to_owned());
        assert_eq!(dense.dropped.unwrap().1, "3 words of the lists, share 0.6000 > 0.1");
    }

    #[test]
    fn it_learns_from_examples_and_drops_by_the_threshold() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("safety.classifier.toxic", "toxic.txt", lines(["rotten", "vile", "filth", "scum"])),
            ("safety.classifier.clean", "clean.txt", lines(["garden", "river", "bread", "lamp"])),
        ];
        let params = ToxicityClassifierParams { label: None, threshold: 0.5 };
        let classifier = ToxicityClassifier::new(&context(&files, dir.path()), &params).unwrap();
        let of = |text: &str| classifier.judge(&Document { text: text.into(), ..Document::default() });
        let (bad, good) = (of("vile scum, rotten filth"), of("bread by the river in the garden"));
        assert!(bad.dropped.as_ref().is_some_and(|(rule, reason)| *rule == 0 && reason.ends_with(">= 0.5")));
        assert!(good.dropped.is_none());
        assert!(bad.signals[0].1 > good.signals[0].1 && good.signals[0].0 == "toxicity");
        let statistics = classifier.statistics.unwrap();
        assert_eq!((statistics.toxic_examples, statistics.clean_examples), (64, 64));
        assert!(statistics.roc_auc > 0.9 && statistics.held_out_examples >= 10, "{statistics:?}");
    }

    #[test]
    fn too_few_examples_and_what_is_no_model_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("safety.classifier.toxic", "toxic.txt", b"one".to_vec()),
            ("safety.classifier.model", "toxic.bin", b"no model".to_vec()),
        ];
        let ctx = context(&files, dir.path());
        let told = |label: Option<&str>| {
            let params = ToxicityClassifierParams { label: label.map(str::to_owned), threshold: 0.5 };
            ToxicityClassifier::new(&ctx, &params).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(
            told(None).contains("at least 20 toxic texts") && told(None).ends_with("got 1 and 0"),
            "{}",
            told(None)
        );
        assert!(told(Some("toxic")).contains("source-1"), "{}", told(Some("toxic")));
    }
}
