//! An answer's text on its way out: what might yet have to be refused waits here, and nothing else does.
//!
//! Block lists hold back the start of a phrase; where classifiers refuse, text waits until its window is full and judged. Both follow from the text alone,
//! never from how it was cut into tokens, so that a stream is refused where the whole answer is. A token waits for the text that it is part of.

use std::collections::VecDeque;
use std::sync::Arc;

use cupola_runtime::generate::ScoredToken;

use super::phrases::{Hit, Scanner};
use super::{Action, Moderation, Scope};
use crate::api::ApiError;

/// The gate of one answer.
#[derive(Clone)]
pub(crate) struct Gate {
    rules: Arc<Moderation>,
    cache_scope: String,
    /// Where the answer begins, behind the text that it goes on in.
    start: usize,
    /// The text as it is, and what it stands for where it may be JSON.
    scanners: Vec<Scanner>,
    /// What the block lists still hold: the text from `cleared` to `seen`.
    held: String,
    cleared: usize,
    seen: usize,
    /// What classifiers still have to judge, behind `released`; before it, what they look back to.
    waiting: String,
    behind: String,
    released: usize,
    tokens: VecDeque<(usize, ScoredToken)>,
    /// Tokens whose text is not whole yet.
    unsettled: Vec<ScoredToken>,
}

/// What may go out.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) text: String,
    pub(crate) tokens: Vec<ScoredToken>,
    /// What ends the answer instead of the rest of its text, where that is refused.
    pub(crate) refusal: Option<String>,
}

/// More of an answer.
#[derive(Debug, Default)]
pub(crate) struct More<'t> {
    pub(crate) text: &'t str,
    pub(crate) tokens: Vec<ScoredToken>,
    /// Whether no part of a token's text is still to come.
    pub(crate) is_settled: bool,
    pub(crate) is_last: bool,
    /// Whether text of its last tokens was cut away: nobody has looked at that.
    pub(crate) is_cut: bool,
}

impl Gate {
    /// The gate of an answer; none where nothing is looked for in answers. `before` is the text that it goes on in, where it is no text of its own:
    /// what is refused may begin there. With `is_json` escapes are read too.
    pub(crate) fn new(
        rules: &Arc<Moderation>,
        cache_scope: &str,
        before: &str,
        is_json: bool,
    ) -> Option<Self> {
        let mut scanners = Vec::new();
        if !rules.answer.is_empty() {
            scanners.push(Scanner::new(&rules.answer, false));
            scanners.extend(is_json.then(|| Scanner::new(&rules.answer, true)));
        }
        if scanners.is_empty() && rules.judges(Scope::Answer).next().is_none() {
            return None;
        }
        for scanner in &mut scanners {
            scanner.pass_over(before);
        }
        let start = before.len();
        let behind = before.char_indices().rev().nth(rules.window - 1).map_or(0, |(at, _)| at);
        Some(Self {
            rules: Arc::clone(rules),
            cache_scope: cache_scope.to_owned(),
            start,
            scanners,
            held: String::new(),
            cleared: start,
            seen: start,
            waiting: String::new(),
            behind: before[behind..].to_owned(),
            released: start,
            tokens: VecDeque::new(),
            unsettled: Vec::new(),
        })
    }

    /// Takes more of the answer, and gives what may go out. Nothing may be asked of it after a refusal.
    pub(crate) async fn pass(&mut self, more: More<'_>) -> Result<Passed, ApiError> {
        let (cleared, mut is_refused) = self.scan(more.text, more.is_last);
        self.unsettled.extend(more.tokens);
        if more.is_cut {
            self.unsettled.clear();
        }
        if more.is_settled || more.is_last {
            let seen = self.seen;
            self.tokens.extend(self.unsettled.drain(..).map(|token| (seen, token)));
        }
        let text = if self.rules.judges(Scope::Answer).next().is_none() {
            cleared
        } else {
            let (judged, is_judged_out) = self.judge(&cleared, more.is_last || is_refused).await?;
            is_refused |= is_judged_out;
            judged
        };
        self.released += text.len();
        let mut tokens = Vec::new();
        while self.tokens.front().is_some_and(|(end, _)| *end <= self.released) {
            tokens.extend(self.tokens.pop_front().map(|(_, token)| token));
        }
        let pause = if self.released > self.start { "\n\n" } else { "" };
        let refusal = is_refused.then(|| format!("{pause}{}", self.rules.refusal()));
        Ok(Passed { text, tokens, refusal })
    }

    /// What the block lists let through now, and whether a phrase behind it is refused.
    fn scan(&mut self, text: &str, is_last: bool) -> (String, bool) {
        let mut refused: Option<usize> = None;
        for (at, character) in text.char_indices() {
            let mut hits = Vec::new();
            let place = self.seen + at;
            for scanner in &mut self.scanners {
                scanner.push(character, place, &mut hits);
            }
            refused = self.first_refused(&hits);
            if refused.is_some() {
                break;
            }
        }
        self.seen += text.len();
        self.held.push_str(text);
        if is_last && refused.is_none() {
            let mut hits = Vec::new();
            for scanner in &mut self.scanners {
                scanner.finish(&mut hits);
            }
            refused = self.first_refused(&hits);
        }
        let held = if is_last { None } else { self.scanners.iter().filter_map(Scanner::held).min() };
        let end = refused.or(held).unwrap_or(self.seen).max(self.cleared);
        let rest = self.held.split_off(end - self.cleared);
        self.cleared = end;
        (std::mem::replace(&mut self.held, rest), refused.is_some())
    }

    fn first_refused(&self, hits: &[Hit]) -> Option<usize> {
        let refused = hits.iter().filter(|hit| self.rules.find(&hit.rule, Scope::Answer));
        refused.map(|hit| hit.start).min()
    }

    /// What the classifiers let through of what the block lists did, and whether they refuse what follows.
    async fn judge(&mut self, cleared: &str, is_last: bool) -> Result<(String, bool), ApiError> {
        let is_refusing = self.rules.judges(Scope::Answer).any(|classifier| classifier.rule.refuses());
        self.waiting.push_str(cleared);
        let mut passed = String::new();
        loop {
            let full = self.waiting.char_indices().nth(self.rules.window - 1);
            let end = match full {
                Some((at, character)) => at + character.len_utf8(),
                None if is_last && !self.waiting.is_empty() => self.waiting.len(),
                None => break,
            };
            let rest = self.waiting.split_off(end);
            let window = std::mem::replace(&mut self.waiting, rest);
            let text = std::mem::take(&mut self.behind) + &window;
            self.rules.note(&text, Scope::Answer, &self.cache_scope);
            if self.rules.judge(&text, (Scope::Answer, Action::Refuse), &self.cache_scope).await? {
                return Ok((passed, true));
            }
            passed.push_str(&window);
            self.behind = window;
        }
        Ok((if is_refusing { passed } else { cleared.to_owned() }, false))
    }
}
