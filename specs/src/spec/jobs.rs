//! The jobs of a spec between text and resolution: each one decoded by its kind.

use std::ops::Range;

use super::codes::Code;
use super::decode::Decode;
use super::document::JobCommon;
use super::resolved::JobKind;
pub(crate) use super::resolver::Resolver;
use super::session::Session;
use super::tree::{Key, Node, Spot, Value};
use super::unsupported;
use super::words::nearest;
use crate::job::written::{DataJob, EvalJob, PretrainJob, RlhfJob, ScalingJob, SftJob, TokenizerJob};

/// A job as written.
pub(crate) struct WrittenJob {
    /// Its name.
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) spot: Spot,
    /// Its kind; none where that is wrong.
    pub(crate) kind: Option<JobKind>,
    /// What every job has; none after an error.
    pub(crate) common: Option<JobCommon>,
    /// What it does; none after an error.
    pub(crate) body: Option<WrittenBody>,
    /// After an error: both with stand-ins for what is wrong, so that references are checked all the same.
    pub(crate) rough: Option<Box<(Option<JobCommon>, Option<WrittenBody>)>>,
    /// After an error: the places of the fields that have none, and say something by themselves.
    pub(crate) sound: Vec<Range<Spot>>,
}

/// What a job does, as written.
pub(crate) enum WrittenBody {
    /// Curation.
    Data(Box<DataJob>),
    /// Tokenizer.
    Tokenizer(TokenizerJob),
    /// Scaling.
    Scaling(Box<ScalingJob>),
    /// Base model.
    Pretrain(Box<PretrainJob>),
    /// Fine-tuning.
    Sft(Box<SftJob>),
    /// Alignment.
    Rlhf(Box<RlhfJob>),
    /// Evaluation.
    Eval(EvalJob),
}

impl WrittenJob {
    /// Decodes an entry of `jobs`.
    pub(crate) fn decode(key: &Key, node: &Node, session: &mut Session<'_>) -> Self {
        let (name, spot) = (key.name.clone(), key.spot);
        let mut job =
            Self { name, spot, kind: None, common: None, body: None, rough: None, sound: Vec::new() };
        check_name(key, session);
        let Value::Map(_) = node.value else {
            super::decode::wrong_type(node, "a mapping with `kind`", session);
            return job;
        };
        job.kind = kind_of(key, node, session);
        let Some(kind) = job.kind else { return job };
        session.recent.clear();
        unsupported::refuse(kind.as_str(), node, session);
        job.body = WrittenBody::decode(kind, node, session);
        job.common = JobCommon::decode_fields(node, session);
        if job.common.is_none() || job.body.is_none() {
            job.rough = Some(Box::new(session.roughly(|session| {
                let common = JobCommon::decode_fields(node, session);
                (common, WrittenBody::decode(kind, node, session))
            })));
            job.sound = sound_fields(kind, node, &session.recent);
            job.body = None;
        }
        job
    }

    /// What it does; after an error what of it can be told.
    pub(crate) fn any_body(&self) -> Option<&WrittenBody> {
        self.body.as_ref().or(self.rough.as_deref().and_then(|(_, body)| body.as_ref()))
    }
}

/// The places of the fields without errors; a field ends where the next one starts. Those whose meaning hangs on others are left out,
/// and those that several files make.
fn sound_fields(kind: JobKind, node: &Node, errors: &[Spot]) -> Vec<Range<Spot>> {
    let fields = node.entries();
    let mut starts: Vec<Spot> = fields.iter().flat_map(|(key, value)| [key.spot, value.spot]).collect();
    starts.sort_unstable();
    let place = |key: &Key, value: &Node| {
        let last = key.spot.max(value.spot);
        let next = starts[starts.partition_point(|start| *start <= last)..].first();
        let end = Spot { line: u32::MAX, ..last };
        key.spot..next.copied().filter(|next| next.text == last.text).unwrap_or(end)
    };
    let stands_alone = |name: &str| name != "context" && (kind != JobKind::Rlhf || name == "optimizer");
    fields
        .iter()
        .filter(|(key, value)| stands_alone(&key.name) && !value.is_broken())
        .filter(|(key, value)| key.spot.text == value.spot.text && key.spot <= value.spot)
        .map(|(key, value)| place(key, value))
        .filter(|place| !errors.iter().any(|error| place.contains(error)))
        .collect()
}

