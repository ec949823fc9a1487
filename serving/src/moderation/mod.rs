//! What must not be asked and what must not be said: block lists and classifiers, before an answer is made and while it is. A prompt that is refused
//! makes no tokens; of an answer nothing is sent that might yet have to be refused. What is refused, and of which category, is counted and logged;
//! the text never is.

mod classifier;
mod escapes;
mod file;
mod fold;
mod gate;
mod phrases;
mod rulebook;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cupola_specs::contract::Quantization;
use tokio::sync::Semaphore;

use self::classifier::Classifier;
use self::file::Rules;
use self::phrases::{Hit, Lexicon, Scanner};
use crate::api::ApiError;
use crate::loaded::Loader;
use crate::metrics::Metrics;
use crate::watch::Stamp;
use crate::{ModelSource, ServeConfig, ServeError};

pub(crate) use self::gate::{Gate, More, Passed};
pub(crate) use self::rulebook::Rulebook;

/// What happens to a text that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// The answer is, or goes on as, the refusal.
    Refuse,
    /// It is counted and logged.
    Log,
}

/// Whose text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The client's.
    Prompt,
    /// The model's.
    Answer,
}

impl Action {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Log => "log",
        }
    }
}

impl Scope {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Answer => "answer",
        }
    }
}

/// What a finding means.
#[derive(Debug)]
struct Rule {
    category: String,
    action: Action,
}

impl Rule {
    fn refuses(&self) -> bool {
        self.action == Action::Refuse
    }
}

/// The rules of a server.
pub(crate) struct Moderation {
    refusal: String,
    /// The files that they were read from.
    files: Vec<(PathBuf, Stamp)>,
    /// Characters that classifiers judge at a time; as many before them are judged again with them.
    window: usize,
    prompt: Arc<Lexicon>,
    answer: Arc<Lexicon>,
    classifiers: Vec<Classifier>,
    /// Texts that wait to be judged by classifiers which only log.
    notes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Texts that may wait for classifiers which only log: a text is at most two windows.
const MOST_NOTES: usize = 1024;

impl Moderation {
    /// Reads a file of rules, and loads the models that it names.
    ///
    /// # Errors
    /// What is wrong with the file, with its place in it; a model that can't be loaded, or does not know a label.
    fn load(path: &Path, config: &ServeConfig, metrics: &Arc<Metrics>) -> Result<Self, ServeError> {
        let Rules { refusal, files, window, lexicons: [prompt, answer], classifiers } = Rules::read(path)?;
        // Adapters and guesses are the served models'.
        let own = ServeConfig {
            context: 0,
            cache_tokens: 0,
            quantization: Quantization::None,
            adapters: Vec::new(),
            speculation: None,
            ..config.clone()
        };
        let mut loaded = Vec::new();
        for (at, rules) in classifiers.into_iter().enumerate() {
            // Its name in the metrics.
            let name = Some(format!("moderation/{}", rules.rule.category));
            // A token has a character at least, or nearly; one that has not makes another text wait, no more.
            let text_tokens = rules.template.0.len() + rules.template.1.len() + 2 * window;
            let loader = Loader::for_texts(&own, Arc::clone(metrics), text_tokens)?;
            let model = loader.load(&ModelSource { name, path: rules.model.clone(), fingerprint: None })?;
            let classifier = Classifier::new(model, rules).map_err(|message| ServeError::Moderation {
                path: path.to_path_buf(),
                message: format!("classifiers[{at}]: {message}"),
            })?;
            loaded.push(classifier);
        }
        let (prompt, answer) = (Arc::new(prompt), Arc::new(answer));
        Ok(Self {
            refusal,
            files,
            window,
            prompt,
            answer,
            classifiers: loaded,
            notes: Arc::new(Semaphore::new(MOST_NOTES)),
            metrics: Arc::clone(metrics),
        })
    }

