//! The sizes of a network: by one dial, by law, or by name.

use super::written::{ModelWritten, RopeScalingWritten, RopeTypeWritten};
use super::{Activation, Family, ModelParams, ModelShape, ModelType, RopeScaling};
use crate::spec::Code;
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::words::one_of;

/// Width of a head, and the step of every derived width.
const HEAD_DIM: u64 = 64;

/// The shape that a depth derives: width 64 × depth, heads of 64, feed-forward 8/3 (SwiGLU) or 4 (the others) times the width.
pub(crate) fn of_depth(
    family: Family,
    depth: u64,
    activation: Activation,
    context_length: u64,
) -> ModelShape {
    sized(type_of(family, activation, None), depth, context_length)
}

/// The same of a class.
fn sized(model_type: ModelType, depth: u64, context_length: u64) -> ModelShape {
    let hidden_size = HEAD_DIM * depth.max(1);
    let plain = ModelShape::plain(model_type);
    let is_transformer = plain.family == Family::Transformer;
    let heads = if is_transformer { depth.max(1) } else { 1 };
    ModelShape {
        num_hidden_layers: depth.max(1),
        hidden_size,
        intermediate_size: if is_transformer {
            intermediate(hidden_size, plain.activation)
        } else {
            hidden_size
        },
        num_attention_heads: heads,
        num_key_value_heads: heads,
        head_dim: hidden_size / heads,
        max_position_embeddings: context_length,
        ..plain
    }
}

/// The class that an architecture, an activation and query-key norm ask for.
fn type_of(family: Family, activation: Activation, qk_norm: Option<bool>) -> ModelType {
    match (family, activation) {
        (Family::Lstm, _) => ModelType::Lstm,
        (_, Activation::Swiglu) if qk_norm == Some(false) => ModelType::Llama,
        (_, Activation::Swiglu) => ModelType::Qwen3,
        (_, Activation::Relu2) => ModelType::Arcee,
        (_, Activation::GeluNew) => ModelType::Gpt2,
    }
}

