//! What references may name: kinds of artifacts, the jobs that make them, and their parts.

use super::jobs::{WrittenBody, WrittenJob};
use super::resolved::JobKind;
use crate::job::written::Stage;

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A data job.
    Corpus,
    /// A tokenizer job.
    Tokenizer,
    /// A scaling job.
    Law,
    /// A job that makes a model.
    Model,
    /// Labelled pairs.
    Preferences,
    /// A reward model.
    RewardModel,
}

impl Wanted {
    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Corpus => "a data job",
            Self::Tokenizer => "a tokenizer job",
            Self::Law => "a scaling job",
            Self::Model => "a job that makes a model (pretrain, sft, or rlhf that optimises)",
            Self::Preferences => "an rlhf job that makes preferences",
            Self::RewardModel => "an rlhf job that makes a reward model",
        }
    }
}

/// The parts of a corpus.
pub(crate) const CORPUS_PARTS: &[&str] = &["train", "validation", "pairs", "validation_pairs"];

/// Job and part of a reference; a dot within a matrix's brackets belongs to the job.
pub(crate) fn split_part(text: &str) -> (&str, Option<&str>) {
    let from = text.rfind(']').map_or(0, |at| at + 1);
    match text[from..].find('.') {
        Some(dot) => (&text[..from + dot], Some(&text[from + dot + 1..])),
        None => (text, None),
    }
}

/// The stage of an rlhf job; none where it runs all or is wrong.
pub(super) fn stage_of(job: &WrittenJob) -> Option<Stage> {
    match &job.body {
        Some(WrittenBody::Rlhf(rlhf)) => rlhf.stage,
        _ => None,
    }
}

/// What a job or its part gives; the known parts where there is no such part.
pub(super) fn makes(
    kind: JobKind,
    stage: Option<Stage>,
    part: Option<&str>,
) -> Result<Vec<Wanted>, &'static [&'static str]> {
    let rlhf = || match stage {
        None => vec![Wanted::Model, Wanted::Preferences, Wanted::RewardModel],
        Some(Stage::Preferences) => vec![Wanted::Preferences],
        Some(Stage::RewardModel) => vec![Wanted::RewardModel],
        Some(Stage::Optimize) => vec![Wanted::Model],
    };
    match (kind, part) {
        (JobKind::Data, None) => Ok(vec![Wanted::Corpus]),
        (JobKind::Rlhf, None) => Ok(rlhf()),
        (JobKind::Rlhf, Some("model")) => {
            Ok(rlhf().into_iter().filter(|made| *made == Wanted::Model).collect())
        }
        (JobKind::Rlhf, Some("preferences")) => {
            Ok(rlhf().into_iter().filter(|made| *made == Wanted::Preferences).collect())
        }
        (JobKind::Rlhf, Some("reward_model")) => {
            Ok(rlhf().into_iter().filter(|made| *made == Wanted::RewardModel).collect())
        }
        (JobKind::Rlhf, Some(_)) => Err(&["preferences", "reward_model", "model"]),
        (_, Some(_)) => Err(&[]),
        (JobKind::Tokenizer, None) => Ok(vec![Wanted::Tokenizer]),
        (JobKind::Scaling, None) => Ok(vec![Wanted::Law]),
        (JobKind::Pretrain | JobKind::Sft, None) => Ok(vec![Wanted::Model]),
        (JobKind::Eval, None) => Ok(Vec::new()),
    }
}

/// The part that a resolved reference names: of an rlhf job always the one that is meant.
pub(super) fn part_of(wanted: Wanted, kind: JobKind) -> Option<String> {
    let part = match wanted {
        Wanted::Preferences => "preferences",
        Wanted::RewardModel => "reward_model",
        _ => "model",
    };
    (kind == JobKind::Rlhf).then(|| part.to_owned())
}
