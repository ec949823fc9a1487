//! A scaling job, resolved.

use super::written::{ObjectiveWritten, ScalingJob};
use super::{FitParams, FitTarget, SweepParams};
use crate::job::pretrain::optimizer_resolve::{Stage, optimizer};
use crate::job::pretrain::phases::phases;
use crate::job::pretrain::resolve::{CONTEXT_LENGTH, batch};
use crate::job::pretrain::{rows, shape};
use crate::job::{Activation, AutoOr, BatchParams, Family, OptimizerParams, Packing, Precision};
use crate::spec::jobs::Resolver;
use crate::spec::wanted::Wanted;
use crate::spec::{Code, ScalingBody, SweepBody};

/// Resolves a scaling job.
pub(crate) fn scaling(
    w: &ScalingJob,
    precision: Precision,
    resolver: &mut Resolver<'_, '_>,
) -> Option<ScalingBody> {
    let corpus = resolver.artifact(&w.corpus, Wanted::Corpus);
    let tokenizer = resolver.artifact(&w.tokenizer, Wanted::Tokenizer);
    let name = resolver.current.map_or("", |at| resolver.jobs[at].name.as_str());
    let user = resolver.user_of(name);
    let written_phases = w.phases.as_ref().or(user.and_then(|user| user.phases.as_ref()));
    let phases = phases(written_phases, corpus.as_ref(), w.corpus.spot, resolver);
    let (phases, other_corpora) = phases.map(|phases| (phases.params, phases.corpora)).unzip();
    let optimizer = match (&w.optimizer, user) {
        (Some(own), _) => optimizer(own, Stage::Sweep, resolver),
        (None, Some(user)) => optimizer(&user.optimizer, Stage::Sweep, resolver),
        (None, None) => Some(OptimizerParams { max_setbacks: 0, ..OptimizerParams::default() }),
    };
    let context = w.context.as_ref().or(user.map(|user| &user.context));
    let families: Vec<Family> = w.families.iter().map(|family| family.value).collect();
    let spot = w
        .families
        .iter()
        .find(|family| family.value == Family::Lstm)
        .map_or(w.corpus.spot, |family| family.spot);
    let expected = "document_mask: false in a `context` of this job, or no lstm in `families`";
    let document_mask = match context {
        Some(context) => rows::document_mask(context, &families, (spot, expected), resolver),
        None => Some(false),
    };
    let target = target(w, resolver);
    check_grid(w, resolver)?;
    let recipe = SweepParams {
        shape: shape::of_depth(Family::Transformer, 1, Activation::Swiglu, CONTEXT_LENGTH),
        tokens_per_param: w.grid.tokens_per_param.clone(),
        tokens: w.grid.tokens.iter().map(|count| count.0 as u64).collect(),
        lr: w.grid.lr.0.clone(),
        optimizer: optimizer?,
        batch: w
            .batch
            .as_ref()
            .or(user.map(|user| &user.batch))
            .map_or(BatchParams { global_tokens: AutoOr::Auto, micro_batch: AutoOr::Auto }, batch),
        phases: phases?,
        context_length: context.map_or(CONTEXT_LENGTH, |context| context.length),
        packing: context.map_or(Packing::Concat, |context| context.packing),
        document_mask: document_mask?,
        precision,
    };
    let activation =
        w.activation.or(user.and_then(|user| user.model.value.activation)).unwrap_or(Activation::Swiglu);
    Some(ScalingBody {
        corpus: corpus?,
        other_corpora: other_corpora?,
        tokenizer: tokenizer?,
        sweeps: sweeps(w, &recipe, activation),
        fit: FitParams {
            methods: w.methods.0.clone(),
            target: target?,
            inference_tokens: match w.objective {
                ObjectiveWritten::ComputeOptimal => 0.0,
                ObjectiveWritten::Inference(tokens) => tokens,
            },
        },
    })
}

/// One sweep for each family and depth.
fn sweeps(w: &ScalingJob, recipe: &SweepParams, activation: Activation) -> Vec<SweepBody> {
    let mut out = Vec::new();
    for family in w.families.iter() {
        for depth in w.grid.depths.iter() {
            let word = match family.value {
                Family::Transformer => "transformer",
                Family::Lstm => "lstm",
            };
            let shape = shape::of_depth(family.value, depth.value, activation, recipe.context_length);
            out.push(SweepBody {
                key: format!("{word},{}", depth.value),
                params: SweepParams { shape, ..recipe.clone() },
            });
        }
    }
    out
}

/// Lists that name something, each thing once.
fn check_grid(w: &ScalingJob, resolver: &mut Resolver<'_, '_>) -> Option<()> {
    let before = resolver.session.error_count();
    for (index, depth) in w.grid.depths.iter().enumerate() {
        if w.grid.depths[..index].iter().any(|other| other.value == depth.value) {
            let message = format!("the depth {} stands twice", depth.value);
            resolver.session.error(Code::DuplicateName, depth.spot, message);
        }
    }
    for (index, family) in w.families.iter().enumerate() {
        if w.families[..index].iter().any(|other| other.value == family.value) {
            resolver.session.error(Code::DuplicateName, family.spot, "this family stands twice");
        }
    }
    if w.grid.tokens_per_param.is_empty() && w.grid.tokens.is_empty() {
        let spot = w.grid.depths.first().map_or(w.target.spot, |depth| depth.spot);
        resolver
            .session
            .error(Code::MissingField, spot, "the grid says nothing of tokens")
            .expecting("`tokens_per_param` or `tokens` in `grid`, each a list");
    }
    (resolver.session.error_count() == before).then_some(())
}

/// What the recommendation is for.
fn target(w: &ScalingJob, resolver: &mut Resolver<'_, '_>) -> Option<FitTarget> {
    let t = &w.target.value;
    match (t.budget, t.flops, t.params, t.tokens) {
        (Some(true), None, None, None) if resolver.device_secs > 0.0 => {
            Some(FitTarget::Budget { device_secs: resolver.device_secs })
        }
        (Some(true), None, None, None) => {
            resolver
                .session
                .error(Code::Conflict, w.target.spot, "the spec has no budget that the target could be")
                .expecting("budget: {hours: 0.2} at the top, or a target of flops, or of params and tokens");
            None
        }
        (None, Some(flops), None, None) => Some(FitTarget::Flops { flops: flops.0 }),
        (None, None, Some(params), Some(tokens)) => {
            Some(FitTarget::Point { params: params.0, tokens: tokens.0 })
        }
        _ => {
            resolver
                .session
                .error(Code::Conflict, w.target.spot, "this is not one target")
                .expecting("{budget: true}, {flops: 1e20}, or {params: 1B, tokens: 20B}");
            None
        }
    }
}
