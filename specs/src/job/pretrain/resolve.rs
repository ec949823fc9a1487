//! A pretrain job, resolved, and the parts that every training job shares.

use std::collections::BTreeMap;

use super::optimizer_resolve::{Stage, optimizer};
use super::written::{
    BatchWritten, CheckpointWritten, ParallelWritten, PhaseWritten, PretrainCheckpointWritten, PretrainJob,
    RowLengthWritten, TokensWritten,
};
use super::{
    BatchParams, BestMetric, CheckpointParams, EvaluateParams, Export, KeepBest, LrShape, ModelParams,
    OptimizerParams, Parametrization, PhaseParams, PretrainParams, TokenBudget,
};
use super::{rows, shape};
use crate::job::resolve::check_sum;
use crate::job::{AutoOr, ParallelParams, Precision};
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::lineage::Base;
use crate::spec::reference::Ref;
use crate::spec::tree::Spot;
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
    Some(PretrainBody { corpus: corpus?, tokenizer: tokenizer?, law: law?, params })
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
    /// The laws that the job refers to, as written.
    pub(crate) fn laws(&self) -> impl Iterator<Item = &Ref> {
        let from_tokens = match &self.tokens.value {
            TokensWritten::By(by) => by.from.as_ref(),
            TokensWritten::Count(_) => None,
        };
        [self.forecast.as_ref(), self.model.value.from.as_ref(), from_tokens].into_iter().flatten()
    }
}

/// Phases as written, else the corpus's weights with a constant rate to 50 % and a fall to zero: a run of one length learns more by a
/// long fall (Bergsma et al. 2025, arXiv:2502.15938), and half of it is what nanochat came from.
pub(crate) fn phases(
    written: Option<&At<Vec<At<PhaseWritten>>>>,
    corpus: Option<&ArtifactRef>,
    spot: Spot,
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
            PhaseParams { until: 0.5, weights: weights.clone(), lr: LrShape::Constant, lr_final: 0.0 },
            PhaseParams { until: 1.0, weights, lr: LrShape::LinearToZero, lr_final: 0.0 },
        ]);
    };
    check_ends(written, resolver);
    check_rates(written, resolver);
    let mut out = Vec::new();
    for phase in &written.value {
        out.push(PhaseParams {
            until: phase.value.until.value.0,
            weights: phase_weights(&phase.value, weights.as_ref(), resolver),
            lr: phase.value.lr,
            lr_final: lr_final(&phase.value, resolver),
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

/// The factor of the peak at a phase's end; an error where the shape has none.
fn lr_final(phase: &PhaseWritten, resolver: &mut Resolver<'_, '_>) -> f64 {
    let default = match phase.lr {
        LrShape::Cosine | LrShape::Linear => 0.1,
        LrShape::OneMinusSqrt => 0.0,
        LrShape::Constant | LrShape::LinearToZero | LrShape::InverseSqrt => {
            if let Some(written) = &phase.lr_final {
                resolver
                    .session
                    .error(
                        Code::Conflict,
                        written.spot,
                        "the rate of this phase falls to no factor of its own",
                    )
                    .expecting("lr: linear, cosine or one_minus_sqrt beside `lr_final`");
            }
            return 0.0;
        }
    };
    phase.lr_final.as_ref().map_or(default, |written| written.value)
}

/// No phase begins with a rate of zero: its steps would change nothing.
fn check_rates(phases: &At<Vec<At<PhaseWritten>>>, resolver: &mut Resolver<'_, '_>) {
    for pair in phases.value.windows(2) {
        let before = &pair[0].value;
        let ends_at_zero = match before.lr {
            LrShape::LinearToZero => true,
            LrShape::OneMinusSqrt => before.lr_final.as_ref().is_none_or(|last| last.value == 0.0),
            LrShape::Cosine | LrShape::Linear => {
                before.lr_final.as_ref().is_some_and(|last| last.value == 0.0)
            }
            LrShape::Constant | LrShape::InverseSqrt => false,
        };
        if ends_at_zero {
            resolver
                .session
                .error(
                    Code::BadPhases,
                    pair[1].spot,
                    "the phase before this one ends with a learning rate of zero",
                )
                .expecting("a shape that ends above zero, such as lr: linear with lr_final: 0.1, before it");
        }
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