/// The kind of a job. Where it is missing or wrong, the one that is meant, so that the job's other errors are told too.
fn kind_of(key: &Key, node: &Node, session: &mut Session<'_>) -> Option<JobKind> {
    let Some(kind) = node.get("kind").or_else(|| misspelt_kind(node)) else {
        let name = key.name.split('[').next().unwrap_or_default();
        let meant = kind_by_fields(node);
        session
            .error(Code::MissingField, key.spot, format!("the job `{name}` has no `kind`"))
            .expecting("kind: data, tokenizer, scaling, pretrain, sft, rlhf or eval")
            .suggestion = meant.map(|kind| format!("kind: {}", kind.as_str()));
        session.misspelt.insert((node.spot, "kind".to_owned()));
        return meant;
    };
    JobKind::decode(kind, session).or_else(|| {
        let near = kind.text().and_then(|text| nearest(text, JobKind::ALL.map(JobKind::as_str)));
        let near = near.and_then(|near| JobKind::ALL.into_iter().find(|kind| kind.as_str() == near));
        near.or_else(|| kind_by_fields(node))
    })
}

/// The value of a key that must mean `kind`; the key itself is reported with the other unknown ones.
fn misspelt_kind(node: &Node) -> Option<&Node> {
    let mut near = node.entries().iter().filter(|(key, _)| nearest(&key.name, ["kind"]).is_some());
    let (_, value) = near.next()?;
    near.next().is_none().then_some(value)
}

/// The only kind that has all keys of a job.
fn kind_by_fields(node: &Node) -> Option<JobKind> {
    let is_common = |name: &str| JobCommon::FIELDS.contains(&name) || name == "matrix";
    let names: Vec<&str> =
        node.entries().iter().map(|(key, _)| key.name.as_str()).filter(|name| !is_common(name)).collect();
    let has_all = |kind: &JobKind| names.iter().all(|name| fields_of(*kind).contains(name));
    let mut kinds = JobKind::ALL.into_iter().filter(|kind| !names.is_empty() && has_all(kind));
    let first = kinds.next()?;
    kinds.next().is_none().then_some(first)
}

/// The fields of a kind.
fn fields_of(kind: JobKind) -> &'static [&'static str] {
    match kind {
        JobKind::Data => DataJob::FIELDS,
        JobKind::Tokenizer => TokenizerJob::FIELDS,
        JobKind::Scaling => ScalingJob::FIELDS,
        JobKind::Pretrain => PretrainJob::FIELDS,
        JobKind::Sft => SftJob::FIELDS,
        JobKind::Rlhf => RlhfJob::FIELDS,
        JobKind::Eval => EvalJob::FIELDS,
    }
}

impl WrittenBody {
    /// Decodes the fields of a kind; those that every job has may stand beside them.
    fn decode(kind: JobKind, node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let common: &[&[&str]] = &[JobCommon::FIELDS, &["matrix"]];
        Some(match kind {
            JobKind::Data => Self::Data(Box::new(DataJob::decode_beside(node, common, session)?)),
            JobKind::Tokenizer => Self::Tokenizer(TokenizerJob::decode_sized(node, common, session)?),
            JobKind::Scaling => Self::Scaling(Box::new(ScalingJob::decode_beside(node, common, session)?)),
            JobKind::Pretrain => Self::Pretrain(Box::new(PretrainJob::decode_beside(node, common, session)?)),
            JobKind::Sft => Self::Sft(Box::new(SftJob::decode_beside(node, common, session)?)),
            JobKind::Rlhf => Self::Rlhf(Box::new(RlhfJob::decode_beside(node, common, session)?)),
            JobKind::Eval => Self::Eval(EvalJob::decode_beside(node, common, session)?),
        })
    }
}

/// Names start with a letter and hold letters, digits, `_` and `-`; a matrix adds `[…]`.
pub(crate) fn check_name(key: &Key, session: &mut Session<'_>) {
    let base = key.name.split('[').next().unwrap_or_default();
    let is_right = base.starts_with(|c: char| c.is_ascii_alphabetic())
        && base.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && base.len() <= 64;
    // What is not UTF-8 is reported.
    if !is_right && !key.name.contains('\u{fffd}') {
        session
            .error(Code::BadName, key.spot, format!("`{}` can't be a name", key.name))
            .expecting("a letter, then letters, digits, `_` and `-`, at most 64");
    }
}
