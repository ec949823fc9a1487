//! A pretrain job, resolved, and the parts that every training job shares.

use std::collections::BTreeMap;

use super::shape;
use super::written::{
    BatchWritten, CheckpointWritten, ContextWritten, OptimizerWritten, ParallelWritten, PhaseWritten,
    PretrainCheckpointWritten, PretrainJob, TokensWritten,
};
use super::{
    BatchParams, BestMetric, CheckpointParams, EvaluateParams, Export, KeepBest, LrShape, MatrixOptimizer,
    OptimizerParams, PhaseParams, PretrainParams, TokenBudget,
};
use crate::job::resolve::check_sum;
use crate::job::{AutoOr, ParallelParams, Precision};
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::lineage::Base;
use crate::spec::reference::Ref;
use crate::spec::units::Every;
use crate::spec::wanted::Wanted;
use crate::spec::words::one_of;
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
    let optimizer = optimizer(&w.optimizer, Stage::Base, resolver);
    let (checkpoint, best_metric) = pretrain_checkpoint(w, resolver);
    let params = PretrainParams {
        model: model?,
        tokens: tokens?,
        optimizer: optimizer?,
        batch: batch(&w.batch),
        phases: phases?,
        context_length: w.context.length,
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
    Some(PretrainBody { corpus: corpus?, tokenizer: tokenizer?, law: law?, params })
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
    /// The laws that the job refers to, as written.
    pub(crate) fn laws(&self) -> impl Iterator<Item = &Ref> {
        let from_tokens = match &self.tokens.value {
            TokensWritten::By(by) => by.from.as_ref(),
            TokensWritten::Count(_) => None,
        };
        [self.forecast.as_ref(), self.model.value.from.as_ref(), from_tokens].into_iter().flatten()
    }
}

/// Phases as written, else the corpus's weights with a constant rate to 80 % and a fall to zero.
pub(crate) fn phases(
    written: Option<&At<Vec<At<PhaseWritten>>>>,
    corpus: Option<&ArtifactRef>,
    spot: crate::spec::tree::Spot,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Vec<PhaseParams>> {
    let Some(corpus) = corpus else {
        if let Some(written) = written {
            check_ends(written, resolver);
            for phase in &written.value {
                phase_weights(&phase.value, None, resolver);
            }
        }
        return None;
    };
    let weights = resolver.corpus_weights(corpus);
    let is_external = matches!(corpus, ArtifactRef::Path(_));
    let has_all =
        written.is_some_and(|phases| phases.value.iter().all(|phase| phase.value.weights.is_some()));
    if is_external && !has_all {
        resolver
            .session
            .error(Code::MissingField, spot, "the weights of this corpus are not known before the run")
            .expecting("`phases`, each with `weights`");
        return None;
    }
    let Some(written) = written else {
        let weights = weights?;
        return Some(vec![
            PhaseParams { until: 0.8, weights: weights.clone(), lr: LrShape::Constant },
            PhaseParams { until: 1.0, weights, lr: LrShape::LinearToZero },
        ]);
    };
    check_ends(written, resolver);
    let mut out = Vec::new();
    for phase in &written.value {
        out.push(PhaseParams {
            until: phase.value.until.value.0,
            weights: phase_weights(&phase.value, weights.as_ref(), resolver),
            lr: phase.value.lr,
        });
    }
    Some(out)
}

/// Each phase ends after the one before it, the last one at 100 %.
fn check_ends(phases: &At<Vec<At<PhaseWritten>>>, resolver: &mut Resolver<'_, '_>) {
    let mut end = 0.0;
    for phase in &phases.value {
        let until = phase.value.until.value.0;
        if until <= end {
            resolver
                .session
                .error(Code::BadPhases, phase.value.until.spot, "this phase ends where it starts, or before")
                .expecting(format!("more than {}%", end * 100.0));
        }
        end = until;
    }
    if (end - 1.0).abs() > 1e-9 {
        let spot = phases.value.last().map_or(phases.spot, |phase| phase.value.until.spot);
        resolver
            .session
            .error(Code::BadPhases, spot, format!("the last phase ends at {}%", end * 100.0))
            .expecting("until: 100%");
    }
}

/// The weights of a phase: they sum to 1 and name the corpus's domains.
fn phase_weights(
    phase: &PhaseWritten,
    corpus: Option<&BTreeMap<String, f64>>,
    resolver: &mut Resolver<'_, '_>,
) -> BTreeMap<String, f64> {
    let Some(weights) = &phase.weights else { return corpus.cloned().unwrap_or_default() };
    check_sum(weights, resolver);
    if let Some(corpus) = corpus {
        for (key, _) in &weights.value.0 {
            if !corpus.contains_key(&key.name) {
                let known: Vec<&str> = corpus.keys().map(String::as_str).collect();
                resolver
                    .session
                    .error(Code::UnknownDomain, key.spot, format!("the corpus has no domain `{}`", key.name))
                    .expecting(one_of(&known))
                    .suggesting(&key.name, known);
            }
        }
    }
    weights.value.to_map()
}

/// Which defaults an optimiser has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From scratch: Muon for the hidden matrices, weight decay 0.1.
    Base,
    /// The same, many times over: a run that diverges is a result.
    Sweep,
    /// From a trained model: AdamW throughout, no weight decay.
    Tuning,
}

