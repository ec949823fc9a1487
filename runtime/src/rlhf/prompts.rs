//! Prompts with their reference answers, from the pairs of a corpus or from files of `{"prompt": …, "reference": …}`.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::RlhfError;
use crate::data::pairs::read_pairs;
use crate::job::StepContext;
use crate::sft::SftError;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Id of the pair, or `file:line`.
    pub name: String,
    /// The user's turn.
    pub text: String,
    /// The reference answer; empty where there is none.
    pub reference: String,
}

/// A line of a prompt file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptLine {
    prompt: String,
    #[serde(default)]
    reference: String,
}

/// Reads the prompts of a part of the corpus in `role`, or, where `part` is empty, of the files labelled `role`. Of prompts with the
/// same text the first stays.
pub fn read_prompts(ctx: &StepContext, role: &str, part: &str) -> Result<Vec<Prompt>, RlhfError> {
    let mut prompts = Vec::new();
    if part.is_empty() {
        for file in ctx.sources(role)? {
            prompts.extend(parse_prompts(&file.name, &ctx.read_source(&file)?)?);
        }
    } else {
        let pairs = read_pairs(&ctx.input(role)?.path, part)?;
        let of_pair = |pair: cupola_specs::artifact::CorpusPair| Prompt {
            name: pair.id,
            text: pair.prompt,
            reference: pair.answer,
        };
        prompts.extend(pairs.into_iter().map(of_pair));
    }
    let mut seen = BTreeSet::new();
    prompts.retain(|prompt| seen.insert(prompt.text.clone()));
    Ok(prompts)
}

/// Parses a prompt file.
fn parse_prompts(file: &str, content: &[u8]) -> Result<Vec<Prompt>, SftError> {
    let wrong = |line: usize, message: String| SftError::Line { file: file.to_owned(), line, message };
    let text = std::str::from_utf8(content).map_err(|_| wrong(1, "the file is not UTF-8".into()))?;
    let mut prompts = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let PromptLine { prompt, reference } =
            serde_json::from_str(line).map_err(|error| wrong(index + 1, error.to_string()))?;
        if prompt.is_empty() {
            return Err(wrong(index + 1, "prompt: expected text, got nothing".into()));
        }
        prompts.push(Prompt { name: format!("{file}:{}", index + 1), text: prompt, reference });
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_may_be_missing_and_a_bad_line_is_named() {
        let prompts =
            parse_prompts("p", b"{\"prompt\":\"a\"}\n{\"prompt\":\"b\",\"reference\":\"c\"}").unwrap();
        assert_eq!((prompts[0].reference.as_str(), prompts[1].reference.as_str()), ("", "c"));
        let error = parse_prompts("p", b"{\"prompt\":\"a\"}\n{\"prompt\":\"\"}").unwrap_err().to_string();
        assert!(error.starts_with("p:2: prompt"), "{error}");
    }
}
