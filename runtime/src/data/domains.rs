//! Domains of documents by example: a linear classifier learns from a file for each domain, and each document goes to the likeliest.

use cupola_curation::classifier::{Example, Model, Scratch, Settings, TrainingSet};
use cupola_specs::job::DataParams;

use super::DataError;
use super::document::Document;
use super::examples::{STEPS, Sample, texts};
use crate::job::StepContext;

/// A trained classifier of domains.
pub(super) struct Domains {
    model: Model,
}

impl Domains {
    /// Learns; none where the job sorts no documents.
    pub(super) fn fit(ctx: &StepContext, params: &DataParams) -> Result<Option<Self>, DataError> {
        if params.classify.is_empty() {
            return Ok(None);
        }
        let seed = ctx.seed("domains");
        let settings = Settings { dim: 16, word_ngrams: 2, lr: 0.25, seed, ..Settings::default() };
        let mut set = TrainingSet::new(&params.classify, &settings)?;
        for (label, domain) in params.classify.iter().enumerate() {
            let mut sample = Sample::new(seed);
            texts(ctx, &format!("domains.{domain}"), &mut |text| sample.add(text))?;
            if sample.len() == 0 {
                return Err(DataError::Parameter {
                    field: format!("domains.classify.labels.{domain}"),
                    expected: "a file with examples".into(),
                    got: "none".into(),
                });
            }
            let examples: Vec<Example<'_>> =
                sample.iter().map(|(_, text)| Example { text, label: label as u32 }).collect();
            set.extend(&examples, rayon::current_num_threads())?;
        }
        Ok(Some(Self { model: set.at_least(STEPS).train(rayon::current_num_threads())? }))
    }

    /// Sorts a document into its domain.
    pub(super) fn sort(&self, document: &mut Document, scratch: &mut Scratch) {
        let probabilities = self.model.predict(&document.text, scratch);
        let best = probabilities.iter().enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
        if let Some((label, probability)) = best {
            document.signals.insert("domain_probability".to_owned(), f64::from(*probability));
            document.domain.clone_from(&self.model.labels()[label]);
        }
    }
}