/// Optimisers.
pub(crate) fn optimizer(
    w: &OptimizerWritten,
    stage: Stage,
    resolver: &mut Resolver<'_, '_>,
) -> Option<OptimizerParams> {
    let (matrices, weight_decay, max_setbacks) = match stage {
        Stage::Base => (MatrixOptimizer::Muon, 0.1, 8),
        Stage::Sweep => (MatrixOptimizer::Muon, 0.1, 0),
        Stage::Tuning => (MatrixOptimizer::Adamw, 0.0, 8),
    };
    let [first, second] = w.betas.value[..] else {
        resolver
            .session
            .error(
                Code::OutOfRange,
                w.betas.spot,
                format!("AdamW has two betas, not {}", w.betas.value.len()),
            )
            .expecting("two numbers such as [0.9, 0.95]");
        return None;
    };
    Some(OptimizerParams {
        matrices: w.matrices.unwrap_or(matrices),
        lr: w.lr,
        matrix_lr: w.matrix_lr,
        weight_decay: w.weight_decay.unwrap_or(weight_decay),
        betas: [first, second],
        eps: w.eps,
        grad_clip: w.grad_clip,
        warmup: w.warmup.0,
        max_setbacks: w.max_setbacks.unwrap_or(max_setbacks),
        spike_sigma: w.spike_sigma,
    })
}

/// The optimisers of a sweep where nothing is written.
pub(crate) fn default_optimizer() -> OptimizerParams {
    OptimizerParams {
        matrices: MatrixOptimizer::Muon,
        lr: AutoOr::Auto,
        matrix_lr: AutoOr::Auto,
        weight_decay: 0.1,
        betas: [0.9, 0.95],
        eps: 1e-8,
        grad_clip: 1.0,
        warmup: 0.02,
        max_setbacks: 0,
        spike_sigma: 0.0,
    }
}

/// Batch sizes.
pub(crate) fn batch(w: &BatchWritten) -> BatchParams {
    BatchParams { global_tokens: w.global_tokens, micro_batch: w.micro_batch }
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
    written: Option<&At<ContextWritten>>,
    model: &Ref,
    resolver: &mut Resolver<'_, '_>,
) -> Option<u64> {
    let origin = match resolver.base_of(model) {
        Base::Job { name, pretrain, is_whole: true } => {
            let positions = pretrain.model.value.max_position_embeddings;
            Some((name, positions.unwrap_or(pretrain.context.length)))
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
