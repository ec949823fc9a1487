//! What of a training an engine does otherwise: each thing once, by the field of the spec.

use cupola_specs::job::{MatrixOptimizer, OtherOptimizer, Packing, Parametrization, PretrainParams};

use super::Engine;
use super::plan::RunPlan;
use crate::train::{Factors, LanguageRun};

/// Every difference of a run.
pub(super) fn of(plan: &RunPlan, params: &PretrainParams, run: &LanguageRun) -> Vec<String> {
    let all = of_optimizer(plan, params, run).into_iter().chain(of_rows(plan, params, run));
    all.filter_map(|(is, text)| is.then_some(text)).collect()
}

fn of_optimizer(plan: &RunPlan, params: &PretrainParams, run: &LanguageRun) -> [(bool, String); 9] {
    let (settings, lr) = (&run.settings, plan.lr);
    let is_adamw = settings.matrices == MatrixOptimizer::Adamw && settings.others == OtherOptimizer::Adamw;
    let has_one_rate =
        settings.factors == Factors::ONE && settings.matrix_lr.to_bits() == settings.lr.to_bits();
    let decayed = match plan.engine {
        Engine::Megatron => "matrices and embeddings",
        Engine::Torchtitan => "all weights",
    };
    let by = format!(
        "hidden matrices train by {:?} at {:e} and the rest by {:?} at {:e}",
        settings.matrices, settings.matrix_lr, settings.others, settings.lr
    );
    let is_scaled = params.optimizer.parametrization != Parametrization::Standard;
    [
        (
            !is_adamw,
            format!("optimizer: {by}; written is AdamW for all at {lr:e}, which needs a rate of its own"),
        ),
        (
            is_adamw && !has_one_rate,
            format!(
                "optimizer.lr: embeddings, head and hidden matrices have rates of their own; written is {lr:e} for all"
            ),
        ),
        (
            !settings.groups.is_empty(),
            "optimizer.groups: weights with a rate or a decay of their own have none".into(),
        ),
        (is_scaled, "optimizer.parametrization: rates by width and depth are one rate for all".into()),
        (
            plan.weight_decay > 0.0,
            format!("optimizer.weight_decay: of hidden matrices here, of {decayed} there, and constant"),
        ),
        (settings.ema.is_some(), "optimizer.ema: there is no average of the weights".into()),
        (params.optimizer.z_loss > 0.0, "optimizer.z_loss: there is none".into()),
        (
            plan.grad_clip == 0.0,
            "optimizer.grad_clip: it is off; written is a norm that is never reached".into(),
        ),
        (
            params.optimizer.max_setbacks > 0,
            "optimizer.max_setbacks: steps without a finite loss are not left out".into(),
        ),
    ]
}

fn of_rows(plan: &RunPlan, params: &PretrainParams, run: &LanguageRun) -> [(bool, String); 6] {
    let is_one = run.phases.iter().all(|phase| phase.weights == run.phases[0].weights);
    let order = match plan.engine {
        Engine::Megatron => "rows are shuffled by its own seed".to_owned(),
        Engine::Torchtitan => {
            "documents come in the order of the files, drawn by domain so that tokens have their shares on average, and each ends \
             with the tokenizer's end token where that has one"
                .to_owned()
        }
    };
    [
        (
            params.packing == Packing::BestFit,
            "context.packing: documents lie one after the other and are cut where a row is full".into(),
        ),
        (params.document_mask, "context.document_mask: the documents of a row see each other".into()),
        (params.extend.is_some(), format!("context.extend: all rows have {} tokens", plan.context_length)),
        (
            !is_one,
            "phases: the mixture is one for the whole run, each domain with the share that it has in all phases together".into(),
        ),
        (true, format!("order: {order}")),
        (true, "start: weights begin by the engine's own rule, and not with the bits that this seed gives here".into()),
    ]
}
