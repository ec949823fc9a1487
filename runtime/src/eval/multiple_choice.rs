//! Multiple choice by likelihood: the model does not write, each choice is scored as the assistant's answer.
//!
//! Source: Brown et al. (2020, arXiv:2005.14165), section 2.4: the sum of log-probabilities, or that sum by length.

use cupola_specs::artifact::EvalSample;
use cupola_specs::job::{MultipleChoiceParams, Scoring, TrainOn};

use super::questions::{Question, read_questions};
use super::{EvalError, EvalModel, ReportBuilder, RowFacts, Suite, wilson};
use crate::sft::{Chat, SequenceScore, encode_chats, message};

const SUITE: &str = "multiple_choice";
/// Questions in the examples.
const EXAMPLES: usize = 40;

/// Runs the suite.
pub(super) fn run(
    suite: &Suite<'_>,
    models: &[EvalModel],
    params: &MultipleChoiceParams,
    report: &mut ReportBuilder,
) -> Result<(), EvalError> {
    let (questions, shots) = read_questions(suite, params)?;
    if questions.is_empty() {
        return Err(suite.nothing(SUITE, "there is no question".into()));
    }
    let chance = questions.iter().map(|q| 1.0 / q.choices.len() as f64).sum::<f64>() / questions.len() as f64;
    let mut shown: Vec<Vec<(String, String)>> = vec![Vec::new(); questions.len().min(EXAMPLES)];
    for model in models.iter().filter(|model| !model.tokenizer.chat().source().is_empty()) {
        let mut whole: Option<Answers> = None;
        for scoring in &params.scoring {
            let letters = *scoring == Scoring::Letter;
            let answers = match &whole {
                Some(answers) if !letters => answers.clone(),
                _ => score_choices(suite, model, &questions, &shots, letters)?,
            };
            let picks = answers.picks(&questions, *scoring);
            let right = picks.iter().zip(&questions).filter(|(pick, q)| **pick == Some(q.answer)).count();
            let asked = picks.iter().filter(|pick| pick.is_some()).count();
            let facts = row_facts(*scoring, chance, params.shots, questions.len() - asked);
            report.row(&model.name, &facts, wilson(right as u64, asked as u64));
            for (lines, (pick, question)) in shown.iter_mut().zip(picks.iter().zip(&questions)) {
                let text = pick.map_or("(too long)", |pick| &question.choices[pick]);
                lines.push((format!("{} ({})", model.name, name_of(*scoring)), text.to_owned()));
            }
            if !letters {
                whole = Some(answers);
            }
        }
    }
    for (question, answers) in questions.iter().zip(shown) {
        report.example(EvalSample {
            suite: SUITE.into(),
            prompt: format!("{}\n\n{}", question.text, question.choices.join("\n---\n")),
            reference: question.choices[question.answer].clone(),
            answers,
        });
    }
    Ok(())
}

fn name_of(scoring: Scoring) -> &'static str {
    match scoring {
        Scoring::Likelihood => "likelihood",
        Scoring::Normalized => "normalized",
        Scoring::Letter => "letter",
    }
}

fn row_facts(scoring: Scoring, chance: f64, shots: u64, too_long: usize) -> RowFacts {
    let how = match scoring {
        Scoring::Likelihood => "highest log-probability of the whole choice",
        Scoring::Normalized => "highest log-probability a byte of the choice",
        Scoring::Letter => "highest log-probability of the choice's letter",
    };
    RowFacts {
        suite: SUITE,
        metric: format!("accuracy_{}", name_of(scoring)),
        method: format!(
            "{how}, {shots} shots; n counts questions, {too_long} too long were left out, Wilson interval"
        ),
        chance: Some(chance),
        higher_is_better: true,
    }
}

/// Log-probabilities of each question's choices; none where one of them does not fit the model.
#[derive(Debug, Clone)]
struct Answers(Vec<Option<Vec<f64>>>);

