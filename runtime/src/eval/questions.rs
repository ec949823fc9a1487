//! Multiple-choice questions: from files, or made of held-out pairs.

use std::collections::BTreeSet;

use cupola_specs::artifact::CorpusPair;
use cupola_specs::job::MultipleChoiceParams;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::{EvalError, Suite};
use crate::data::pairs::read_pairs;
use crate::sft::{SftError, permutation};

/// Distractors are drawn from this many times as many answers of the nearest length.
const POOL: usize = 8;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// What is asked.
    #[serde(rename = "question")]
    pub text: String,
    /// The choices.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub answer: usize,
}

/// The questions of a suite: those that are asked, and the examples before each.
pub(super) fn read_questions(
    suite: &Suite<'_>,
    params: &MultipleChoiceParams,
) -> Result<(Vec<Question>, Vec<Question>), EvalError> {
    let mut questions = if params.part.is_empty() {
        let mut questions = Vec::new();
        for file in suite.ctx.sources(&suite.role())? {
            questions.extend(parse_questions(&file.name, &suite.ctx.read_source(&file)?)?);
        }
        questions
    } else {
        let pairs = read_pairs(&suite.ctx.input(&suite.role())?.path, &params.part)?;
        make_questions(&pairs, params.choices as usize, suite.seed("questions"))
    };
    let shots: Vec<Question> = questions.drain(..(params.shots as usize).min(questions.len())).collect();
    if params.limit > 0 {
        questions.truncate(params.limit as usize);
    }
    Ok((questions, shots))
}

/// Parses a question file.
fn parse_questions(file: &str, content: &[u8]) -> Result<Vec<Question>, SftError> {
    let wrong = |line: usize, message: String| SftError::Line { file: file.to_owned(), line, message };
    let text = std::str::from_utf8(content).map_err(|_| wrong(1, "the file is not UTF-8".into()))?;
    let mut questions = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let question: Question =
            serde_json::from_str(line).map_err(|error| wrong(index + 1, error.to_string()))?;
        if question.choices.len() < 2 || question.answer >= question.choices.len() {
            let message = format!(
                "answer: expected the index of one of at least 2 choices, got {} of {}",
                question.answer,
                question.choices.len()
            );
            return Err(wrong(index + 1, message));
        }
        questions.push(question);
    }
    Ok(questions)
}

/// "Which of these doc texts belongs to this signature": the wrong ones are docs of other units, of about the same length. A pair
/// without enough of those makes no question. The order of the questions and of their choices is seeded.
pub(super) fn make_questions(pairs: &[CorpusPair], num_choices: usize, seed: u64) -> Vec<Question> {
    let mut by_length: Vec<&CorpusPair> = pairs.iter().collect();
    by_length.sort_by_key(|pair| (pair.answer.len(), pair.id.as_str()));
    let mut questions = Vec::new();
    for index in permutation(seed, 0, pairs.len()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64 + 1);
        let pair = &pairs[index];
        let mut pool = nearest_answers(pair, &by_length, POOL * (num_choices.max(2) - 1));
        if pool.len() + 1 < num_choices {
            continue;
        }
        pool.shuffle(&mut rng);
        let mut choices: Vec<&str> = pool.into_iter().take(num_choices - 1).collect();
        choices.push(&pair.answer);
        choices.shuffle(&mut rng);
        let Some(answer) = choices.iter().position(|choice| *choice == pair.answer) else { continue };
        questions.push(Question {
            text: signature_prompt(pair),
            choices: choices.into_iter().map(str::to_owned).collect(),
            answer,
        });
    }
    questions
}

/// Distinct answers of other units, nearest in length first.
fn nearest_answers<'p>(pair: &CorpusPair, by_length: &[&'p CorpusPair], wanted: usize) -> Vec<&'p str> {
    let middle = by_length.partition_point(|other| other.answer.len() < pair.answer.len());
    let (mut below, mut above) = (middle, middle);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    while found.len() < wanted && (below > 0 || above < by_length.len()) {
        let gap = |index: usize| by_length[index].answer.len().abs_diff(pair.answer.len());
        let take_below = above >= by_length.len() || (below > 0 && gap(below - 1) <= gap(above));
        let other = if take_below {
            below -= 1;
            by_length[below]
        } else {
            above += 1;
            by_length[above - 1]
        };
        if other.unit != pair.unit && other.answer != pair.answer && seen.insert(&other.answer) {
            found.push(other.answer.as_str());
        }
    }
    found
}

/// The pair's instruction with the signature alone in place of the function.
fn signature_prompt(pair: &CorpusPair) -> String {
    match pair.prompt.find(&pair.signature) {
        Some(start) => format!("{}{}", &pair.prompt[..start], pair.signature),
        None => pair.signature.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(index: usize) -> CorpusPair {
        CorpusPair {
            id: index.to_string(),
            prompt: format!("Document:\nfn f{index}() {{ body }}"),
            answer: "x".repeat(10 + index),
            signature: format!("fn f{index}()"),
            unit: format!("crate{}", index / 2),
        }
    }

    #[test]
    fn distractors_are_distinct_and_from_other_units() {
        let pairs: Vec<CorpusPair> = (0..40).map(pair).collect();
        let questions = make_questions(&pairs, 4, 3);
        assert_eq!(questions.len(), 40);
        let mut positions = [0; 4];
        for question in &questions {
            positions[question.answer] += 1;
            let index: usize = question.choices[question.answer].len() - 10;
            assert_eq!(question.text, format!("Document:\nfn f{index}()"));
            let lengths: BTreeSet<usize> = question.choices.iter().map(String::len).collect();
            assert_eq!(lengths.len(), 4);
            let same_unit = lengths.iter().filter(|length| (*length - 10) / 2 == index / 2).count();
            assert_eq!(same_unit, 1);
            assert!(lengths.iter().all(|length| length.abs_diff(index + 10) <= 30));
        }
        assert!(positions.iter().all(|count| *count > 0), "{positions:?}");
        assert_eq!(make_questions(&pairs, 4, 3), questions);
        assert!(make_questions(&pairs[..4], 4, 3).is_empty());
    }
}
