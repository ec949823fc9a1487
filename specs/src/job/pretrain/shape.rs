//! The sizes of a network: by one dial, by law, or by name.

use super::written::ModelWritten;
use super::{Activation, Family, ModelParams, ModelShape};
use crate::spec::Code;
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::words::one_of;

/// Width of a head, and the step of every derived width.
const HEAD_DIM: u64 = 64;
/// Default base of RoPE.
const ROPE_THETA: f64 = 10_000.0;

/// The shape that a depth derives: width 64 × depth, heads of 64, feed-forward 8/3 (SwiGLU) or 4 (ReLU²) times the width.
pub(crate) fn of_depth(
    family: Family,
    depth: u64,
    activation: Activation,
    context_length: u64,
) -> ModelShape {
    let hidden_size = HEAD_DIM * depth.max(1);
    let is_transformer = family == Family::Transformer;
    let heads = if is_transformer { (hidden_size / HEAD_DIM).max(1) } else { 1 };
    ModelShape {
        family,
        num_hidden_layers: depth.max(1),
        hidden_size,
        intermediate_size: if is_transformer { intermediate(hidden_size, activation) } else { hidden_size },
        num_attention_heads: heads,
        num_key_value_heads: heads,
        activation,
        qk_norm: is_transformer && activation == Activation::Swiglu,
        tie_word_embeddings: false,
        rope_theta: ROPE_THETA,
        max_position_embeddings: context_length,
    }
}

/// The feed-forward width: 4 times for ReLU²; for SwiGLU, with its third matrix, 8/3 times, to a multiple of 64.
fn intermediate(hidden_size: u64, activation: Activation) -> u64 {
    match activation {
        Activation::Relu2 => 4 * hidden_size,
        Activation::Swiglu => {
            let exact = hidden_size as f64 * 8.0 / 3.0;
            ((exact / HEAD_DIM as f64).round() as u64 * HEAD_DIM).max(HEAD_DIM)
        }
    }
}

/// Resolves the model of a pretrain job.
pub(crate) fn model(
    w: &At<ModelWritten>,
    context_length: u64,
    resolver: &mut Resolver<'_, '_>,
) -> Option<ModelParams> {
    let m = &w.value;
    let by_name = m.num_hidden_layers.is_some() || m.hidden_size.is_some();
    let ways = [m.depth.is_some(), m.from.is_some(), by_name].into_iter().filter(|way| *way).count();
    if ways != 1 {
        resolver
            .session
            .error(Code::Conflict, w.spot, format!("the model's size is given in {ways} ways"))
            .expecting("one of `depth`, `from: LAW`, or `num_hidden_layers` with `hidden_size`");
        return None;
    }
    let sizes: [(&str, bool); 9] = [
        ("intermediate_size", m.intermediate_size.is_some()),
        ("num_attention_heads", m.num_attention_heads.is_some()),
        ("num_key_value_heads", m.num_key_value_heads.is_some()),
        ("activation", m.activation.is_some()),
        ("qk_norm", m.qk_norm.is_some()),
        ("rope_theta", m.rope_theta.is_some()),
        ("tie_word_embeddings", m.tie_word_embeddings.is_some()),
        ("max_position_embeddings", m.max_position_embeddings.is_some()),
        ("depth", m.depth.is_some()),
    ];
    if m.from.is_some() {
        refuse(w, &sizes, "the law recommends every size", resolver)?;
        return Some(ModelParams::Law { family: m.arch });
    }
    if m.depth.is_some() {
        refuse(w, &sizes[..2], "`depth` derives it", resolver)?;
    }
    if m.arch == Family::Lstm {
        refuse(w, &sizes[..6], "an LSTM has no such part", resolver)?;
    }
    let activation = m.activation.unwrap_or(Activation::Swiglu);
    let mut shape =
        of_depth(m.arch, m.depth.or(m.num_hidden_layers).unwrap_or(1), activation, context_length);
    if m.depth.is_none() {
        named_sizes(w, &mut shape, resolver)?;
    }
    if let Some(heads) = &m.num_key_value_heads {
        shape.num_key_value_heads = heads.value;
    }
    shape.qk_norm = m.qk_norm.unwrap_or(shape.qk_norm);
    shape.tie_word_embeddings = m.tie_word_embeddings.unwrap_or(false);
    shape.rope_theta = m.rope_theta.unwrap_or(ROPE_THETA);
    shape.max_position_embeddings = m.max_position_embeddings.unwrap_or(context_length);
    check(w, &shape, context_length, resolver)?;
    Some(ModelParams::Shape(shape))
}

