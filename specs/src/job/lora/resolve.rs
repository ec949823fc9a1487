//! `lora`, resolved: adapters anew, or those of another job or folder, which have to fit the job's model and what is written beside them.

use super::written::LoraWritten;
use super::{AdapterParams, LoraConfig, LoraParams, LoraTarget};
use crate::spec::decode::At;
use crate::spec::jobs::{Resolver, WrittenBody};
use crate::spec::list::Filled;
use crate::spec::reference::{Ref, Target};
use crate::spec::tree::Spot;
use crate::spec::wanted::{Wanted, split_part};
use crate::spec::{ArtifactRef, Code};

/// Resolves the adapters of a job that tunes `model`, and what the input `adapter` is, where they start from it.
pub(crate) fn lora(
    w: &LoraWritten,
    model: &Ref,
    resolver: &mut Resolver<'_, '_>,
) -> Option<(LoraParams, Option<ArtifactRef>)> {
    let Some(from) = &w.from else { return Some((LoraParams::Fresh(config(w)), None)) };
    let adapter = resolver.artifact(from, Wanted::Model)?;
    if let ArtifactRef::Job(_) = &adapter {
        let (theirs, their_model) = tuned(from, resolver)?;
        check_model(from, (&adapter, their_model), model, resolver)?;
        check_written(w, theirs, from, resolver)?;
    }
    let params = AdapterParams {
        rank: w.rank.as_ref().map(|rank| rank.value),
        alpha: w.alpha.as_ref().map(|alpha| alpha.value),
        use_rslora: w.use_rslora.as_ref().map(|is| is.value),
        targets: w.targets.as_ref().map(ordered),
        dropout: w.dropout,
    };
    Some((LoraParams::Adapter(params), Some(adapter)))
}

/// What adapters are that start anew.
fn config(w: &LoraWritten) -> LoraConfig {
    use LoraTarget::{Down, K, O, Q, Up, V};
    LoraConfig {
        rank: w.rank.as_ref().map_or(16, |rank| rank.value),
        alpha: w.alpha.as_ref().map_or(32.0, |alpha| alpha.value),
        use_rslora: w.use_rslora.as_ref().is_some_and(|is| is.value),
        targets: w.targets.as_ref().map_or_else(|| vec![Q, K, V, O, Up, Down], ordered),
        dropout: w.dropout,
    }
}

/// Targets in one order: that in which they are written says nothing.
fn ordered(targets: &At<Filled<LoraTarget>>) -> Vec<LoraTarget> {
    let mut targets = targets.value.0.clone();
    if targets.contains(&LoraTarget::AllLinear) {
        return vec![LoraTarget::AllLinear];
    }
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// The adapters of the job that a reference names, as written, and the model that they stand beside.
fn tuned<'r>(from: &Ref, resolver: &mut Resolver<'r, '_>) -> Option<(&'r LoraWritten, &'r Ref)> {
    let Target::Job(text) = &from.target else { return None };
    let (name, _) = split_part(text);
    let jobs = resolver.jobs;
    let found = match jobs[resolver.first(name)?].any_body()? {
        WrittenBody::Sft(sft) => sft.lora.as_ref().map(|lora| (lora, &sft.model)),
        WrittenBody::Rlhf(rlhf) => rlhf.lora.as_ref().map(|lora| (&lora.value, &rlhf.policy)),
        _ => None,
    };
    if found.is_none() {
        let message = format!("`{name}` has no adapters: it is not tuned with `lora`");
        resolver
            .session
            .error(Code::Conflict, from.spot, message)
            .expecting("a job with `lora`, or {path: DIR} of adapters");
    }
    found
}

/// Adapters stand beside one model alone, and a model that was tuned with them has them already.
fn check_model(
    from: &Ref,
    (adapter, theirs): (&ArtifactRef, &Ref),
    ours: &Ref,
    resolver: &mut Resolver<'_, '_>,
) -> Option<()> {
    let (beside, model) =
        (resolver.artifact(theirs, Wanted::Model)?, resolver.artifact(ours, Wanted::Model)?);
    if model == beside {
        return Some(());
    }
    let (adapters, wanted) = (words(adapter), words(&beside));
    let message = if model == *adapter {
        format!("`{adapters}` has these adapters merged: beside it they would count twice")
    } else {
        format!(
            "the adapters of `{adapters}` stand beside `{wanted}`, and this job's model is `{}`",
            words(&model)
        )
    };
    resolver
        .session
        .error(Code::Conflict, from.spot, message)
        .expecting(format!("`{wanted}` as the job's model"));
    None
}

fn words(artifact: &ArtifactRef) -> String {
    match artifact {
        ArtifactRef::Job(reference) => reference.job.clone(),
        ArtifactRef::Path(path) => path.display().to_string(),
    }
}

/// What is written beside `from` is what its adapters are.
fn check_written(
    w: &LoraWritten,
    theirs: &LoraWritten,
    from: &Ref,
    resolver: &mut Resolver<'_, '_>,
) -> Option<()> {
    let mut root = theirs;
    // A circle of references is an error of its own.
    for _ in 0..resolver.jobs.len() {
        match &root.from {
            Some(further) => root = tuned(further, resolver)?.0,
            None => break,
        }
    }
    if root.from.is_some() {
        return Some(());
    }
    let theirs = config(root);
    let targets = |targets: &[LoraTarget]| {
        format!("[{}]", targets.iter().map(|target| target.as_str()).collect::<Vec<_>>().join(", "))
    };
    let ours = config(w);
    let fields: [(&str, Option<Spot>, String, String); 4] = [
        ("rank", w.rank.as_ref().map(|at| at.spot), ours.rank.to_string(), theirs.rank.to_string()),
        ("alpha", w.alpha.as_ref().map(|at| at.spot), ours.alpha.to_string(), theirs.alpha.to_string()),
        (
            "use_rslora",
            w.use_rslora.as_ref().map(|at| at.spot),
            ours.use_rslora.to_string(),
            theirs.use_rslora.to_string(),
        ),
        ("targets", w.targets.as_ref().map(|at| at.spot), targets(&ours.targets), targets(&theirs.targets)),
    ];
    let before = resolver.session.error_count();
    for (field, spot, ours, theirs) in fields {
        let Some(spot) = spot.filter(|_| ours != theirs) else { continue };
        let name = match &from.target {
            Target::Job(name) => name.as_str(),
            _ => "from",
        };
        let message = format!("the adapters of `{name}` have {field} {theirs}, and not {ours}");
        let expected = format!("{field}: {theirs}, or no `{field}` beside `from`");
        resolver.session.error(Code::Conflict, spot, message).expecting(expected);
    }
    (resolver.session.error_count() == before).then_some(())
}
