//! What can be wrong with a rule set.

use cupola_specs::job::{ExpressionProblem, Signal};

/// A rule set that can't be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RulesError {
    /// A custom expression is wrong.
    #[error("the custom rule `{expression}` is wrong: {problem} (expected {})", problem.expected)]
    Expression {
        /// As it is written.
        expression: String,
        /// What is wrong.
        problem: ExpressionProblem,
    },
    /// A rule needs a word list, and none is given.
    #[error("the rule `{rule}` needs a list of words, and none is given")]
    NoWordList {
        /// The rule.
        rule: String,
    },
    /// Two filters measure the same signal in two ways.
    #[error("two filters set `{field}` to {first} and {second}: lines are measured once")]
    Conflict {
        /// The field.
        field: &'static str,
        /// The first filter's value.
        first: u64,
        /// The second filter's value.
        second: u64,
    },
    /// A word list can't be read.
    #[error("line {line} of the word list is not UTF-8")]
    WordList {
        /// Counted from 1.
        line: usize,
    },
    /// A word list is too large for its automaton.
    #[error("the word list can't be searched for: {message}")]
    WordListSize {
        /// What the automaton says.
        message: String,
    },
    /// Stored values were measured in another way, so that these thresholds say nothing about them.
    #[error("the stored signals were measured with other words or line rules: judge the text again")]
    MeasuredOtherwise,
    /// A stored value that a rule needs is not there.
    #[error("the stored signals have no `{}` of stage {stage}: judge the text again", signal.name())]
    NotMeasured {
        /// The value.
        signal: Signal,
        /// The stage.
        stage: usize,
    },
}
