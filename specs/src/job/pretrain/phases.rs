//! The phases of a run: what is read in each, and at which rate.

use std::collections::BTreeMap;

use super::written::PhaseWritten;
use super::{LrShape, PhaseCorpus, PhaseParams};
use crate::job::resolve::{CorpusMixture, check_sum};
use crate::spec::decode::{At, Named};
use crate::spec::jobs::Resolver;
use crate::spec::tree::Spot;
use crate::spec::wanted::Wanted;
use crate::spec::words::one_of;
use crate::spec::{ArtifactRef, Code};

/// Resolved phases.
pub(crate) struct Phases {
    /// In order.
    pub(crate) params: Vec<PhaseParams>,
    /// What they read beside the job's corpus: the inputs `tokens.1`, `tokens.2`, ….
    pub(crate) corpora: Vec<ArtifactRef>,
}

/// Phases as written, else the corpus's weights with a constant rate to 50 % and a fall to zero: a run of one length learns more by a
/// long fall (Bergsma et al. 2025, arXiv:2502.15938), and half of it is what nanochat came from.
pub(crate) fn phases(
    written: Option<&At<Vec<At<PhaseWritten>>>>,
    corpus: Option<&ArtifactRef>,
    spot: Spot,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Phases> {
    let Some(corpus) = corpus else {
        if let Some(written) = written {
            check_ends(written, resolver);
            for phase in &written.value {
                named_weights(phase.value.weights.as_ref(), None, resolver);
            }
        }
        return None;
    };
    let mixture = resolver.corpus_mixture(corpus);
    let is_external = matches!(corpus, ArtifactRef::Path(_));
    let says = |phase: &At<PhaseWritten>| phase.value.weights.is_some() || phase.value.shares() >= 1.0;
    let has_all = written.is_some_and(|phases| phases.value.iter().all(says));
    if is_external && !has_all {
        resolver
            .session
            .error(Code::MissingField, spot, "the weights of this corpus are not known before the run")
            .expecting("`phases`, each with `weights`");
        return None;
    }
    let Some(written) = written else {
        let weights = mixture?.weights;
        let of = |until: f64, lr: LrShape| PhaseParams {
            until,
            weights: weights.clone(),
            corpora: Vec::new(),
            lr,
            lr_final: 0.0,
        };
        let params = vec![of(0.5, LrShape::Constant), of(1.0, LrShape::LinearToZero)];
        return Some(Phases { params, corpora: Vec::new() });
    };
    check_ends(written, resolver);
    check_rates(written, resolver);
    let mut out = Phases { params: Vec::new(), corpora: Vec::new() };
    let mut is_right = true;
    for At { value: phase, .. } in &written.value {
        let others = phase_corpora(phase, corpus, &mut out.corpora, resolver);
        is_right &= others.is_some();
        out.params.push(PhaseParams {
            until: phase.until.value.0,
            weights: if phase.shares() >= 1.0 {
                BTreeMap::new()
            } else {
                named_weights(phase.weights.as_ref(), mixture.as_ref(), resolver)
            },
            corpora: others.unwrap_or_default(),
            lr: phase.lr,
            lr_final: lr_final(phase, resolver),
        });
    }
    is_right.then_some(out)
}

impl PhaseWritten {
    /// The shares of its other corpora.
    fn shares(&self) -> f64 {
        self.corpora.iter().flat_map(|corpora| &corpora.value).map(|one| one.value.share.value.0).sum()
    }
}

/// The other corpora of a phase; those that no phase before it reads are added to `known`.
fn phase_corpora(
    phase: &PhaseWritten,
    own: &ArtifactRef,
    known: &mut Vec<ArtifactRef>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Vec<PhaseCorpus>> {
    let Some(written) = &phase.corpora else { return Some(Vec::new()) };
    let before = resolver.session.error_count();
    if phase.shares() > 1.0 + 1e-9 {
        let message = format!("the shares of these corpora sum to {}%", 100.0 * phase.shares());
        resolver.session.error(Code::BadPhases, written.spot, message).expecting("at most 100%");
    } else if phase.shares() >= 1.0
        && let Some(weights) = &phase.weights
    {
        let message = "this phase reads nothing of the job's corpus, whose domains these are";
        let expected = "no `weights` here, or shares of `corpora` that leave something";
        resolver.session.error(Code::Conflict, weights.spot, message).expecting(expected);
    }
    let mut out: Vec<PhaseCorpus> = Vec::new();
    for At { value: one, .. } in &written.value {
        let Some(corpus) = resolver.artifact(&one.corpus, Wanted::Corpus) else { continue };
        let place = known.iter().position(|other| *other == corpus);
        let is_twice = place.is_some_and(|place| out.iter().any(|other| other.input == 1 + place as u64));
        if corpus == *own || is_twice {
            let message =
                if is_twice { "this phase reads it already" } else { "this is the job's own corpus" };
            let expected = "each corpus once; the job's own has what the shares of the others leave";
            resolver.session.error(Code::Conflict, one.corpus.spot, message).expecting(expected);
            continue;
        }
        let place = place.unwrap_or_else(|| {
            known.push(corpus.clone());
            known.len() - 1
        });
        let of_corpus = resolver.corpus_mixture(&corpus);
        if matches!(corpus, ArtifactRef::Path(_)) && one.weights.is_none() {
            let message = "the weights of this corpus are not known before the run";
            resolver
                .session
                .error(Code::MissingField, one.corpus.spot, message)
                .expecting("`weights` beside it");
        }
        let weights = named_weights(one.weights.as_ref(), of_corpus.as_ref(), resolver);
        out.push(PhaseCorpus { input: 1 + place as u64, share: one.share.value.0, weights });
    }
    (resolver.session.error_count() == before).then_some(out)
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

/// Weights as written, which sum to 1 and name the domains of their corpus; else the corpus's, none where its step fits them.
fn named_weights(
    written: Option<&At<Named<f64>>>,
    corpus: Option<&CorpusMixture>,
    resolver: &mut Resolver<'_, '_>,
) -> BTreeMap<String, f64> {
    let Some(weights) = written else {
        return corpus.map(|corpus| corpus.weights.clone()).unwrap_or_default();
    };
    check_sum(&weights.value, weights.spot, resolver);
    if let Some(corpus) = corpus {
        for (key, _) in &weights.value.0 {
            if !corpus.domains.contains(&key.name) {
                let known: Vec<&str> = corpus.domains.iter().map(String::as_str).collect();
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
