//! A language model as a judge: behind a template around the text, how likely its labels are.

use std::collections::BTreeSet;
use std::sync::Arc;

use cupola_runtime::generate::{Request, Sampling, ScoredToken};
use cupola_runtime::tokenizer::Tokenizer;

use super::file::{ClassifierRules, Scopes};
use super::{Rule, Scope};
use crate::api::ApiError;
use crate::engine_thread::{EngineHandle, Event};
use crate::loaded::Loaded;
use crate::model_folder::ServedModel;

/// A classifier with its engine.
pub(super) struct Classifier {
    pub(super) rule: Arc<Rule>,
    scope: Scopes,
    model: Arc<ServedModel>,
    engine: EngineHandle,
    /// The ids before and behind the text.
    template: (Vec<u32>, Vec<u32>),
    hits: BTreeSet<u32>,
    misses: BTreeSet<u32>,
    threshold: f64,
}

impl Classifier {
    /// The classifier of a model that is loaded.
    ///
    /// # Errors
    /// A label that is not one token of the model's, or stands on both sides; a context that the template fills.
    pub(super) fn new(loaded: Loaded, rules: ClassifierRules) -> Result<Self, String> {
        let Loaded { model, engine, .. } = loaded;
        let tokenizer = &model.tokenizer;
        let hits = label_ids(tokenizer, &rules.labels.hit)?;
        let misses = label_ids(tokenizer, &rules.labels.miss)?;
        if hits.is_empty() || misses.is_empty() || !hits.is_disjoint(&misses) {
            return Err("`labels` needs texts for `hit` and others for `miss`".into());
        }
        let mut before = tokenizer.encode_with_special(&rules.template.0);
        if before.first() != Some(&tokenizer.bos_id()) {
            before.insert(0, tokenizer.bos_id());
        }
        let behind = tokenizer.encode_with_special(&rules.template.1);
        if before.len() + behind.len() + LEAST_ROOM > model.context {
            return Err(format!("the template leaves no room in a context of {} tokens", model.context));
        }
        Ok(Self {
            rule: rules.rule,
            scope: rules.scope,
            model,
            engine,
            template: (before, behind),
            hits,
            misses,
            threshold: rules.threshold,
        })
    }

    /// Whether its engine lives and gets on.
    pub(super) fn makes_progress(&self) -> bool {
        self.engine.makes_progress()
    }

    /// Whether it looks at texts of a scope.
    pub(super) fn judges(&self, scope: Scope) -> bool {
        self.scope.has(scope)
    }

    /// Whether the labels of a hit are likelier, among all labels, than the threshold. A text that is longer than the context is judged in halves.
    pub(super) async fn is_over(&self, text: &str, cache_scope: &str) -> Result<bool, ApiError> {
        let room = self.model.context - 1 - self.template.0.len() - self.template.1.len();
        let mut parts = vec![text];
        while let Some(text) = parts.pop() {
            let ids = self.model.tokenizer.encode(text);
            let middle = text.char_indices().map(|(at, _)| at).nth(text.chars().count() / 2).unwrap_or(0);
            if ids.len() > room && middle > 0 {
                parts.extend([&text[middle..], &text[..middle]]);
            } else if self.share(&ids, cache_scope).await? > self.threshold {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The share of the labels' probability that those of a hit have.
    async fn share(&self, text: &[u32], cache_scope: &str) -> Result<f64, ApiError> {
        let (before, behind) = &self.template;
        let request = Request {
            top_logprobs: self.model.tokenizer.vocab_size(),
            cache_scope: cache_scope.into(),
            ..Request::new([before, text, behind].concat(), Sampling::greedy(), 1, Vec::new())
        };
        let mut events = self.engine.submit(request);
        while let Some(event) = events.recv().await {
            match event {
                Event::Output(output) => {
                    if let Some(token) = &output.token {
                        return self.share_of(token).ok_or_else(unjudged);
                    }
                }
                Event::Failed(failure) => {
                    tracing::error!(
                        category = self.rule.category,
                        error = failure.message,
                        "a classifier failed"
                    );
                    return Err(unjudged());
                }
            }
        }
        Err(unjudged())
    }

    /// Among the labels alone, so that it is theirs however unlikely any of them is; none where none has a probability.
    fn share_of(&self, token: &ScoredToken) -> Option<f64> {
        let of = |labels: &BTreeSet<u32>| -> Vec<f64> {
            let scores = token.top.iter().filter(|(id, _)| labels.contains(id));
            scores.map(|(_, logprob)| f64::from(*logprob)).collect()
        };
        let (hits, misses) = (of(&self.hits), of(&self.misses));
        let most = hits.iter().chain(&misses).copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = |scores: &[f64]| scores.iter().map(|score| (score - most).exp()).sum::<f64>();
        most.is_finite().then(|| sum(&hits) / (sum(&hits) + sum(&misses)))
    }
}

/// Tokens that a text must have room for.
const LEAST_ROOM: usize = 16;

fn unjudged() -> ApiError {
    ApiError::internal("a text could not be judged, so it is not passed on")
}

/// Each label is one token: whatever the text, it is one step away.
fn label_ids(tokenizer: &Tokenizer, labels: &[String]) -> Result<BTreeSet<u32>, String> {
    let id = |label: &String| match tokenizer.encode_with_special(label)[..] {
        [id] => Ok(id),
        ref ids => Err(format!(
            "the label {label:?} is {} tokens of its model; choose one that is a single token",
            ids.len()
        )),
    };
    labels.iter().map(id).collect()
}