/// Sizes by name, the rest derived from the width.
fn named_sizes(w: &At<ModelWritten>, shape: &mut ModelShape, resolver: &mut Resolver<'_, '_>) -> Option<()> {
    let m = &w.value;
    let (Some(layers), Some(hidden)) = (m.num_hidden_layers, m.hidden_size) else {
        resolver
            .session
            .error(Code::MissingField, w.spot, "a model by name needs its layers and its width")
            .expecting("num_hidden_layers and hidden_size");
        return None;
    };
    shape.num_hidden_layers = layers;
    shape.hidden_size = hidden;
    if m.arch == Family::Lstm {
        shape.intermediate_size = hidden;
        return Some(());
    }
    shape.intermediate_size = m.intermediate_size.unwrap_or_else(|| intermediate(hidden, shape.activation));
    shape.num_attention_heads =
        m.num_attention_heads.as_ref().map_or((hidden / HEAD_DIM).max(1), |heads| heads.value);
    shape.num_key_value_heads = shape.num_attention_heads;
    Some(())
}

/// Refuses fields that say what is already said.
fn refuse(
    w: &At<ModelWritten>,
    fields: &[(&str, bool)],
    why: &str,
    resolver: &mut Resolver<'_, '_>,
) -> Option<()> {
    let written: Vec<&str> =
        fields.iter().filter(|(_, is_written)| *is_written).map(|(name, _)| *name).collect();
    if written.is_empty() {
        return Some(());
    }
    resolver
        .session
        .error(Code::Conflict, w.spot, format!("`{}` can't be set here: {why}", written.join("`, `")))
        .expecting(format!("the model without {}", written.join(", ")));
    None
}

/// Counts that would be right.
fn one_of_counts(counts: impl Iterator<Item = u64>) -> String {
    one_of(counts.map(|count| count.to_string()).collect::<Vec<_>>())
}

/// Heads divide the width, key heads divide query heads, rows fit the stated context.
fn check(
    w: &At<ModelWritten>,
    shape: &ModelShape,
    context_length: u64,
    resolver: &mut Resolver<'_, '_>,
) -> Option<()> {
    let heads = shape.num_attention_heads;
    let spot_of = |heads: Option<&At<u64>>| heads.map_or(w.spot, |heads| heads.spot);
    let problem = if !shape.hidden_size.is_multiple_of(heads)
        || !(shape.hidden_size / heads).is_multiple_of(2)
    {
        let message = format!("{heads} heads do not divide a width of {} into even parts", shape.hidden_size);
        let right = (1..=shape.hidden_size / 2).filter(|heads| {
            shape.hidden_size.is_multiple_of(*heads) && (shape.hidden_size / heads).is_multiple_of(2)
        });
        Some((spot_of(w.value.num_attention_heads.as_ref()), message, one_of_counts(right)))
    } else if !heads.is_multiple_of(shape.num_key_value_heads) {
        let message =
            format!("{} key and value heads do not divide {heads} heads", shape.num_key_value_heads);
        let right = (1..=heads).filter(|other| heads.is_multiple_of(*other));
        Some((spot_of(w.value.num_key_value_heads.as_ref()), message, one_of_counts(right)))
    } else if shape.max_position_embeddings < context_length {
        let message = format!("max_position_embeddings is below the row length of {context_length}");
        Some((w.spot, message, format!("at least {context_length}")))
    } else {
        None
    };
    match problem {
        Some((spot, message, expected)) if shape.family == Family::Transformer => {
            resolver.session.error(Code::Conflict, spot, message).expecting(expected);
            None
        }
        _ => Some(()),
    }
}