    /// Whether all classifiers answer: where one does not, every text that it judges is held up.
    pub(crate) fn makes_progress(&self) -> bool {
        self.classifiers.iter().all(Classifier::makes_progress)
    }

    /// What is said instead.
    pub(crate) fn refusal(&self) -> &str {
        &self.refusal
    }

    /// Whether a prompt, which is these texts, is refused. All of them are looked through: each finding is counted.
    ///
    /// # Errors
    /// A classifier that failed: nothing passes unjudged.
    pub(crate) async fn refuses(
        self: &Arc<Self>,
        texts: &[String],
        cache_scope: &str,
    ) -> Result<bool, ApiError> {
        let mut is_refused = false;
        for text in texts {
            let mut hits = Vec::new();
            if !self.prompt.is_empty() {
                let mut scanner = Scanner::new(&self.prompt, false);
                for (at, character) in text.char_indices() {
                    scanner.push(character, at, &mut hits);
                }
                scanner.finish(&mut hits);
            }
            for Hit { rule, .. } in hits {
                is_refused |= self.find(&rule, Scope::Prompt);
            }
            for window in windows(text, self.window) {
                self.note(window, Scope::Prompt, cache_scope);
                is_refused |= self.judge(window, (Scope::Prompt, Action::Refuse), cache_scope).await?;
            }
        }
        Ok(is_refused)
    }

    /// Counts and logs a finding, and says whether it is refused.
    fn find(&self, rule: &Rule, scope: Scope) -> bool {
        self.metrics.count_moderation(&rule.category, scope, rule.action);
        tracing::info!(
            category = rule.category,
            scope = scope.word(),
            action = rule.action.word(),
            "moderation"
        );
        rule.refuses()
    }

    /// The classifiers that judge texts of a scope.
    fn judges(&self, scope: Scope) -> impl Iterator<Item = &Classifier> {
        self.classifiers.iter().filter(move |classifier| classifier.judges(scope))
    }

    /// Has the classifiers that do this with it judge a text; whether one of them has it refused.
    async fn judge(
        &self,
        text: &str,
        (scope, action): (Scope, Action),
        cache_scope: &str,
    ) -> Result<bool, ApiError> {
        let judges = || self.judges(scope).filter(|classifier| classifier.rule.action == action);
        let scores = judges().map(|classifier| classifier.is_over(text, cache_scope));
        let scores = futures::future::try_join_all(scores).await?;
        let mut is_refused = false;
        for (classifier, is_over) in judges().zip(scores) {
            is_refused |= is_over && self.find(&classifier.rule, scope);
        }
        Ok(is_refused)
    }

    /// Has the classifiers that only log judge a text, which does not wait for them. Where they can't keep up, texts are passed over, and counted.
    fn note(self: &Arc<Self>, text: &str, scope: Scope, cache_scope: &str) {
        if !self.judges(scope).any(|classifier| classifier.rule.action == Action::Log) {
            return;
        }
        let Ok(place) = Arc::clone(&self.notes).try_acquire_owned() else {
            let count = self.metrics.count_unjudged(scope);
            if count.is_power_of_two() {
                tracing::warn!(
                    scope = scope.word(),
                    count,
                    "texts that nobody judged: classifiers that log can't keep up"
                );
            }
            return;
        };
        let (rules, text, cache_scope) = (Arc::clone(self), text.to_owned(), cache_scope.to_owned());
        tokio::spawn(async move {
            let _place = place;
            // Its failure is in the log already.
            let _ = rules.judge(&text, (scope, Action::Log), &cache_scope).await;
        });
    }
}

/// A text in windows of so many characters, each with as many before it.
fn windows(text: &str, length: usize) -> Vec<&str> {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).step_by(length).collect();
    let end = |window: usize| starts.get(window + 1).copied().unwrap_or(text.len());
    (0..starts.len()).map(|window| &text[starts[window.saturating_sub(1)]..end(window)]).collect()
}
