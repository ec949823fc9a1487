//! Errors of the engine.

/// An error of making a tokenizer or of reading its files.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The pattern is no regex.
    #[error("pattern {pattern:?}: {message}")]
    Pattern {
        /// The regex.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file or a vocabulary holds something that this encoder does not carry out.
    #[error("{field}: expected {expected}, got {got}")]
    Field {
        /// Where: a path of field names, or a line.
        field: String,
        /// What the encoder carries out.
        expected: String,
        /// What stands there.
        got: String,
    },
}

impl EngineError {
    /// A field that holds something else than it should; `got` is cut to 200 characters.
    pub(crate) fn field(
        field: impl Into<String>,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        let got = got.to_string().chars().take(200).collect();
        Self::Field { field: field.into(), expected: expected.into(), got }
    }
}
