//! The fields that a job writes itself, behind its step's parameters.

use cupola_specs::job::{StepParams, SuiteParams};

use super::data::data_paths;

/// The fields of the job itself that a parameter may come from, the likeliest first.
pub(super) fn own_paths(params: &StepParams, path: &str) -> Vec<String> {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let below = |field: &str| if rest.is_empty() { field.to_owned() } else { format!("{field}.{rest}") };
    let one = |field: String| vec![field];
    match (params, head) {
        (_, "context_length" | "packing" | "document_mask" | "extend") => row_fields(head, rest),
        (_, "phases") => phase_fields(path),
        (_, "lora") => lora_fields(rest),
        (StepParams::Data(params), _) => data_paths(params, path),
        (StepParams::Tokenizer(_), "train_bytes") => one("max_bytes".to_owned()),
        (StepParams::Sweep(_), "tokens" | "tokens_per_param" | "lr") => one(format!("grid.{head}")),
        (StepParams::Sweep(_), "shape") if rest == "max_position_embeddings" => {
            one("context.length".to_owned())
        }
        (StepParams::Sweep(_), "shape") => one("activation".to_owned()),
        (StepParams::Fit(_), "inference_tokens") => {
            vec!["objective.inference_tokens".to_owned(), "objective".to_owned()]
        }
        (StepParams::Fit(_), "target") => one("target".to_owned()),
        (StepParams::Pretrain(_), "model") => {
            shape_fields(rest).into_iter().chain(one("model".to_owned())).collect()
        }
        (StepParams::Pretrain(_), "tokens") if rest == "ratio" => {
            vec!["tokens.per_param".to_owned(), "tokens".to_owned()]
        }
        (StepParams::Pretrain(_), "tokens") => one("tokens".to_owned()),
        (StepParams::Pretrain(_), "export") => one("checkpoint.export".to_owned()),
        (StepParams::Pretrain(_), "best_metric") => one("checkpoint.keep_best.metric".to_owned()),
        (StepParams::Pretrain(_), "evaluate") => {
            one(format!("evaluate.{}", rest.replace("every_steps", "every")))
        }
        // Its default follows from the optimiser.
        (_, "optimizer") if rest.starts_with("momentum_warmup") => {
            [path, "optimizer.momentum_warmup", "optimizer.matrices"].map(str::to_owned).to_vec()
        }
        (_, "optimizer") => one(optimizer_field(&below(head)).to_owned()),
        (StepParams::Sft(_), "data_parts") => one("data".to_owned()),
        (StepParams::Preferences(_) | StepParams::Optimize(_), "prompts_part") => one("prompts".to_owned()),
        (StepParams::Preferences(_), "labeler") => vec!["labeler.kind".to_owned(), "labeler".to_owned()],
        (StepParams::RewardModel(_), "epochs") => one("reward_epochs".to_owned()),
        (StepParams::Optimize(_), "beta" | "epochs") => vec![head.to_owned(), "method".to_owned()],
        (StepParams::Eval(params), "suites") => {
            let (at, field) = rest.split_once('.').unwrap_or((rest, ""));
            let mut fields = suite_field(&params.suites, at, field);
            fields.push("suites".to_owned());
            fields
        }
        _ => one(below(head)),
    }
}

/// Fields of `phases`, and the phase or the corpus of it around them. A rate's last factor follows from the shape that it ends; other corpora
/// are numbered in the order in which phases name them.
fn phase_fields(path: &str) -> Vec<String> {
    let around = |depth: usize| path.split('.').take(depth).collect::<Vec<_>>().join(".");
    let (before, last) = path.rsplit_once('.').unwrap_or(("", path));
    match (last, path.split('.').nth(2)) {
        ("lr_final", _) => vec![path.to_owned(), format!("{before}.lr")],
        ("input", Some("corpora")) => vec![format!("{before}.corpus")],
        (_, Some("corpora")) => vec![path.to_owned(), around(5)],
        _ => vec![path.to_owned(), around(3)],
    }
}

