//! A pretrain job, resolved, and the parts that every training job shares.

use super::optimizer_resolve::{Stage, optimizer};
use super::phases::phases;
use super::written::{
    BatchWritten, CheckpointWritten, ParallelWritten, PretrainCheckpointWritten, PretrainJob,
    RowLengthWritten, TokensWritten,
};
use super::{
    BatchParams, BestMetric, CheckpointParams, EvaluateParams, Export, KeepBest, ModelParams,
    OptimizerParams, Parametrization, PretrainParams, TokenBudget,
};
use super::{rows, shape};
use crate::job::{AutoOr, ParallelParams, Precision};
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::lineage::Base;
use crate::spec::reference::Ref;
use crate::spec::units::Every;
use crate::spec::wanted::Wanted;
use crate::spec::{ArtifactRef, Code, PretrainBody};

/// Row length where no job says one.
pub(crate) const CONTEXT_LENGTH: u64 = 512;

/// Resolves a pretrain job.
pub(crate) fn pretrain(
    w: &PretrainJob,
    precision: Precision,
    resolver: &mut Resolver<'_, '_>,
) -> Option<PretrainBody> {
    let corpus = resolver.artifact(&w.corpus, Wanted::Corpus);
    let tokenizer = resolver.artifact(&w.tokenizer, Wanted::Tokenizer);
    let model = shape::model(&w.model, w.context.length, resolver);
    let tokens = tokens(w, resolver);
    let law = law(w, resolver);
    let phases = phases(w.phases.as_ref(), corpus.as_ref(), w.corpus.spot, resolver);
    let (phases, other_corpora) = phases.map(|phases| (phases.params, phases.corpora)).unzip();
    let optimizer = optimizer(&w.optimizer, Stage::Base, resolver);
    check_tied(w, model.as_ref(), optimizer.as_ref(), resolver);
    let (checkpoint, best_metric) = pretrain_checkpoint(w, resolver);
    let document_mask = rows::document_mask(
        &w.context,
        &[w.model.value.arch],
        (w.model.spot, "document_mask: false, or arch: transformer"),
        resolver,
    );
    let extend = rows::extend(&w.context, model.as_ref(), resolver);
    let params = PretrainParams {
        model: model?,
        tokens: tokens?,
        optimizer: optimizer?,
        batch: batch(&w.batch),
        phases: phases?,
        context_length: w.context.length,
        packing: w.context.packing,
        document_mask: document_mask?,
        extend: extend?,
        max_epochs: w.max_epochs,
        precision,
        checkpoint,
        export: w.checkpoint.export.value,
        best_metric,
        evaluate: EvaluateParams {
            every_steps: w.evaluate.every.map_or(0, |steps| steps.0),
            samples: w.evaluate.samples,
            max_tokens: w.evaluate.max_tokens,
        },
        forecast: w.forecast.is_some(),
    };
    Some(PretrainBody {
        corpus: corpus?,
        other_corpora: other_corpora?,
        tokenizer: tokenizer?,
        law: law?,
        params,
    })
}

/// A rule that scales the head apart from the embeddings needs two matrices.
fn check_tied(
    w: &PretrainJob,
    model: Option<&ModelParams>,
    optimizer: Option<&OptimizerParams>,
    resolver: &mut Resolver<'_, '_>,
) {
    let is_tied = matches!(model, Some(ModelParams::Shape(shape)) if shape.tie_word_embeddings);
    let is_scaled = optimizer.is_some_and(|params| params.parametrization != Parametrization::Standard);
    if is_tied && is_scaled {
        resolver
            .session
            .error(
                Code::Conflict,
                w.model.spot,
                "tied embeddings have one rate, and `parametrization` gives two",
            )
            .expecting("tie_word_embeddings: false, or parametrization: standard");
    }
}

impl ParallelWritten {
    /// The ranks, resolved.
    pub(crate) fn resolved(&self) -> ParallelParams {
        ParallelParams { data: self.data as u32, zero: self.zero as u32, timeout_secs: self.timeout.0 }
    }
}

/// How many tokens.
fn tokens(w: &PretrainJob, resolver: &mut Resolver<'_, '_>) -> Option<TokenBudget> {
    match &w.tokens.value {
        TokensWritten::Count(count) => Some(TokenBudget::Count { tokens: count.round() as u64 }),
        TokensWritten::By(by) => match (by.per_param, &by.from) {
            (Some(ratio), None) => Some(TokenBudget::PerParam { ratio }),
            (None, Some(_)) => Some(TokenBudget::FromLaw),
            _ => {
                resolver
                    .session
                    .error(Code::Conflict, w.tokens.spot, "tokens are given by ratio or by law")
                    .expecting("one of per_param and from");
                None
            }
        },
    }
}

