//! Calls of tools by the model's own chat template: how its family writes them, how they are read, and a grammar that leaves no other answer.
//!
//! The formats: Hermes' and Qwen's `<tool_call>{"name": …, "arguments": …}</tool_call>`, the JSON objects of Llama 3.1 and later, Mistral's
//! `[TOOL_CALLS][…]`. Which one it is, the template says.

mod grammar;
mod object;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use grammar::{Answer, calls_grammar};
pub(crate) use reader::{CallReader, Piece, WholeCall, whole_calls};

use cupola_runtime::tokenizer::Tokenizer;
use serde_json::Value;

/// How a family of models writes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFormat {
    /// `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>`, once for each call.
    Hermes,
    /// `{"name": …, "parameters": …}`, alone or behind `<|python_tag|>`; several with `;` between them.
    Llama,
    /// `[TOOL_CALLS][{"name": …, "arguments": …}, …]`.
    Mistral,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The schema of its arguments.
    pub(crate) parameters: Value,
}

impl CallFormat {
    /// The format that a chat template asks for; none where it is not one of these.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let has = |word: &str| source.contains(word);
        if has("<tool_call>") {
            // Qwen3-Coder's and others' XML.
            (!has("<function=") && !has("<arg_key>")).then_some(Self::Hermes)
        } else if has("[TOOL_CALLS]") {
            (!has("[ARGS]") && !has("[CALL_ID]")).then_some(Self::Mistral)
        } else {
            (has("<|python_tag|>") || has("ipython") && has("\"parameters\"")).then_some(Self::Llama)
        }
    }

    /// What stands before calls.
    fn mark(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Llama => "<|python_tag|>",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    /// The tokens that an answer's text must show though they are special: the marks, where the tokenizer has them as such.
    pub(crate) fn shown_ids(self, tokenizer: &Tokenizer) -> Vec<u32> {
        let marks = [self.mark(), "</tool_call>"];
        let is_mark = |content: &str| marks.contains(&content);
        tokenizer
            .added_tokens()
            .iter()
            .filter(|token| is_mark(&token.content))
            .map(|token| token.id)
            .collect()
    }
}