/// Fields of `lora`: what is not written is the default, or with `from` what its adapters are. Targets are in an order of their own.
fn lora_fields(rest: &str) -> Vec<String> {
    match rest.split('.').next().unwrap_or_default() {
        "" => vec!["lora".to_owned()],
        "start" => vec!["lora.from".to_owned()],
        "dropout" => vec!["lora.dropout".to_owned()],
        field => vec![format!("lora.{field}"), "lora.from".to_owned()],
    }
}

/// Fields of `context`.
fn row_fields(head: &str, rest: &str) -> Vec<String> {
    let fields: &[&str] = match head {
        "context_length" => &["length"],
        "document_mask" => &["document_mask", "packing"],
        "extend" if !rest.is_empty() => {
            return vec![format!("context.extend.{rest}"), "context.extend".to_owned()];
        }
        other => &[other],
    };
    fields.iter().map(|field| format!("context.{field}")).collect()
}

/// A length in steps or by share is one field.
fn optimizer_field(path: &str) -> &str {
    match path {
        "optimizer.warmup.share" | "optimizer.warmup.steps" => "optimizer.warmup",
        "optimizer.ema.every_steps" => "optimizer.ema.every",
        other => other,
    }
}

/// Sizes of a network: named, or derived from the depth, the activation, the row length and the architecture.
fn shape_fields(size: &str) -> Vec<String> {
    let size = match size.split_once('.') {
        _ if size == "family" => "arch",
        Some(("rope_scaling", _)) => {
            // What a stretch does not say follows from its factor, its kind, or the positions.
            let derived = ["model.rope_scaling.factor", "model.rope_scaling.rope_type", "model.rope_scaling"];
            let positions = ["model.max_position_embeddings", "context.length"];
            let own = std::iter::once(format!("model.{size}"));
            return own.chain(derived.into_iter().chain(positions).map(str::to_owned)).collect();
        }
        Some((whole, _)) => return vec![format!("model.{size}"), format!("model.{whole}")],
        None => size,
    };
    let derived: &[&str] = match size {
        "num_hidden_layers" | "hidden_size" | "num_attention_heads" => &["depth", "hidden_size"],
        "intermediate_size" => &["depth", "activation", "model_type", "hidden_size"],
        "num_key_value_heads" | "head_dim" => &["num_attention_heads", "depth", "hidden_size"],
        "model_type" => &["activation", "qk_norm"],
        "qk_norm"
        | "activation"
        | "attention_bias"
        | "mlp_bias"
        | "norm_eps"
        | "tie_word_embeddings"
        | "logit_softcap" => &["model_type", "activation"],
        _ => &[],
    };
    let mut fields = vec![format!("model.{size}")];
    fields.extend(derived.iter().map(|field| format!("model.{field}")));
    if size == "max_position_embeddings" {
        fields.push("context.length".to_owned());
    } else {
        fields.push("model.arch".to_owned());
    }
    fields
}

/// The field of a suite; its rows may be given in three ways.
pub(super) fn suite_field(suites: &[SuiteParams], at: &str, field: &str) -> Vec<String> {
    let suite = at.parse().ok().and_then(|at: usize| suites.get(at));
    let word = match suite {
        Some(SuiteParams::Perplexity { .. }) => "perplexity",
        Some(SuiteParams::ChatLoss { .. }) => "chat_loss",
        Some(SuiteParams::MultipleChoice(_)) => "multiple_choice",
        Some(SuiteParams::Judge(_)) => "judge",
        Some(SuiteParams::Contamination { .. }) => "contamination",
        None => return vec![format!("suites.{at}")],
    };
    let names: &[&str] = if field == "part" { &["on", "prompts", "paths", "tests"] } else { &[field] };
    let mut fields: Vec<String> = names.iter().map(|name| format!("suites.{at}.{word}.{name}")).collect();
    if field.is_empty() || field == "suite" {
        fields.clear();
    }
    fields.push(format!("suites.{at}"));
    fields
}