/// The one law behind size, tokens and forecast.
#[allow(clippy::option_option, reason = "the outer one is an error, the inner one a job without a law")]
fn law(w: &PretrainJob, resolver: &mut Resolver<'_, '_>) -> Option<Option<ArtifactRef>> {
    let from_tokens = match &w.tokens.value {
        TokensWritten::By(by) => by.from.as_ref(),
        TokensWritten::Count(_) => None,
    };
    let mut law: Option<ArtifactRef> = None;
    for reference in [w.forecast.as_ref(), w.model.value.from.as_ref(), from_tokens].into_iter().flatten() {
        let found = resolver.artifact(reference, Wanted::Law)?;
        match &law {
            Some(known) if *known != found => {
                resolver
                    .session
                    .error(Code::Conflict, reference.spot, "this job already refers to another law")
                    .expecting("one law for size, tokens and forecast");
                return None;
            }
            _ => law = Some(found),
        }
    }
    Some(law)
}

impl PretrainJob {
    /// The corpora that it reads, as written: its own, then those of its phases.
    pub(crate) fn corpora(&self) -> impl Iterator<Item = &Ref> {
        let phases = self.phases.iter().flat_map(|phases| &phases.value);
        let others = phases.filter_map(|phase| phase.value.corpora.as_ref()).flat_map(|others| &others.value);
        std::iter::once(&self.corpus).chain(others.map(|other| &other.value.corpus))
    }

    /// The laws that the job refers to, as written.
    pub(crate) fn laws(&self) -> impl Iterator<Item = &Ref> {
        let from_tokens = match &self.tokens.value {
            TokensWritten::By(by) => by.from.as_ref(),
            TokensWritten::Count(_) => None,
        };
        [self.forecast.as_ref(), self.model.value.from.as_ref(), from_tokens].into_iter().flatten()
    }
}

/// Batch sizes.
pub(crate) fn batch(w: &BatchWritten) -> BatchParams {
    BatchParams { global_tokens: w.global_tokens.value, micro_batch: w.micro_batch }
}

/// Published rules for the batch are for training from scratch.
pub(crate) fn check_tuning_batch(w: &BatchWritten, resolver: &mut Resolver<'_, '_>) {
    if matches!(w.global_tokens.value, AutoOr::Rule(_)) {
        let message = "this is for training from scratch, and this job goes on from a model";
        resolver.session.error(Code::Conflict, w.global_tokens.spot, message).expecting("a number, or auto");
    }
}

/// When states are saved.
pub(crate) fn checkpoint(w: &CheckpointWritten) -> CheckpointParams {
    let (every_secs, every_steps) = match w.every {
        Some(Every::Secs(secs)) => (secs, 0),
        Some(Every::Steps(steps)) => (0.0, steps),
        None => (0.0, 0),
    };
    CheckpointParams { every_secs, every_steps, keep: w.keep, keep_best: None }
}

/// When states of a pretrain job are saved, and by which number the best of them is found where it becomes the model. What is best is known
/// where the model is evaluated on the way.
fn pretrain_checkpoint(w: &PretrainJob, resolver: &mut Resolver<'_, '_>) -> (CheckpointParams, BestMetric) {
    let PretrainCheckpointWritten { every, keep, keep_best, export } = &w.checkpoint;
    let is_best = export.value == Export::Best;
    let asks = keep_best.as_ref().map(|best| best.spot).or(is_best.then_some(export.spot));
    if let (Some(spot), None) = (asks, w.evaluate.every) {
        resolver
            .session
            .error(Code::Conflict, spot, "no state is the best one, since `evaluate.every` is null")
            .expecting("steps between evaluations, such as `evaluate: { every: 500 steps }`");
    }
    let of_default = KeepBest { metric: BestMetric::ValidationBpb, count: 1 };
    let written =
        keep_best.as_ref().map(|best| KeepBest { metric: best.value.metric, count: best.value.count });
    let keep_best = if is_best { written.or(Some(of_default)) } else { written };
    let shared = checkpoint(&CheckpointWritten { every: *every, keep: *keep });
    let best_metric = if is_best { keep_best.unwrap_or(of_default).metric } else { of_default.metric };
    (CheckpointParams { keep_best, ..shared }, best_metric)
}

/// Row length of a job that goes on from a model: as written, else all positions that the model was made with. More than those is an error.
pub(crate) fn row_length(
    written: Option<&At<RowLengthWritten>>,
    model: &Ref,
    resolver: &mut Resolver<'_, '_>,
) -> Option<u64> {
    let origin = match resolver.base_of(model) {
        Base::Job { name, pretrain, is_whole: true } => {
            let rows = &pretrain.context;
            let positions = pretrain.model.value.max_position_embeddings.unwrap_or(rows.length);
            let extended = rows.extend.as_ref().map_or(0, |extend| extend.value.length);
            Some((name, positions.max(extended)))
        }
        _ => None,
    };
    match (written, origin) {
        (Some(context), Some((name, positions))) if context.value.length > positions => {
            let length = context.value.length;
            let message =
                format!("rows of {length} tokens are longer than the {positions} positions of `{name}`");
            resolver
                .session
                .error(Code::Conflict, context.spot, message)
                .expecting(format!("at most {positions} here, or a longer `context.length` in `{name}`"));
            None
        }
        (Some(context), _) => Some(context.value.length),
        (None, Some((_, positions))) => Some(positions),
        (None, None) => Some(CONTEXT_LENGTH),
    }
}