impl Answers {
    fn picks(&self, questions: &[Question], scoring: Scoring) -> Vec<Option<usize>> {
        let pick = |(scores, question): (&Option<Vec<f64>>, &Question)| {
            let length = |choice: usize| question.choices[choice].len().max(1) as f64;
            let value = |(choice, score): (usize, &f64)| match scoring {
                Scoring::Normalized => score / length(choice),
                Scoring::Likelihood | Scoring::Letter => *score,
            };
            let values: Vec<f64> = scores.as_ref()?.iter().enumerate().map(value).collect();
            (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a)))
        };
        self.0.iter().zip(questions).map(pick).collect()
    }
}

fn score_choices(
    suite: &Suite<'_>,
    model: &EvalModel,
    questions: &[Question],
    shots: &[Question],
    letters: bool,
) -> Result<Answers, EvalError> {
    let mut chats = Vec::new();
    let mut owners = Vec::new();
    for (index, question) in questions.iter().enumerate() {
        for choice in 0..question.choices.len() {
            chats.push(chat(question, choice, shots, letters));
            owners.push(index);
        }
    }
    let encoded = encode_chats(&model.tokenizer, &chats, TrainOn::LastAssistant, model.context)?;
    if encoded.chats.is_empty() {
        return Err(suite.nothing_fits(SUITE, model, questions.len()));
    }
    let scores: Vec<SequenceScore> = model.score(suite.ctx, SUITE, &encoded.chats)?;
    let mut answers: Vec<Vec<f64>> = vec![Vec::new(); questions.len()];
    for (kept, score) in encoded.kept.iter().zip(scores) {
        answers[owners[*kept]].push(score.log_prob);
    }
    let whole = |(scores, question): (Vec<f64>, &Question)| {
        (scores.len() == question.choices.len()).then_some(scores)
    };
    let answers: Vec<Option<Vec<f64>>> = answers.into_iter().zip(questions).map(whole).collect();
    suite.warn_too_long(SUITE, model, answers.iter().filter(|scores| scores.is_none()).count());
    Ok(Answers(answers))
}

/// A question with one of its choices as the assistant's answer, after the examples.
fn chat(question: &Question, choice: usize, shots: &[Question], letters: bool) -> Chat {
    let turns = |question: &Question, choice: usize| {
        if letters {
            [message("user", &listed(question)), message("assistant", &letter(choice).to_string())]
        } else {
            [message("user", &question.text), message("assistant", &question.choices[choice])]
        }
    };
    let mut messages: Vec<_> = shots.iter().flat_map(|shot| turns(shot, shot.answer)).collect();
    messages.extend(turns(question, choice));
    Chat { name: String::new(), messages }
}

fn letter(choice: usize) -> char {
    (b'A' + (choice % 26) as u8) as char
}

fn listed(question: &Question) -> String {
    let line = |(index, choice): (usize, &String)| format!("{}. {choice}", letter(index));
    let choices: Vec<String> = question.choices.iter().enumerate().map(line).collect();
    format!("{}\n{}\nAnswer with the letter.", question.text, choices.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scoring_picks_by_sum_or_by_length_and_the_first_of_equals() {
        let question = Question {
            text: "q".into(),
            choices: vec!["a long choice with many bytes".into(), "short".into(), "same!".into()],
            answer: 0,
        };
        let answers = Answers(vec![Some(vec![-20.0, -10.0, -10.0]), None]);
        let questions = [question.clone(), question];
        assert_eq!(answers.picks(&questions, Scoring::Likelihood), [Some(1), None]);
        assert_eq!(answers.picks(&questions, Scoring::Normalized), [Some(0), None]);
    }

    #[test]
    fn letters_are_listed_and_answered() {
        let question = Question { text: "q".into(), choices: vec!["x".into(), "y".into()], answer: 1 };
        let chat = chat(&question, 1, std::slice::from_ref(&question), true);
        assert_eq!(chat.messages.len(), 4);
        assert_eq!(chat.messages[0].content, "q\nA. x\nB. y\nAnswer with the letter.");
        assert_eq!((chat.messages[1].content.as_str(), chat.messages[3].content.as_str()), ("B", "B"));
    }
}
