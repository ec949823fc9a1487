//! Grammars of answers, compiled off the async threads, one at a time, and kept for whoever asks for the same form again.
//!
//! The compiler takes a walk over the whole vocabulary (a second for one of 150,000 tokens), so a model whose clients never ask for a form never pays for it: the first one who does
//! waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cupola_runtime::generate::{Constraint, GenerateError, Grammar, GrammarCompiler};
use tokio::sync::Semaphore;

use crate::model_folder::ServedModel;

/// Compiled grammars that are kept.
const KEPT: usize = 32;
/// Grammars of one key that wait for their compilation; one takes milliseconds, and no more work than the compiler allows.
const WAITING: usize = 64;

/// The compiler of one model's grammars.
#[derive(Debug)]
pub(crate) struct Forms {
    network_vocab: usize,
    compiler: OnceLock<Result<GrammarCompiler, String>>,
    kept: Mutex<VecDeque<Kept>>,
    turn: Arc<Semaphore>,
    /// By key. The first of each line waits for the turn, so that keys take turns however many grammars one of them sends.
    lines: Mutex<HashMap<String, Line>>,
}

/// The grammars of one key.
#[derive(Debug, Clone)]
struct Line {
    places: Arc<Semaphore>,
    head: Arc<Semaphore>,
}

impl Default for Line {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(WAITING)), head: Arc::new(Semaphore::new(1)) }
    }
}

/// A grammar at the beginning of its answers.
#[derive(Debug)]
struct Kept {
    /// Who asked: what one key has asked must not show in another's times.
    scope: String,
    grammar: String,
    constraint: Constraint,
}

/// Why there is no constraint.
#[derive(Debug)]
pub(crate) enum FormError {
    /// The grammar is wrong, not supported or too large.
    Wrong(String),
    /// Too many others wait.
    Busy,
    /// The compiler itself failed.
    Failed(String),
}

impl Forms {
    /// A compiler, still to be made, for a network of `network_vocab` rows.
    pub(crate) fn new(network_vocab: usize) -> Self {
        Self {
            network_vocab,
            compiler: OnceLock::new(),
            kept: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            lines: Mutex::default(),
        }
    }

    fn compiler(&self, model: &ServedModel) -> Result<&GrammarCompiler, FormError> {
        let made = self.compiler.get_or_init(|| {
            GrammarCompiler::of_tokenizer(&model.tokenizer, self.network_vocab, &model.stop_ids)
                .map_err(|error| error.to_string())
        });
        made.as_ref().map_err(|error| FormError::Failed(error.clone()))
    }

    fn line(&self, scope: &str) -> Line {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(scope.to_owned()).or_default().clone()
    }

    fn find(&self, scope: &str, grammar: &str) -> Option<Constraint> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|one| one.scope == scope && one.grammar == grammar)?;
        let one = kept.remove(at)?;
        let constraint = one.constraint.clone();
        kept.push_back(one);
        Some(constraint)
    }

    fn keep(&self, scope: &str, grammar: String, constraint: Constraint) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept { scope: scope.to_owned(), grammar, constraint });
    }
}

/// The constraint of an answer of this form, for the key named `scope`.
pub(crate) async fn constraint_of(
    model: &Arc<ServedModel>,
    scope: &str,
    grammar: Grammar,
) -> Result<Constraint, FormError> {
    let forms = &model.forms;
    let line = forms.line(scope);
    let place = line.places.try_acquire_owned().map_err(|_| FormError::Busy)?;
    let closed = |error: &dyn std::fmt::Display| FormError::Failed(error.to_string());
    let head = line.head.acquire_owned().await.map_err(|error| closed(&error))?;
    let turn = Arc::clone(&forms.turn).acquire_owned().await.map_err(|error| closed(&error))?;
    let (model, scope) = (Arc::clone(model), scope.to_owned());
    let work = move || {
        // Whoever hangs up does not end the work, so that it keeps its turn.
        let _turn = (place, head, turn);
        compile(&model, &scope, &grammar)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| closed(&error))?
}

fn compile(model: &ServedModel, scope: &str, grammar: &Grammar) -> Result<Constraint, FormError> {
    // The text: of two schemas that differ in the order of their fields alone, answers differ in theirs.
    let text = format!("{grammar:?}");
    if let Some(constraint) = model.forms.find(scope, &text) {
        return Ok(constraint);
    }
    let constraint = model.forms.compiler(model)?.compile(grammar).map_err(|error| match error {
        GenerateError::Grammar(message) | GenerateError::GrammarStopped(message) => FormError::Wrong(message),
        other => FormError::Failed(other.to_string()),
    })?;
    model.forms.keep(scope, text, constraint.clone());
    Ok(constraint)
}