/// The feed-forward width: 4 times; for SwiGLU, with its third matrix, 8/3 times, to a multiple of 64.
fn intermediate(hidden_size: u64, activation: Activation) -> u64 {
    match activation {
        Activation::Relu2 | Activation::GeluNew => 4 * hidden_size,
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
    let sizes = written_sizes(m);
    if m.from.is_some() {
        refuse(w, &sizes, "the law recommends every size", resolver)?;
        return Some(ModelParams::Law { family: m.arch });
    }
    if m.depth.is_some() {
        refuse(w, &sizes[..3], "`depth` derives it", resolver)?;
    }
    if m.arch == Family::Lstm {
        refuse(w, &sizes[..LSTM_HAS_NOT], "an LSTM has no such part", resolver)?;
    }
    let activation = m.activation.unwrap_or(Activation::Swiglu);
    let model_type = m.model_type.unwrap_or_else(|| type_of(m.arch, activation, m.qk_norm));
    let mut shape = sized(model_type, m.depth.or(m.num_hidden_layers).unwrap_or(1), context_length);
    shape.family = m.arch;
    if m.depth.is_none() {
        named_sizes(w, &mut shape, resolver)?;
    }
    named_parts(m, &mut shape, context_length);
    shape.rope_scaling = match &m.rope_scaling {
        Some(written) => rope_scaling(written, &shape, resolver)?,
        None => RopeScaling::Default,
    };
    check(w, &shape, context_length, resolver)?;
    Some(ModelParams::Shape(shape))
}

/// How many of [`written_sizes`] an LSTM has no part for.
const LSTM_HAS_NOT: usize = 17;

/// What of a model is written, besides its depth or law: first what `depth` derives, then what an LSTM lacks, then the rest.
fn written_sizes(m: &ModelWritten) -> [(&'static str, bool); 20] {
    [
        ("intermediate_size", m.intermediate_size.is_some()),
        ("num_attention_heads", m.num_attention_heads.is_some()),
        ("head_dim", m.head_dim.is_some()),
        ("num_key_value_heads", m.num_key_value_heads.is_some()),
        ("model_type", m.model_type.is_some()),
        ("activation", m.activation.is_some()),
        ("qk_norm", m.qk_norm.is_some()),
        ("attention_bias", m.attention_bias.is_some()),
        ("mlp_bias", m.mlp_bias.is_some()),
        ("rope_theta", m.rope_theta.is_some()),
        ("rope_scaling", m.rope_scaling.is_some()),
        ("sliding_window", m.sliding_window.is_some()),
        ("layer_types", m.layer_types.is_some()),
        ("logit_softcap", m.logit_softcap.is_some()),
        ("value_embeddings", m.value_embeddings.is_some()),
        ("residual_scalars", m.residual_scalars.is_some()),
        ("norm_eps", m.norm_eps.is_some()),
        ("tie_word_embeddings", m.tie_word_embeddings.is_some()),
        ("max_position_embeddings", m.max_position_embeddings.is_some()),
        ("depth", m.depth.is_some()),
    ]
}

/// Parts that are written; the others are the class's own.
fn named_parts(m: &ModelWritten, shape: &mut ModelShape, context_length: u64) {
    if let Some(heads) = &m.num_key_value_heads {
        shape.num_key_value_heads = heads.value;
    }
    shape.activation = m.activation.unwrap_or(shape.activation);
    shape.qk_norm = m.qk_norm.unwrap_or(shape.qk_norm);
    shape.attention_bias = m.attention_bias.unwrap_or(shape.attention_bias);
    shape.mlp_bias = m.mlp_bias.unwrap_or(shape.mlp_bias);
    shape.norm_eps = m.norm_eps.unwrap_or(shape.norm_eps);
    shape.tie_word_embeddings = m.tie_word_embeddings.unwrap_or(shape.tie_word_embeddings);
    shape.rope_theta = m.rope_theta.unwrap_or(shape.rope_theta);
    shape.max_position_embeddings = m.max_position_embeddings.unwrap_or(context_length);
    shape.sliding_window = m.sliding_window.unwrap_or(shape.sliding_window);
    if let Some(types) = &m.layer_types {
        shape.layer_types.clone_from(types);
    }
    shape.logit_softcap = m.logit_softcap.unwrap_or(shape.logit_softcap);
    shape.value_embeddings = m.value_embeddings.unwrap_or(shape.value_embeddings);
    shape.residual_scalars = m.residual_scalars.unwrap_or(shape.residual_scalars);
}

/// A stretch of RoPE as written; what another kind of stretch has is refused.
pub(crate) fn rope_scaling(
    written: &At<RopeScalingWritten>,
    shape: &ModelShape,
    resolver: &mut Resolver<'_, '_>,
) -> Option<RopeScaling> {
    let w = &written.value;
    let is_yarn = w.rope_type == RopeTypeWritten::Yarn;
    let is_llama3 = w.rope_type == RopeTypeWritten::Llama3;
    let others: Vec<&str> = [
        (
            "original_max_position_embeddings",
            w.original_max_position_embeddings.is_some(),
            is_yarn || is_llama3,
        ),
        ("beta_fast", w.beta_fast.is_some(), is_yarn),
        ("beta_slow", w.beta_slow.is_some(), is_yarn),
        ("attention_factor", w.attention_factor.is_some(), is_yarn),
        ("low_freq_factor", w.low_freq_factor.is_some(), is_llama3),
        ("high_freq_factor", w.high_freq_factor.is_some(), is_llama3),
    ]
    .into_iter()
    .filter_map(|(name, is_written, belongs)| (is_written && !belongs).then_some(name))
    .collect();
    if !others.is_empty() {
        let message = format!("`{}` belongs to another rope_type", others.join("`, `"));
        resolver
            .session
            .error(Code::Conflict, written.spot, message)
            .expecting(format!("rope_scaling without {}", others.join(", ")));
        return None;
    }
    let factor = w.factor;
    let original_max_position_embeddings = w
        .original_max_position_embeddings
        .unwrap_or_else(|| ((shape.max_position_embeddings as f64 / factor).ceil() as u64).max(1));
    Some(match w.rope_type {
        RopeTypeWritten::Linear => RopeScaling::Linear { factor },
        RopeTypeWritten::Dynamic => RopeScaling::Dynamic { factor },
        RopeTypeWritten::Yarn => RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            beta_fast: w.beta_fast.unwrap_or(32.0),
            beta_slow: w.beta_slow.unwrap_or(1.0),
            attention_factor: w
                .attention_factor
                .unwrap_or_else(|| RopeScaling::yarn_attention_factor(factor)),
            truncate: true,
        },
        RopeTypeWritten::Llama3 => RopeScaling::Llama3 {
            factor,
            low_freq_factor: w.low_freq_factor.unwrap_or(1.0),
            high_freq_factor: w.high_freq_factor.unwrap_or(4.0),
            original_max_position_embeddings,
        },
    })
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
        shape.head_dim = hidden;
        return Some(());
    }
    shape.intermediate_size = m.intermediate_size.unwrap_or_else(|| intermediate(hidden, shape.activation));
    shape.num_attention_heads =
        m.num_attention_heads.as_ref().map_or((hidden / HEAD_DIM).max(1), |heads| heads.value);
    shape.num_key_value_heads = shape.num_attention_heads;
    shape.head_dim = m.head_dim.unwrap_or_else(|| (hidden / shape.num_attention_heads).max(1));
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
    let is_derived = w.value.head_dim.is_none();
    let problem = if is_derived
        && (!shape.hidden_size.is_multiple_of(heads) || !(shape.hidden_size / heads).is_multiple_of(2))
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
    let problem = problem.filter(|_| shape.family == Family::Transformer);
    match problem.or_else(|| shape.problem().map(|(message, expected)| (w.spot, message, expected))) {
        Some((spot, message, expected)) => {
            resolver.session.error(Code::Conflict, spot, message).expecting(expected);
            None
        }
        None => Some(()),
    }
}
