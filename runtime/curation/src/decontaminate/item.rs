//! A question of an evaluation, whatever file it came from.

/// A question with what belongs to it. Empty strings stand for what a benchmark lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EvalItem {
    /// The benchmark's name, the key of the report.
    pub benchmark: String,
    /// Names the question within its benchmark.
    pub id: String,
    /// What is asked, or the text that is to be continued.
    pub question: String,
    /// The right answer, where it is known and says something (`yes` is no evidence, but is harmless here).
    pub answer: Option<String>,
    /// The choices, the right one among them.
    pub choices: Vec<String>,
    /// The passage that the question is about.
    pub passage: String,
}
