//! The rows of a run: who sees whom in them, and longer ones at its end.

use super::written::{ContextWritten, ExtendWritten};
use super::{Activation, ExtendParams, Family, ModelParams, Packing, RopeExtension, RopeScaling, shape};
use crate::spec::Code;
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::tree::Spot;

/// Whether documents of a row do not see each other, for networks of these families. `spot` stands for a mask that is not written, and
/// `expected` says what would be right.
pub(crate) fn document_mask(
    w: &ContextWritten,
    families: &[Family],
    (spot, expected): (Spot, &str),
    resolver: &mut Resolver<'_, '_>,
) -> Option<bool> {
    let written = w.document_mask.as_ref();
    let mask = written.map_or(w.packing == Packing::BestFit, |mask| mask.value);
    if mask && families.contains(&Family::Lstm) {
        let spot = written.map_or(spot, |mask| mask.spot);
        resolver
            .session
            .error(Code::Conflict, spot, "an LSTM carries its state across the documents of a row")
            .expecting(expected);
        return None;
    }
    Some(mask)
}

/// Longer rows at the end of a run of a model, where that has no error of its own.
#[allow(clippy::option_option, reason = "the outer one is an error, the inner one a run of one row length")]
pub(crate) fn extend(
    w: &ContextWritten,
    model: Option<&ModelParams>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Option<ExtendParams>> {
    let Some(At { value: extend, spot }) = &w.extend else { return Some(None) };
    if extend.length <= w.length || !extend.length.is_multiple_of(w.length) {
        let message = format!("rows of {} tokens do not become {} tokens", w.length, extend.length);
        resolver.session.error(Code::Conflict, *spot, message).expecting(format!(
            "a multiple of {}, from {} on",
            w.length,
            2 * w.length
        ));
        return None;
    }
    let has_rope = match model {
        Some(ModelParams::Shape(shape)) => shape.model_type.facts().has_rope,
        Some(ModelParams::Law { family }) => *family == Family::Transformer,
        None => true,
    };
    if !has_rope {
        resolver
            .session
            .error(Code::Conflict, *spot, "a network without RoPE does not take longer rows while it trains")
            .expecting("a model with RoPE, or no `extend`");
        return None;
    }
    let rope = rope(extend, resolver)?;
    Some(Some(ExtendParams { length: extend.length, tokens: extend.tokens.0, rope }))
}

/// What becomes of RoPE.
fn rope(extend: &ExtendWritten, resolver: &mut Resolver<'_, '_>) -> Option<RopeExtension> {
    let Some(At { value: rope, spot }) = &extend.rope else { return Some(RopeExtension::Stretched) };
    match (rope.theta, &rope.scaling) {
        (Some(theta), None) => Some(RopeExtension::Theta { theta }),
        (None, Some(written)) => {
            let longer = shape::of_depth(Family::Transformer, 1, Activation::Swiglu, extend.length);
            let scaling = shape::rope_scaling(written, &longer, resolver)?;
            if matches!(scaling, RopeScaling::Dynamic { .. }) {
                resolver
                    .session
                    .error(
                        Code::Conflict,
                        written.spot,
                        "`dynamic` changes nothing in rows that the model has positions for",
                    )
                    .expecting("rope_type: linear, yarn or llama3, or `theta`");
                return None;
            }
            Some(RopeExtension::Scaling { scaling })
        }
        _ => {
            resolver
                .session
                .error(Code::Conflict, *spot, "RoPE is changed in one way")
                .expecting("one of theta and scaling");
            None
        }
    }
}
